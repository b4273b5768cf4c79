//! The variables of a step.

use sailor::settings::Settings;

const SECRET: &str = "s3cr3t-s3cr3t";
const SECRETS: [&str; 3] = [
    "ELASTICIO_API_KEY",
    "ELASTICIO_MESSAGE_CRYPTO_PASSWORD",
    "ELASTICIO_OBJECT_STORAGE_TOKEN",
];

/// Lines of `NAME=value`. Whatever they are, they are read, or every problem is named; and no text holds a secret.
pub fn settings(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lines: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    let get = |name: &str| {
        if SECRETS.contains(&name) {
            return Some(SECRET.to_owned());
        }
        let line = lines
            .iter()
            .find(|(known, _)| name.strip_prefix("ELASTICIO_").unwrap_or(name) == *known);
        // Most variables are required: without a line they have a value that fits many.
        line.map(|(_, value)| (*value).to_owned())
            .or_else(|| default(name))
    };
    let printed = match Settings::read(get) {
        Ok(settings) => format!("{settings:?}"),
        Err(error) => {
            assert!(!error.0.is_empty());
            format!("{error}{error:?}")
        }
    };
    assert!(!printed.contains(SECRET));
}

fn default(name: &str) -> Option<String> {
    let value = match name {
        "ELASTICIO_AMQP_URI" => "amqp://user:s3cr3t-s3cr3t@host/",
        "ELASTICIO_API_URI" | "ELASTICIO_OBJECT_STORAGE_URI" => "http://host",
        "ELASTICIO_MESSAGE_CRYPTO_IV" => "0123456789abcdef",
        _ => return name.ends_with("_KEY").then(|| "key".to_owned()),
    };
    Some(value.to_owned())
}
