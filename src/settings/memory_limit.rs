//! What a process may keep in memory: a share of its memory limit for each purpose.
//!
//! The limit is `ELASTICIO_MEMORY_LIMIT`, or that of the system: of the container, read from its control group (cgroups of
//! version 2 and 1), or of the process (`ulimit -d`, `ulimit -v`). This file has the whole formula: what is reserved for the
//! process, how the rest is shared, and what a message takes.

use rustix::process::{Resource, getrlimit};
use std::{
    num::NonZero,
    path::{Path, PathBuf},
    sync::OnceLock,
    thread::available_parallelism,
};

const MIB: usize = 1 << 20;
/// The limit that counts if neither the setting nor the system has one.
const UNBOUNDED: usize = 4096 * MIB;
/// What the process takes without messages: code, threads, and the buffers of three connections to the broker.
const BASE: usize = 32 * MIB;
/// With less than this, not even small messages can be processed; so no limit makes the budget smaller.
const LEAST_BUDGET: usize = 8 * MIB;
/// More events on their way to the broker make nothing faster. So a module that emits without awaiting takes no more than
/// this, also where there is no limit.
const MOST_FOR_EVENTS: usize = 64 * MIB;
/// Version 1 writes "no limit" as a number larger than the memory of any machine.
const NO_LIMIT: u64 = 1 << 60;

/// How many bytes of memory a byte of a message's body takes while the message is processed: the text, the body that the
/// module reads, and two of the three copies that an event of the same size takes. The third is counted for the event.
const COPIES: usize = 4;
/// What a message takes beside its body: headers, tasks and handles.
const PER_MESSAGE: usize = 16 * 1024;

/// How the memory of a process is shared, in bytes. The shares are separate, so that no message waits for itself: events
/// have room whatever messages take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryShares {
    /// The memory limit that the shares are made of.
    pub limit: usize,
    /// For messages from their arrival to their settlement. See `message_cost`.
    pub messages: usize,
    /// For JSON that modules read as [`Value`](serde_json::Value), beyond what its text takes.
    pub values: usize,
    /// For events on their way to the broker, until they are confirmed.
    pub events: usize,
}

impl MemoryShares {
    /// Shares out a limit in bytes; without one, that of the system.
    pub(crate) fn new(limit: Option<usize>) -> Self {
        let limit = limit.or_else(system_limit).unwrap_or(UNBOUNDED);
        let budget = limit.saturating_sub(BASE).max(LEAST_BUDGET);
        Self {
            limit,
            messages: budget / 2,
            values: budget / 8 * 3,
            events: (budget / 8).min(MOST_FOR_EVENTS),
        }
    }

    /// The memory that a message takes while it is processed, by the size of its body.
    pub(crate) const fn message_cost(body: usize) -> usize {
        body.saturating_mul(COPIES).saturating_add(PER_MESSAGE)
    }

    /// The largest body, in bytes, that fits into the share for messages.
    ///
    /// ```
    /// use sailor::settings::MemoryShares;
    ///
    /// let shares = MemoryShares { limit: 128 << 20, messages: 48 << 20, values: 36 << 20, events: 12 << 20 };
    /// assert_eq!(shares.largest_body() >> 20, 11);
    /// ```
    #[must_use]
    pub const fn largest_body(&self) -> usize {
        self.messages.saturating_sub(PER_MESSAGE) / COPIES
    }
}

/// Reads a size: a number of MB, or one with a unit such as `MiB` or `G`. A megabyte has 1024 times 1024 bytes, as in the
/// limits of containers. Returns `None` if it is not a size.
pub(super) fn parse_size(text: &str) -> Option<usize> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = match &*unit.trim().to_ascii_lowercase() {
        "" | "m" | "mb" | "mi" | "mib" => MIB,
        "g" | "gb" | "gi" | "gib" => 1024 * MIB,
        _ => return None,
    };
    let number = number.parse::<usize>().ok().filter(|number| *number > 0)?;
    number.checked_mul(unit)
}

/// The memory limit of the system in bytes, if there is one: that of the container, or what a limit of the process leaves,
/// whichever is smaller.
pub(crate) fn system_limit() -> Option<usize> {
    static LIMIT: OnceLock<Option<u64>> = OnceLock::new();
    let limit = *LIMIT.get_or_init(|| {
        let container = memory_limit(|path| std::fs::read_to_string(path).ok());
        let process = [Resource::Data, Resource::As].map(|limit| getrlimit(limit).current);
        let process = process.into_iter().flatten().map(of_addresses);
        // A limit of addresses promises no memory, so it can only lower what counts without it.
        let process = process.filter(|limit| *limit < UNBOUNDED as u64);
        process.chain(container).min()
    });
    limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// What a limit of addresses leaves for memory. Stacks and buffers count there, also where they were never used, and there is
/// a worker with a stack for each processor.
fn of_addresses(limit: u64) -> u64 {
    const STACK: u64 = 2 << 20;
    let workers = available_parallelism().map_or(1, NonZero::get) as u64;
    limit.saturating_sub(STACK.saturating_mul(workers)) / 4 * 3
}

/// The smallest limit of the process's own group and the groups around it.
fn memory_limit(read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let groups = control_groups(&read)?;
    groups
        .iter()
        .filter_map(|(controllers, group)| limit_file(controllers, group))
        .flat_map(|(mount, group, file)| files_around(mount, group, file))
        .filter_map(|path| read(&path)?.trim().parse().ok())
        .filter(|limit| *limit < NO_LIMIT)
        .min()
}

/// The controllers and the path of each control group that the process is in. A line of `/proc/self/cgroup` is `0::/path` in
/// version 2, and `4:memory:/path` in version 1.
pub(super) fn control_groups(
    read: impl Fn(&Path) -> Option<String>,
) -> Option<Vec<(String, String)>> {
    let lines = read(Path::new("/proc/self/cgroup"))?;
    let group = |line: &str| {
        let (_, line) = line.split_once(':')?;
        let (controllers, group) = line.split_once(':')?;
        Some((controllers.to_owned(), group.to_owned()))
    };
    Some(lines.lines().filter_map(group).collect())
}

/// Returns the mount, the group below it, and the name of the file with the memory limit.
fn limit_file<'a>(
    controllers: &str,
    group: &'a str,
) -> Option<(&'static str, &'a str, &'static str)> {
    if controllers.is_empty() {
        Some(("/sys/fs/cgroup", group, "memory.max"))
    } else if controllers.split(',').any(|name| name == "memory") {
        Some(("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes"))
    } else {
        None
    }
}

/// The files of this name of a group and the groups around it. Inside of a container the mount may be the group itself, so
/// some of them do not exist.
pub(super) fn files_around(
    mount: &'static str,
    group: &str,
    file: &'static str,
) -> impl Iterator<Item = PathBuf> {
    Path::new(group.trim_start_matches('/'))
        .ancestors()
        .map(move |group| Path::new(mount).join(group).join(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)]) -> Option<u64> {
        memory_limit(|path| {
            files
                .iter()
                .find(|(name, _)| Path::new(name) == path)
                .map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn the_limit_is_that_of_the_control_group() {
        for (files, expected) in [
            (
                &[
                    ("/proc/self/cgroup", "0::/\n"),
                    ("/sys/fs/cgroup/memory.max", "536870912\n"),
                ][..],
                536_870_912,
            ),
            (
                &[
                    ("/proc/self/cgroup", "0::/a/b\n"),
                    ("/sys/fs/cgroup/a/b/memory.max", "4000\n"),
                ],
                4000,
            ),
            // Version 1, from outside of a container and from inside.
            (
                &[
                    ("/proc/self/cgroup", "5:cpu:/x\n4:memory:/docker/1\n0::/\n"),
                    (
                        "/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes",
                        "8000\n",
                    ),
                ],
                8000,
            ),
            (
                &[
                    ("/proc/self/cgroup", "4:cpu,memory:/docker/1\n"),
                    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "8000\n"),
                ],
                8000,
            ),
        ] {
            assert_eq!(of(files), Some(expected), "{files:?}");
        }
    }

    #[test]
    fn the_smallest_limit_of_the_groups_around_counts() {
        let files = [
            ("/proc/self/cgroup", "0::/pod/container\n"),
            ("/sys/fs/cgroup/pod/container/memory.max", "max\n"),
            ("/sys/fs/cgroup/pod/memory.max", "8000\n"),
            ("/sys/fs/cgroup/memory.max", "4000000\n"),
        ];
        assert_eq!(of(&files), Some(8000));
    }

    #[test]
    fn a_group_without_a_limit_has_none() {
        for files in [
            &[][..],
            &[
                ("/proc/self/cgroup", "0::/\n"),
                ("/sys/fs/cgroup/memory.max", "max\n"),
            ],
            &[
                ("/proc/self/cgroup", "4:memory:/\n"),
                (
                    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                    "9223372036854771712\n",
                ),
            ],
            &[
                ("/proc/self/cgroup", "nonsense"),
                ("/sys/fs/cgroup/memory.max", "100\n"),
            ],
        ] {
            assert_eq!(of(files), None, "{files:?}");
        }
    }

    #[test]
    fn the_shares_never_exceed_the_limit_and_are_never_empty() {
        for megabytes in [1, 32, 40, 48, 64, 128, 256, 4096, 1 << 20] {
            let limit = megabytes * MIB;
            let shares = MemoryShares::new(Some(limit));
            let sum = shares.messages + shares.values + shares.events;
            assert!(
                sum <= limit.saturating_sub(BASE).max(LEAST_BUDGET),
                "{shares:?}"
            );
            assert!(shares.largest_body() > 512 * 1024 && shares.events > 512 * 1024);
            assert!(MemoryShares::message_cost(shares.largest_body()) <= shares.messages);
            assert!(MemoryShares::message_cost(shares.largest_body() + 1) > shares.messages);
        }
        assert_eq!(MemoryShares::message_cost(usize::MAX), usize::MAX);
    }

    #[test]
    fn a_size_is_a_number_of_megabytes_or_has_a_unit() {
        for (text, megabytes) in [
            ("128", 128),
            (" 128 ", 128),
            ("128M", 128),
            ("128 MiB", 128),
            ("128mb", 128),
            ("2G", 2048),
            ("2gib", 2048),
        ] {
            assert_eq!(parse_size(text), Some(megabytes * MIB), "{text}");
        }
        for text in [
            "",
            "0",
            "-1",
            "M",
            "1.5G",
            "128K",
            "128 apples",
            "99999999999999999999",
        ] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
