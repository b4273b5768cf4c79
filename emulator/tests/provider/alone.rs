//! `emulator provider`.

use crate::{ID, SECRET, client};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

/// Killed when the test is over.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_provider_command_prints_a_line_per_token() {
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::write(
        folder.path().join("knobs.json"),
        json!({"rotate": true, "grace": 3600}).to_string(),
    )
    .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_emulator"));
    command.current_dir(&folder).args([
        "provider",
        "--knobs",
        "knobs.json",
        "--issue",
        "tokens.json",
    ]);
    let mut running = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(running.0.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let banner: Vec<String> = lines
        .by_ref()
        .take_while(|line| !line.starts_with("Ctrl-C"))
        .collect();
    let of = |what: &str| {
        banner
            .iter()
            .find_map(|line| line.trim().strip_prefix(what))
            .unwrap()
            .trim()
            .to_owned()
    };
    assert_eq!(
        (of("client id").as_str(), of("client secret").as_str()),
        (ID, SECRET)
    );

    let record: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("tokens.json")).unwrap()).unwrap();
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", record["refresh_token"].as_str().unwrap()),
        ("client_id", ID),
        ("client_secret", SECRET),
    ];
    for _ in 0..2 {
        client()
            .post(of("token endpoint"))
            .form(&form)
            .send()
            .await
            .unwrap()
            .error_for_status()
            .unwrap();
    }
    let told: Vec<String> = lines
        .take(7)
        .map(|line| line.split_once("ms  ").unwrap().1.to_owned())
        .collect();
    assert_eq!(
        told,
        [
            "○ token          issued at-2 and rt-1 (grant 0)",
            "○ token          spent rt-1",
            "○ token          issued at-4 and rt-3 (grant 0)",
            "· token call     refresh_token of rt-1 → 200",
            "○ token          spent rt-1 again, within the grace period",
            "○ token          issued at-6 and rt-5 (grant 0)",
            "· token call     refresh_token of rt-1 → 200",
        ]
    );
}
