//! The share of the CPUs that the container may use, read from its control group (cgroups of version 2 and 1).

use super::memory_limit::{control_groups, files_around};
use std::path::Path;

/// The number of CPUs that the container may use, such as 0.5, if it is limited.
pub(crate) fn container_cpus() -> Option<f64> {
    cpus(|path| std::fs::read_to_string(path).ok())
}

/// The smallest share of the process's own group and the groups around it.
fn cpus(read: impl Fn(&Path) -> Option<String>) -> Option<f64> {
    let groups = control_groups(&read)?;
    let mut shares = Vec::new();
    for (controllers, group) in &groups {
        if controllers.is_empty() {
            let files = files_around("/sys/fs/cgroup", group, "cpu.max");
            shares.extend(files.filter_map(|path| share(&read(&path)?)));
        } else if controllers.split(',').any(|name| name == "cpu") {
            for quota in files_around("/sys/fs/cgroup/cpu", group, "cpu.cfs_quota_us") {
                let period = quota.with_file_name("cpu.cfs_period_us");
                let both = read(&quota).zip(read(&period));
                let text = both.map(|(quota, period)| format!("{} {}", quota.trim(), period));
                shares.extend(text.as_deref().and_then(share));
            }
        }
    }
    shares.into_iter().min_by(f64::total_cmp)
}

/// Reads "quota period", both in microseconds. "max" and -1 mean no limit.
fn share(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period) = (
        quota.parse::<f64>().ok()?,
        period.trim().parse::<f64>().ok()?,
    );
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_share_of_the_groups_around_counts() {
        for (files, expected) in [
            (
                &[
                    ("/proc/self/cgroup", "0::/a/b\n"),
                    ("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n"),
                    ("/sys/fs/cgroup/a/cpu.max", "50000 100000\n"),
                ][..],
                Some(0.5),
            ),
            (
                &[
                    ("/proc/self/cgroup", "3:cpuacct,cpu:/x\n0::/\n"),
                    ("/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "200000\n"),
                    ("/sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000\n"),
                ],
                Some(2.0),
            ),
            (
                &[
                    ("/proc/self/cgroup", "3:cpu:/\n"),
                    ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
                    ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
                ],
                None,
            ),
            (&[("/proc/self/cgroup", "0::/\n")], None),
            (&[], None),
        ] {
            let read = |path: &Path| {
                let file = files.iter().find(|(name, _)| Path::new(name) == path);
                file.map(|(_, text)| (*text).to_owned())
            };
            assert_eq!(cpus(read), expected, "{files:?}");
        }
    }
}
