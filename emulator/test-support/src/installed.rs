//! Software of others that a test needs.

use std::{env, path::PathBuf};

/// The path in this environment variable, which says where `what` is installed; none when it is not set: the test
/// cannot run then, and says so.
///
/// # Panics
/// When it is not set although `CI` is: a test that does not run there must not pass.
#[must_use]
pub fn installed(variable: &str, what: &str) -> Option<PathBuf> {
    let path = env::var_os(variable).map(PathBuf::from);
    if path.is_none() {
        let reason = format!("not run: {what} is missing, {variable} is not set");
        assert!(env::var_os("CI").is_none(), "{reason}");
        eprintln!("{reason}");
    }
    path
}
