//! Bodies that are made again for each attempt, and streams that can be read only once.

use super::rig::{Replica, Rig, text};
use emulator::provider::{Fault, Knobs};
use futures_util::stream;
use http_double::RecordedCall;
use reqwest::{
    Body, StatusCode,
    multipart::{Form, Part},
};
use sailor::oauth2::{Error, Mode};
use serde_json::json;
use std::{
    fs::File,
    io::{Read as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// The content of a file as a stream, 16 KiB at a time.
fn streamed(file: File) -> Body {
    Body::wrap_stream(stream::unfold(file, async |mut file| {
        let mut chunk = vec![0; 16 * 1024];
        let read = file.read(&mut chunk);
        chunk.truncate(*read.as_ref().unwrap_or(&0));
        (!chunk.is_empty()).then_some((read.map(|_| chunk), file))
    }))
}

/// token-failures: T45.
#[tokio::test]
async fn a_reopened_body_is_resent_from_its_start() {
    let rig = Rig::stale(Knobs::default()).await;
    let content = (0..300_000_u32)
        .flat_map(u32::to_le_bytes)
        .collect::<Vec<_>>();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&content).unwrap();
    let opened = Arc::new(AtomicUsize::new(0));
    let (path, count) = (file.path().to_owned(), opened.clone());
    let upload = rig
        .replica()
        .client()
        .put("/echo/file")
        .header("content-type", "application/octet-stream");
    let upload = upload.reopen(move || {
        count.fetch_add(1, Ordering::Relaxed);
        streamed(File::open(&path).unwrap())
    });
    upload.send().await.unwrap();
    let calls = rig.provider.api_calls();
    assert_eq!(
        (rig.statuses(), opened.load(Ordering::Relaxed)),
        (vec![401, 200], 2)
    );
    assert!(
        calls.iter().all(|call| call.body == content),
        "each request has the whole file"
    );
}

/// A form has a new boundary in each attempt, and one content type and length.
/// token-failures: T45.
#[tokio::test]
async fn a_multipart_form_is_resent_from_its_start() {
    let rig = Rig::stale(Knobs::default()).await;
    let client = rig.replica().client();
    let upload = client
        .post("/echo/uploads")
        .header("content-type", "no/such");
    let form = || {
        let file = Part::stream_with_length("the file", 8).file_name("report.pdf");
        Form::new().text("title", "Report").part("file", file)
    };
    upload.multipart(form).send().await.unwrap();
    let calls = rig.provider.api_calls();
    assert_eq!(rig.statuses(), [401, 200]);
    let boundary = |call: &RecordedCall| {
        let types: Vec<_> = call.headers.get_all("content-type").iter().collect();
        let [content_type] = types[..] else {
            panic!("{types:?}")
        };
        let content_type = content_type.to_str().unwrap();
        content_type
            .strip_prefix("multipart/form-data; boundary=")
            .unwrap()
            .to_owned()
    };
    let plain = |call: &RecordedCall| {
        assert_eq!(call.headers["content-length"], call.body.len().to_string());
        let body = String::from_utf8(call.body.to_vec()).unwrap();
        body.replace(&boundary(call), "boundary")
    };
    assert_eq!(plain(&calls[0]), plain(&calls[1]));
    assert!(
        plain(&calls[1]).contains("the file") && plain(&calls[1]).ends_with("--boundary--\r\n")
    );
    assert_ne!(boundary(&calls[0]), boundary(&calls[1]));
}

/// A body that can be read once.
fn one_stream() -> Body {
    let parts = [Ok::<_, std::io::Error>("one"), Ok("two")];
    Body::wrap_stream(stream::iter(parts))
}

/// When the message comes back, the same request succeeds.
/// token-failures: T45.
#[tokio::test]
async fn a_message_whose_stream_is_consumed_comes_back_after_a_refresh() {
    let rig = Rig::stale(Knobs::rotating()).await;
    let replica = rig.replica();
    let upload = || replica.client().post("/echo/file").body(one_stream());
    let error = upload().send().await.unwrap_err();
    assert!(
        matches!(&error, Error::NotResent { status, .. } if *status == 401) && error.is_transient(),
        "{error}"
    );
    assert_eq!(
        (
            rig.provider.refreshes(),
            rig.account.savings(),
            rig.provider.api_calls().len()
        ),
        (1, 1, 1)
    );

    upload().send().await.unwrap();
    assert_eq!(rig.statuses(), [401, 200]);
    assert_eq!(rig.provider.refreshes(), 1);
}

/// A module that looks at the status itself would take the 401 for the API's last word.
/// token-failures: T45.
#[tokio::test]
async fn a_consumed_stream_is_transient_for_any_status() {
    let rig = Rig::stale(Knobs::rotating()).await;
    let upload = rig.replica().client().post("/echo/file").body(one_stream());
    let error = upload.send_any_status().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}

/// The API refuses every stream, whatever the token. `before` comes before each time that the message is worked on. Returns the
/// status that ends it, how often it came back, and how many refreshes that took.
async fn refused_stream(
    rig: &Rig,
    before: impl AsyncFn(&Replica),
) -> (Option<StatusCode>, usize, usize) {
    let replica = rig.replica();
    for rebounds in 0..10 {
        before(&replica).await;
        rig.provider
            .script_api([Fault::Json(401, json!({ "error": "invalid_token" }))]);
        let upload = replica.client().post("/echo/file").body(one_stream());
        let error = upload.send().await.unwrap_err();
        if !error.is_transient() {
            return (error.status(), rebounds, rig.provider.refreshes());
        }
    }
    panic!("the message always comes back");
}

/// An API that rejects new tokens too does not let the message come back for ever.
/// token-failures: T39, T45.
#[tokio::test]
async fn a_stream_that_is_always_rejected_ends_with_the_401() {
    let rig = Rig::stale(Knobs::rotating()).await;
    let refused = refused_stream(&rig, async |_| {}).await;
    assert_eq!(refused, (Some(StatusCode::UNAUTHORIZED), 3, 3));
}

/// The user lacks a right for one request, and the API says 401. Other requests succeed with each new token.
/// token-failures: T39, T45.
#[tokio::test]
async fn a_stream_that_the_user_may_not_send_ends_with_the_401() {
    let rig = Rig::new(Knobs::rotating()).await;
    let others_succeed = async |replica: &Replica| {
        replica.client().get("/items").send().await.unwrap();
        rig.clock.advance(Duration::from_secs(61)).await;
    };
    let refused = refused_stream(&rig, others_succeed).await;
    assert_eq!(refused, (Some(StatusCode::UNAUTHORIZED), 3, 3));
}

/// A body that is set later replaces a form.
#[tokio::test]
async fn the_last_body_counts() {
    let rig = Rig::new(Knobs::default()).await;
    let upload = rig
        .replica()
        .client()
        .post("/echo/file")
        .multipart(Form::new);
    upload.json(&json!({ "n": 1 })).send().await.unwrap();
    let calls = rig.provider.api_calls();
    assert_eq!(calls[0].json(), Some(json!({ "n": 1 })));
    assert_eq!(calls[0].headers["content-type"], "application/json");
}

/// With `every-access` there is no refresh after a 401, and so no message that would succeed later.
#[tokio::test]
async fn a_stream_with_a_token_of_its_own_ends_with_the_401() {
    let mut rig = Rig::new(Knobs::default()).await;
    rig.mode = Some(Mode::EveryAccess);
    rig.provider
        .script_api([Fault::Json(401, json!({ "error": "invalid_token" }))]);
    let upload = rig.replica().client().post("/echo/file").body(one_stream());
    let error = upload.send().await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::UNAUTHORIZED), "{error}");
    assert!(!error.is_transient());
}

/// The API did not process the request, so the message comes back, at once or after the delay.
/// token-failures: T49.
#[tokio::test]
async fn a_stream_to_a_busy_api_is_not_resent_and_transient() {
    for status in [429, 503] {
        let rig = Rig::new(Knobs::default()).await;
        rig.provider.script_api([Fault::retry_after(status, "1")]);
        let upload = rig.replica().client().post("/echo/file").body(one_stream());
        let error = rig.drive(upload.send()).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert_eq!(rig.statuses(), [status]);
    }
}

/// The API repeats the token that it rejects, to a request that cannot be sent again.
/// token-failures: T55.
#[tokio::test]
async fn the_token_of_a_stream_request_is_redacted() {
    let rig = Rig::stale(Knobs::rotating()).await;
    let sent = text(&rig.account.oauth(), "access_token");
    rig.provider.script_api([Fault::Json(
        401,
        json!({ "error": "invalid_token", "token": sent }),
    )]);
    let error = rig
        .replica()
        .client()
        .post("/echo/file")
        .body(one_stream())
        .send()
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("[token]") && !error.to_string().contains(&sent),
        "{error}"
    );
    assert_eq!(rig.provider.refreshes(), 1);
}
