//! Variables that component.json requires.

use super::*;

const MISSING: &str = "OAUTH_CLIENT_ID: Id of the client that is registered with the API's provider\n  \
    OAUTH_TOKEN_URI: The provider's token endpoint";

/// A step without two of its variables.
async fn incomplete() -> Connected {
    let connected = connected(Knobs::default(), Provider::issue).await;
    connected
        .variable("OAUTH_CLIENT_ID", "")
        .variable("OAUTH_TOKEN_URI", "")
}

#[tokio::test]
async fn a_step_without_its_variables_takes_no_message_and_names_all() {
    let connected = incomplete().await;
    connected.send("/items");
    let ended = connected.rig.run().await;
    assert_eq!(ended.status, 1);
    assert!(ended.stderr.contains(MISSING), "{}", ended.stderr);
    let errors = connected.rig.events(EventKind::Error, 1).await;
    let error = &errors[0].body["error"];
    assert!(
        error["message"].as_str().unwrap().contains(MISSING),
        "{error}"
    );
    assert!(
        error["stack"]
            .as_str()
            .unwrap()
            .contains("[missing-variables]"),
        "{error}"
    );
    assert_eq!(connected.rig.so_far(EventKind::Delivered).len(), 0);
    assert_eq!(connected.rig.left_in_queue(), 1);
}

#[tokio::test]
async fn a_call_without_its_variables_fails_and_names_all() {
    let connected = incomplete().await;
    let (success, data) = connected.rig.service("verifyCredentials", &[]).await;
    assert!(!success, "{data}");
    assert!(
        data["message"].as_str().unwrap().contains(MISSING),
        "{data}"
    );
}
