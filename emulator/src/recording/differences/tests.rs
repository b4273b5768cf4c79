use super::*;
use serde_json::json;

const IDS: [&str; 2] = [
    "0f8fad5b-d9cb-469f-a165-70867728950e",
    "7c9e6679-7425-40de-944b-e07fc1f90ae7",
];

fn differences(inputs: &str, recorded: Value, now: Value) -> Vec<String> {
    let recorded_at = Timestamp::now() - sailor::jiff::SignedDuration::from_hours(24 * 30);
    let mut found = Vec::new();
    Runs::new(recorded_at, &inputs.into(), &[]).compare("", &recorded, &now, &mut found);
    found
}

fn same(runs: &Runs, recorded: &Value, now: &Value) -> bool {
    let mut found = Vec::new();
    runs.compare("", recorded, now, &mut found);
    found.is_empty()
}

#[test]
fn differences_have_their_place() {
    let recorded = json!({"a": [1, {"b": "x"}], "gone": 1, "same": null});
    let now = json!({"a": [1, {"b": "y"}], "new": [2], "same": null});
    assert_eq!(
        differences("", recorded, now),
        [
            "/a/1/b: recorded \"x\", now \"y\"",
            "/gone: recorded 1, now missing",
            "/new: not recorded, now [2]",
        ]
    );
    let lengths = differences("", json!([1]), json!([1, 2]));
    assert_eq!(lengths, ["recorded [1], now [1,2]"]);
}

#[test]
fn a_uuid_counts_unless_the_run_made_it() {
    let [a, b] = IDS.map(|id| json!(format!("urn:{id}")));
    assert_eq!(differences("", a.clone(), b.clone()), [""; 0]);
    assert_eq!(differences(IDS[0], a.clone(), b).len(), 1);
    assert_eq!(differences("", a, json!("urn:none")).len(), 1);
}

/// Also within the hour after a recording, in which any two times are as far from their runs.
#[test]
fn what_comes_from_outside_must_be_the_same() {
    let recorded_at = Timestamp::now();
    let exchange = serde_json::from_value(json!({
        "request": {
            "method": "POST", "url": "http://a.test/?since=2024-03-01T08%3A00%3A00Z", "headers": {"x-id": [IDS[1]]},
        },
        "response": {
            "status": 200, "headers": {"x-order": ["1700000050"]},
            "body": {"json": {"id": IDS[0], "echo": IDS[1], "since": "2024-03-01T08:00:00Z", "number": 1_700_000_100}},
        },
    }));
    let given = json!({"order": 4_711_000_123_u64, "due": "2024-01-31T08:00:00Z"});
    let runs = Runs::new(recorded_at, &given, &[exchange.unwrap()]);
    let ms = recorded_at.as_millisecond();
    for (recorded, now, same) in [
        // From the message: as it is, and in other forms.
        (json!(4_711_000_123_u64), json!(4_711_000_124_u64), false),
        (
            json!("2024-01-31T08:00:00Z"),
            json!("2024-01-31T08:30:00Z"),
            false,
        ),
        (json!(1_706_688_000), json!(1_706_689_000), false),
        (
            json!("2024-01-31T09:00:00.000+01:00"),
            json!("2024-01-31T09:10:00.000+01:00"),
            false,
        ),
        // From a response.
        (json!(1_700_000_100), json!(1_700_000_101), false),
        (json!("1700000050"), json!("1700000051"), false),
        (
            json!(IDS[0]),
            json!("00000000-0000-0000-0000-000000000001"),
            false,
        ),
        // To it.
        (json!(ms), json!(1_706_688_000_000_i64), false),
        // A number that is no time of a run.
        (json!(4_711_000_999_u64), json!(4_711_000_998_u64), false),
        (json!(ms / 1000), json!(ms), false),
        // What the component made.
        (json!(ms), json!(ms + 5), true),
        (
            json!("2024-03-01T08:00:00Z"),
            json!("2024-03-01T08:00:01Z"),
            true,
        ),
        (
            json!(IDS[1]),
            json!("00000000-0000-0000-0000-000000000001"),
            true,
        ),
    ] {
        assert_eq!(self::same(&runs, &recorded, &now), same, "{recorded} {now}");
    }
}

#[test]
fn a_time_counts_by_its_distance_from_the_run() {
    let now = Timestamp::now();
    let day = sailor::jiff::SignedDuration::from_hours(24);
    let then = now - day * 30;
    for (recorded, now, same) in [
        (json!(then.to_string()), json!(now.to_string()), true),
        (
            json!((then + day).to_string()),
            json!((now + day).to_string()),
            true,
        ),
        (json!(then.as_second()), json!(now.as_second()), true),
        (
            json!(then.as_millisecond()),
            json!(now.as_millisecond()),
            true,
        ),
        (
            json!((then + day).to_string()),
            json!(now.to_string()),
            false,
        ),
        (
            json!("2024-01-31T08:00:00Z"),
            json!("2024-01-31T09:00:00Z"),
            false,
        ),
        (json!(12_345_678_901_u64), json!(12_345_678_902_u64), false),
        (json!(1), json!(2), false),
    ] {
        let found = differences("", recorded.clone(), now.clone());
        assert_eq!(found.is_empty(), same, "{recorded} {now}");
    }
}
/// Also where an address or a form has it.
#[test]
fn a_time_may_be_written_in_many_forms() {
    let now = Timestamp::now();
    let then = now - sailor::jiff::SignedDuration::from_hours(24 * 30);
    for form in [
        "%FT%TZ",
        "%FT%T.%3fZ",
        "%FT%H:%MZ",
        "%FT%T+00:00",
        "%F %T",
        "%F %T.%6f UTC",
        "%F",
        "%a, %d %b %Y %T GMT",
        "%a, %d %b %Y %T +0000",
        "%s",
        "%s.%3f",
    ] {
        let (a, b) = (
            then.strftime(form).to_string(),
            now.strftime(form).to_string(),
        );
        let percent = |text: &str| http_double::percent_encoded(text);
        let form = |text: &str| percent(text).replace("%20", "+");
        for (a, b) in [
            (a.clone(), b.clone()),
            (
                format!("a?q=x%20{}%20y", percent(&a)),
                format!("a?q=x%20{}%20y", percent(&b)),
            ),
            (format!("a=1&t={}", form(&a)), format!("a=1&t={}", form(&b))),
        ] {
            assert_eq!(differences("", a.into(), b.into()), [""; 0]);
        }
    }
    let (a, b) = (
        then.as_millisecond() as f64 / 1e3,
        now.as_millisecond() as f64 / 1e3,
    );
    assert_eq!(differences("", json!(a), json!(b)), [""; 0]);
    // The same distance in days.
    let day = |days: i64| {
        (now + sailor::jiff::SignedDuration::from_hours(24 * days))
            .strftime("%F")
            .to_string()
    };
    assert_eq!(differences("", day(-30).into(), day(2).into()).len(), 1);
}

/// `%2F` is no `/` in an address, and a text that was not decoded is not the same as one that was.
#[test]
fn what_is_encoded_is_compared_as_it_is() {
    for (a, b) in [
        ("/a%2Fb", "/a/b"),
        ("a+b", "a%20b"),
        ("a+b", "a%2Bb"),
        ("100%25", "100%"),
    ] {
        assert_eq!(differences("", a.into(), b.into()).len(), 1, "{a}");
    }
}

/// What a response has in an address is from outside, as it is in any other form.
#[test]
fn an_encoded_time_in_a_response_is_an_input() {
    let exchange = serde_json::from_value(json!({
        "request": {"method": "GET", "url": "http://a.test/"},
        "response": {"status": 200, "body": {"json": {"nextLink": "http://a.test/?since=2024-03-01T08%3A00%3A00Z"}}},
    }));
    let runs = Runs::new(Timestamp::now(), &json!({}), &[exchange.unwrap()]);
    for since in ["2024-03-01T08%3A00%3A00Z", "2024-03-01T08:00:00Z"] {
        let recorded = json!(format!("http://a.test/?since={since}"));
        assert!(same(&runs, &recorded, &recorded));
        let other = json!(format!(
            "http://a.test/?since={}",
            since.replace("00Z", "01Z")
        ));
        assert!(!same(&runs, &recorded, &other));
    }
}

/// The server answers in the very second in which the component takes its time.
#[test]
fn a_time_of_the_component_may_be_in_a_response_too() {
    let now = Timestamp::now();
    for days in [0, 30] {
        let recorded_at = now - sailor::jiff::SignedDuration::from_hours(24 * days);
        let exchange = serde_json::from_value(json!({
            "request": {"method": "GET", "url": "http://a.test/"},
            "response": {"status": 200, "body": {"json": {"at": recorded_at.as_second()}}},
        }));
        let runs = Runs::new(recorded_at, &json!({}), &[exchange.unwrap()]);
        let recorded = json!(recorded_at.as_second());
        // From the response, and from the clock.
        assert!(same(&runs, &recorded, &recorded));
        assert!(same(&runs, &recorded, &json!(now.as_second() + 5)));
        assert!(!same(&runs, &recorded, &json!(now.as_second() + 50_000)));
    }
}

/// Also on the day after the recording: a date is up to a day away from the moment of its run.
#[test]
fn a_date_of_the_component_may_be_in_a_response_too() {
    let exchange = serde_json::from_value(json!({
        "request": {"method": "GET", "url": "http://a.test/"},
        "response": {"status": 200, "body": {"json": {"at": "2026-01-31", "due": "2026-03-31", "time": "2026-01-31T00:00:00Z"}}},
    }));
    let time = |text: &str| text.parse::<Timestamp>().unwrap();
    let mut runs = Runs::new(
        time("2026-01-31T12:00:00Z"),
        &json!({}),
        &[exchange.unwrap()],
    );
    runs.now = time("2026-02-01T12:00:00Z");
    for (recorded, now, same) in [
        ("2026-01-31", "2026-02-01", true),
        ("2026-01-31", "2026-02-03", false),
        ("2026-03-31", "2026-04-01", false),
        ("2026-01-31T00:00:00Z", "2026-02-01T00:00:00Z", false),
    ] {
        let found = self::same(&runs, &recorded.into(), &now.into());
        assert_eq!(found, same, "{recorded} {now}");
    }
}

/// A number that stands for a secret is a number like others.
#[test]
fn the_placeholder_of_a_number_stands_for_itself() {
    for (recorded, now, same) in [
        (json!(10_000_001), json!(12_345_678), false),
        (json!("pin=1001"), json!("pin=4711"), false),
        (json!(10_000_001), json!(10_000_001), true),
    ] {
        let found = differences("", recorded.clone(), now);
        assert_eq!(found.is_empty(), same, "{recorded}");
    }
}

#[test]
fn a_secret_that_did_not_come_from_outside_is_any_text() {
    let exchange = serde_json::from_value(json!({
        "request": {"method": "GET", "url": "http://a.test/?code=secret-1"},
        "response": {"status": 200, "body": {"json": {"token": "secret-3", "echo": "secret-1"}}},
    }));
    let runs = Runs::new(
        Timestamp::now(),
        &json!({"key": "secret-2"}),
        &[exchange.unwrap()],
    );
    for (recorded, now, same) in [
        (
            "http://a.test/?code=secret-1",
            "http://a.test/?code=EUR",
            true,
        ),
        ("a=secret-1&b=secret-1&c=1", "a=x&b=%26&c=1", true),
        ("<a>secret-1</a><b>1</b>", "<a>x y</a><b>1</b>", true),
        ("secret-1", "<a&b>", true),
        ("secret-10 2024-01-31 secret-1", "a 2024-01-31 b", true),
        ("a=secret-1", "a=x&b=1", false),
        ("a=secret-1&c=1", "a=x&b=1&c=1", false),
        ("<a>secret-1</a>", "<a>x</a><a>y</a>", false),
        ("a=secret-1&c=1", "a=x&c=2", false),
        ("secret-1", "", false),
        // From the configuration and from a response.
        ("key=secret-2", "key=EUR", false),
        ("key=secret-3", "key=EUR", false),
    ] {
        let found = self::same(&runs, &recorded.into(), &now.into());
        assert_eq!(found, same, "{recorded} {now}");
    }
}

#[test]
fn a_difference_far_behind_the_beginning_is_shown() {
    let text = |end: &str| json!([format!("{}{end}", "ä".repeat(1000))]);
    let found = differences("", text("one"), text("two"));
    let equal = "ä".repeat(BEFORE);
    let expected = format!("/0: recorded …{equal}one\", now …{equal}two\"");
    assert_eq!(found, [expected]);
}
