//! `--save-keys`: writes the tokens that a component refreshes to its configuration file. The stored refresh token may be
//! spent: without this option the file works for one run only.

use crate::{
    event::{Event, EventKind},
    input::read_object,
};
use anyhow::Context;
use serde_json::{Map, Value};
use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// The configuration file that changed keys are written to, if any.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyFile(pub(crate) Option<PathBuf>);

impl KeyFile {
    /// Saves the keys of an event that has some. The error says why that failed.
    pub(crate) fn record(&self, event: &Event) -> Result<(), String> {
        match event.body.get("keys") {
            Some(Value::Object(keys)) if event.kind == EventKind::UpdateKeys => self.save(keys),
            _ => Ok(()),
        }
    }

    /// Merges these keys into the file. The error says why that failed.
    pub(crate) fn save(&self, keys: &Map<String, Value>) -> Result<(), String> {
        let Some(path) = self.0.as_ref().filter(|_| !keys.is_empty()) else {
            return Ok(());
        };
        merge(path, keys)
            .map_err(|error| format!("cannot save changed keys in {}: {error:#}", path.display()))
    }
}

fn merge(path: &Path, keys: &Map<String, Value>) -> anyhow::Result<()> {
    // Replaces the target of a link, not the link.
    let path = path.canonicalize()?;
    let mut config = read_object("configuration", &path)?;
    config.extend(keys.clone());
    let text = serde_json::to_string_pretty(&config)? + "\n";
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", uuid::Uuid::new_v4().simple()));
    // The file is complete at any time, and only its owner can read the tokens.
    let replaced = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        });
    replaced
        .inspect_err(|_| drop(fs::remove_file(&temporary)))
        .context("replacing it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::os::unix::fs::MetadataExt;

    fn keys(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn changed_keys_are_merged_into_a_private_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        fs::write(
            &path,
            r#"{"baseUrl": "x", "oauth": {"refresh_token": "one", "old": 1}}"#,
        )
        .unwrap();
        let key_file = KeyFile(Some(path.clone()));
        key_file.save(&Map::new()).unwrap();
        assert!(
            fs::read_to_string(&path).unwrap().contains("one"),
            "nothing changed"
        );
        key_file
            .save(&keys(json!({"oauth": {"refresh_token": "two"}})))
            .unwrap();
        let config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(
            config,
            json!({"baseUrl": "x", "oauth": {"refresh_token": "two"}})
        );
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing else is left there"
        );
    }

    #[test]
    fn an_unwritable_file_is_reported_without_the_keys() {
        let folder = tempfile::tempdir().unwrap();
        let key_file = KeyFile(Some(folder.path().join("missing.json")));
        let error = key_file
            .save(&keys(json!({"oauth": "top-secret"})))
            .unwrap_err();
        assert!(
            error.contains("missing.json") && !error.contains("top-secret"),
            "{error}"
        );
    }
}
