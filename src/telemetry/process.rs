//! What the process costs, as Linux tells it. Elsewhere, or where `/proc` is hidden, these stay at 0.

use crate::families::Families;
use prometheus::{Counter, IntGauge};
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};

/// Ticks of the processor's clock in a second: the same on every Linux, whatever its own clock.
const TICKS: f64 = 100.0;

/// The usual families of processes, by their usual names.
#[derive(Clone, Debug)]
pub(super) struct Process {
    cpu_seconds: Arc<Mutex<Counter>>,
    resident_bytes: IntGauge,
    open_fds: IntGauge,
    max_fds: IntGauge,
    started: IntGauge,
}

impl Process {
    pub(super) fn register(families: &Families) -> prometheus::Result<Self> {
        let version = families.gauges(
            "portvakt_build_info",
            "1, with the version of the program.",
            &["version"],
        )?;
        version.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let cpu_seconds = families.add(Counter::new(
            "process_cpu_seconds_total",
            "Processor time, of the program and of the system for it.",
        )?)?;
        let process = Self {
            cpu_seconds: Arc::new(Mutex::new(cpu_seconds)),
            resident_bytes: families
                .gauge("process_resident_memory_bytes", "Memory that is resident.")?,
            open_fds: families.gauge("process_open_fds", "File descriptors open.")?,
            max_fds: families.gauge("process_max_fds", "File descriptors that may be open.")?,
            started: families.gauge("process_start_time_seconds", "Time of the start.")?,
        };
        if let Some(at) = started() {
            process.started.set(at);
        }
        Ok(process)
    }

    /// Looks anew.
    pub(super) fn observe(&self) {
        if let Some(seconds) = cpu_seconds() {
            // Held, so that two looks at once do not count the same time twice.
            let counter = self.cpu_seconds.lock().unwrap_or_else(PoisonError::into_inner);
            let more = seconds - counter.get();
            if more > 0.0 {
                counter.inc_by(more);
            }
        }
        let set = |gauge: &IntGauge, value: Option<i64>| {
            if let Some(value) = value {
                gauge.set(value);
            }
        };
        set(&self.resident_bytes, resident_bytes());
        set(&self.open_fds, open_fds());
        set(&self.max_fds, max_fds());
    }
}

/// Field `number` of `/proc/self/stat`, as proc(5) numbers them, from 3 on.
fn stat(number: usize) -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in brackets, may hold spaces.
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(number.checked_sub(3)?)?.parse().ok()
}

fn cpu_seconds() -> Option<f64> {
    Some((stat(14)? + stat(15)?) / TICKS)
}

/// The number after a name at the beginning of a line.
fn line(file: &str, name: &str) -> Option<i64> {
    let text = fs::read_to_string(file).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn resident_bytes() -> Option<i64> {
    line("/proc/self/status", "VmRSS:")?.checked_mul(1024)
}

/// File descriptors that this process may have open at once; `None` where they have no bound, or none is told.
pub(crate) fn descriptors() -> Option<usize> {
    line("/proc/self/limits", "Max open files").and_then(|most| usize::try_from(most).ok())
}

/// -1 where there is no bound.
fn max_fds() -> Option<i64> {
    let bound = line("/proc/self/limits", "Max open files");
    bound.or_else(|| fs::metadata("/proc/self/limits").is_ok().then_some(-1))
}

fn open_fds() -> Option<i64> {
    i64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()
}

/// In seconds since 1970. The start is told in ticks since the machine's.
fn started() -> Option<i64> {
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        reason = "whole seconds of uptime"
    )]
    let since_boot = (stat(22)? / TICKS) as i64;
    line("/proc/stat", "btime ")?.checked_add(since_boot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_tells_of_this_process_is_found() {
        let families = Families::default();
        let process = Process::register(&families).unwrap();
        process.observe();
        assert!(process.resident_bytes.get() > 1024 * 1024);
        assert!(process.open_fds.get() >= 3);
        assert_ne!(process.max_fds.get(), 0);
        assert!(process.started.get() > 1_600_000_000);
    }

    #[test]
    fn time_of_the_processor_is_counted_once() {
        let process = Process::register(&Families::default()).unwrap();
        process.observe();
        process.observe();
        let counted = process.cpu_seconds.lock().unwrap().get();
        assert!(counted <= cpu_seconds().unwrap(), "{counted}");
    }
}
