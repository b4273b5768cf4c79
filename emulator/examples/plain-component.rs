//! A component without any sailor: plain AMQP, as the tests of the command line start it.

#[path = "../tests/scripted/mod.rs"]
mod scripted;

use scripted::Component;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // What the sailor does for a component that has one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let env = |name: &str| std::env::var(format!("ELASTICIO_{name}")).expect(name);
    Component::connect(Box::new(env)).await.work().await;
}
