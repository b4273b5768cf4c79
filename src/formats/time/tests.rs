use super::*;
use proptest::{prop_assert_eq, proptest};
use serde_json::json;
use std::time::{Duration, UNIX_EPOCH};

const NOON: &str = "2026-01-31T12:00:00Z";

fn noon() -> Timestamp {
    NOON.parse().unwrap()
}

#[test]
fn eight_digits_that_are_a_date_are_that_date() {
    for (number, time) in [
        (20_260_131, "2026-01-31T00:00:00Z"),
        (19_991_231, "1999-12-31T00:00:00Z"),
        // These are no dates, so they are seconds.
        (20_261_331, "1970-08-23T12:08:51Z"),
        (30_000_101, "1970-12-14T05:21:41Z"),
    ] {
        let time = Some(time.parse().unwrap());
        assert_eq!(time_of(&json!(number)), time, "{number}");
        assert_eq!(time_of(&json!(number.to_string())), time, "{number}");
    }
}

#[test]
fn one_time_is_read_in_every_notation() {
    for text in [
        NOON,
        "2026-01-31t12:00:00.0000000000001z",
        "2026-01-31T13:00:00+01:00",
        "2026-01-31T05:00:00.000-0700",
        "2026-01-31 12:00:00",
        "2026-01-31 12:00:00,000",
        "2026-01-31 12:00:00 UTC",
        "2026-01-31 13:00:00 +0100",
        "2026-01-31 12:00:00 +0000 UTC",
        "2026-01-31T12:00:00 GMT",
        "20260131T120000Z",
        "20260131120000",
        "2026/01/31 12:00",
        "31.01.2026 12:00",
        "31.1.2026, 12:00:00",
        "Sat, 31 Jan 2026 12:00:00 GMT",
        "Sat, 31 Jan 2026 13:00:00 +0100",
        "31 Jan 2026 07:00:00 EST",
        "31 Jan 26 12:00 Z",
        "Saturday, 31-Jan-26 12:00:00 GMT",
        "Sat Jan 31 12:00:00 2026",
        "Sat Jan 31 12:00:00 UTC 2026",
        "Sat Jan 31 12:00:00 +0000 2026",
        "Sat Jan 31 04:00:00 PST 2026",
        "Sat Jan 31 2026 13:00:00 GMT+0100 (Central European Standard Time)",
        "Sat Jan 31 2026 13:00:00 UTC+1",
        "31-JAN-2026 12:00:00",
        "January 31, 2026 12:00 PM",
        "Jan 31st, 2026 at 12:00PM",
        "31 January 2026 12:00:00.000",
        "/Date(1769860800000)/",
        "/Date(1769860800000+0100)/",
        "1769860800",
        " 1769860800.0 ",
        "1769860800000",
        "1769860800000000",
        "1769860800000000000",
    ] {
        assert_eq!(parse_time(text), Some(noon()), "{text}");
    }
    for value in [
        json!(1_769_860_800),
        json!(1_769_860_800_000_i64),
        json!(NOON),
    ] {
        assert_eq!(time_of(&value), Some(noon()), "{value}");
    }
}

#[test]
fn dates_and_parts_of_a_day_are_read() {
    for (text, time) in [
        ("2026-01-31", "2026-01-31T00:00:00Z"),
        ("20260131", "2026-01-31T00:00:00Z"),
        ("31 Jan 2026", "2026-01-31T00:00:00Z"),
        ("Jan 31, 2026 12:30 AM", "2026-01-31T00:30:00Z"),
        ("Jan 1, 2026 9:05:06 pm", "2026-01-01T21:05:06Z"),
        ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.5Z"),
        ("-0.5", "1969-12-31T23:59:59.5Z"),
        ("Sun, 06 Nov 94 08:49:37 GMT", "1994-11-06T08:49:37Z"),
    ] {
        assert_eq!(parse_time(text), Some(time.parse().unwrap()), "{text}");
    }
}

#[test]
fn other_texts_are_no_times() {
    for (text, looks_like_one) in [
        ("01/02/2026", true),
        ("31/01/2026 12:00", true),
        ("2026-13-31T12:00:00Z", true),
        ("31 Jan", true),
        ("12:00", true),
        ("Sat, 31 Jan 2026 12:00:00 XYZ", true),
        ("31 Jan 2026 31 Jan 2026", true),
        ("yesterday", false),
        ("etag-a", false),
        ("v1.2.3", false),
        ("march", false),
        ("a1dec9", false),
        ("Sun, 31 Jan 2026 12:00:00 GMT", true),
        ("Decimal 5", false),
        ("", false),
        ("+", false),
        ("99999999999999999999", false),
    ] {
        assert_eq!(parse_time(text), None, "{text}");
        assert_eq!(looks_like_time(text), looks_like_one, "{text}");
    }
    for value in [json!(null), json!([NOON]), json!(1e300), json!(true)] {
        assert_eq!(time_of(&value), None, "{value}");
    }
}

#[test]
fn http_dates_have_whole_seconds() {
    for (time, date) in [
        ("1994-11-06T08:49:37.9Z", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("2026-01-01T00:00:00+01:00", "Wed, 31 Dec 2025 23:00:00 GMT"),
    ] {
        assert_eq!(http_date(time.parse().unwrap()), date);
        assert_eq!(http_date(parse_time(date).unwrap()), date);
    }
}

#[test]
fn any_text_is_read_without_a_panic() {
    proptest::proptest!(|(text in "[0-9T:.ZéJanFebpm/()+ ,-]{0,40}")| {
        let _ = parse_time(&text);
        let _ = looks_like_time(&text);
    });
}

#[test]
fn times_are_written_as_in_javascript() {
    for (millis, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
        (1_735_689_599_001, "2024-12-31T23:59:59.001Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
    ] {
        let time = UNIX_EPOCH + Duration::from_millis(millis);
        assert_eq!(
            (javascript_time(time).as_str(), parse_javascript_time(text)),
            (text, Some(time))
        );
        let later = time + Duration::from_nanos(999_999);
        assert_eq!(
            javascript_time(later),
            text,
            "parts of a millisecond are cut off"
        );
    }
    let before_1970 = UNIX_EPOCH - Duration::from_secs(1);
    assert_eq!(javascript_time(before_1970), "1970-01-01T00:00:00.000Z");
}

#[test]
fn only_times_in_utc_are_read() {
    let unreadable = [
        "",
        "Z",
        "soon",
        "2024-01-01",
        "2024-01-01T00:00:00",
        "2024-01-01T00:00:00+02:00",
        "2024-13-01T00:00:00Z",
        "2024-00-01T00:00:00Z",
        "2024-01-00T00:00:00Z",
        "2024-01-01T24:00:00Z",
        "1969-12-31T23:59:59Z",
        "2024-01-01T00:00:00.Z",
        "2024-01-01T00:00:00.xZ",
        "+024-01-01T00:00:00Z",
        "99999999999-01-01T00:00:00Z",
        "1700000000",
    ];
    for text in unreadable {
        assert_eq!(parse_javascript_time(text), None, "{text}");
    }
    let second = Some(UNIX_EPOCH + Duration::from_secs(1_704_067_201));
    for text in [
        "2024-01-01T00:00:01Z",
        "2024-01-01 00:00:01z",
        " 2024-01-01T00:00:01.0+00:00 ",
    ] {
        assert_eq!(parse_javascript_time(text), second, "{text}");
    }
}

proptest! {
    #[test]
    fn a_written_time_is_read_again(millis in 0_u64..253_402_207_200_000) {
        let time = UNIX_EPOCH + Duration::from_millis(millis);
        prop_assert_eq!(parse_javascript_time(&javascript_time(time)), Some(time));
    }

    #[test]
    fn reading_never_panics(text in "[0-9TZ:.+ -]{0,30}") {
        let _ = parse_javascript_time(&text);
    }
}
