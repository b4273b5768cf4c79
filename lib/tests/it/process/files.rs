//! Uploads and downloads of the action `makeRequest` from end to end.

use super::*;

#[tokio::test]
async fn files_pass_through_object_storage() {
    let fields = json!({ "bodyType": "multipart", "idempotencyHeader": "Idempotency-Key" });
    let connected = Connected::start(
        "makeRequest",
        Provider::issue_expired,
        fields,
        EmulatorConfig::default(),
    )
    .await;
    let platform = connected.platform();
    platform.set_object("file-1", &b"\x00\xff"[..]);
    let component = connected.rig.start();
    let attachments = json!({ "one": { "url": format!("{}/objects/file-1", platform.url()) } });
    let request = json!({ "method": "POST", "path": "/echo", "body": { "title": "One" } });
    connected
        .send_message(json!({ "id": "message-1", "body": request, "attachments": attachments }));
    connected.send_message(json!({ "body": { "path": "/files/logo.png" }, "id": "message-2" }));
    let data = connected.rig.events(EventKind::Data, 2).await;
    connected.rig.settled().await;
    let calls = connected.provider().api_calls();
    assert_eq!(
        calls.iter().map(|call| call.status).collect::<Vec<_>>(),
        [Some(401), Some(200), Some(200)]
    );
    assert!(calls[1].body.windows(2).any(|bytes| bytes == b"\x00\xff"));
    assert_eq!(calls[1].headers["idempotency-key"], "message-1");
    let file = &data[1].body["attachments"]["logo.png"];
    let id = platform
        .object_ids()
        .into_iter()
        .find(|id| file["url"].as_str().unwrap().contains(id.as_str()))
        .unwrap();
    assert_eq!(
        platform.object(&id).unwrap()[..],
        b"\x89PNG\r\n\x1a\n\x00\xff"[..]
    );
    assert_eq!(component.stop().await.0, 0);
}
