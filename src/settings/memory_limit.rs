//! The memory limit of the container, read from its control group (cgroups of version 2 and 1).

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// The limit of one body if the memory has no limit.
const UNBOUNDED: usize = 256 << 20;
/// Version 1 writes "no limit" as a number larger than the memory of any machine.
const NO_LIMIT: u64 = 1 << 60;

/// Returns the size of the largest body that is read, in bytes: a quarter of the container's memory. There are other
/// bodies at the same time, and a body is in memory twice while it is decrypted.
pub(crate) fn default_body_limit() -> usize {
    static LIMIT: OnceLock<usize> = OnceLock::new();
    *LIMIT.get_or_init(|| quarter_of_memory(|path| std::fs::read_to_string(path).ok()))
}

fn quarter_of_memory(read: impl Fn(&Path) -> Option<String>) -> usize {
    let quarter = memory_limit(read).and_then(|limit| usize::try_from(limit / 4).ok());
    quarter.filter(|bytes| *bytes > 0).unwrap_or(UNBOUNDED)
}

/// The smallest limit of the process's own group and the groups around it.
fn memory_limit(read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let groups = read(Path::new("/proc/self/cgroup"))?;
    groups
        .lines()
        .filter_map(limit_file)
        .flat_map(|(mount, group, file)| limit_files_around(mount, group, file))
        .filter_map(|path| read(&path)?.trim().parse().ok())
        .filter(|limit| *limit < NO_LIMIT)
        .min()
}

/// Resolves a line of `/proc/self/cgroup` to the mount, the group below it, and the name of the file with the limit.
/// The line is `0::/path` in version 2, and `4:memory:/path` in version 1.
fn limit_file(line: &str) -> Option<(&'static str, &str, &'static str)> {
    let (_, line) = line.split_once(':')?;
    let (controllers, group) = line.split_once(':')?;
    if controllers.is_empty() {
        Some(("/sys/fs/cgroup", group, "memory.max"))
    } else if controllers.split(',').any(|name| name == "memory") {
        Some(("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes"))
    } else {
        None
    }
}

/// The limit files of a group and the groups around it. Inside of a container the mount may be the group itself, so some
/// of them do not exist.
fn limit_files_around(
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

    fn of(files: &[(&str, &str)]) -> usize {
        quarter_of_memory(|path| {
            files
                .iter()
                .find(|(name, _)| Path::new(name) == path)
                .map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn a_body_may_take_a_quarter_of_what_the_control_group_allows() {
        for (files, expected) in [
            (
                &[
                    ("/proc/self/cgroup", "0::/\n"),
                    ("/sys/fs/cgroup/memory.max", "536870912\n"),
                ][..],
                128 << 20,
            ),
            (
                &[
                    ("/proc/self/cgroup", "0::/a/b\n"),
                    ("/sys/fs/cgroup/a/b/memory.max", "4000\n"),
                ],
                1000,
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
                2000,
            ),
            (
                &[
                    ("/proc/self/cgroup", "4:cpu,memory:/docker/1\n"),
                    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "8000\n"),
                ],
                2000,
            ),
        ] {
            assert_eq!(of(files), expected, "{files:?}");
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
        assert_eq!(of(&files), 2000);
    }

    #[test]
    fn without_a_limit_a_body_may_take_256_mib() {
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
                ("/sys/fs/cgroup/memory.max", "0\n"),
            ],
        ] {
            assert_eq!(of(files), 256 << 20, "{files:?}");
        }
    }
}
