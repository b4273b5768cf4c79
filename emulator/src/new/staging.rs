//! A folder that gets all of its files at once, or none.

use crate::input::InputError;
use anyhow::Context;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Where the files are until all of them are there: inside of the folder, so that they can be moved.
const NAME: &str = ".emulator-new";

/// Files that are being written. If it is dropped before [`finish`](Self::finish), they are removed.
pub(crate) struct Staging {
    folder: PathBuf,
    path: PathBuf,
    /// The folder was not there before.
    is_new: bool,
    is_finished: bool,
}

impl Staging {
    /// Begins in a folder that is empty or does not exist.
    pub(crate) fn begin(folder: &Path) -> anyhow::Result<Self> {
        let shown = folder.display();
        let is_new = match fs::read_dir(folder) {
            Ok(mut entries) => match entries.next().transpose() {
                Ok(None) => false,
                Ok(Some(entry)) => {
                    let name = entry.file_name();
                    let text = format!(
                        "the folder {shown} is not empty, it has {}: name an empty or a new one with --folder",
                        name.display()
                    );
                    return Err(InputError::new(text).into());
                }
                Err(error) => return Err(unusable(folder, &error).into()),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(unusable(folder, &error).into()),
        };
        if is_new {
            fs::create_dir(folder).map_err(|error| unusable(folder, &error))?;
        }
        let path = folder.join(NAME);
        let staging = Self {
            folder: folder.to_owned(),
            path,
            is_new,
            is_finished: false,
        };
        fs::create_dir(&staging.path).map_err(|error| unusable(folder, &error))?;
        Ok(staging)
    }

    /// The folder with what is written so far.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file, and the folders that it is in.
    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.path.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// Moves everything to its place.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        let context = || format!("moving the files to {}", self.folder.display());
        for entry in fs::read_dir(&self.path).with_context(context)? {
            let entry = entry.with_context(context)?;
            fs::rename(entry.path(), self.folder.join(entry.file_name())).with_context(context)?;
        }
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for Staging {
    /// What cannot be removed stays: the error that is being reported matters more.
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
        if self.is_new && !self.is_finished {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn unusable(folder: &Path, error: &io::Error) -> InputError {
    let folder = folder.display();
    InputError::new(format!(
        "the component cannot be written to {folder}: {error}; name another folder with --folder"
    ))
}
