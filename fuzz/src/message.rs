//! Deliveries: the cipher and the envelope.

use bytes::Bytes;
use sailor::{
    internals::{read_error_event, read_message},
    protocol::{Cipher, Encoding, Headers, IncomingHeaders},
};
use serde_json::{Value, json};

/// A body that is no ciphertext, and a payload that is. The first byte says how it is encoded.
///
/// Whatever arrives is read or refused. A payload that serde reads as an object is read, and means the same.
pub fn message(data: &[u8]) {
    let Some((flags, bytes)) = data.split_first() else {
        return;
    };
    let cipher = Cipher::new("password", "0123456789abcdef").expect("the vector has 16 bytes");
    let version = i64::from(flags & 1) + 1;
    let headers = headers(version, flags & 2 != 0);
    let _ = read_message(&cipher, &headers, &Bytes::copy_from_slice(bytes));
    let _ = read_error_event(&cipher, &headers, &Bytes::copy_from_slice(bytes));

    let body = cipher.encrypt(bytes.to_vec(), Encoding::of(version));
    let decrypted = cipher.decrypt(&body, Encoding::of(version));
    assert_eq!(decrypted.as_deref(), Ok(bytes));
    let read = read_message(&cipher, &headers, &body.into());
    let Ok(Value::Object(mut expected)) = serde_json::from_slice(bytes) else {
        return;
    };
    // serde_json has a limit of 128 levels. The envelope's is higher.
    let read = read.expect("serde reads it");
    let mut members: Value = serde_json::from_slice(&read.to_vec()).expect("it is JSON");
    let members = members.as_object_mut().expect("it is an object");
    assert!(
        members
            .remove("headers")
            .is_some_and(|headers| headers.is_object())
    );
    expected.remove("headers");
    assert_eq!(*members, expected);
}

/// An error event whose texts are encrypted, as the runtime writes it, and nearly so.
pub fn error_event(data: &[u8]) {
    let cipher = Cipher::new("password", "0123456789abcdef").expect("the vector has 16 bytes");
    let sealed = |plain: &[u8]| {
        String::from_utf8(cipher.encrypt(plain.to_vec(), Encoding::Base64))
            .expect("base64 is ASCII")
    };
    let (error, input) = data.split_at(data.len() / 2);
    let event = json!({ "error": sealed(error), "errorInput": sealed(input) });
    let headers = headers(1, false);
    let read = read_error_event(&cipher, &headers, &event.to_string().into());
    let is_json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).is_ok();
    if is_json(error) && is_json(input) {
        assert!(read.is_ok());
    }
}

/// Headers of a delivery with arbitrary values: reading them never fails, and keeps to what they say.
pub fn headers_of(data: &[u8]) {
    let Ok(Value::Object(headers)) = serde_json::from_slice(data) else {
        return;
    };
    let incoming = IncomingHeaders::read(&headers);
    assert!(!incoming.thread_id.is_empty());
    assert!(
        incoming
            .meta
            .keys()
            .all(|name| name.starts_with("x-eio-meta-"))
    );
}

fn headers(version: i64, has_reply_to: bool) -> Headers {
    let mut headers = Headers::new();
    headers.insert("protocolVersion".to_owned(), version.into());
    if has_reply_to {
        headers.insert("reply_to".to_owned(), "reply".into());
    }
    headers
}
