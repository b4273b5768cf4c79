//! A folder that gets all of its files at once.

use crate::input::InputError;
use anyhow::Context;
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use tempfile::{Builder, TempDir};

/// How the names of the folders begin where the files are until all of them are there. One stays if the process is killed.
const PREFIX: &str = ".emulator-new-";

/// A folder that is empty or does not exist.
pub(crate) struct Place {
    folder: PathBuf,
    is_new: bool,
}

impl Place {
    /// Checks the folder, and writes nothing.
    pub(crate) fn check(folder: &Path) -> Result<Self, InputError> {
        let is_new = match first_entry(folder) {
            Ok(None) => false,
            Ok(Some(name)) => {
                let shown = folder.display();
                return Err(InputError::new(format!(
                    "the folder {shown} is not empty, it has {name}: name an empty or a new one with --folder"
                )));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(unusable(folder, &error)),
        };
        Ok(Self {
            folder: folder.to_owned(),
            is_new,
        })
    }

    /// Where the files are until all of them are there: on the same file system, beside a new folder, and in one that exists.
    fn parent(&self) -> &Path {
        match self.folder.parent().filter(|_| self.is_new) {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => &self.folder,
        }
    }
}

/// Files that are being written. If it is dropped before [`finish`](Self::finish), they are removed.
pub(crate) struct Staging {
    place: Place,
    temporary: TempDir,
}

impl Staging {
    /// Begins with no files.
    pub(crate) fn begin(place: Place) -> Result<Self, InputError> {
        let temporary = Builder::new().prefix(PREFIX).tempdir_in(place.parent());
        let temporary = temporary.map_err(|error| unusable(&place.folder, &error))?;
        let staging = Self { place, temporary };
        // A folder in the temporary one, which nobody else may read.
        let created = fs::create_dir(staging.path());
        created.map_err(|error| unusable(&staging.place.folder, &error))?;
        Ok(staging)
    }

    /// The folder with what is written so far.
    pub(crate) fn path(&self) -> PathBuf {
        self.temporary.path().join("component")
    }

    /// Writes a file, and the folders that it is in.
    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.path().join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// Moves everything to its place. If that fails, the folder is as it was.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        let folder = &self.place.folder;
        let result = if self.place.is_new {
            fs::rename(self.path(), folder)
        } else {
            self.move_files()
        };
        Ok(result.map_err(|error| unusable(folder, &error))?)
    }

    fn move_files(&self) -> io::Result<()> {
        let mut moved = Vec::new();
        let mut move_one = |entry: io::Result<fs::DirEntry>| {
            let from = entry?.path();
            let to = self.place.folder.join(from.file_name().unwrap_or_default());
            if to.symlink_metadata().is_ok() {
                let text = format!("somebody else has written {}", to.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
            }
            fs::rename(&from, &to)?;
            moved.push((from, to));
            Ok(())
        };
        let result = fs::read_dir(self.path()).and_then(|mut all| all.try_for_each(&mut move_one));
        if result.is_err() {
            for (from, to) in moved {
                // What cannot be moved back stays: the first error matters more.
                let _ = fs::rename(to, from);
            }
        }
        result
    }
}

/// The name of something in a folder that no killed process has left there.
fn first_entry(folder: &Path) -> io::Result<Option<String>> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().display().to_string();
        if !name.starts_with(PREFIX) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn unusable(folder: &Path, error: &io::Error) -> InputError {
    let folder = folder.display();
    InputError::new(format!(
        "the component cannot be written to {folder}: {error}; name another folder with --folder"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(folder: &Path) -> Result<Staging, InputError> {
        Staging::begin(Place::check(folder)?)
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string();
        let mut names: Vec<_> = entries.map(|entry| name(entry).unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_folder_appears_with_all_of_its_files() {
        let parent = TempDir::new().unwrap();
        let folder = parent.path().join("acme");
        let staging = begin(&folder).unwrap();
        staging.write("src/main.rs", "").unwrap();
        assert!(!folder.exists());
        staging.finish().unwrap();
        assert_eq!(names(parent.path()), ["acme"]);
        assert_eq!(names(&folder), ["src"]);
    }

    #[test]
    fn what_is_given_up_leaves_nothing() {
        let parent = TempDir::new().unwrap();
        let folder = parent.path().join("acme");
        drop(begin(&folder).unwrap());
        assert!(names(parent.path()).is_empty());
        drop(begin(parent.path()).unwrap());
        assert!(names(parent.path()).is_empty());
    }

    #[test]
    fn files_that_appear_meanwhile_are_kept() {
        let parent = TempDir::new().unwrap();
        let (new, empty) = (parent.path().join("new"), parent.path().join("empty"));
        fs::create_dir(&empty).unwrap();
        for folder in [&new, &empty] {
            let staging = begin(folder).unwrap();
            for name in ["a", "b", "c", "d"] {
                staging.write(name, "ours").unwrap();
            }
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join("c"), "theirs").unwrap();
            staging.finish().unwrap_err();
            assert_eq!(names(folder), ["c"]);
            assert_eq!(fs::read_to_string(folder.join("c")).unwrap(), "theirs");
        }
        assert_eq!(names(parent.path()), ["empty", "new"]);
    }

    /// A process that is killed removes nothing.
    #[test]
    fn what_a_killed_process_has_left_is_no_obstacle() {
        let folder = TempDir::new().unwrap();
        let killed = begin(folder.path()).unwrap();
        let next = begin(folder.path()).unwrap();
        next.write("a", "").unwrap();
        next.finish().unwrap();
        assert!(killed.path().exists());
    }
}
