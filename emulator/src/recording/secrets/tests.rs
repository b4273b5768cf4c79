use super::*;
use serde_json::json;

/// What is replaced, given where the secret was found.
fn replaced(found_in: Value, mut value: Value) -> Value {
    let mut secrets = Secrets::default();
    secrets.collect(&found_in);
    secrets.look_at(&json!([found_in, value]));
    secrets.replace(&mut value);
    value
}

#[test]
fn a_secret_is_replaced_in_every_encoding() {
    let found = json!({"config": {"password": "p/ss word=1"}});
    let value = json!([
        "p/ss word=1",
        "x=p%2Fss+word%3D1&y=2",
        "/p%2Fss%20word%3D1",
        "{\"a\":\"p\\/ss word=1\"}",
        {"other": ["p/ss word=1"]},
        "p"
    ]);
    assert_eq!(
        replaced(found, value),
        json!(["secret-1", "x=secret-1&y=2", "/secret-1", "{\"a\":\"secret-1\"}", {"other": ["secret-1"]}, "p"])
    );
}

#[test]
fn secrets_are_found_in_addresses_forms_json_and_xml() {
    for (text, secret) in [
        ("https://a.test/x?key=0123456789&q=1", "0123456789"),
        ("https://user:pass%20word@a.test/x", "pass word"),
        ("https://ada:l%6fve@a.test?x=1", "ada:love"),
        ("grant_type=x&code=abcdefgh", "abcdefgh"),
        (
            "client_secret=abcdefgh&redirect_uri=https://a.test/x",
            "abcdefgh",
        ),
        (
            "redirect_uri=https://a.test/x&client_secret=abcdefgh",
            "abcdefgh",
        ),
        ("grant_type=x&code=abcdefgh\n", "abcdefgh"),
        ("https://a.test/x#state=1&access_token=abcdefgh", "abcdefgh"),
        ("https://a.test/x?a=1#access_token=abcdefgh", "abcdefgh"),
        ("{\"nested\":[{\"apiKey\":\"abcdefgh\"}]}", "abcdefgh"),
        ("<s:Login><s:password>abcdefgh</s:password>", "abcdefgh"),
    ] {
        assert_eq!(replaced(json!(text), json!(secret)), "secret-1", "{text}");
        let shown = replaced(json!(text), json!(text)).to_string();
        assert!(
            !shown.contains(secret) && shown.contains("secret-1"),
            "{shown}"
        );
    }
}

/// A secret that is found where a form, XML or an address has it is known as it is.
#[test]
fn a_secret_is_known_decoded_wherever_it_is_found() {
    for (found, secret) in [
        ("client_secret=a%7Eb*c%21d%2Fe&x=1", "a~b*c!d/e"),
        ("https://a.test/?sig=abc%2bdef%2fghi%3D", "abc+def/ghi="),
        ("https://u:pa%7Ess*word@a.test/", "pa~ss*word"),
        ("<a><password>p&amp;ss&lt;word</password></a>", "p&ss<word"),
        (r#"{"n":1.10,"password":"pa\"ss\\word9"}"#, "pa\"ss\\word9"),
    ] {
        let mut secrets = Secrets::default();
        secrets.collect(&json!(found));
        let mut value = json!([found, secret, {"json": json!({"x": secret}).to_string()}]);
        assert!(secrets.left_in(&value).is_some(), "{found}");
        secrets.replace(&mut value);
        assert_eq!(secrets.left_in(&value), None, "{value}");
        assert_eq!(value[1], "secret-1", "{value}");
    }
}

#[test]
fn a_secret_with_line_breaks_is_replaced_also_in_json_in_a_text() {
    let key = "-----BEGIN KEY-----\nab\"c\n-----END KEY-----\n";
    let file = json!({"private_key": key, "type": "service_account"}).to_string();
    let config = json!({"file": file, "base64": base64_simd::STANDARD.encode_to_string(key)});
    let shown = replaced(config.clone(), config).to_string();
    assert!(
        !shown.contains("BEGIN") && !shown.contains("LS0tLS1C"),
        "{shown}"
    );
    assert!(shown.contains("service_account"), "{shown}");
}

/// The last check sees what cannot be replaced.
#[test]
fn a_secret_in_the_name_of_a_member_is_seen() {
    let mut secrets = Secrets::default();
    secrets.add("door", "p&ss\"word");
    let told = Some("the value of `door` is in the name of a member of /0".to_owned());
    for name in ["p&ss\"word", "p%26ss%22word", "p&amp;ss&quot;word"] {
        assert_eq!(secrets.left_in(&json!([{name: 1}])), told, "{name}");
    }
    assert_eq!(secrets.left_in(&json!([{"word": "p&ss"}])), None);
    secrets.add("pin", "12a4");
    let text = json!({"a": "{\"pin\":[\"0\",\"12a4\"],\"x\":1.10}"});
    let told = Some("the value of `pin` is at /a/pin/1".to_owned());
    assert_eq!(secrets.left_in(&text), told);
}

/// What looks like a placeholder, and what is also the name of a member, is no reason to write nothing.
#[test]
fn a_password_may_be_any_word() {
    for password in ["secret-1", "secret-2", "password", "accessToken"] {
        let value = json!({"password": password, "accessToken": "0123456789", "n": "secret-3"});
        let mut secrets = Secrets::default();
        secrets.collect(&value);
        let mut written = value.clone();
        secrets.look_at(&value);
        secrets.replace(&mut written);
        assert_eq!(secrets.left_in(&written), None, "{written}");
        assert_ne!(written["password"], password);
        assert_ne!(written["password"], written["n"]);
    }
}

fn values(secrets: &Secrets) -> Vec<&str> {
    secrets.known.keys().map(String::as_str).collect()
}

#[test]
fn attributes_of_a_cookie_are_no_secrets() {
    let mut secrets = Secrets::default();
    let cookie = "sid=abcdefgh; Domain=api.example.com; Expires=Wed, 21 Oct 2026 07:28:00 GMT; SameSite=Strict";
    secrets.collect_header("set-cookie", cookie);
    secrets.collect_header("cookie", "a=12345678; b=87654321");
    secrets.collect_header("set-cookie", "session=; Max-Age=0");
    secrets.collect_header("cookie", "x=true; ");
    assert_eq!(values(&secrets), ["12345678", "87654321", "abcdefgh"]);
    assert!(secrets.short.is_empty(), "{:?}", secrets.short);
}

#[test]
fn a_header_with_one_short_cookie_is_replaced() {
    let mut secrets = Secrets::default();
    secrets.collect_header("cookie", "s=abc12");
    let mut value = json!({"cookie": ["s=abc12"], "x": "s=abc12"});
    secrets.look_at(&value);
    secrets.replace(&mut value);
    assert_eq!(value, json!({"cookie": ["secret-1"], "x": "s=abc12"}));
}

#[test]
fn the_descriptor_says_which_fields_are_secret() {
    let password = json!({"viewClass": "PasswordFieldView"});
    let descriptor = json!({
        "credentials": {"fields": {"phrase": password, "user": {"viewClass": "TextFieldView"}}},
        "actions": {"a": {"fields": {"door": password}}},
    });
    let configuration =
        json!({"phrase": "open sesame", "user": "ada.lovelace", "door": 12_345_678});
    let mut secrets = Secrets::default();
    secrets.collect_fields(&descriptor, &configuration);
    secrets.collect_configuration(&json!({"appKey": "app-key-1", "name": "Ada Lovelace"}));
    assert_eq!(values(&secrets), ["12345678", "app-key-1", "open sesame"]);
}

/// Wherever it is entered, and in any other place under the same name.
#[test]
fn a_short_entry_is_replaced_under_its_name() {
    let descriptor =
        json!({"credentials": {"fields": {"door": {"viewClass": "PasswordFieldView"}}}});
    let configuration = json!({"door": "a1b2", "code": "1234567", "floor": "a1b2"});
    let mut secrets = Secrets::default();
    secrets.collect_fields(&descriptor, &configuration);
    secrets.collect_configuration(&configuration);
    secrets.collect_header("x-acme-key", "abc123");
    let mut value = json!({
        "config": configuration, "headers": {"x-acme-key": ["abc123"], "x-acme-id": ["abc123"]},
        "form": "door=%61%31b2&floor=a1b2", "xml": "<r><door a='b'>a1b2</door><![CDATA[a1b2]]></r>",
        "json": "{\"n\":1.10,\"door\": \"a1b2\",\"code\":\"1234567\"}",
    });
    secrets.look_at(&value);
    secrets.replace(&mut value);
    let expected = json!({
        "config": {"door": "secret-2", "code": "secret-1", "floor": "a1b2"},
        "headers": {"x-acme-key": ["secret-3"], "x-acme-id": ["abc123"]},
        "form": "door=secret-2&floor=a1b2", "xml": "<r><door a='b'>secret-2</door><![CDATA[a1b2]]></r>",
        "json": "{\"n\":1.10,\"door\": \"secret-2\",\"code\":\"secret-1\"}",
    });
    assert_eq!(value, expected);
    assert_eq!(secrets.left_in(&value), None);
}

/// Below such a name, other members stay.
#[test]
fn the_members_of_a_field_are_secret_by_their_names() {
    const GENERATED: &str = "R03J8XKQ2M7VZT9B4W6NYCDHF5GLPSA1";
    let configuration = json!({
        "auth": {
            "type": "basic", "scheme": "client_credentials", "tokenUri": "https://login.test/token", "key": "acme-key-1",
            "value": GENERATED, "page": format!("https://login.test/{GENERATED}"),
        },
        "authorizationMode": "basic", "authentication": "oauth2", "passwordRequired": "false",
        "accessTokenExpiration": "2026-01-31T08:00:00Z", "tokens": ["only-a-token"],
    });
    let mut secrets = Secrets::default();
    secrets.collect_configuration(&configuration);
    secrets.collect_header("x-ratelimit-remaining-tokens", "39998");
    secrets.collect(&json!("max_tokens=1000&requested_token_use=on_behalf_of"));
    assert_eq!(values(&secrets), [GENERATED, "acme-key-1", "only-a-token"]);
    assert!(secrets.short.is_empty(), "{:?}", secrets.short);
}

#[test]
fn members_of_each_object_of_the_configuration_are_fields() {
    for (configuration, expected) in [
        (
            json!({"account": {"key": "acme-key-1", "code": "abcdefghij"}}),
            &["abcdefghij", "acme-key-1"][..],
        ),
        (
            json!({"servers": [{"login": {"sid": "0123456789", "user": "ada.lovelace"}}]}),
            &["0123456789"],
        ),
    ] {
        let mut secrets = Secrets::default();
        secrets.collect_configuration(&configuration);
        assert_eq!(values(&secrets), expected, "{configuration}");
    }
}

#[test]
fn a_short_user_with_a_short_password_is_a_reason_to_stop() {
    for (text, is_undecided, known) in [
        ("https://bob:pw1@a.test/x", true, &[][..]),
        ("{\"see\": \"ftp://a:%62@c.test\"}", true, &[]),
        ("https://:secret@a.test", true, &[]),
        ("https://bob@a.test", false, &[]),
        ("https://bob:@a.test", false, &[]),
        ("https://bob:no@a.test", false, &[]),
        ("https://bobby:pw1@a.test", false, &["bobby:pw1"]),
        ("https://bob:password@a.test", false, &["bob:password"]),
    ] {
        let mut secrets = Secrets::default();
        secrets.collect(&json!(text));
        assert_eq!(secrets.undecided().is_some(), is_undecided, "{text}");
        assert_eq!(values(&secrets), known, "{text}");
    }
}

#[test]
fn json_may_have_a_byte_order_mark_and_be_lines() {
    for text in [
        "{\"user\":\"é\",\"token\":\"abcdefgh\"}",
        "{\"user\":\"é\"}\r\n{\"token\":\"abcdefgh\"}\n",
        "[{\"token\":\"abcdefgh\"}]\n{\"user\":\"é",
    ] {
        let marked = format!("\u{feff}{text}");
        let little: Vec<u8> = marked.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = marked.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let mixed = [marked.as_bytes(), b"\n\xff"].concat();
        for bytes in [text.as_bytes(), marked.as_bytes(), &little, &big, &mixed] {
            let mut secrets = Secrets::default();
            secrets.collect_body(&Headers::new(), &Body::of(bytes));
            assert_eq!(values(&secrets), ["abcdefgh"], "{bytes:?}");
        }
    }
    // The last check reads them too.
    let mut secrets = Secrets::default();
    secrets.add("pin", "12a4");
    let told = Some("the value of `pin` is at /pin/1".to_owned());
    for text in [
        "\u{feff}{\"pin\":[\"0\",\"12a4\"]}",
        "{\"a\":1}\n{\"pin\":[\"0\",\"12a4\"]}",
    ] {
        assert_eq!(secrets.left_in(&json!(text)), told, "{text}");
    }
}

/// It stays in names and in other values.
#[test]
fn a_secret_that_is_a_word_of_names_is_replaced_under_its_name() {
    for (value, expected) in [
        (
            json!("grant_type=password&username=ada&password=password"),
            json!("grant_type=password&username=ada&password=secret-1"),
        ),
        (
            json!({"passphrase": "Pass-Phrase", "field": "Pass-Phrase"}),
            json!({"passphrase": "secret-1", "field": "Pass-Phrase"}),
        ),
        // It is a part of its placeholder.
        (
            json!("password=secret&type=secret"),
            json!("password=secret-1&type=secret"),
        ),
    ] {
        let mut secrets = Secrets::default();
        secrets.collect(&value);
        let mut written = value.clone();
        secrets.look_at(&value);
        secrets.replace(&mut written);
        assert_eq!(written, expected);
        assert_eq!(secrets.left_in(&written), None, "{written}");
    }
}

#[test]
fn a_longer_secret_is_replaced_before_one_in_it() {
    let found = json!({"token": "abcdefgh", "password": "1 abcdefgh 2"});
    let text = "abcdefgh,1 abcdefgh 2,abcdefgh 2,abcdefghabcdefgh".repeat(9);
    let expected = "secret-1,secret-2,secret-1 2,secret-1secret-1".repeat(9);
    assert_eq!(replaced(found, json!(text)), expected);
}

/// Each in a body that is no text too: what is found there is a reason to write nothing.
#[test]
fn secrets_are_found_in_settings_and_in_bytes() {
    for (text, secret) in [
        (
            "DefaultEndpointsProtocol=https;AccountName=acm\u{e9};AccountKey=abcd+efgh==;EndpointSuffix=core",
            "abcd+efgh==",
        ),
        (
            "Server=tcp:db.t\u{e9}st,1433;User Id=ada;Password=open sesame;",
            "open sesame",
        ),
        ("us\u{e9}r=ada\nsmtp_pwd=open+sesame\n", "open+sesame"),
        (
            "Password=\"open&sesame\";Server=db.t\u{e9}st",
            "open&sesame",
        ),
        (
            "{\"url\":\"https://t\u{e9}st/?x=1\",\"userPwd\":\"open sesame\"}",
            "open sesame",
        ),
        (
            "s\u{e9}\u{e9} https://a.test and https://ada:open-sesame@b.test",
            "open-sesame",
        ),
        (
            "<a><b c=\"\u{e9}\"/>\n<password x=\"\"><![CDATA[<open> & sesame]]></password></a>",
            "<open> & sesame",
        ),
        ("<password>open-s\u{e9}same</password>", "open-s\u{e9}same"),
    ] {
        let latin: Vec<u8> = text.chars().map(|c| c as u8).collect();
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for bytes in [text.as_bytes(), &latin, &wide] {
            let mut secrets = Secrets::default();
            let body = Body::of(bytes);
            assert_eq!(matches!(body, Body::Base64(_)), bytes != text.as_bytes());
            secrets.collect_body(&Headers::new(), &body);
            assert_eq!(values(&secrets), [secret], "{text}");
            assert!(secrets.name_in(bytes).is_some(), "{text}");
        }
    }
}

#[test]
fn an_address_ends_where_its_query_begins() {
    let mut secrets = Secrets::default();
    secrets.collect(&json!("https://a.test?user=ada.lovelace@example.org"));
    secrets.collect(&json!("https://a.test#ada.lovelace@example.org"));
    secrets.collect(&json!("Bearer realm=\"example\", error=\"invalid_token\""));
    assert!(secrets.known.is_empty(), "{:?}", secrets.known);
}

#[test]
fn secrets_of_headers_are_found_although_they_are_short() {
    for (name, value, hidden) in [
        ("authorization", "Bearer abc1234", "Bearer abc1234"),
        ("authorization", "Bearer abcdefgh", "abcdefgh"),
        ("authentication", "Bearer abcdefgh", "abcdefgh"),
        ("x-api-key", "open sesame", "open sesame"),
        ("cookie", "a=1; pin=1234", "pin=1234"),
        ("cookie", "session=abcdefgh; a=1", "abcdefgh"),
        ("cookie", "s=abc12; a=dark", "s=abc12; a=dark"),
        ("cookie", "abc12; a=dark", "abc12; a=dark"),
        ("set-cookie", "s=abc12; Path=/", "s=abc12; Path=/"),
        ("set-cookie", "access=password", "access=password"),
    ] {
        let mut secrets = Secrets::default();
        secrets.collect_header(name, value);
        assert!(
            values(&secrets).contains(&hidden),
            "{value}: {:?}",
            secrets.known
        );
    }
}

#[test]
fn variables_are_secret_unless_they_are_plain() {
    let mut secrets = Secrets::default();
    for plain in ["https://a.test/token", "1234567890", "true", "eu-west"] {
        secrets.collect_variable("X", plain);
    }
    assert!(secrets.known.is_empty(), "{:?}", secrets.known);
    secrets.collect_variable("X", "3f9a0c-tenant");
    secrets.collect_variable("X", "https://a.test/?sig=abcdefghi");
    assert_eq!(values(&secrets), ["3f9a0c-tenant", "abcdefghi"]);
    assert!(secrets.short.is_empty(), "{:?}", secrets.short);
}

#[test]
fn a_short_secret_is_replaced_only_under_its_name() {
    let value = json!({"pin": "1234", "year": "1234", "url": "https://a.test/?key=12&year=12"});
    assert_eq!(
        replaced(value.clone(), value),
        json!({"pin": "secret-1", "year": "1234", "url": "https://a.test/?key=secret-2&year=12"})
    );
}

/// In JSON, the value decides on a key whose name does not.
#[test]
fn keys_in_json_are_secrets_by_their_names_or_values() {
    const GENERATED: &str = "R03J8XKQ2M7VZT9B4W6NYCDHF5GLPSA1";
    for name in ["apiKey", "api_key", "accessKey", "signing-key"] {
        let body = json!({ name: "abcdefgh" });
        assert_eq!(replaced(body.clone(), body)[name], "secret-1", "{name}");
    }
    for name in ["key", "routing_key", "primaryKey", "accountKeys", "key2"] {
        let body = json!({ name: [GENERATED] });
        assert_eq!(replaced(body.clone(), body)[name][0], "secret-1", "{name}");
    }
    for (name, data) in [
        ("key", "PROJ-123"),
        ("key", "reports/2024/01/summary.pdf"),
        ("primaryKey", "0f8fad5b-d9cb-469f-a165-70867728950e"),
        ("publicKey", GENERATED),
        ("idempotencyKey", GENERATED),
        ("name", GENERATED),
    ] {
        let body = json!({ name: data });
        assert_eq!(replaced(body.clone(), body)[name], data, "{name}");
    }
    // What is known from elsewhere is a secret below each name.
    let known = json!("https://a.test/?key=PROJ-12345");
    assert_eq!(
        replaced(known, json!({"key": "PROJ-12345"}))["key"],
        "secret-1"
    );
}

#[test]
fn a_secret_number_becomes_a_number_everywhere() {
    let found = json!({"token": 12_345_678, "pin": 4711});
    let value = json!({
        "token": 12_345_678, "pin": 4711, "text": "12345678", "url": "https://a.test/?pin=4711&token=12345678",
        "json": "{\"amount\":1.10,\"token\":12345678}", "taken": 10_000_001, "year": 4711,
        "token_count": 87_654_321, "page_token": 2, "expires_in": 3600,
    });
    let expected = json!({
        "token": 10_000_002, "pin": 1002, "text": "10000002", "url": "https://a.test/?pin=1002&token=10000002",
        "json": "{\"amount\":1.10,\"token\":10000002}", "taken": 10_000_001, "year": 4711,
        "token_count": 87_654_321, "page_token": 2, "expires_in": 3600,
    });
    assert_eq!(replaced(found, value), expected);
    // A text in one place, a number in another.
    let value = json!({"id": 12_345_678, "password": "12345678"});
    let shown = replaced(value.clone(), value);
    assert_eq!(shown, json!({"id": 10_000_001, "password": "10000001"}));
}

#[test]
fn a_number_that_cannot_be_replaced_is_a_reason_to_write_nothing() {
    for (value, is_undecided) in [
        (json!({"token": -12_345_678}), true),
        (json!({"apiKey": 1.234_567_89}), true),
        (
            json!(r#"{"password":123456789012345678901234567890}"#),
            true,
        ),
        (json!({"token": -1, "tokenCount": 1.234_567_89}), false),
    ] {
        let mut secrets = Secrets::default();
        secrets.collect(&value);
        assert_eq!(secrets.undecided().is_some(), is_undecided, "{value}");
    }
}
