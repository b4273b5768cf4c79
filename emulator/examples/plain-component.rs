//! The plain component of `test-support` as a process, for the tests of the command line.

use std::process::ExitCode;
use test_support::Component;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // What the sailor does for a component that has one.
    http_double::choose_cryptography();
    let env = |name: &str| std::env::var(format!("ELASTICIO_{name}")).expect(name);
    if std::env::var_os("ELASTICIO_HOOK_SHUTDOWN").is_some() {
        println!("this is the hook of {}", env("STEP_ID"));
        return match std::env::var_os("HOOK_FAILS") {
            Some(_) => ExitCode::FAILURE,
            None => ExitCode::SUCCESS,
        };
    }
    Component::connect(Box::new(env)).await.work().await;
    ExitCode::SUCCESS
}
