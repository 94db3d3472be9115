//! What processes cost, as the kernel counts it.

use std::fs;

/// Milliseconds in a tick of `/proc/PID/stat` (`USER_HZ` is 100 on every Linux architecture in use).
const TICK_MS: f64 = 10.0;

/// A process and everything it started that still runs.
pub fn tree(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|t| fs::read_to_string(t.path().join("children")).ok());
    let children: Vec<u32> =
        lists.flat_map(|l| l.split(' ').filter_map(|c| c.parse().ok()).collect::<Vec<_>>()).collect();
    std::iter::once(pid).chain(children.into_iter().flat_map(tree)).collect()
}

/// Proportional set size of a process and its children, in MB (10^6 bytes).
pub fn pss_mb(pid: u32) -> f64 {
    let kib: f64 = tree(pid).into_iter().map(pss_kib).sum();
    kib * 1024.0 / 1e6
}

fn pss_kib(pid: u32) -> f64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let value = rollup.lines().find_map(|l| l.strip_prefix("Pss:")).unwrap_or_default();
    value.trim().trim_end_matches(" kB").parse().unwrap_or(0.0)
}

/// What a process has used so far.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// CPU time of its threads and of the children it has waited for, in ms.
    pub cpu_ms: f64,
    /// Page faults of the children it has waited for: any process it started and reaped adds some.
    pub child_faults: u64,
}

/// [`Usage`] of a process.
///
/// # Panics
/// When there is no such process.
pub fn usage(pid: u32) -> Usage {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // The name, in parentheses, may hold anything; fields are counted from behind it (state is the third of all).
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let number = |nth: usize| fields.get(nth - 3).and_then(|f| f.parse::<u64>().ok()).unwrap_or_default();
    #[allow(clippy::cast_precision_loss, reason = "a count of ticks is far below 2^52")]
    let reaped = (number(16) + number(17)) as f64 * TICK_MS;
    Usage { cpu_ms: threads_ms(pid) + reaped, child_faults: number(11) + number(13) }
}

/// Time on a CPU of all threads, which the scheduler counts in nanoseconds.
fn threads_ms(pid: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let stats = threads.filter_map(|t| fs::read_to_string(t.path().join("schedstat")).ok());
    stats.filter_map(|s| s.split(' ').next()?.parse::<f64>().ok()).sum::<f64>() / 1e6
}

/// The value below which `percent` of the samples lie (nearest rank).
///
/// # Panics
/// When there are no samples.
pub fn percentile(samples: &[f64], percent: usize) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted[rank - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_by_nearest_rank() {
        let samples: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        assert!((percentile(&samples, 50) - 10.0).abs() < f64::EPSILON);
        assert!((percentile(&samples, 95) - 19.0).abs() < f64::EPSILON);
        assert!((percentile(&samples[..1], 95) - 20.0).abs() < f64::EPSILON);
    }

    #[test]
    fn this_process_costs_something() {
        assert!(pss_mb(std::process::id()) > 0.1);
        let before = usage(std::process::id());
        assert!(std::process::Command::new("true").status().unwrap().success());
        let after = usage(std::process::id());
        assert!(after.cpu_ms > 0.0 && after.child_faults > before.child_faults);
    }
}
