//! What processes have used, from the system's own accounts in `/proc`. Where there is no `/proc`, nothing is known, and said so.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// Processor time and memory of one process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    /// User and system time of all its threads.
    pub(crate) cpu: Duration,
    /// The most memory that was resident at one time, KiB.
    pub(crate) peak_kib: u64,
    /// What is resident now, KiB.
    pub(crate) resident_kib: u64,
}

/// Of this process.
pub(crate) fn own() -> Option<Account> {
    of(std::process::id())
}

/// Of another process that runs.
pub(crate) fn of(pid: u32) -> Option<Account> {
    let (own, _) = times(&Path::new("/proc").join(pid.to_string()))?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_matches([':', ' ', '\t']).split(' ').next()?.trim().parse().ok()
    };
    Some(Account { cpu: own, peak_kib: kib("VmHWM")?, resident_kib: kib("VmRSS")? })
}

/// Processor time of a whole server: the postmaster, its children, and those of them that have ended.
pub(crate) fn server_cpu(postmaster: u32) -> Option<Duration> {
    let proc = Path::new("/proc");
    let (own, ended) = times(&proc.join(postmaster.to_string()))?;
    let children = fs::read_dir(proc).ok()?.flatten().filter_map(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let fields = fields(&stat)?;
        // What its own children used, which a backend has none of, is left out.
        (fields.first()? == &u64::from(postmaster)).then(|| ticks(fields[10] + fields[11]))
    });
    Some(own + ended + children.sum::<Duration>())
}

/// Of a process itself, and of its children that have ended.
fn times(dir: &Path) -> Option<(Duration, Duration)> {
    let stat = fs::read_to_string(dir.join("stat")).ok()?;
    let fields = fields(&stat)?;
    Some((ticks(fields[10] + fields[11]), ticks(fields[12] + fields[13])))
}

/// The numbers of a `stat` file from the parent's process id on: proc(5) counts that as the fourth, `utime` as the fourteenth.
fn fields(stat: &str) -> Option<Vec<u64>> {
    let (_, rest) = stat.rsplit_once(") ")?;
    // Some are negative, none that is read here.
    let fields: Vec<u64> = rest.split(' ').skip(1).map(|field| field.trim().parse().unwrap_or(0)).collect();
    (fields.len() > 13).then_some(fields)
}

fn ticks(count: u64) -> Duration {
    Duration::from_millis(count.saturating_mul(1000) / rustix::param::clock_ticks_per_second().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_named_with_brackets_is_read_all_the_same() {
        let stat = "7 (a) b (c)) S 3 7 7 0 -1 4194560 1 2 0 0 150 50 30 20 20 0 1 0 9";
        let fields = fields(stat).unwrap_or_default();
        assert_eq!((fields[0], fields[10], fields[11], fields[12], fields[13]), (3, 150, 50, 30, 20));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_used_memory() {
        let account = own().unwrap_or_else(|| panic!("no account of this process"));
        assert!(account.peak_kib >= account.resident_kib && account.resident_kib > 100, "{account:?}");
    }
}
