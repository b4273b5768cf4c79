//! What a process does within a memory limit: it works on what fits, refuses what does not, and is never killed.
//!
//! Where the machine allows it, each process is in a control group with that limit, and the kernel kills it beyond. In any
//! case what it has used is measured. `scripts/long memory` prints the whole table, which is in docs/memory.md.

use super::*;
use sailor::protocol::Encoding;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const MIB: usize = 1 << 20;

/// What the bodies of messages are, and how the module reads them.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Body {
    /// One long text, read as `Value` and emitted again.
    Text,
    /// A list of small objects, read into a type and emitted again.
    Typed,
    /// The same list, read as `Value` and emitted again.
    Values,
}

impl Body {
    fn name(self) -> &'static str {
        match self {
            Self::Text => "one text",
            Self::Typed => "list, typed",
            Self::Values => "list, `Value`",
        }
    }

    fn function(self) -> &'static str {
        match self {
            Self::Text | Self::Values => "script",
            Self::Typed => "typed",
        }
    }

    fn of_size(self, size: usize) -> String {
        if self == Self::Text {
            return format!(r#"{{"text":"{}"}}"#, "x".repeat(size));
        }
        let item = r#"{"id":1234567,"name":"Item 1234567","price":1234.5,"tags":["a","b"]}"#;
        let items = vec![item; size / (item.len() + 1)].join(",");
        format!(r#"{{"items":[{items}]}}"#)
    }
}

/// A control group with a memory limit, where the machine lets a test make one.
struct ControlGroup {
    folder: PathBuf,
    wrapper: tempfile::TempDir,
}

impl ControlGroup {
    /// Makes a group below the test's own.
    fn new(limit: usize) -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let (folder, file) = own.lines().find_map(|line| {
            let (_, line) = line.split_once(':')?;
            let (controllers, group) = line.split_once(':')?;
            match controllers {
                "memory" => Some((
                    format!("/sys/fs/cgroup/memory{group}"),
                    "memory.limit_in_bytes",
                )),
                "" if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() => {
                    Some((format!("/sys/fs/cgroup{group}"), "memory.max"))
                }
                _ => None,
            }
        })?;
        let folder = Path::new(&folder).join(format!("sailor-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&folder).ok()?;
        let group = Self {
            folder,
            wrapper: tempfile::tempdir().ok()?,
        };
        fs::write(group.folder.join(file), limit.to_string()).ok()?;
        let procs = group.folder.join("cgroup.procs");
        let script = format!("echo $$ > {} && exec {SCRIPTED} \"$@\"", procs.display());
        program(&group.binary(), &script);
        Some(group)
    }

    /// A program that enters the group and becomes the component.
    fn binary(&self) -> PathBuf {
        self.wrapper.path().join("scripted")
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // A process that has just been killed leaves a moment later.
        for _ in 0..200 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Writes a shell script that can be executed.
fn program(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What limits the memory of a process.
enum Limit {
    Group(ControlGroup),
    /// `ELASTICIO_MEMORY_LIMIT`.
    Setting,
    /// The limit of its addresses. The folder has the program that sets it.
    Addresses(tempfile::TempDir),
}

impl Limit {
    /// The control group, where the machine lets a test make one.
    fn of_container(limit: usize) -> Self {
        ControlGroup::new(limit * MIB).map_or(Self::Setting, Self::Group)
    }

    fn of_addresses(limit: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = format!("ulimit -d {} && exec {SCRIPTED} \"$@\"", limit * 1024);
        program(&folder.path().join("scripted"), &script);
        Self::Addresses(folder)
    }

    fn binary(&self) -> PathBuf {
        match self {
            Self::Group(group) => group.binary(),
            Self::Setting => SCRIPTED.into(),
            Self::Addresses(folder) => folder.path().join("scripted"),
        }
    }
}

/// A process with a memory limit in MB, and its step.
struct Limited {
    rig: Rig,
    component: Running,
    limit: usize,
    // Dropped last, when the process has left its control group.
    kind: Limit,
}

impl Limited {
    async fn start(limit: usize, prefetch: u16, function: &str) -> Self {
        let step = Step {
            function: function.into(),
            ..Step::default()
        };
        Self::start_step(limit, prefetch, step).await
    }

    async fn start_step(limit: usize, prefetch: u16, step: Step) -> Self {
        Self::start_with(Limit::of_container(limit), limit, prefetch, step).await
    }

    async fn start_with(kind: Limit, limit: usize, prefetch: u16, step: Step) -> Self {
        let config = EmulatorConfig {
            step,
            prefetch,
            next_step: true,
            ..EmulatorConfig::default()
        };
        let mut rig = Rig::new(kind.binary(), config)
            .await
            .variable(
                "ELASTICIO_OUTGOING_MESSAGE_SIZE_LIMIT",
                (64 * MIB).to_string(),
            )
            .variable("ELASTICIO_DATA_RATE_LIMIT", "1000000");
        if matches!(kind, Limit::Setting) {
            rig = rig.variable("ELASTICIO_MEMORY_LIMIT", limit.to_string());
        }
        let component = rig.start();
        Self {
            rig,
            component,
            limit,
            kind,
        }
    }

    fn send(&self, plain: String) {
        let headers = Headers::from_iter([("protocolVersion".to_owned(), 2.into())]);
        let body = self
            .rig
            .emulator
            .cipher()
            .encrypt(plain.into(), Encoding::Raw);
        let id = uuid::Uuid::new_v4().to_string();
        self.rig.emulator.send_raw(body, &id, &headers);
    }

    fn send_body(&self, body: &str) {
        self.send(format!(r#"{{"headers":{{}},"body":{body}}}"#));
    }

    /// Waits until all messages are settled. Returns false if the process ends before.
    async fn work(&mut self, messages: usize) -> bool {
        let start = Instant::now();
        loop {
            let (acked, rejected) = acked_and_rejected(&self.rig);
            if acked + rejected >= messages {
                return true;
            }
            if self.component.has_ended() {
                return false;
            }
            assert!(
                start.elapsed() < Duration::from_secs(300),
                "{acked} and {rejected} of {messages}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The most memory that the process has had, in MB, without the pages of its own file.
    fn peak(&self) -> usize {
        let id = self.component.process().child().id().unwrap();
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let of = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace()
                .nth(1)
                .unwrap()
                .parse::<usize>()
                .unwrap()
        };
        (of("VmHWM:") - of("RssFile:")) / 1024
    }

    fn assert_within_limit(&mut self) {
        assert!(!self.component.has_ended(), "the process has ended");
        let peak = self.peak();
        assert!(
            peak <= self.limit,
            "{peak} MB of memory, the limit is {}",
            self.limit
        );
    }

    /// The message of the only error event.
    async fn error(&self) -> String {
        let error = self.rig.events(EventKind::Error, 1).await.remove(0);
        error.body["error"]["message"].as_str().unwrap().to_owned()
    }
}

/// Otherwise jemalloc has its own defaults, and the limits of docs/memory.md do not hold.
#[cfg(target_os = "linux")]
#[test]
fn the_allocator_has_the_sailors_configuration() {
    let told = std::process::Command::new(SCRIPTED)
        .arg("--version")
        .env("_RJEM_MALLOC_CONF", "stats_print:true")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&told.stderr);
    for option in [
        "opt.narenas: 1",
        "opt.dirty_decay_ms: 1000 ",
        "opt.muzzy_decay_ms: 0 ",
        "opt.oversize_threshold: 4194304",
        "opt.retain: false",
    ] {
        assert!(told.contains(option), "{option}: {told}");
    }
}

#[tokio::test]
async fn large_messages_fit_into_128_mb_at_any_prefetch() {
    let mut process = Limited::start(128, 50, "script").await;
    let body = Body::Text.of_size(10 * MIB);
    for _ in 0..2 {
        process.send_body(&body);
    }
    assert!(process.work(2).await, "the process was killed");
    assert_eq!(acked_and_rejected(&process.rig), (2, 0));
    process.assert_within_limit();
}

/// All at once they would need more addresses than there are.
#[tokio::test]
async fn messages_wait_for_the_limit_of_the_process_too() {
    let step = Step {
        function: "script".into(),
        ..Step::default()
    };
    let mut process = Limited::start_with(Limit::of_addresses(128), 128, 5, step).await;
    let body = Body::Text.of_size(7 * MIB);
    for _ in 0..5 {
        process.send_body(&body);
    }
    assert!(process.work(5).await, "the process has ended");
    assert_eq!(acked_and_rejected(&process.rig), (5, 0));
}

#[tokio::test]
async fn a_message_that_cannot_fit_is_refused_by_name_and_size() {
    let mut process = Limited::start(128, 5, "script").await;
    let body = Body::Text.of_size(16 * MIB);
    process.send_body(&body);
    process.send_body(r#"{"n":1}"#);
    assert!(process.work(2).await, "the process was killed");
    assert_eq!(acked_and_rejected(&process.rig), (1, 1));
    let error = process.error().await;
    let size = 16 * MIB;
    assert!(
        error.contains("message ") && error.contains("memory limit of 128 MB"),
        "{error}"
    );
    assert!(error.contains(&size.to_string()[..4]), "{error}");
    process.assert_within_limit();
}

#[tokio::test]
async fn values_that_cannot_fit_are_refused_and_a_type_fits() {
    let list = Body::Values.of_size(5 * MIB);
    let mut process = Limited::start(128, 5, "script").await;
    process.send_body(&list);
    assert!(process.work(1).await, "the process was killed");
    let error = process.error().await;
    assert!(
        error.contains("as serde_json::Value") && error.contains("128 MB"),
        "{error}"
    );
    process.assert_within_limit();

    let mut process = Limited::start(128, 5, "typed").await;
    process.send_body(&list);
    assert!(process.work(1).await, "the process was killed");
    assert_eq!(acked_and_rejected(&process.rig), (1, 0));
    process.assert_within_limit();
}

#[tokio::test]
async fn many_small_messages_fit_into_64_mb() {
    let mut process = Limited::start(64, 100, "script").await;
    let body = Body::Text.of_size(1024);
    for _ in 0..500 {
        process.send_body(&body);
    }
    assert!(process.work(500).await, "the process was killed");
    assert_eq!(acked_and_rejected(&process.rig), (500, 0));
    process.assert_within_limit();
}

#[tokio::test]
async fn a_module_that_awaits_no_event_is_slowed_down() {
    let mut process = Limited::start(64, 1, "script").await;
    process.send_body(r#"{"script":[["spawnMany",5000]]}"#);
    assert!(process.work(1).await, "the process was killed");
    assert_eq!(process.rig.so_far(EventKind::Data).len(), 5_000);
    process.assert_within_limit();
}

/// With all of them at once the process would need several times its limit.
#[tokio::test]
async fn bodies_from_object_storage_wait_for_memory() {
    const COUNT: usize = 12;
    let mut process = Limited::start(64, 10, "script").await;
    let body = Body::Text.of_size(3 * MIB);
    for n in 0..COUNT {
        let emulator = &process.rig.emulator;
        let stored = emulator
            .cipher()
            .encrypt(body.clone().into(), Encoding::Raw);
        emulator.platform().set_object(&format!("body-{n}"), stored);
        process.send(format!(
            r#"{{"headers":{{"x-ipaas-object-storage-id":"body-{n}"}},"body":{{}}}}"#
        ));
    }
    assert!(process.work(COUNT).await, "the process was killed");
    assert_eq!(acked_and_rejected(&process.rig), (COUNT, 0));
    process.assert_within_limit();
}

/// Each event is twice as large as its message.
#[tokio::test]
async fn large_messages_with_passthrough_fit_into_128_mb() {
    const COUNT: usize = 3;
    let mut process = Limited::start_step(
        128,
        5,
        Step {
            function: "script".into(),
            is_passthrough: true,
            ..Step::default()
        },
    )
    .await;
    let body = Body::Text.of_size(5 * MIB);
    for _ in 0..COUNT {
        process.send_body(&body);
    }
    assert!(process.work(COUNT).await, "the process was killed");
    assert_eq!(acked_and_rejected(&process.rig), (COUNT, 0));
    process.assert_within_limit();
}

/// Prints the table of docs/memory.md.
#[tokio::test]
#[ignore = "takes minutes; scripts/long memory runs it"]
async fn the_memory_table() {
    println!(
        "\n| limit | bodies | module reads | prefetch | result | peak |\n|---|---|---|---|---|---|"
    );
    for (limit, size, prefetches) in [
        (64, 0, &[100][..]),
        (64, 1, &[1, 50]),
        (128, 5, &[1, 5, 50]),
        (128, 10, &[1, 5, 50]),
        (256, 10, &[1, 5, 50]),
        (512, 10, &[50]),
    ] {
        for body in [Body::Text, Body::Typed, Body::Values] {
            for prefetch in prefetches {
                row(limit, size, *prefetch, body).await;
            }
        }
    }
}

async fn row(limit: usize, size: usize, prefetch: u16, body: Body) {
    let (count, bytes) = if size == 0 {
        (1000, 1024)
    } else {
        (12, size * MIB)
    };
    let mut process = Limited::start(limit, prefetch, body.function()).await;
    let text = body.of_size(bytes);
    for _ in 0..count {
        process.send_body(&text);
    }
    let lives = process.work(count).await;
    let result = match acked_and_rejected(&process.rig) {
        _ if !lives => "killed".to_owned(),
        (_, 0) => "fits".to_owned(),
        (0, _) => "refused".to_owned(),
        (acked, rejected) => format!("{acked} fit, {rejected} refused"),
    };
    let peak = if lives {
        process.peak().to_string()
    } else {
        "–".to_owned()
    };
    let size = if size == 0 {
        "1 KB".to_owned()
    } else {
        format!("{size} MiB")
    };
    let group = if matches!(process.kind, Limit::Group(_)) {
        ""
    } else {
        " (measured, not limited)"
    };
    println!(
        "| {limit} MB{group} | {size} | {} | {prefetch} | {result} | {peak} MB |",
        body.name()
    );
    assert!(lives, "the process was killed");
}
