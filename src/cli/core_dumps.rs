//! A crash must not write the memory of the process to a disk: it holds keys, tokens and messages.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Turns core dumps off for this process and those that it starts. The limit is one byte rather than zero: Linux ignores a
/// limit of zero if dumps go to a program, and no dump fits into one byte.
///
/// Only the soft limit changes, so an operator can turn dumps on again in a running process, with `prlimit --core`.
pub(super) fn turn_off() {
    let maximum = getrlimit(Resource::Core).maximum;
    // Above a hard limit of zero, only zero is possible.
    let current = Some(maximum.unwrap_or(u64::MAX).min(1));
    let limit = Rlimit { current, maximum };
    if let Err(error) = setrlimit(Resource::Core, limit) {
        tracing::debug!(%error, "Core dumps could not be turned off.");
    }
}
