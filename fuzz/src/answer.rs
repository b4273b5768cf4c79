//! Responses of APIs: what the kit for authors reads.

use http::{HeaderMap, HeaderValue, header::LINK};
use sailor::http::{
    decode_text, decode_text_lossy, file_name, http_date, looks_like_time, next_link, parse_json,
    parse_time, path_segment, take_list, time_of,
};
use serde_json::Value;

/// A media type, and a body behind a zero byte. JSON that serde reads means the same, whatever the media type is called.
pub fn body(data: &[u8]) {
    let (content_type, body) = crate::split_text(data);
    let content_type = Some(content_type.as_str());
    let lossy = decode_text_lossy(body, content_type);
    if let Some(text) = decode_text(body, content_type) {
        assert_eq!(text, lossy);
    }
    let _ = parse_json::<Value>(body, content_type);
    let read = parse_json::<Value>(body, Some("application/json"));
    if let Ok(expected) = serde_json::from_slice::<Value>(body) {
        let mut read = read.expect("serde reads it");
        assert_eq!(read, expected);
        let _ = time_of(&read);
        for pointer in ["", "/items", "/a/0"] {
            let list = take_list(&mut read, pointer);
            assert!(list.is_err() || read.pointer(pointer).is_none_or(Value::is_null));
        }
    }
}

/// Names of files, links and segments of paths: a name never leads to another folder, a segment is one segment.
pub fn header(data: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(data) {
        if let Some(name) = file_name(&value) {
            assert!(!name.is_empty() && !name.contains(['/', '\\', '\0']));
            assert!(name != "." && name != "..");
        }
        let _ = next_link(&HeaderMap::from_iter([(LINK, value)]));
    }
    let text = String::from_utf8_lossy(data);
    if let Ok(segment) = path_segment(&text) {
        assert!(!segment.contains(['/', '?', '#']) && segment != "." && segment != "..");
    }
}

/// Times: whatever is read as one can be written, and means the same second when it is read again.
pub fn time(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = looks_like_time(&text);
    if let Some(time) = parse_time(&text) {
        assert_eq!(parse_time(&time.to_string()), Some(time));
        let date = http_date(time);
        // The dates of HTTP have years of four digits.
        if !text.contains('-') && (0..253_402_300_800).contains(&time.as_second()) {
            let read = parse_time(&date).map(|time| time.as_second());
            assert_eq!(read, Some(time.as_second()), "{date}");
        }
    }
}
