//! The configuration of a step in a file, tokens included. Only its owner can read it, and it is replaced atomically.

use anyhow::{Context, bail, ensure};
use serde_json::{Map, Value};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

pub(super) struct ConfigFile {
    /// The path without links.
    path: PathBuf,
}

impl ConfigFile {
    /// Opens the file at `path`, which need not exist. If its folder does not exist, creates it: accessible only to its
    /// owner, and ignored by git.
    pub(super) fn at(path: &Path) -> anyhow::Result<Self> {
        let folder = folder_of(path);
        if !folder.exists() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.with_context(|| format!("creating the folder {}", folder.display()))?;
            fs::write(folder.join(".gitignore"), "*\n")
                .with_context(|| format!("writing {}", folder.join(".gitignore").display()))?;
        }
        // Replaces the target of a link, not the link.
        let path = match path.canonicalize() {
            Ok(path) => path,
            Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("resolving the path {}", path.display()));
            }
        };
        Ok(Self { path })
    }

    /// Reads the file. It is empty if it does not exist.
    pub(super) fn read(&self) -> anyhow::Result<Map<String, Value>> {
        let path = self.path.display();
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Map::new()),
            Err(error) => return Err(error).with_context(|| format!("reading {path}")),
        };
        match serde_json::from_slice(&text) {
            Ok(Value::Object(members)) => Ok(members),
            Ok(_) => {
                bail!("{path} does not contain a JSON object with the configuration of a step")
            }
            // serde_json's own message could show a part of the file.
            Err(error) => bail!(
                "{path} is not JSON: line {}, column {}",
                error.line(),
                error.column()
            ),
        }
    }

    /// Replaces the whole file, or changes nothing.
    pub(super) fn write(&self, members: &Map<String, Value>) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(members)? + "\n";
        let temporary = self.temporary();
        let replaced = create(&temporary)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())
                    .and_then(|()| file.sync_all())
            })
            .and_then(|()| fs::rename(&temporary, &self.path))
            .and_then(|()| File::open(folder_of(&self.path))?.sync_all());
        replaced.or_else(|error| {
            // The temporary file does not exist if only the last operation failed.
            let _ = fs::remove_file(&temporary);
            Err(error).with_context(|| format!("writing {}", self.path.display()))
        })
    }

    /// Checks that [`write`](Self::write) can succeed. Called before a code is exchanged, because a code works only
    /// once.
    pub(super) fn check_writable(&self) -> anyhow::Result<()> {
        ensure!(
            !self.path.is_dir(),
            "{} is a folder, but must be a file",
            self.path.display()
        );
        let temporary = self.temporary();
        let tried = create(&temporary).and_then(|_| fs::remove_file(&temporary));
        tried.with_context(|| format!("writing to the folder of {}", self.path.display()))
    }

    /// Returns a new path in the same folder.
    fn temporary(&self) -> PathBuf {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        self.path
            .with_file_name(format!(".{name}.{}", uuid::Uuid::new_v4().simple()))
    }
}

fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    fn members(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn names_in(folder: &Path) -> Vec<String> {
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_new_file_is_private_and_ignored_by_git() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/config.json");
        let file = ConfigFile::at(&path).unwrap();
        assert!(file.read().unwrap().is_empty());
        file.write(&members(json!({"oauth": {"access_token": "a"}})))
            .unwrap();
        assert_eq!(
            file.read().unwrap(),
            members(json!({"oauth": {"access_token": "a"}}))
        );
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(
            fs::read_to_string(folder.path().join("new/.gitignore")).unwrap(),
            "*\n"
        );
    }

    #[test]
    fn writing_makes_a_public_file_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        fs::write(&path, "{}").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        ConfigFile::at(&path)
            .unwrap()
            .write(&members(json!({"a": 1})))
            .unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(
            names_in(folder.path()),
            ["config.json"],
            "nothing else is left, and no other folder is touched"
        );
    }

    #[test]
    fn writing_through_a_link_changes_its_target() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (
            folder.path().join("real.json"),
            folder.path().join("link.json"),
        );
        fs::write(&path, "{}").unwrap();
        symlink(&path, &link).unwrap();
        ConfigFile::at(&link)
            .unwrap()
            .write(&members(json!({"a": 1})))
            .unwrap();
        assert!(link.is_symlink());
        assert_eq!(
            ConfigFile::at(&path).unwrap().read().unwrap(),
            members(json!({"a": 1}))
        );
    }

    /// token-failures: T10.
    #[test]
    fn a_file_is_replaced_atomically() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let file = ConfigFile::at(&path).unwrap();
        file.write(&members(json!({"oauth": {"refresh_token": "one"}})))
            .unwrap();
        let mut reader = File::open(&path).unwrap();
        // What a crash in the middle of writing leaves behind.
        fs::write(file.temporary(), r#"{"oauth": {"refr"#).unwrap();
        assert_eq!(
            file.read().unwrap(),
            members(json!({"oauth": {"refresh_token": "one"}}))
        );
        file.write(&members(json!({"oauth": {"refresh_token": "two"}})))
            .unwrap();
        let before = std::io::read_to_string(&mut reader).unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&before).unwrap(),
            json!({"oauth": {"refresh_token": "one"}})
        );
        assert_eq!(
            file.read().unwrap(),
            members(json!({"oauth": {"refresh_token": "two"}}))
        );
    }

    #[test]
    fn an_invalid_file_is_not_shown_in_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        for text in ["\"top-secret\"", "{\"a\": top-secret", "top-secret"] {
            fs::write(&path, text).unwrap();
            let error = format!("{:#}", ConfigFile::at(&path).unwrap().read().unwrap_err());
            assert!(
                error.contains("config.json") && !error.contains("top-secret"),
                "{error}"
            );
        }
    }

    #[test]
    fn an_unwritable_location_is_detected_and_nothing_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        fs::create_dir(&path).unwrap();
        let file = ConfigFile::at(&path).unwrap();
        assert!(file.check_writable().is_err());
        assert!(file.write(&members(json!({"a": 1}))).is_err());
        assert_eq!(names_in(folder.path()), ["config.json"]);
    }
}
