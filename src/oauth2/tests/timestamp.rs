use super::super::timestamp::{read, write};
use proptest::{prop_assert_eq, proptest};
use std::time::{Duration, UNIX_EPOCH};

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
        assert_eq!((write(time).as_str(), read(text)), (text, Some(time)));
        let later = time + Duration::from_nanos(999_999);
        assert_eq!(write(later), text, "parts of a millisecond are cut off");
    }
    let before_1970 = UNIX_EPOCH - Duration::from_secs(1);
    assert_eq!(write(before_1970), "1970-01-01T00:00:00.000Z");
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
        assert_eq!(read(text), None, "{text}");
    }
    let second = Some(UNIX_EPOCH + Duration::from_secs(1_704_067_201));
    for text in [
        "2024-01-01T00:00:01Z",
        "2024-01-01 00:00:01z",
        " 2024-01-01T00:00:01.0+00:00 ",
    ] {
        assert_eq!(read(text), second, "{text}");
    }
}

proptest! {
    #[test]
    fn a_written_time_is_read_again(millis in 0_u64..253_402_207_200_000) {
        let time = UNIX_EPOCH + Duration::from_millis(millis);
        prop_assert_eq!(read(&write(time)), Some(time));
    }

    #[test]
    fn reading_never_panics(text in "[0-9TZ:.+ -]{0,30}") {
        let _ = read(&text);
    }
}
