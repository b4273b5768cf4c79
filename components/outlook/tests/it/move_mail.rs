//! Action moveMail.

use crate::rig::{Rig, error, one};
use graph_standin::Fault;
use serde_json::{Value, json};

async fn mailbox() -> (Rig, String) {
    let rig = Rig::new().await;
    let id = rig
        .graph
        .add_message("inbox", json!({ "subject": "Hello" }));
    (rig, id)
}

#[tokio::test]
async fn a_moved_message_is_emitted_with_its_new_id() {
    let (rig, id) = mailbox().await;
    let folder = rig.graph.add_folder("inbox", "Done");
    let fields = json!({ "originalMailFolders": "inbox-id=", "destinationFolder": folder });
    let moved = one(&rig
        .run("moveMail", fields, json!({ "messageId": id }))
        .await);
    let there = rig.graph.messages(&folder).remove(0);
    assert_eq!(
        (&moved["subject"], &moved["id"]),
        (&json!("Hello"), &there["id"])
    );
    assert_ne!(moved["id"], json!(id));
    assert_eq!(moved["currentFolder"]["id"], json!(folder));
    assert_eq!(moved["currentFolder"]["displayName"], "Done");
    assert!(!moved.to_string().contains("@odata"), "{moved}");
    assert!(rig.graph.messages("inbox").is_empty());
}

#[tokio::test]
async fn without_a_destination_mail_moves_to_deleted_items() {
    for destination in [Value::Null, json!("")] {
        let (rig, id) = mailbox().await;
        let fields = json!({ "originalMailFolders": "inbox", "destinationFolder": destination });
        let moved = one(&rig
            .run("moveMail", fields, json!({ "messageId": id }))
            .await);
        assert_eq!(moved["currentFolder"]["displayName"], "Deleted Items");
        assert_eq!(rig.graph.messages("deleteditems").len(), 1);
    }
}

#[tokio::test]
async fn a_missing_folder_or_message_names_the_field() {
    for (fields, message, expected) in [
        (
            json!({ "originalMailFolders": "none" }),
            None,
            "`originalMailFolders` of the step",
        ),
        (
            json!({ "originalMailFolders": "sentitems" }),
            None,
            "`originalMailFolders` of the step",
        ),
        (
            json!({ "originalMailFolders": "inbox" }),
            Some("none/such"),
            "(`messageId`)",
        ),
        (
            json!({ "originalMailFolders": "inbox", "destinationFolder": "none" }),
            None,
            "`destinationFolder` of the step",
        ),
    ] {
        let (rig, id) = mailbox().await;
        let emitted = rig
            .run(
                "moveMail",
                fields,
                json!({ "messageId": message.unwrap_or(&id) }),
            )
            .await;
        let error = error(&emitted);
        assert!(
            error.contains(expected) && error.contains("ErrorItemNotFound"),
            "{error}"
        );
        assert_eq!(rig.graph.messages("inbox").len(), 1);
    }
}

#[tokio::test]
async fn a_lost_response_does_not_move_the_message_twice() {
    let (rig, id) = mailbox().await;
    rig.graph.inject_faults("POST", [Fault::DropBefore]);
    let emitted = rig
        .run(
            "moveMail",
            json!({ "originalMailFolders": "inbox" }),
            json!({ "messageId": id }),
        )
        .await;
    assert!(
        error(&emitted).contains("failed without a response"),
        "{emitted:?}"
    );
    assert_eq!(rig.graph.calls_matching("POST").len(), 1);
}

#[tokio::test]
async fn a_path_traversal_in_an_id_moves_only_a_message() {
    for id in [".", ".."] {
        let rig = Rig::new().await;
        let folder = rig.graph.add_folder("inbox", "Done");
        let fields = json!({ "originalMailFolders": folder });
        let emitted = rig
            .run("moveMail", fields, json!({ "messageId": id }))
            .await;
        assert!(error(&emitted).contains("messageId"), "{emitted:?}");
        let moves: Vec<_> = rig
            .graph
            .calls_matching("POST")
            .iter()
            .map(graph_standin::RecordedCall::line)
            .collect();
        assert!(
            moves.is_empty(),
            "Graph moves a folder by this request: {moves:?}"
        );
    }
}
