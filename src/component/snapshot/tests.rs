use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
struct Cursor {
    time: String,
    seen: Fingerprints,
    #[serde(default, skip_serializing_if = "Fingerprints::is_empty")]
    reported: Fingerprints,
}

impl Position for Cursor {
    fn fingerprints(&mut self) -> Vec<&mut Fingerprints> {
        vec![&mut self.seen, &mut self.reported]
    }
}

fn numbered(numbers: impl IntoIterator<Item = usize>) -> Fingerprints {
    let fingerprint = |number: usize| Fingerprint::of(&number.to_string());
    numbers.into_iter().map(fingerprint).collect()
}

fn cursor(time: &str, seen: usize, reported: usize) -> Cursor {
    Cursor {
        time: time.to_owned(),
        seen: numbered(0..seen),
        reported: numbered(0..reported),
    }
}

fn size(snapshot: &Snapshot<Cursor>) -> usize {
    json!(snapshot).to_string().len()
}

/// What another process reads.
fn stored(snapshot: &Snapshot<Cursor>) -> Snapshot<Cursor> {
    serde_json::from_value(json!(snapshot)).unwrap()
}

proptest! {
    #[test]
    fn every_snapshot_is_small_and_its_process_knows_the_rest(
        time in "[\\x00-\\x7f]{0,700}", seen in 0..3_000_usize, reported in 0..1_000_usize,
    ) {
        let (position, memory) = (cursor(&time, seen, reported), Memory::default());
        let snapshot = memory.save(position.clone()).unwrap();
        prop_assert!(size(&snapshot) <= MAX_BYTES, "{}", size(&snapshot));
        prop_assert_eq!(memory.recall(stored(&snapshot)), position.clone());
        // Another process knows the newest of each.
        let cut = Memory::default().recall(stored(&snapshot));
        prop_assert_eq!(&cut.time, &time);
        for (cut, whole) in [(cut.seen, position.seen), (cut.reported, position.reported)] {
            prop_assert_eq!(cut.clone(), whole.newest(cut.len()));
        }
    }
}

#[test]
fn sets_share_the_room_and_small_ones_are_whole() {
    let snapshot = Memory::default().save(cursor("", 5_000, 10)).unwrap();
    assert_eq!(snapshot.0.reported.len(), 10);
    assert!(snapshot.0.seen.len() > 440);
    let snapshot = Memory::default().save(cursor("", 5_000, 5_000)).unwrap();
    assert_eq!(snapshot.0.seen.len(), snapshot.0.reported.len());
    assert!((MAX_BYTES - 22..=MAX_BYTES).contains(&size(&snapshot)));
}

#[test]
fn a_snapshot_of_another_process_is_not_completed() {
    let memory = Memory::default();
    let first = memory.save(cursor("1", 2_000, 0)).unwrap();
    let second = memory.save(cursor("2", 2_000, 0)).unwrap();
    let seen = |snapshot| memory.recall(snapshot).seen.len();
    assert_eq!(
        (seen(first.clone()), seen(second)),
        (first.0.seen.len(), 2_000)
    );
    // What fits is not remembered.
    let small = memory.save(cursor("3", 2, 0)).unwrap();
    assert_eq!(seen(small), 2);
    assert!(memory.last().is_none());
}

#[test]
fn a_position_that_has_no_room_is_an_error() {
    let memory = Memory::default();
    let error = memory.save(cursor(&"x".repeat(5_000), 3, 0)).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("5000") && text.contains("reset it on the platform"),
        "{text}"
    );
}

#[test]
fn fingerprints_are_read_in_both_notations() {
    let read = serde_json::from_value::<Fingerprints>;
    let expected: Fingerprints = [Fingerprint::of("a"), Fingerprint::of("b")]
        .into_iter()
        .collect();
    for stored in [
        json!("r2PcTIYB7IyvY99MhgHxpQ"),
        json!(["af63dc4c8601ec8c", "af63df4c8601f1a5"]),
    ] {
        assert_eq!(read(stored).unwrap(), expected);
    }
    assert_eq!(json!(expected), json!("r2PcTIYB7IyvY99MhgHxpQ"));
    for empty in [json!(""), json!([])] {
        assert!(read(empty).unwrap().is_empty());
    }
    for wrong in [
        json!("r2PcTIYB7IyvY99MhgHxp"),
        json!("r2PcTIYB7Iw="),
        json!("seven"),
        json!(["af63dc4c8601ec8"]),
        json!(["+f63dc4c8601ec8c"]),
        json!([7]),
        json!({}),
        Value::Null,
    ] {
        assert!(read(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn a_set_forgets_its_oldest_beyond_a_million() {
    let mut set: Fingerprints = (0..1_000_000)
        .map(|n| Fingerprint::of(&n.to_string()))
        .collect();
    assert_eq!(set.len(), 1_000_000);
    assert!(set.insert(Fingerprint::of("new")));
    assert_eq!(set.len(), 900_001);
    let has = |name: &str| set.contains(Fingerprint::of(name));
    assert!(has("new") && has("100000") && has("999999") && !has("99999"));
}
