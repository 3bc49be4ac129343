//! What the kernel tells of the daemon's own process (`proc(5)`).

use std::fs;

use nix::unistd::{SysconfVar, sysconf};

/// The daemon's process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Process {
    /// CPU time, user and system.
    pub cpu_seconds: f64,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// Virtual memory in bytes.
    pub virtual_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open file descriptors.
    pub open_files: u64,
    /// As many it may have; none = without limit.
    pub most_files: Option<u64>,
    /// When it started, in seconds since 1970.
    pub started: f64,
}

/// Reads it; none where something is missing that Linux has.
pub fn read() -> Option<Process> {
    let unit = |variable, default: i64| sysconf(variable).ok().flatten().unwrap_or(default) as u64;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let system = fs::read_to_string("/proc/stat").ok()?;
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    // The one that reads the directory is not counted.
    let open = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    let units = Units { ticks: unit(SysconfVar::CLK_TCK, 100), page: unit(SysconfVar::PAGE_SIZE, 4096) };
    parse(&stat, &system, &limits, open as u64, units)
}

#[derive(Clone, Copy)]
struct Units {
    /// Clock ticks of a second.
    ticks: u64,
    /// Bytes of a page.
    page: u64,
}

fn parse(stat: &str, system: &str, limits: &str, open_files: u64, units: Units) -> Option<Process> {
    // The second field is the program's name in parentheses, which may contain anything.
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
    // Fields are numbered from 1 in the manual, and the first one here is the third.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let seconds = |ticks: u64| ticks as f64 / units.ticks as f64;
    let boot: u64 = system.lines().find_map(|l| l.strip_prefix("btime "))?.trim().parse().ok()?;
    let files = limits.lines().find_map(|l| l.strip_prefix("Max open files"))?;
    Some(Process {
        cpu_seconds: seconds(field(14)? + field(15)?),
        threads: field(20)?,
        started: boot as f64 + seconds(field(22)?),
        virtual_bytes: field(23)?,
        resident_bytes: field(24)? * units.page,
        open_files,
        most_files: files.split_ascii_whitespace().next()?.parse().ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "77 (a) b (c) S 1 77 77 0 -1 4194560 900 0 3 0 250 50 0 0 20 0 9 0 1000 104857600 2048 \
                        18446744073709551615 1 1 0 0 0 0 0 4096 1024 0 0 0 17 1 0 0 0 0 0";
    const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units\n\
                          Max open files            1024                 524288               files\n";

    #[test]
    fn the_fields_are_those_of_the_manual() {
        let units = Units { ticks: 100, page: 4096 };
        let process = parse(STAT, "cpu 1 2 3\nbtime 1700000000\n", LIMITS, 12, units).expect("read");
        assert_eq!(
            process,
            Process {
                cpu_seconds: 3.0,
                resident_bytes: 2048 * 4096,
                virtual_bytes: 104_857_600,
                threads: 9,
                open_files: 12,
                most_files: Some(1024),
                started: 1_700_000_010.0,
            }
        );
        let unlimited = LIMITS.replace("1024  ", "unlimited");
        let process = parse(STAT, "btime 1\n", &unlimited, 1, units).expect("read");
        assert_eq!(process.most_files, None);
        assert_eq!(parse("77 (a", "btime 1\n", LIMITS, 1, units), None);
    }

    #[test]
    fn this_process_can_be_read() {
        let process = read().expect("this is Linux");
        assert!(process.resident_bytes > 100_000 && process.threads >= 1 && process.open_files >= 3);
        assert!(process.started > 1.6e9);
    }
}
