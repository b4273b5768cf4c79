//! Which names say that their values are secrets.

/// Parts of names whose values are secrets, without `-` and `_`.
const PARTS: [&str; 22] = [
    "accesskey",
    "apikey",
    "assertion",
    "authkey",
    "authorization",
    "bearer",
    "codeverifier",
    "cookie",
    "credential",
    "functionskey",
    "hmac",
    "jwt",
    "passcode",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "secret",
    "sessionid",
    "signature",
    "subscriptionkey",
    "token",
];
/// Whole names. Those of the second list are common words in JSON, and secrets in queries and forms.
const NAMES: [&str; 6] = ["pwd", "otp", "pass", "pat", "pin", "xauth"];
const NAMES_OF_PARAMETERS: [&str; 6] = ["auth", "code", "devicecode", "key", "sid", "sig"];
/// What a name ends with that only speaks of a secret.
const HARMLESS_ENDS: [&str; 10] = [
    "endpoint",
    "expirytime",
    "expiresat",
    "expiresin",
    "hint",
    "type",
    "types",
    "uri",
    "url",
    "credentialid",
];

/// Keys that open nothing.
const HARMLESS_KEYS: [&str; 9] = [
    "foreignkey",
    "idempotencykey",
    "issuekey",
    "parentkey",
    "primarykey",
    "projectkey",
    "publickey",
    "routingkey",
    "sortkey",
];
/// The id of a credential on the platform.
const OF_PLATFORM: &str = "secretId";

/// Whether a member of this name holds a secret.
pub(super) fn is_secret_name(name: &str) -> bool {
    if name == OF_PLATFORM {
        return false;
    }
    let name = plain(name);
    !HARMLESS_ENDS.iter().any(|end| name.ends_with(end))
        && (NAMES.contains(&&*name) || PARTS.iter().any(|part| name.contains(part)))
}

/// Whether a parameter, a header or a field of this name holds a secret. In JSON, most names that end in `key` are of data.
pub(super) fn is_secret_parameter(name: &str) -> bool {
    let plain = plain(name);
    let is_key = plain.len() > "key".len() && plain.ends_with("key");
    let is_harmless = HARMLESS_KEYS.iter().any(|key| plain.ends_with(key));
    is_secret_name(name) || NAMES_OF_PARAMETERS.contains(&&*plain) || (is_key && !is_harmless)
}

fn plain(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_is_secret() {
        for name in [
            "access_token",
            "Authorization",
            "X-Api-Key",
            "client_secret",
            "dbPassword",
            "Set-Cookie",
            "ocp-apim-subscription-key",
            "SessionId",
            "pageToken",
            "secret_id",
            "pass",
            "pat",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "token_type",
            "tokenExpiryTime",
            "token_uri",
            "secretId",
            "key",
            "code",
            "name",
            "path",
            "publicKey",
            "routing_key",
            "Idempotency-Key",
            "token_type_hint",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
        for name in ["key", "code", "accountKey", "DD-APPLICATION-KEY", "appKey"] {
            assert!(is_secret_parameter(name), "{name}");
        }
        for name in ["publicKey", "routing_key", "Idempotency-Key", "name"] {
            assert!(!is_secret_parameter(name), "{name}");
        }
    }
}
