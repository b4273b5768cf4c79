//! The plain component of `test-support` as a process, for the tests of the command line.

use test_support::Component;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // What the sailor does for a component that has one.
    http_double::choose_cryptography();
    let env = |name: &str| std::env::var(format!("ELASTICIO_{name}")).expect(name);
    Component::connect(Box::new(env)).await.work().await;
}
