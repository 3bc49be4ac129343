//! How much CPU time passes: that of the whole machine, and that of the processes that take part.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::unistd::{SysconfVar, sysconf};

/// What has passed while something ran.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// Time.
    pub elapsed: Duration,
    /// CPU time of the whole machine, all CPUs added up.
    pub busy: Duration,
    /// CPU time of the processes that take part and of the kernel's threads for soft interrupts. Where the kernel
    /// does not account interrupts by themselves, packets are handled on the time of whoever sends them: then
    /// this is what `busy` would be on a machine without other work, and in finer steps.
    pub own: Duration,
}

/// Time and CPU time that pass.
pub struct Watch {
    processes: Vec<i32>,
    began: Instant,
    busy: Duration,
    own: Duration,
}

impl Watch {
    /// Sets it off, for this process and those of these numbers.
    ///
    /// # Errors
    ///
    /// When `/proc/stat` is not what it should be.
    pub fn start(daemons: &[i32]) -> Result<Self> {
        let mut processes = soft_interrupts();
        processes.extend(daemons);
        processes.push(std::process::id().cast_signed());
        let own = own(&processes)?;
        Ok(Self { processes, busy: busy()?, own, began: Instant::now() })
    }

    /// What has passed since.
    ///
    /// # Errors
    ///
    /// As [`Watch::start`].
    pub fn stop(self) -> Result<Used> {
        Ok(Used {
            elapsed: self.began.elapsed(),
            busy: busy()?.saturating_sub(self.busy),
            own: own(&self.processes)?.saturating_sub(self.own),
        })
    }
}

/// The kernel's threads that handle packets when a CPU has too many; none where they cannot be seen.
fn soft_interrupts() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let name = fs::read_to_string(entry.path().join("comm")).ok()?;
            name.starts_with("ksoftirqd/").then_some(pid)
        })
        .collect()
}

fn own(processes: &[i32]) -> Result<Duration> {
    processes.iter().map(|&pid| of_process(pid).with_context(|| format!("CPU time of process {pid}"))).sum()
}

/// CPU time of a process and all the threads it has had.
fn of_process(pid: i32) -> std::io::Result<Duration> {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both calls write only what they are given a pointer to, which lives until they return.
    let error = unsafe {
        match libc::clock_getcpuclockid(pid, &mut clock) {
            0 => libc::clock_gettime(clock, &mut time),
            error => return Err(std::io::Error::from_raw_os_error(error)),
        }
    };
    if error != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(Duration::from_secs(time.tv_sec.unsigned_abs()) + Duration::from_nanos(time.tv_nsec.unsigned_abs()))
}

/// CPU time that all CPUs have spent since boot on anything: user, nice, system, interrupts and soft interrupts.
/// What the hypervisor took does not count.
fn busy() -> Result<Duration> {
    let text = fs::read_to_string("/proc/stat").context("/proc/stat")?;
    let ticks = busy_ticks(&text).context("/proc/stat has no line of all CPUs")?;
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("no clock tick")?;
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// `cpu user nice system idle iowait irq softirq …`
fn busy_ticks(stat: &str) -> Option<u64> {
    const COUNTED: [usize; 5] = [0, 1, 2, 5, 6];
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line.split_ascii_whitespace().map_while(|field| field.parse().ok()).collect();
    COUNTED.iter().map(|&index| fields.get(index).copied()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_seen_and_nobody_is_an_error() {
        let watch = Watch::start(&[]).unwrap();
        let end = Instant::now() + Duration::from_millis(50);
        let mut rounds = 0_u64;
        while Instant::now() < end {
            rounds = std::hint::black_box(rounds + 1);
        }
        let own = watch.stop().unwrap().own;
        assert!(own > Duration::ZERO && rounds > 0);
        // Linux gives no process a number above 2^22.
        assert!(of_process((1 << 22) + 1).is_err());
    }

    #[test]
    fn idle_waiting_and_stolen_time_does_not_count() {
        let text = "cpu  1 2 4 1000 2000 8 16 4000 0 0\ncpu0 9 9 9 9 9 9 9 9 9 9\n";
        assert_eq!(busy_ticks(text), Some(1 + 2 + 4 + 8 + 16));
        assert_eq!(busy_ticks("cpu  1 2 3\n"), None);
        assert_eq!(busy_ticks("cpu0 1 2 3 4 5 6 7\n"), None);
    }
}
