use super::*;
use proptest::prelude::*;
use sailor::Message;
use serde_json::{Value, json};

/// RFC 4231, case 2.
const BODY: &str = "what do ya want for nothing?";
const HEX: &str = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
const BASE64: &str = "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=";
/// Of the same body, with the secret `old secret`.
const OLD: &str = "0af294341c2b887ad0c23fbca14de798b4f1406204562bd4397b7e4938aa5e97";

fn request(headers: Value, body: &str) -> Received {
    let message = json!({ "headers": headers, "body": { "rawData": body } });
    Received::new(Message::try_from(message).unwrap())
}

/// Whether a body is signed in the header `signature`.
fn is_signed(body: &str, header: impl Into<Value>, secrets: &[&str]) -> bool {
    let header: Value = header.into();
    let signatures = Signatures {
        secrets: secrets.to_vec(),
        headers: "signature",
        text: &SignedText::default(),
        tolerance: 300,
    };
    signatures
        .check(&request(json!({ "Signature": header }), body), 0)
        .is_ok()
}

#[test]
fn a_signature_is_valid_in_each_encoding_for_its_body_only() {
    for header in [
        HEX,
        BASE64,
        &format!("sha256={HEX}"),
        &format!(" sha256={BASE64}"),
        &HEX.to_uppercase(),
    ] {
        assert!(is_signed(BODY, header, &["Jefe"]), "{header}");
        assert!(!is_signed(BODY, header, &["jefe"]), "{header}");
        assert!(
            !is_signed("what do ya want for nothing!", header, &["Jefe"]),
            "{header}"
        );
    }
    for header in [
        "",
        "sha256=",
        &HEX[..62],
        &HEX[1..],
        &HEX.replace('5', "6"),
        &format!("{HEX}0"),
        &format!("+{}", &HEX[..63]),
        &BASE64[1..],
        "é",
        &"é".repeat(32),
        &format!("é{}", "0".repeat(63)),
    ] {
        assert!(!is_signed(BODY, header, &["Jefe"]), "{header}");
    }
}

#[test]
fn one_valid_signature_among_several_is_enough() {
    for header in [
        // While a secret changes, in either order.
        json!(format!("v1={OLD},v1={HEX}")),
        json!(format!("v1={HEX}, v1={OLD}")),
        json!(format!("sha256={HEX},sha256={OLD}")),
        json!(format!("v1,{OLD} v1,{BASE64}")),
        json!(format!("t=1;h1={OLD};h1={HEX}")),
        json!(format!("Algorithm=HMAC&Signature={BASE64}")),
        json!([format!("sha256={OLD}"), format!("sha256={HEX}")]),
        json!([7, null, HEX]),
    ] {
        assert!(is_signed(BODY, header.clone(), &["Jefe"]), "{header}");
        assert!(
            is_signed(BODY, header.clone(), &["other", "Jefe"]),
            "{header}"
        );
        assert!(!is_signed(BODY, header.clone(), &["other"]), "{header}");
        assert!(!is_signed(BODY, header.clone(), &[]), "{header}");
    }
    for secrets in [["Jefe", "old secret"], ["old secret", "Jefe"]] {
        assert!(is_signed(BODY, HEX, &secrets) && is_signed(BODY, OLD, &secrets));
    }
}

#[test]
fn a_signature_may_have_quotes_any_prefix_and_either_alphabet() {
    let standard = "3BFCL4tCx4eVvCwK+/2bwo7tFYMY/Zpr0/Sn8dm66z0=";
    let url = standard.replace('+', "-").replace('/', "_");
    for header in [
        standard.trim_end_matches('='),
        &url,
        url.trim_end_matches('='),
        &format!("\"{standard}\""),
        &format!("'sha256={url}'"),
        &format!("sha256=\"{standard}\""),
        &format!("v1:{standard}"),
        &format!("HMAC {standard}"),
        &format!("hmac-sha256={url}=="),
        "SHA256=DC11422F8B42C78795BC2C0AFBFD9BC28EED158318FD9A6BD3F4A7F1D9BAEB3D",
    ] {
        assert!(is_signed("body 0", header, &["Jefe"]), "{header}");
        assert!(!is_signed("body 1", header, &["Jefe"]), "{header}");
    }
}

#[test]
fn names_that_differ_in_case_are_one_header() {
    let two = request(json!({ "X-Sig": OLD, "x-sig": HEX, "X-SIG": "" }), BODY);
    let check = |headers| {
        let text = &SignedText::default();
        let signatures = Signatures {
            secrets: vec!["Jefe"],
            headers,
            text,
            tolerance: 300,
        };
        signatures.check(&two, 0)
    };
    assert_eq!(check("x-SIG"), Ok(()));
    assert_eq!(check("other, X-Sig"), Ok(()));
    let missing = "the signature in other is missing or wrong";
    assert_eq!(check("Other"), Err(missing.to_owned()));
}

/// A sender that signs a time.
struct Sender {
    secret: &'static str,
    header: &'static str,
    text: &'static str,
    headers: Value,
    body: &'static str,
    signed_at: i64,
}

impl Sender {
    fn check(&self, headers: Value, body: &str, now: i64) -> Result<(), String> {
        let signatures = Signatures {
            secrets: vec![self.secret],
            headers: self.header,
            text: &self.text.parse().unwrap(),
            tolerance: 300,
        };
        signatures.check(&request(headers, body), now)
    }
}

/// The examples in the documentation of Slack and of Standard Webhooks, and one as Stripe signs.
fn senders() -> [Sender; 3] {
    let slack = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&\
        channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A\
        %2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.\
        47445629121.803a0bc887a14d10d2c447fce8b6703c";
    [
        Sender {
            secret: "8f742231b10e8888abcd99yyyzzz85a5",
            header: "X-Slack-Signature",
            text: "v0:{header:X-Slack-Request-Timestamp}:{body}",
            headers: json!({
                "X-Slack-Signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
                "X-Slack-Request-Timestamp": "1531420618",
            }),
            body: slack,
            signed_at: 1_531_420_618,
        },
        Sender {
            secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            header: "webhook-signature",
            text: "{header:webhook-id}.{header:webhook-timestamp}.{body}",
            headers: json!({
                "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
                "webhook-timestamp": "1614265330",
                "webhook-signature": "v1,aaaa v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            }),
            body: r#"{"test": 2432232314}"#,
            signed_at: 1_614_265_330,
        },
        Sender {
            secret: "whsec_test_secret",
            header: "Stripe-Signature",
            text: "{t}.{body}",
            headers: json!({ "Stripe-Signature": format!("t=1492774577,v1={},v0={OLD}",
                "799c4ba7bb339f3c8601adfd112f0e477c930a268be1243d341abb8286501c2f") }),
            body: r#"{"id":"evt_1"}"#,
            signed_at: 1_492_774_577,
        },
    ]
}

#[test]
fn a_signed_time_is_part_of_the_signature_and_near_now() {
    for sender in senders() {
        let (headers, at) = (&sender.headers, sender.signed_at);
        for now in [at - 300, at, at + 300] {
            assert_eq!(sender.check(headers.clone(), sender.body, now), Ok(()));
        }
        let far = "its time is too far from now".to_owned();
        for now in [at - 301, at + 301, i64::MIN, i64::MAX] {
            let checked = sender.check(headers.clone(), sender.body, now);
            assert_eq!(checked, Err(far.clone()), "{}", sender.header);
        }
        assert!(sender.check(headers.clone(), "{}", at).is_err());
        // A replay with a new time.
        let newer = headers
            .to_string()
            .replace(&at.to_string(), &(at + 1000).to_string());
        let newer = serde_json::from_str(&newer).unwrap();
        let replayed = sender.check(newer, sender.body, at + 1000).unwrap_err();
        assert!(replayed.contains("is missing or wrong"), "{replayed}");
    }
}

#[test]
fn a_request_without_a_part_of_the_signed_text_is_refused() {
    let [slack, standard, stripe] = senders();
    for (sender, without, reason) in [
        (
            &slack,
            "X-Slack-Request-Timestamp",
            "it has no header X-Slack-Request-Timestamp",
        ),
        (&standard, "webhook-id", "it has no header webhook-id"),
        (
            &stripe,
            "Stripe-Signature",
            "the signature in stripe-signature is missing or wrong",
        ),
    ] {
        let mut headers = sender.headers.clone();
        headers.as_object_mut().unwrap().remove(without);
        let checked = sender.check(headers, sender.body, sender.signed_at);
        assert_eq!(checked, Err(reason.to_owned()));
    }
    let no_time = json!({ "Stripe-Signature": format!("v1={HEX}") });
    let reason = "its signature has no t=".to_owned();
    assert_eq!(stripe.check(no_time, stripe.body, 0), Err(reason));
    let words = json!({ "Stripe-Signature": format!("t=now,v1={HEX}") });
    let reason = "its time cannot be read".to_owned();
    assert_eq!(stripe.check(words, stripe.body, 0), Err(reason));
}

#[test]
fn times_are_seconds_milliseconds_or_rfc_3339() {
    for (text, read) in [
        ("1531420618", Some(1_531_420_618)),
        ("1531420618000", Some(1_531_420_618)),
        ("2018-07-12T18:36:58Z", Some(1_531_420_618)),
        ("2018-07-12T20:36:58.123456789+02:00", Some(1_531_420_618)),
        ("-9223372036854775808", Some(i64::MIN)),
        ("", None),
        ("now", None),
        ("99999999999999999999", None),
    ] {
        assert_eq!(seconds(text), read, "{text}");
    }
}

#[test]
fn equal_texts_are_told_from_others() {
    assert!(is_equal("", "") && is_equal("token", "token"));
    for (a, b) in [("token", "Token"), ("token", "token "), ("", "token")] {
        assert!(!is_equal(a, b), "{a} {b}");
    }
}

proptest! {
    #[test]
    fn no_header_makes_the_check_panic_or_succeed(header: String, secret: String) {
        prop_assert!(!is_signed(BODY, header, &[&secret]));
    }
}
