//! Each member of the trouble, as a client meets it.

use http_double::{
    Encoding, PreparedResponse, RandomTrouble, ScriptedDouble, Trouble, choose_cryptography,
};
use reqwest::{Response, StatusCode, header::HeaderMap};
use serde_json::{Value, json};

/// A double with this trouble, written as in a file.
async fn double(trouble: Value) -> ScriptedDouble {
    let double = ScriptedDouble::start().await.unwrap();
    double.set_trouble(serde_json::from_value(trouble).unwrap());
    double
}

/// A double with this trouble that responds to everything with this body.
async fn double_of(trouble: Value, body: Value) -> ScriptedDouble {
    let double = double(trouble).await;
    double.respond("", [PreparedResponse::json(200, &body)]);
    double
}

async fn get(double: &ScriptedDouble, path: &str) -> Response {
    reqwest::get(double.url() + path).await.unwrap()
}

async fn status(double: &ScriptedDouble, path: &str) -> u16 {
    get(double, path).await.status().as_u16()
}

async fn statuses(double: &ScriptedDouble, path: &str, count: usize) -> Vec<u16> {
    let mut statuses = vec![];
    for _ in 0..count {
        statuses.push(status(double, path).await);
    }
    statuses
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn only_the_calls_that_match_are_troubled() {
    let trouble = json!({ "calls": "^GET /items[?]a=b c", "content_type": "text/html" });
    let double = double_of(trouble, json!({})).await;
    for (path, content_type) in [
        ("/items?a=b+c", "text/html"),
        ("/items", "application/json"),
    ] {
        let response = get(&double, path).await;
        assert_eq!(
            header(response.headers(), "content-type"),
            Some(content_type)
        );
    }
    let client = reqwest::Client::new();
    let posted = client
        .post(double.url() + "/items?a=b+c")
        .send()
        .await
        .unwrap();
    assert_eq!(posted.headers()["content-type"], "application/json");
}

#[tokio::test]
async fn other_responses_than_successful_ones_are_unchanged() {
    let double = double(json!({ "content_type": "text/html", "empty_list": "no-content" })).await;
    double.respond("", [PreparedResponse::json(404, &json!([]))]);
    let response = get(&double, "/").await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.text().await.unwrap(), "[]");
}

#[tokio::test]
async fn an_empty_list_is_said_in_other_ways() {
    let empty = json!({ "QueryResponse": { "Item": [] }, "total": 0 });
    for (style, status, text) in [
        ("no-content", 204, ""),
        ("empty-body", 200, ""),
        ("missing", 200, r#"{"QueryResponse":{},"total":0}"#),
    ] {
        let double = double_of(json!({ "empty_list": style }), empty.clone()).await;
        let response = get(&double, "/").await;
        assert_eq!(response.status().as_u16(), status, "{style}");
        assert_eq!(response.text().await.unwrap(), text, "{style}");
        let double = double_of(json!({ "empty_list": style }), json!({ "items": [1] })).await;
        let response = get(&double, "/").await;
        assert_eq!(response.text().await.unwrap(), r#"{"items":[1]}"#);
    }
}

#[tokio::test]
async fn json_is_encoded_in_other_ways() {
    let body = json!(["é"]);
    for (encoding, bytes, content_type) in [
        (
            "utf-8-bom",
            &b"\xef\xbb\xbf[\"\xc3\xa9\"]"[..],
            "application/json",
        ),
        ("utf-16le", b"[\0\"\0\xe9\0\"\0]\0", "application/json"),
        (
            "utf-16le-bom",
            b"\xff\xfe[\0\"\0\xe9\0\"\0]\0",
            "application/json",
        ),
        ("utf-16be", b"\0[\0\"\0\xe9\0\"\0]", "application/json"),
        (
            "utf-16be-bom",
            b"\xfe\xff\0[\0\"\0\xe9\0\"\0]",
            "application/json",
        ),
        (
            "iso-8859-1",
            b"[\"\xe9\"]",
            "application/json;charset=ISO-8859-1",
        ),
        ("iso-8859-1-undeclared", b"[\"\xe9\"]", "application/json"),
    ] {
        let double = double_of(json!({ "encoding": encoding }), body.clone()).await;
        let response = get(&double, "/").await;
        assert_eq!(response.headers()["content-type"], content_type);
        assert_eq!(response.bytes().await.unwrap(), bytes, "{encoding}");
    }
}

#[tokio::test]
async fn bodies_that_are_not_json_keep_their_bytes() {
    let double = double(json!({ "encoding": "utf-16le", "half_surrogates": ["a"] })).await;
    double.respond("", [PreparedResponse::ok(&b"\x89PNG"[..])]);
    let body = get(&double, "/").await.bytes().await.unwrap();
    assert_eq!(body, &b"\x89PNG"[..]);
}

#[tokio::test]
async fn texts_end_with_half_a_surrogate_pair() {
    let body = json!([{ "name": "a", "other": "b", "within": { "name": "c" } }]);
    let double = double_of(json!({ "half_surrogates": ["name"] }), body).await;
    let text = get(&double, "/").await.text().await.unwrap();
    assert_eq!(
        text,
        r#"[{"name":"a\ud83d","other":"b","within":{"name":"c\ud83d"}}]"#
    );
}

#[tokio::test]
async fn the_media_type_is_another_one_or_missing() {
    for (given, expected) in [
        ("application/vnd.x+json", Some("application/vnd.x+json")),
        ("", None),
    ] {
        let double = double_of(json!({ "content_type": given }), json!([1])).await;
        let response = get(&double, "/").await;
        assert_eq!(header(response.headers(), "content-type"), expected);
        assert_eq!(response.text().await.unwrap(), "[1]");
    }
}

#[tokio::test]
async fn every_third_call_is_refused() {
    let limit = json!({ "every": 3, "style": "too-many-requests" });
    let double = double_of(json!({ "limit": limit }), json!([1])).await;
    assert_eq!(
        statuses(&double, "/", 6).await,
        [200, 200, 429, 200, 200, 429]
    );
}

#[tokio::test]
async fn limits_are_said_in_the_ways_of_services() {
    for (style, status, headers, text) in [
        (
            "too-many-requests",
            429,
            vec![("retry-after", "7")],
            "too many",
        ),
        (
            "forbidden",
            403,
            vec![("retry-after", "7")],
            "limit_exceeded",
        ),
        ("google", 403, vec![], r#""reason":"rateLimitExceeded""#),
        (
            "github",
            403,
            vec![("x-ratelimit-remaining", "0")],
            "API rate limit exceeded",
        ),
    ] {
        let limit = json!({ "every": 1, "style": style, "retry_after": 7 });
        let double = double_of(json!({ "limit": limit }), json!([1])).await;
        let response = get(&double, "/").await;
        assert_eq!(response.status().as_u16(), status, "{style}");
        for (name, value) in headers {
            assert_eq!(header(response.headers(), name), Some(value), "{style}");
        }
        let body = response.text().await.unwrap();
        assert!(body.contains(text), "{style}: {body}");
    }
}

#[tokio::test]
async fn what_contains_a_failing_id_fails() {
    let double = double(json!({ "failing_ids": ["2", "b c"], "failing_status": 502 })).await;
    for (pattern, body) in [
        ("/all", json!({ "items": [{ "id": 1 }, { "id": 2 }] })),
        ("/first", json!({ "items": [{ "id": 1 }] })),
        ("", json!({})),
    ] {
        double.respond(pattern, [PreparedResponse::json(200, &body)]);
    }
    for (path, expected) in [
        ("/all", 502),
        ("/first", 200),
        ("/items/b%20c/files", 502),
        ("/items/b", 200),
    ] {
        assert_eq!(status(&double, path).await, expected, "{path}");
    }
}

#[tokio::test]
async fn calls_of_a_path_fail() {
    let double = double_of(json!({ "failing_calls": "/items$" }), json!({})).await;
    assert_eq!(status(&double, "/items").await, 500);
    assert_eq!(status(&double, "/other").await, 200);
}

/// A list of three pages, and the last names no next one.
fn add_pages(double: &ScriptedDouble, name: impl Fn(u32) -> PreparedResponse) {
    for page in 1..=3 {
        let last = json!({ "page": page });
        let response = match page {
            3 => PreparedResponse::json(200, &last),
            page => name(page),
        };
        double.respond(&format!("page={page}$"), [response]);
    }
}

async fn pages(double: &ScriptedDouble, numbers: &[u32]) -> Vec<Value> {
    let mut pages = vec![];
    for number in numbers {
        let text = get(double, &format!("/items?page={number}")).await.text();
        let body: Value = serde_json::from_str(&text.await.unwrap()).unwrap();
        pages.push(body["page"].clone());
    }
    pages
}

#[tokio::test]
async fn the_page_before_is_returned_again() {
    let by_link = |page: u32| json!({ "page": page, "next": format!("/items?page={}", page + 1) });
    let by_number = |page: u32| json!({ "page": page });
    for bodies in [by_link as fn(u32) -> Value, by_number] {
        let double = double(json!({ "repeat_pages": 2 })).await;
        add_pages(&double, |page| PreparedResponse::json(200, &bodies(page)));
        assert_eq!(
            pages(&double, &[1, 2, 2, 2, 3, 3, 3, 1, 2]).await,
            [1, 1, 1, 2, 2, 2, 3, 1, 2]
        );
    }
}

#[tokio::test]
async fn the_last_page_names_itself() {
    let double = double(json!({ "last_page_names_itself": true })).await;
    let next =
        |page| json!({ "page": page, "next": format!("{}/items?page={}", double.url(), page + 1) });
    add_pages(&double, |page| PreparedResponse::json(200, &next(page)));
    pages(&double, &[1, 2]).await;
    let last = get(&double, "/items?page=3").await.text().await.unwrap();
    let expected = json!({ "page": 3, "next": format!("{}/items?page=3", double.url()) });
    assert_eq!(serde_json::from_str::<Value>(&last).unwrap(), expected);
}

#[tokio::test]
async fn the_last_page_names_itself_in_a_cursor() {
    let double = double(json!({ "last_page_names_itself": true })).await;
    let first = json!({ "items": [1], "next_cursor": "c=1" });
    double.respond("/items$", [PreparedResponse::json(200, &first)]);
    double.respond(
        "cursor",
        [PreparedResponse::json(200, &json!({ "items": [2] }))],
    );
    get(&double, "/items").await;
    let last = get(&double, "/items?cursor=c%3D1").await.text().await;
    let expected = json!({ "items": [2], "next_cursor": "c=1" });
    assert_eq!(
        serde_json::from_str::<Value>(&last.unwrap()).unwrap(),
        expected
    );
}

#[tokio::test]
async fn the_last_page_names_itself_in_a_header() {
    let double = double(json!({ "last_page_names_itself": true })).await;
    let link =
        |page: u32| format!("</items?page=1>; rel=\"first\", </items?page={page}>; rel=\"next\"");
    add_pages(&double, |page| {
        PreparedResponse::json(200, &json!({ "page": page })).header("link", &link(page + 1))
    });
    pages(&double, &[1, 2]).await;
    let last = get(&double, "/items?page=3").await;
    assert_eq!(header(last.headers(), "link"), Some(&*link(3)));
}

#[tokio::test]
async fn long_urls_are_refused() {
    let double = double_of(json!({ "max_url": 10 }), json!({})).await;
    assert_eq!(status(&double, "/?23456789").await, 200);
    assert_eq!(status(&double, "/?234567890").await, 414);
}

#[tokio::test]
async fn a_slow_body_arrives_in_pieces() {
    let slow = json!({ "bytes": 2, "pause": 0.001 });
    let double = double_of(json!({ "slow_body": slow }), json!([1, 2])).await;
    let response = get(&double, "/").await;
    assert_eq!(header(response.headers(), "content-length"), Some("5"));
    assert_eq!(response.text().await.unwrap(), "[1,2]");
}

#[tokio::test]
async fn a_broken_body_ends_early() {
    let broken = json!({ "after": 3, "every": 2 });
    let double = double_of(json!({ "broken_body": broken }), json!([1, 2])).await;
    assert_eq!(get(&double, "/").await.text().await.unwrap(), "[1,2]");
    let mut response = get(&double, "/").await;
    assert_eq!(response.chunk().await.unwrap().unwrap(), "[1,");
    response.chunk().await.unwrap_err();
    let double = double_of(json!({ "broken_body": { "after": 3 } }), json!({})).await;
    assert_eq!(get(&double, "/").await.text().await.unwrap(), "{}");
}

#[tokio::test]
async fn chunked_bodies_have_no_length() {
    let double = double_of(json!({ "chunked": true }), json!([1])).await;
    let response = get(&double, "/").await;
    assert_eq!(header(response.headers(), "content-length"), None);
    assert_eq!(
        header(response.headers(), "transfer-encoding"),
        Some("chunked")
    );
    assert_eq!(response.text().await.unwrap(), "[1]");
}

#[tokio::test]
async fn random_trouble_is_the_same_for_a_seed() {
    let run = async |seed| {
        let double = double_of(json!({}), json!([])).await;
        double.set_trouble(Trouble {
            random: Some(RandomTrouble {
                seed,
                server_error: 0.2,
                limit: 0.2,
                broken_body: 0.2,
                empty_body: 0.5,
                max_in_a_row: 3,
            }),
            ..Trouble::default()
        });
        let mut seen = vec![];
        for _ in 0..100 {
            let response = get(&double, "/").await;
            seen.push((response.status().as_u16(), response.text().await.ok()));
        }
        seen
    };
    let seen = run(1).await;
    assert_eq!(seen, run(1).await);
    for wanted in [403, 500, 502, 503, 504] {
        assert!(seen.iter().any(|(status, _)| *status == wanted), "{wanted}");
    }
    for wanted in [Some("[]"), Some(""), None] {
        assert!(
            seen.contains(&(200, wanted.map(str::to_owned))),
            "{wanted:?}"
        );
    }
}

#[tokio::test]
async fn new_trouble_begins_anew() {
    choose_cryptography();
    let double = double_of(json!({ "broken_body": { "after": 0 } }), json!(["é"])).await;
    get(&double, "/").await.text().await.unwrap_err();
    double.set_trouble(Trouble {
        encoding: Some(Encoding::Latin1),
        ..Trouble::default()
    });
    assert_eq!(
        get(&double, "/").await.bytes().await.unwrap(),
        &b"[\"\xe9\"]"[..]
    );
    double.set_trouble(Trouble::default());
    assert_eq!(get(&double, "/").await.text().await.unwrap(), "[\"é\"]");
}
