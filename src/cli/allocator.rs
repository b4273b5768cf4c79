//! How the system's allocator keeps what is freed. docs/memory.md ("The allocator") has the figures.

use crate::settings;

/// Limits glibc to two arenas, unless `MALLOC_ARENA_MAX` says how many. Otherwise each thread gets an arena of its own, which keeps
/// what the largest message on that thread has taken, and the limits of docs/memory.md do not hold.
///
/// Comes before anything else: a thread that has an arena keeps it.
pub(super) fn limit_arenas() {
    if !settings::sets_arenas() {
        set_arenas();
    }
}

/// The only unsafe code of the repository: there is no other way to tell glibc from within the process.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "a function of the C library")]
fn set_arenas() {
    // SAFETY: `mallopt` takes two numbers. It may be called at any time, also while other threads allocate.
    let is_set = unsafe { libc::mallopt(libc::M_ARENA_MAX, 2) } == 1;
    debug_assert!(is_set, "glibc knows the number of arenas");
}

/// Other allocators keep no arena for each thread.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn set_arenas() {}
