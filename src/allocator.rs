//! The allocator of every program that contains the sailor. docs/memory.md ("The allocator") has the figures.
//!
//! A message is allocated on one thread and freed on another. With glibc these threads wait for each other's arenas: that is
//! a third of the CPU time at prefetch 100.

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// - One arena, so that what one thread has freed serves the others. Each thread has a cache, which keeps them from waiting for each
///   other. By default there are four arenas for each processor of the machine, also in a container that may use one.
/// - Freed pages go back to the system after a second, while the process allocates; those of blocks of 4 MB and more at once.
/// - Their addresses go back too (`retain`), so that a limit of addresses (`ulimit -d`) is one of what is used. That costs
///   nothing with messages of 1 KB, and 2 % of the CPU time with 1 MB.
///
/// The variable `_RJEM_MALLOC_CONF` overrides it.
#[expect(
    unsafe_code,
    reason = "jemalloc reads a symbol of this name when it starts"
)]
#[unsafe(export_name = "_rjem_malloc_conf")]
static CONFIGURATION: &[u8; 87] =
    b"narenas:1,dirty_decay_ms:1000,muzzy_decay_ms:0,oversize_threshold:4194304,retain:false\0";
