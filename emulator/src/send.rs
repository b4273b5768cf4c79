//! `emulator send`: puts messages into the queue of the emulator that `emulator up` runs.

use crate::{
    input::InputError,
    platform::{SENDS, Sending},
    timeline::Timeline,
};
use anyhow::Context;
use sailor::protocol::Headers;
use serde_json::Value;
use std::{fs, io::ErrorKind, path::Path, time::Duration};

/// `emulator up` writes its address here, and removes it at its end.
pub(crate) const ADDRESS_FILE: &str = ".emulator/address";

/// The emulator is on this machine.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Sends each message. `to` is the platform's address; without it, the one that `emulator up` has written in this folder.
pub(crate) async fn send(
    to: Option<String>,
    messages: Vec<Value>,
    headers: Headers,
    timeline: &Timeline,
) -> anyhow::Result<()> {
    let address = match to {
        Some(address) => address,
        None => address()?,
    };
    http_double::choose_cryptography();
    let client = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .build()
        .context("creating an HTTP client")?;
    let url = format!("{}{SENDS}", address.trim_end_matches('/'));
    for message in messages {
        let headers = headers.clone();
        let sent = client.post(&url).json(&Sending { message, headers }).send();
        let response = sent.await.map_err(|error| {
            let error = error.without_url();
            InputError::new(format!(
                "no emulator responds at {address} ({error}): is `emulator up` running?"
            ))
        })?;
        let status = response.status();
        let body: Value = response.json().await.unwrap_or_default();
        if !status.is_success() {
            let reason = body["error"].as_str().unwrap_or("no reason was given");
            let text = format!("the emulator refuses the message with {status}: {reason}");
            return Err(InputError::new(text).into());
        }
        let id = body["messageId"].as_str().unwrap_or_default();
        timeline.note(&format!(
            "sent {id}; the time line of `emulator up` shows what happens"
        ));
        timeline.result(&body);
    }
    Ok(())
}

fn address() -> Result<String, InputError> {
    let address = fs::read_to_string(ADDRESS_FILE).map_err(|error| {
        InputError::new(match error.kind() {
            ErrorKind::NotFound => format!(
                "there is no {ADDRESS_FILE} in this folder: start `emulator up` here, or name the platform's address with --to"
            ),
            _ => format!("{ADDRESS_FILE} cannot be read: {error}"),
        })
    })?;
    Ok(address.trim().to_owned())
}

/// The address of a running emulator in this folder. The file is removed when this is dropped.
pub(crate) struct AddressFile;

impl AddressFile {
    pub(crate) fn write(address: &str) -> std::io::Result<Self> {
        if let Some(folder) = Path::new(ADDRESS_FILE).parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(ADDRESS_FILE, format!("{address}\n"))?;
        Ok(Self)
    }
}

impl Drop for AddressFile {
    fn drop(&mut self) {
        // Another emulator may have removed it.
        let _ = fs::remove_file(ADDRESS_FILE);
    }
}
