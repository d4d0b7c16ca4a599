//! What the operating system says of this process and of the machine it runs on.

use std::time::Duration;

/// CPU time of this process so far, user and system, without its children.
#[must_use]
pub fn cpu_time() -> Duration {
    // SAFETY: plain old data, for which all zeroes is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a value of the right type.
    let result = unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    assert_eq!(result, 0, "getrusage");
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// CPU time of the calling thread so far.
#[must_use]
pub fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a value of the right type.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "clock_gettime");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Time that the hypervisor gave to others while somebody here wanted to run, over all CPUs.
#[must_use]
pub fn stolen() -> Duration {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = stat
        .lines()
        .next()
        .and_then(|line| line.split_whitespace().nth(8))
        .and_then(|n| n.parse::<u64>().ok())
        .unwrap_or(0);
    // USER_HZ is 100 wherever Linux runs.
    Duration::from_millis(10 * ticks)
}

/// Resident memory of this process, in bytes.
#[must_use]
pub fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// The machine in one line.
#[must_use]
pub fn describe() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown CPU", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cores} x {model}, {}", std::env::consts::OS)
}

/// The first line that `program --version` says.
#[must_use]
pub fn version_of(program: &str, flag: &str) -> Option<String> {
    let out = std::process::Command::new(program)
        .arg(flag)
        .output()
        .ok()?;
    let said = [out.stdout, out.stderr].concat();
    Some(
        String::from_utf8_lossy(&said)
            .lines()
            .next()?
            .trim()
            .to_owned(),
    )
}

/// The version of a package in this directory's lock file.
#[must_use]
pub fn locked(package: &str) -> String {
    let lock = include_str!("../Cargo.lock");
    let entry = format!("name = \"{package}\"\nversion = \"");
    let rest = lock.split_once(&entry).map_or("?", |(_, rest)| rest);
    rest.split('"').next().unwrap_or("?").to_owned()
}
