//! The memory that messages need. A container has 128 to 256 MB.

use super::*;
use sailor::protocol::Encoding;

const MIB: usize = 1 << 20;
/// The memory that the process needs with small messages in a debug build, with a margin.
const BASE: usize = 48 * MIB;

/// The most memory that the process has had so far, in bytes.
fn peak(component: &Running) -> usize {
    let id = component.process().child().id().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<usize>().unwrap() * 1024
}

fn assert_below(component: &Running, limit: usize) {
    let peak = peak(component);
    assert!(
        peak <= limit,
        "{} MiB of memory, the limit is {}",
        peak / MIB,
        limit / MIB
    );
}

#[tokio::test]
async fn large_messages_with_passthrough_cost_a_few_times_their_size() {
    const SIZE: usize = 5 * MIB;
    let step = Step {
        is_passthrough: true,
        ..Step::default()
    };
    let config = EmulatorConfig {
        step,
        prefetch: 1,
        next_step: true,
        ..EmulatorConfig::default()
    };
    let rig = scripted_with(config).await.variable(
        "ELASTICIO_OUTGOING_MESSAGE_SIZE_LIMIT",
        (40 * MIB).to_string(),
    );
    let component = rig.start();
    for _ in 0..3 {
        rig.emulator.send(
            &json!({ "headers": {}, "body": { "pad": "x".repeat(SIZE) } }),
            &Headers::new(),
        );
    }
    rig.settled().await;
    assert_eq!(rig.so_far(EventKind::Acked).len(), 3);
    // Freed memory stays with the allocator, by thread: the peak varies by a few messages.
    assert_below(&component, BASE + 24 * SIZE);
}

#[tokio::test]
async fn unread_attachments_cost_only_their_text() {
    let attachments = (0..700_000)
        .map(|n| format!(r#""{n:06}":{{"url":"x"}}"#))
        .collect::<Vec<_>>()
        .join(",");
    let script = json!([["data", { "body": { "n": 1 } }]]);
    let text = format!(
        r#"{{"headers":{{}},"body":{{"script":{script}}},"attachments":{{{attachments}}}}}"#
    );
    let size = text.len();
    assert!(size > 14 * MIB, "{size}");
    let rig = scripted(1).await;
    let component = rig.start();
    let headers = Headers::from_iter([("protocolVersion".to_owned(), 2.into())]);
    rig.emulator.send_raw(
        rig.emulator.cipher().encrypt(text.into(), Encoding::Raw),
        "large",
        &headers,
    );
    rig.events(EventKind::Acked, 1).await;
    assert_below(&component, BASE + 4 * size);
}

#[tokio::test]
async fn bodies_of_many_steps_are_not_in_memory_at_the_same_time() {
    let step = Step {
        is_passthrough: true,
        ..Step::default()
    };
    let rig = scripted_with(EmulatorConfig {
        step,
        ..EmulatorConfig::default()
    })
    .await;
    let body = rig.emulator.cipher().encrypt(
        json!({ "pad": "x".repeat(MIB) }).to_string().into(),
        Encoding::Raw,
    );
    let passthrough: serde_json::Map<String, Value> = (0..150)
        .map(|n| {
            rig.emulator
                .platform()
                .set_object(&format!("kept-{n}"), body.clone());
            let headers = json!({ "x-ipaas-object-storage-id": format!("kept-{n}") });
            (
                format!("earlier_{n}"),
                json!({ "headers": headers, "body": {} }),
            )
        })
        .collect();
    let component = rig.start();
    let script = json!([["data", { "body": { "n": 1 } }]]);
    let message =
        json!({ "headers": {}, "body": { "script": script }, "passthrough": passthrough });
    rig.emulator.send(&message, &Headers::new());
    let error = rig.events(EventKind::Error, 1).await.remove(0);
    assert!(
        error.body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("exceeds limit"),
        "{}",
        error.body["error"]
    );
    // At most 10 MiB may be sent.
    assert_below(&component, 64 * MIB);
}
