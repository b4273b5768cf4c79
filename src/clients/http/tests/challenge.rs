use super::super::challenge::read;
use proptest::proptest;

#[test]
fn quoted_values_are_read_to_their_end() {
    let challenges =
        read(r#"Bearer error_description="a \"quoted\" \\ word", error="invalid_token", Basic"#);
    let told: Vec<_> = challenges
        .iter()
        .map(|c| (c.scheme.as_str(), c.params.len()))
        .collect();
    assert_eq!(told, [("bearer", 2), ("basic", 0)]);
    assert_eq!(challenges[0].params[0].1, r#"a "quoted" \ word"#);
    assert_eq!(
        read("Bearer error=\"never closed"),
        read("Bearer error=\"never closed\"")
    );
}

proptest! {
    #[test]
    fn reading_never_panics(header in "[ -~\u{80}-\u{ff}]{0,80}") {
        let _ = read(&header);
    }
}
