//! How much memory the container may use: what its control group says (cgroups of version 2 and 1).

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// What one body may take where nothing bounds the memory.
const UNBOUNDED: usize = 256 << 20;
/// Version 1 says "no limit" by a number that no machine has.
const NO_LIMIT: u64 = 1 << 60;

/// How much of the memory one body may take: a quarter of what the container may use, since there are others, and a body
/// is there twice while it is decrypted.
pub(crate) fn share_of_one_body() -> usize {
    static SHARE: OnceLock<usize> = OnceLock::new();
    *SHARE.get_or_init(|| share(|path| std::fs::read_to_string(path).ok()))
}

fn share(read: impl Fn(&Path) -> Option<String>) -> usize {
    let limit = limit(read).and_then(|limit| usize::try_from(limit / 4).ok());
    limit.filter(|share| *share > 0).unwrap_or(UNBOUNDED)
}

/// The smallest limit of the process's own group and of those around it.
fn limit(read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let groups = read(Path::new("/proc/self/cgroup"))?;
    let files = groups.lines().filter_map(|line| {
        // `0::/path` in version 2, `4:memory:/path` in version 1.
        let (_, line) = line.split_once(':')?;
        let (controllers, group) = line.split_once(':')?;
        match controllers {
            "" => Some(("/sys/fs/cgroup", group, "memory.max")),
            _ if controllers.split(',').any(|name| name == "memory") => {
                Some(("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes"))
            }
            _ => None,
        }
    });
    let limits = files.flat_map(|(mount, group, file)| {
        // Inside of a container the mount may begin with its own group: a path that is not there is passed over.
        let around = Path::new(group.trim_start_matches('/'))
            .ancestors()
            .map(PathBuf::from)
            .collect::<Vec<_>>();
        around
            .into_iter()
            .map(move |group| Path::new(mount).join(group).join(file))
    });
    limits
        .filter_map(|path| read(&path)?.trim().parse().ok())
        .filter(|limit| *limit < NO_LIMIT)
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)]) -> usize {
        share(|path| {
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
