//! A terminal for the output of a process.

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::{ffi::OsStr, fs::File, io::Read, os::unix::ffi::OsStrExt};

/// Opens a new terminal. Returns the side where its output is shown, and the one that a process writes to.
///
/// # Panics
/// When the system has no terminal to give.
#[must_use]
pub fn terminal() -> (File, File) {
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&screen).unwrap();
    unlockpt(&screen).unwrap();
    let name = ptsname(&screen, Vec::new()).unwrap();
    let name = OsStr::from_bytes(name.to_bytes());
    let output = File::options().read(true).write(true).open(name).unwrap();
    (File::from(screen), output)
}

/// Reads until the last process has closed the terminal, which is an error.
///
/// # Panics
/// When the text is not UTF-8.
#[must_use]
pub fn shown(mut screen: File) -> String {
    let mut text = vec![];
    let _ = screen.read_to_end(&mut text);
    String::from_utf8(text).unwrap()
}
