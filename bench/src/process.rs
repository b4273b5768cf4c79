//! Figures of a process, read from Linux's `/proc`.

use anyhow::Context as _;
use std::{fs, time::Duration};

/// The unit of CPU time in `/proc/<pid>/stat`: the kernel always counts in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

/// The CPU time that the process `pid` has used so far, in all its threads.
///
/// # Errors
/// When there is no such process.
pub fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = read(pid, "stat")?;
    ticks(&stat)
        .map(|ticks| TICK * ticks)
        .context("reading /proc/<pid>/stat")
}

/// The CPU time of the threads that the process has now. It is exact, and misses threads that have ended.
///
/// # Errors
/// When there is no such process, or the kernel keeps no such figures.
pub fn time_of_threads(pid: u32) -> anyhow::Result<Duration> {
    let folder = format!("/proc/{pid}/task");
    let mut sum = Duration::ZERO;
    for thread in fs::read_dir(&folder).with_context(|| format!("reading {folder}"))? {
        // A thread may end meanwhile.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else {
            continue;
        };
        let nanoseconds = text
            .split_whitespace()
            .next()
            .and_then(|field| field.parse().ok());
        sum += Duration::from_nanos(nanoseconds.context("reading schedstat of a thread")?);
    }
    Ok(sum)
}

/// The most physical memory that the process has had so far, in bytes.
///
/// # Errors
/// When there is no such process.
pub fn peak_memory(pid: u32) -> anyhow::Result<u64> {
    kilobytes(&read(pid, "status")?, "VmHWM")
}

/// The physical memory that the process can share with no other one, in bytes. Pages of its binary that it has not changed
/// do not count: all steps of a machine share them.
///
/// # Errors
/// When there is no such process, or it belongs to another user.
pub fn private_memory(pid: u32) -> anyhow::Result<u64> {
    kilobytes(&read(pid, "smaps_rollup")?, "Private_Dirty")
}

/// The physical memory of the process, in bytes.
///
/// # Errors
/// When there is no such process.
pub fn resident_memory(pid: u32) -> anyhow::Result<u64> {
    kilobytes(&read(pid, "status")?, "VmRSS")
}

/// The process's share of the physical memory, in bytes: a page that several processes share is divided among them.
///
/// # Errors
/// When there is no such process, or it belongs to another user.
pub fn proportional_memory(pid: u32) -> anyhow::Result<u64> {
    kilobytes(&read(pid, "smaps_rollup")?, "Pss")
}

/// How many files, connections among them, the process has open.
///
/// # Errors
/// When there is no such process, or it belongs to another user.
pub fn open_files(pid: u32) -> anyhow::Result<usize> {
    entries(&format!("/proc/{pid}/fd"))
}

/// How many threads the process has.
///
/// # Errors
/// When there is no such process.
pub fn threads(pid: u32) -> anyhow::Result<usize> {
    entries(&format!("/proc/{pid}/task"))
}

fn entries(folder: &str) -> anyhow::Result<usize> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {folder}"))?;
    Ok(entries.count())
}

fn read(pid: u32, file: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).with_context(|| format!("reading {path}"))
}

/// User and system time. The program's name comes before them, in parentheses, and may hold spaces itself.
fn ticks(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The number of a line such as `VmHWM:    1234 kB`, in bytes.
fn kilobytes(text: &str, name: &str) -> anyhow::Result<u64> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let value = value.with_context(|| format!("/proc does not tell {name}"))?;
    let number = value.trim().trim_end_matches(" kB").parse::<u64>();
    Ok(number.with_context(|| format!("/proc has {value} for {name}"))? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_may_contain_spaces_and_parentheses() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 12 30 0 0 20 0 1 0 5 6 7";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("7 (a"), None);
    }

    #[test]
    fn memory_is_read_in_kilobytes() {
        let text = "Rss:  9 kB\nPrivate_Clean:      2 kB\nPrivate_Dirty:    40 kB\n";
        assert_eq!(kilobytes(text, "Private_Dirty").unwrap(), 40 * 1024);
        assert!(kilobytes(text, "VmHWM").is_err());
    }

    #[test]
    fn this_process_has_memory_and_cpu_time() {
        let pid = std::process::id();
        assert!(peak_memory(pid).unwrap() > 0 && private_memory(pid).unwrap() > 0);
        assert!(resident_memory(pid).unwrap() >= proportional_memory(pid).unwrap());
        assert!(open_files(pid).unwrap() > 0 && threads(pid).unwrap() > 0);
        cpu_time(pid).unwrap();
        assert!(time_of_threads(pid).unwrap() > Duration::ZERO);
    }
}
