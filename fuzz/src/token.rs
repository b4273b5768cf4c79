//! Responses of token endpoints.

use sailor::{internals::read_token_response, oauth2::Profile};
use serde_json::Value;

/// Whatever a provider answers is read or refused. A JSON object with an access token is always a success: its refresh token
/// may be spent.
pub fn response(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else {
        return;
    };
    let names = Profile::built_in_names();
    let name = names[usize::from(*choice) % names.len()];
    let profile = Profile::built_in(name).expect("it is built in");
    let read = read_token_response(body, &profile);
    if let Some((members, _)) = &read {
        assert!(
            members["access_token"]
                .as_str()
                .is_some_and(|token| !token.is_empty())
        );
    }
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
        return;
    };
    let token = members.get("access_token").and_then(Value::as_str);
    if token.is_some_and(|token| !token.trim().is_empty()) {
        let (read, _) = read.expect("it has an access token");
        assert_eq!(read.get("access_token").and_then(Value::as_str), token);
        assert_eq!(read.get("refresh_token"), members.get("refresh_token"));
    }
}
