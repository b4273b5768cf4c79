use super::{
    super::{
        profile::Profile,
        token_record::{TokenRecord, TokenResponse, emitted, keys_to_store, keys_with_record},
    },
    field, members,
};
use serde_json::{Map, Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const NOON: Duration = Duration::from_secs(1_893_499_200); // 2030-01-01T12:00:00Z

fn noon() -> SystemTime {
    UNIX_EPOCH + NOON
}

fn record(value: Value) -> TokenRecord {
    TokenRecord::find(&json!({"oauth": value}), &field("oauth")).unwrap()
}

fn merged(stored: Value, answer: Value) -> Value {
    let answer = TokenResponse::read(answer.to_string().as_bytes(), &Profile::generic()).unwrap();
    record(stored).merged(&answer, noon()).to_value()
}

#[test]
fn a_record_is_found_where_components_keep_it() {
    let tokens = json!({"access_token": "at", "refresh_token": "rt"});
    for (config, path) in [
        (json!({"oauth": tokens}), "oauth"),
        (
            json!({"myOauth": {"refresh_token": "rt", "access_token": "at"}}),
            "myOauth",
        ),
        (json!({"auth": {"oauth2": tokens}}), "auth.oauth2"),
        (
            json!({"auth": {"oauth2": {"clientId": "c", "keys": tokens}}}),
            "auth.oauth2",
        ),
        (
            json!({"oauth": {"type": "oauth2", "credentials": tokens}}),
            "oauth",
        ),
    ] {
        let found = TokenRecord::find(&config, &field(path))
            .unwrap_or_else(|| panic!("not found in {config}"));
        assert_eq!(
            (found.access_token(), found.refresh_token()),
            (Some("at"), Some("rt")),
            "{config}"
        );
    }
}

#[test]
fn a_record_needs_a_token() {
    for config in [
        json!({}),
        json!(null),
        json!({"oauth": null}),
        json!({"oauth": "at"}),
        json!({"oauth": {}}),
        json!({"oauth": {"access_token": "", "refresh_token": null}}),
        json!({"oauth": {"keys": {"access_token": 7}}}),
        json!({"oauth2": {"access_token": "at"}}),
    ] {
        assert_eq!(
            TokenRecord::find(&config, &field("oauth")),
            None,
            "{config}"
        );
    }
    assert!(
        TokenRecord::find(&json!({"oauth": {"access_token": "at"}}), &field("oauth")).is_some()
    );
    assert!(
        TokenRecord::find(&json!({"oauth": {"refresh_token": "rt"}}), &field("oauth")).is_some()
    );
}

#[test]
fn an_omitted_refresh_token_is_kept() {
    for left_out in [
        json!({}),
        json!({"refresh_token": ""}),
        json!({"refresh_token": null}),
    ] {
        let mut answer = left_out.clone();
        answer["access_token"] = json!("at-2");
        let merged = merged(
            json!({"access_token": "at-1", "refresh_token": "rt-1"}),
            answer,
        );
        assert_eq!(
            merged,
            json!({"access_token": "at-2", "refresh_token": "rt-1"}),
            "{left_out}"
        );
    }
}

#[test]
fn a_new_refresh_token_replaces_the_old_one() {
    let merged = merged(
        json!({"access_token": "at-1", "refresh_token": "rt-1"}),
        json!({"access_token": "at-2", "refresh_token": "rt-2"}),
    );
    assert_eq!(
        merged,
        json!({"access_token": "at-2", "refresh_token": "rt-2"})
    );
}

/// token-failures: Tokens on the platform.
#[test]
fn merging_keeps_all_new_and_old_members() {
    let merged = merged(
        json!({"access_token": "at-1", "refresh_token": "rt-1", "instance_url": "https://old", "mine": {"a": [1]}}),
        json!({"access_token": "at-2", "id_token": "it", "ext_expires_in": 7, "instance_url": "https://new"}),
    );
    assert_eq!(
        merged,
        json!({"access_token": "at-2", "refresh_token": "rt-1", "instance_url": "https://new", "mine": {"a": [1]}, "id_token": "it", "ext_expires_in": 7})
    );
}

#[test]
fn the_expiry_counts_from_the_request() {
    let merged = merged(
        json!({"access_token": "at-1"}),
        json!({"access_token": "at-2", "expires_in": "3599"}),
    );
    assert_eq!(merged["tokenExpiryTime"], "2030-01-01T12:59:59.000Z");
    assert_eq!(merged["expires_in"], "3599");
    assert_eq!(
        record(merged).expires_at(),
        Some(noon() + Duration::from_secs(3599))
    );
}

#[test]
fn times_of_an_older_token_are_removed() {
    let stored = json!({
        "access_token": "at-1", "tokenExpiryTime": "2029-01-01T00:00:00.000Z", "expires_in": 5, "expires_at": 5, "ext_expires_in": 5
    });
    assert_eq!(
        merged(stored.clone(), json!({"access_token": "at-2"})),
        json!({"access_token": "at-2"})
    );
    let named = merged(
        stored,
        json!({"access_token": "at-2", "expires_in": "never", "tokenExpiryTime": "x"}),
    );
    assert_eq!(record(named).expires_at(), None);
}

#[test]
fn only_our_own_expiry_counts() {
    for stored in [
        json!({"access_token": "at", "expires_at": "2030-01-01T00:00:00Z", "expires_in": 3600, "expiry_date": 1}),
        json!({"access_token": "at", "tokenExpiryTime": "tomorrow"}),
        json!({"access_token": "at", "tokenExpiryTime": 1_893_499_200}),
    ] {
        assert_eq!(record(stored.clone()).expires_at(), None, "{stored}");
    }
}

#[test]
fn the_expiry_of_a_refresh_token_stays_with_it() {
    let first = merged(
        json!({"access_token": "at-1"}),
        json!({"access_token": "at-2", "refresh_token": "rt-2", "x_refresh_token_expires_in": 86400}),
    );
    let end = Some(noon() + Duration::from_secs(86_400));
    assert_eq!(record(first.clone()).refresh_expires_at(), end);
    let same = merged(first.clone(), json!({"access_token": "at-3"}));
    assert_eq!(record(same).refresh_expires_at(), end);
    let other = merged(
        first,
        json!({"access_token": "at-3", "refresh_token": "rt-3"}),
    );
    assert_eq!(record(other).refresh_expires_at(), None);
}

/// token-failures: T47.
#[test]
fn instance_url_is_found_in_either_shape() {
    for stored in [
        json!({"access_token": "at", "instance_url": "https://i"}),
        json!({"access_token": "at", "undefined_params": {"instance_url": "https://i"}}),
        json!({"access_token": "at", "instance_url": "https://i", "undefined_params": {"instance_url": "https://old"}}),
    ] {
        assert_eq!(
            record(stored.clone()).member("instance_url"),
            Some("https://i"),
            "{stored}"
        );
    }
    assert_eq!(
        record(json!({"access_token": "at"})).member("instance_url"),
        None
    );
}

/// token-failures: T12.
#[test]
fn keys_contain_the_credential_fields_only() {
    let fields = ["oauth", "prodEnv", "retries", "unset"];
    let config = json!({"oauth": {"access_token": "at-1"}, "prodEnv": "test", "retries": 3, "query": "select", "_account": "a"});
    let keys = keys_with_record(
        &config,
        &fields,
        &field("oauth"),
        &record(json!({"access_token": "at-2"})),
    );
    assert_eq!(
        Value::Object(keys),
        json!({"oauth": {"access_token": "at-2"}, "prodEnv": "test", "retries": 3})
    );
}

#[test]
fn keys_hold_the_record_in_its_old_place() {
    let new = record(json!({"access_token": "at-2"}));
    for (config, path, expected) in [
        (
            json!({"auth": {"type": "o", "oauth2": {"clientId": "c", "keys": {"access_token": "at-1"}}}}),
            "auth.oauth2",
            json!({"auth": {"type": "o", "oauth2": {"clientId": "c", "keys": {"access_token": "at-2"}}}}),
        ),
        (
            json!({"auth": {"type": "o", "oauth2": {"access_token": "at-1"}}}),
            "auth.oauth2",
            json!({"auth": {"type": "o", "oauth2": {"access_token": "at-2"}}}),
        ),
        (
            json!({"o": {"credentials": {"access_token": "1"}, "a": 1}}),
            "o",
            json!({"o": {"credentials": {"access_token": "at-2"}, "a": 1}}),
        ),
        (
            json!({}),
            "auth.oauth2",
            json!({"auth": {"oauth2": {"access_token": "at-2"}}}),
        ),
        (
            json!({"auth": "text"}),
            "auth.oauth2",
            json!({"auth": {"oauth2": {"access_token": "at-2"}}}),
        ),
        (
            json!(null),
            "oauth",
            json!({"oauth": {"access_token": "at-2"}}),
        ),
    ] {
        let keys = keys_with_record(&config, &["auth"], &field(path), &new);
        assert_eq!(Value::Object(keys.clone()), expected, "{config}");
        assert_eq!(
            TokenRecord::find(&Value::Object(keys), &field(path)),
            Some(new.clone()),
            "{config}"
        );
    }
}

/// The keys that are stored when nobody else has changed the tokens.
fn stored_keys(sent: Value, config: &Value, path: &str, fields: &[&str]) -> Map<String, Value> {
    let (keys, field) = (members(sent), field(path));
    let stored = TokenRecord::find(config, &field);
    let record = match (stored, emitted(&keys, &field)) {
        (Some(stored), Some(sent)) => Some(stored.with_emitted(&sent)),
        (stored, sent) => sent.or(stored),
    };
    keys_to_store(keys, config, &field, fields, record.as_ref())
}

#[test]
fn the_four_shapes_of_keys_mean_the_same() {
    let answer = json!({"access_token": "at-2", "expires_in": 60});
    let oauth = json!({"access_token": "at-1", "refresh_token": "rt-1", "expires_in": 5, "tokenExpiryTime": "2020-01-01T00:00:00.000Z"});
    let flat = json!({"oauth": oauth, "retries": 3, "query": "select", "_account": "a"});
    let nested =
        json!({"auth": {"type": "o", "oauth2": {"keys": oauth}}, "retries": 3, "query": "select"});
    let merged = json!({"access_token": "at-2", "refresh_token": "rt-1", "expires_in": 60});
    let flat_keys = json!({"oauth": merged, "retries": 3});
    let nested_keys = json!({"auth": {"type": "o", "oauth2": {"keys": merged}}, "retries": 3});
    let mut whole = flat.clone();
    whole["oauth"] = answer.clone();
    for (sent, config, path, expected) in [
        (answer.clone(), &flat, "oauth", &flat_keys),
        (answer.clone(), &nested, "auth.oauth2", &nested_keys),
        (json!({"oauth": answer}), &flat, "oauth", &flat_keys),
        (
            json!({"auth": {"type": "o", "oauth2": {"keys": answer}}}),
            &nested,
            "auth.oauth2",
            &nested_keys,
        ),
        (whole, &flat, "oauth", &flat_keys),
    ] {
        let keys = stored_keys(sent.clone(), config, path, &["auth", "oauth", "retries"]);
        assert_eq!(&Value::Object(keys), expected, "{sent}");
    }
}

#[test]
fn other_keys_are_saved_with_the_current_tokens() {
    let config = json!({"oauth": {"access_token": "at-1", "refresh_token": "rt-1"}, "retries": 3, "query": "q"});
    let keys = stored_keys(
        json!({"retries": 4, "realmId": "r"}),
        &config,
        "oauth",
        &["oauth", "retries"],
    );
    assert_eq!(
        Value::Object(keys),
        json!({"oauth": {"access_token": "at-1", "refresh_token": "rt-1"}, "retries": 4, "realmId": "r"})
    );
    let keys = stored_keys(
        json!({"apiKey": "k"}),
        &json!({"apiKey": "old", "query": "q"}),
        "oauth",
        &["apiKey"],
    );
    assert_eq!(Value::Object(keys), json!({"apiKey": "k"}));
}

#[test]
fn sending_the_stored_tokens_again_keeps_their_expiry() {
    let stored = json!({"access_token": "at-1", "refresh_token": "rt-1", "tokenExpiryTime": "2030-01-01T00:00:00.000Z"});
    let config = json!({"oauth": stored});
    let keys = stored_keys(
        json!({"access_token": "at-1", "refresh_token": "rt-1", "note": 1}),
        &config,
        "oauth",
        &["oauth"],
    );
    assert_eq!(keys["oauth"]["tokenExpiryTime"], stored["tokenExpiryTime"]);
    assert_eq!(keys["oauth"]["note"], 1);
}

#[test]
fn a_partial_wrapper_keeps_what_is_beside_the_tokens() {
    let tokens = json!({"access_token": "at-1", "refresh_token": "rt-1"});
    let newer = json!({"access_token": "at-2"});
    let merged = json!({"access_token": "at-2", "refresh_token": "rt-1"});
    for (config, path, sent, expected) in [
        (
            json!({"auth": {"region": "eu", "oauth2": {"keys": tokens}}}),
            "auth.oauth2",
            json!({"auth": {"oauth2": {"keys": newer}}}),
            json!({"auth": {"region": "eu", "oauth2": {"keys": merged}}}),
        ),
        (
            json!({"auth": {"region": "eu", "oauth2": {"tenant": "t", "keys": tokens}}}),
            "auth.oauth2",
            json!({"auth": {"region": "us", "oauth2": {"keys": newer}}}),
            json!({"auth": {"region": "us", "oauth2": {"tenant": "t", "keys": merged}}}),
        ),
        (
            json!({"auth": {"tenant": "t", "credentials": tokens}}),
            "auth",
            json!({"auth": {"credentials": newer}}),
            json!({"auth": {"tenant": "t", "credentials": merged}}),
        ),
    ] {
        let keys = stored_keys(sent.clone(), &config, path, &["auth"]);
        assert_eq!(Value::Object(keys), expected, "{sent}");
    }
}

#[test]
fn no_tokens_are_stored_without_a_record() {
    let config = json!({"retries": 3});
    let sent = json!({"oauth": {"access_token": "at-1", "refresh_token": "rt-1"}, "retries": 4});
    let keys = keys_to_store(
        members(sent),
        &config,
        &field("oauth"),
        &["oauth", "retries"],
        None,
    );
    assert_eq!(Value::Object(keys), json!({"retries": 4}));
}

#[test]
fn no_token_is_in_the_debug_output() {
    let shown = format!(
        "{:?}",
        record(json!({"access_token": "at-1", "refresh_token": "rt-1", "scope": "s-1"}))
    );
    assert_eq!(
        shown,
        r#"TokenRecord(["access_token", "refresh_token", "scope"])"#
    );
}
