//! Which names say that their values are secrets. docs/emulator.md has the rules.

/// Parts of names whose values are secrets, without `-` and `_`.
const PARTS: [&str; 38] = [
    "accesskey",
    "apikey",
    "appkey",
    "applicationkey",
    "assertion",
    "authkey",
    "authorization",
    "bearer",
    "codeverifier",
    "consumerkey",
    "cookie",
    "credential",
    "developerkey",
    "encryptionkey",
    "functionskey",
    "hmac",
    "integrationkey",
    "jwt",
    "licensekey",
    "masterkey",
    "passcode",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "pwd",
    "secret",
    "securitykey",
    "sessionid",
    "sessionkey",
    "sharedkey",
    "signature",
    "signingkey",
    "sshkey",
    "storagekey",
    "subscriptionkey",
    "token",
    "writekey",
];
/// Whole names. Those of the second list are common words in JSON, and secrets in queries and forms.
const NAMES: [&str; 5] = ["otp", "pass", "pat", "pin", "xauth"];
const NAMES_OF_PARAMETERS: [&str; 7] = [
    "auth",
    "authentication",
    "code",
    "devicecode",
    "key",
    "sid",
    "sig",
];
/// Whole names, and ends of names, of secrets that people type: they may be short numbers.
const TYPED_NAMES: [&str; 3] = ["otp", "pass", "pin"];
const TYPED_ENDS: [&str; 6] = [
    "passcode",
    "passphrase",
    "passwd",
    "password",
    "pwd",
    "secret",
];
/// What a name ends with that only speaks of a secret.
const HARMLESS_ENDS: [&str; 25] = [
    "count",
    "credentialid",
    "enabled",
    "endpoint",
    "expiration",
    "expires",
    "expiresat",
    "expiresin",
    "expireson",
    "expiry",
    "expirytime",
    "hint",
    "length",
    "lifetime",
    "method",
    "mode",
    "name",
    "policy",
    "required",
    "status",
    "type",
    "types",
    "uri",
    "url",
    "use",
];
/// What a name ends with whose value can be the name of a secret, such as `tokenField`.
const ENDS_FOR_NAMES: [&str; 4] = ["field", "header", "param", "parameter"];
/// What is in names, mostly of headers, that only tell how much may still be asked for, such as `x-ratelimit-remaining-tokens`.
const OF_LIMITS: &str = "ratelimit";

/// Keys that open nothing, whatever they look like.
const HARMLESS_KEYS: [&str; 6] = [
    "cachekey",
    "foreignkey",
    "idempotencykey",
    "partitionkey",
    "publickey",
    "sortkey",
];
/// Keys that are ordinary data with one API, and secrets with another.
const AMBIGUOUS_KEYS: [&str; 5] = [
    "issuekey",
    "parentkey",
    "primarykey",
    "projectkey",
    "routingkey",
];
/// The id of a credential on the platform.
const OF_PLATFORM: &str = "secretId";

/// What a name says about its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Secret,
    /// A key: the value decides ([`looks_generated`](super::values::looks_generated)).
    Key,
    Other,
}

/// What the name of a member in JSON says, or that of an element in XML. Most names there that end in `key` are of data.
pub(super) fn of_member(name: &str) -> Meaning {
    let plain = plain(name);
    if is_secret(name, &plain) {
        Meaning::Secret
    } else if is_key(&plain) {
        Meaning::Key
    } else {
        Meaning::Other
    }
}

/// What the name of a parameter says, or that of a header, or that of a field of a form or of the configuration.
pub(super) fn of_parameter(name: &str) -> Meaning {
    let plain = plain(name);
    let is_ambiguous = AMBIGUOUS_KEYS.iter().any(|key| plain.ends_with(key));
    match of_member(name) {
        Meaning::Key if !is_ambiguous => Meaning::Secret,
        Meaning::Other if NAMES_OF_PARAMETERS.contains(&&*plain) => Meaning::Secret,
        same => same,
    }
}

/// Whether a member of this name holds a secret.
pub(super) fn is_secret_name(name: &str) -> bool {
    of_member(name) == Meaning::Secret
}

/// Whether a parameter, a header or a field of this name holds a secret.
pub(super) fn is_secret_parameter(name: &str) -> bool {
    of_parameter(name) == Meaning::Secret
}

/// Whether a value is harmless although its name is that of a secret: a count, as in `max_tokens`, or itself the name of a secret.
pub(super) fn is_harmless(name: &str, value: &str) -> bool {
    let name = plain(name);
    let is_count = name.ends_with("tokens") && value.bytes().all(|byte| byte.is_ascii_digit());
    let is_word = value
        .chars()
        .all(|c| c.is_ascii_alphabetic() || "_-".contains(c));
    let is_for_names = ENDS_FOR_NAMES.iter().any(|end| name.ends_with(end));
    is_count || is_for_names && is_word && is_secret_parameter(value)
}

/// Whether a value is one of the words that names of secrets have, so that it is found in names.
pub(super) fn is_part_of_names(value: &str) -> bool {
    let mut letters = value.chars();
    letters.all(|c| c.is_ascii_alphabetic() || "_-".contains(c)) && PARTS.contains(&&*plain(value))
}

/// Whether a number in a member of this name is a secret: the name ends with what holds one. `tokenCount`, `max_tokens` and
/// `passwordAge` only measure something.
pub(super) fn is_secret_number(name: &str) -> bool {
    let plain = plain(name);
    is_secret(name, &plain)
        && (NAMES.contains(&&*plain) || PARTS.iter().any(|part| plain.ends_with(part)))
}

/// Whether that also holds for a number with few digits. Few digits under other names are counts, such as a token for page 2.
pub(super) fn is_typed(name: &str) -> bool {
    let plain = plain(name);
    TYPED_NAMES.contains(&&*plain) || TYPED_ENDS.iter().any(|end| plain.ends_with(end))
}

fn is_secret(name: &str, plain: &str) -> bool {
    name != OF_PLATFORM
        && !plain.contains(OF_LIMITS)
        && !is_harmless_end(plain)
        && (NAMES.contains(&plain) || PARTS.iter().any(|part| plain.contains(part)))
}

/// `account` ends like `count`, and is none.
fn is_harmless_end(plain: &str) -> bool {
    HARMLESS_ENDS.iter().any(|end| plain.ends_with(end)) && !plain.ends_with("account")
}

/// Such as `key`, `accountKey`, `key2` and `keys`.
fn is_key(plain: &str) -> bool {
    let name = plain.trim_end_matches(|c: char| c.is_ascii_digit());
    let name = name.strip_suffix('s').unwrap_or(name);
    name.ends_with("key") && !HARMLESS_KEYS.iter().any(|key| name.ends_with(key))
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
            "api_key",
            "accessKey",
            "client_secret",
            "dbPassword",
            "Set-Cookie",
            "ocp-apim-subscription-key",
            "SessionId",
            "pageToken",
            "secret_id",
            "pass",
            "pat",
            "userPwd",
            "smtp_pwd",
            "credentials_service_account",
        ] {
            assert_eq!(of_member(name), Meaning::Secret, "{name}");
        }
        for name in [
            "token_type",
            "tokenExpiryTime",
            "token_uri",
            "secretId",
            "code",
            "name",
            "path",
            "publicKey",
            "Idempotency-Key",
            "token_type_hint",
            "monkey_business",
            "authorizationMode",
            "passwordRequired",
            "requested_token_use",
            "accessTokenExpiration",
            "x-ratelimit-reset-tokens",
            "token_count",
        ] {
            assert_eq!(of_member(name), Meaning::Other, "{name}");
        }
        for name in [
            "key",
            "keys",
            "key1",
            "primaryKey",
            "routing_key",
            "accountKey",
        ] {
            assert_eq!(of_member(name), Meaning::Key, "{name}");
        }
    }

    #[test]
    fn a_parameter_that_ends_in_key_is_secret() {
        for name in [
            "key",
            "code",
            "accountKey",
            "DD-APPLICATION-KEY",
            "appKey",
            "Authentication",
        ] {
            assert_eq!(of_parameter(name), Meaning::Secret, "{name}");
        }
        for name in ["publicKey", "Idempotency-Key", "name"] {
            assert_eq!(of_parameter(name), Meaning::Other, "{name}");
        }
        for name in ["issueKey", "routing_key", "primaryKey"] {
            assert_eq!(of_parameter(name), Meaning::Key, "{name}");
        }
    }

    #[test]
    fn a_count_and_the_name_of_a_secret_are_harmless() {
        for (name, value, expected) in [
            ("max_tokens", "1000", true),
            ("accessTokens", "at-1000", false),
            ("token", "1000", false),
            ("tokenField", "accessToken", true),
            ("authHeader", "X-Api-Key", true),
            ("authHeader", "Bearer abc", false),
            ("passwordField", "hunter2", false),
            ("password", "password", false),
        ] {
            assert_eq!(is_harmless(name, value), expected, "{name}: {value}");
        }
    }

    #[test]
    fn a_number_that_measures_is_no_secret() {
        for name in ["pin", "access_token", "clientSecret", "apiKey", "sessionId"] {
            assert!(is_secret_number(name), "{name}");
        }
        for name in [
            "max_tokens",
            "tokenCount",
            "passwordAge",
            "expires_in",
            "id",
        ] {
            assert!(!is_secret_number(name), "{name}");
        }
        assert!(is_typed("pin") && is_typed("oldPassword") && !is_typed("pageToken"));
    }
}
