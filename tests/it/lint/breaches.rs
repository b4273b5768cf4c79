//! A descriptor for each rule that breaks this rule and no other one: those of breaches.txt, and those that no text file shows.

/// A descriptor with one issue.
pub struct Breach {
    pub rule: &'static str,
    pub line: usize,
    pub column: usize,
    pub json: Vec<u8>,
}

/// Where the issue is, in a text.
const MARK: char = '»';

impl Breach {
    fn new(rule: &'static str, marked: &str) -> Self {
        let (before, after) = marked.split_once(MARK).expect(rule);
        let visible = before.trim_start_matches('\u{feff}');
        let line = visible.matches('\n').count() + 1;
        let column = visible.rsplit('\n').next().unwrap().chars().count() + 1;
        let json = format!("{before}{after}").into_bytes();
        Self {
            rule,
            line,
            column,
            json,
        }
    }
}

pub fn all() -> Vec<Breach> {
    let texts = include_str!("breaches.txt").split("\n@ ").skip(1);
    let texts = texts.map(|text| text.split_once('\n').unwrap());
    let all = texts.map(|(rule, marked)| Breach::new(rule, marked));
    all.chain([byte_order_mark(), not_utf_8(), too_deep()])
        .collect()
}

fn byte_order_mark() -> Breach {
    let json = "\u{feff}»{\"title\": \"T\", \"version\": \"1.0.0\", \"actions\": {\"a\": {\"title\": \"A\", \"main\": \"./a.js\"}}}";
    Breach::new("byte-order-mark", json)
}

fn not_utf_8() -> Breach {
    let mut breach = Breach::new("not-utf-8", "{\n\"title\": \"é»#\"}");
    let byte = breach.json.iter().position(|b| *b == b'#').unwrap();
    breach.json[byte] = 0xff;
    breach
}

fn too_deep() -> Breach {
    let json = format!("{}»[{}", "[".repeat(127), "]".repeat(128));
    Breach::new("invalid-json", &json)
}
