//! The limits of the container and of the process: memory, open files, CPU.

use super::finding::Finding;
use crate::settings::{MemoryShares, container_cpus, system_limit};
use rustix::process::{Resource, getrlimit};
use std::thread::available_parallelism;

const MIB: usize = 1 << 20;
/// With less, only small messages fit, one at a time.
const LITTLE_MEMORY: usize = 64 * MIB;
/// A process needs about 50, and more for each request of a module that runs at once.
const FEW_FILES: u64 = 256;
/// With less, starting takes many seconds.
const LITTLE_CPU: f64 = 0.1;

/// Probes the container. `shares` is what the settings make of the memory limit.
pub(super) fn findings(shares: MemoryShares) -> Vec<Finding> {
    vec![
        memory(shares, system_limit()),
        open_files(),
        cpu(container_cpus()),
    ]
}

fn memory(shares: MemoryShares, system: Option<usize>) -> Finding {
    let (limit, body) = (shares.limit / MIB, shares.largest_body() / MIB);
    let used = format!(
        "{limit} MiB are used as the limit; the largest message body that fits has {body} MiB"
    );
    match system {
        Some(system) if system < shares.limit => Finding::warning(
            "memory",
            format!("{used}, but the system leaves only {} MiB", system / MIB),
            "lower ELASTICIO_MEMORY_LIMIT, or the process is killed before it slows down",
        ),
        _ if shares.limit < LITTLE_MEMORY => {
            Finding::warning("memory", used, "raise the memory limit to at least 64 MiB")
        }
        Some(_) => Finding::ok("memory", used),
        None => Finding::warning(
            "memory",
            format!("{used}; the system has no limit that can be read"),
            "give the container a memory limit, or set ELASTICIO_MEMORY_LIMIT",
        ),
    }
}

fn open_files() -> Finding {
    match getrlimit(Resource::Nofile).current {
        Some(files) if files < FEW_FILES => Finding::warning(
            "open files",
            format!("the process may open {files} files and connections"),
            format!("raise the limit (ulimit -n) to at least {FEW_FILES}"),
        ),
        Some(files) => Finding::ok(
            "open files",
            format!("the process may open {files} files and connections"),
        ),
        None => Finding::ok("open files", "there is no limit"),
    }
}

fn cpu(share: Option<f64>) -> Finding {
    let threads = available_parallelism().map_or(1, usize::from);
    match share {
        Some(share) if share < LITTLE_CPU => Finding::warning(
            "cpu",
            format!("the container may use {share:.2} CPUs"),
            "give the container at least 0.1 CPU",
        ),
        Some(share) => Finding::ok("cpu", format!("the container may use {share:.2} CPUs")),
        None => Finding::ok(
            "cpu",
            format!("there is no limit; {threads} CPUs are there"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Level;

    #[test]
    fn memory_that_is_not_there_is_a_warning() {
        for (limit, container, level) in [
            (256, Some(256), Level::Ok),
            (128, Some(256), Level::Ok),
            (512, Some(256), Level::Warning),
            (32, Some(256), Level::Warning),
            (4096, None, Level::Warning),
        ] {
            let found = memory(
                MemoryShares::new(Some(limit * MIB)),
                container.map(|mib| mib * MIB),
            );
            assert_eq!(found.level, level, "{found:?}");
            assert_eq!(found.remedy.is_some(), level != Level::Ok);
        }
    }

    #[test]
    fn a_small_share_of_a_cpu_is_a_warning() {
        for (share, level) in [
            (None, Level::Ok),
            (Some(0.5), Level::Ok),
            (Some(0.05), Level::Warning),
        ] {
            assert_eq!(cpu(share).level, level);
        }
    }
}
