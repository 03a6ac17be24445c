//! Wall time, CPU time and memory, by the rules of the peer benchmark.
//!
//! CPU time and memory are read from `/proc`, so the numbers exist on Linux only.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::Result;

/// Ticks per second of `/proc/*/stat`: USER_HZ, fixed at 100 on Linux.
const TICKS: f64 = 100.0;

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}").into())
}

/// User and system time of these processes, in seconds, 10 ms grain.
fn cpu_seconds(pids: &[u32]) -> Result<f64> {
    let mut ticks = 0.0;
    for pid in pids {
        let path = format!("/proc/{pid}/stat");
        let text = read(&path)?;
        // The command name may hold spaces and parentheses: fields are counted from the last `)`.
        let fields: Vec<&str> = text
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        for index in [11, 12] {
            let field = fields
                .get(index)
                .ok_or_else(|| format!("{path}: unexpected form"))?;
            ticks += field.parse::<f64>()?;
        }
    }
    Ok(ticks / TICKS)
}

/// Resident memory of these processes, in KiB.
pub(crate) fn rss_kib(pids: &[u32]) -> Result<f64> {
    let mut total = 0.0;
    for pid in pids {
        let path = format!("/proc/{pid}/status");
        let text = read(&path)?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next())
            .ok_or_else(|| format!("{path}: no VmRSS"))?;
        total += value.parse::<f64>()?;
    }
    Ok(total)
}

/// Busy and total ticks of the whole machine.
fn machine_ticks() -> Result<(f64, f64)> {
    let text = read("/proc/stat")?;
    let values: Vec<f64> = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .take(8)
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()?;
    let total: f64 = values.iter().sum();
    let idle: f64 = values.iter().skip(3).take(2).sum(); // idle and iowait
    Ok((total - idle, total))
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

/// The value below which `fraction` of the values lie.
pub(crate) fn percentile(values: &[Duration], fraction: f64) -> Duration {
    let mut ordered = values.to_vec();
    ordered.sort_unstable();
    let index = (ordered.len() as f64 * fraction) as usize;
    ordered
        .get(index.min(ordered.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

struct Reading {
    client: f64,
    server: f64,
    machine: (f64, f64),
}

impl Reading {
    fn now(server_pids: &[u32]) -> Result<Reading> {
        Ok(Reading {
            client: cpu_seconds(&[std::process::id()])?,
            server: cpu_seconds(server_pids)?,
            machine: machine_ticks()?,
        })
    }
}

/// One timed section: runs from `start` to `stop`.
pub(crate) struct Clock {
    server_pids: Vec<u32>,
    before: Reading,
    pub(crate) started: Instant,
}

/// What a timed section took.
pub(crate) struct Taken {
    pub(crate) seconds: f64,
    client: f64,
    server: Option<f64>,
    /// Share of all cores that other processes took meanwhile.
    other: f64,
}

impl Clock {
    pub(crate) fn start(server_pids: &[u32]) -> Result<Clock> {
        Ok(Clock {
            server_pids: server_pids.to_vec(),
            before: Reading::now(server_pids)?,
            started: Instant::now(),
        })
    }

    pub(crate) fn stop(self) -> Result<Taken> {
        let seconds = self.started.elapsed().as_secs_f64();
        let after = Reading::now(&self.server_pids)?;
        let client = after.client - self.before.client;
        let server = after.server - self.before.server;
        let busy = after.machine.0 - self.before.machine.0;
        let all = (after.machine.1 - self.before.machine.1).max(1.0);
        Ok(Taken {
            seconds,
            client,
            server: (!self.server_pids.is_empty()).then_some(server),
            other: ((busy - (client + server) * TICKS) / all).max(0.0),
        })
    }
}

impl Taken {
    /// The fields of a result line for `n` operations.
    pub(crate) fn fields(
        &self,
        value: f64,
        digits: i32,
        n: usize,
        latencies: &[Duration],
    ) -> Map<String, Value> {
        let per_operation = |seconds: f64| rounded(seconds / n.max(1) as f64 * 1e6, 2);
        let mut out = Map::new();
        let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
        put("value", json!(rounded(value, digits)));
        if !latencies.is_empty() {
            for (name, fraction) in [("p50_us", 0.50), ("p99_us", 0.99)] {
                let micros = percentile(latencies, fraction).as_secs_f64() * 1e6;
                put(name, json!(rounded(micros, 1)));
            }
        }
        put("n", json!(n));
        put("seconds", json!(rounded(self.seconds, 4)));
        put("other_cpu", json!(rounded(self.other, 2)));
        put("cpu_client_us", json!(per_operation(self.client)));
        if let Some(server) = self.server {
            put("cpu_server_us", json!(per_operation(server)));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_few_and_of_no_values() {
        let values: Vec<_> = (1..=100).rev().map(Duration::from_micros).collect();
        assert_eq!(percentile(&values, 0.50), Duration::from_micros(51));
        assert_eq!(percentile(&values, 0.99), Duration::from_micros(100));
        assert_eq!(percentile(&values[..1], 0.99), Duration::from_micros(100));
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
    }

    #[test]
    fn a_busy_section_shows_in_the_cpu_time_of_the_client() -> Result<()> {
        let clock = Clock::start(&[])?;
        let mut sum = 0u64;
        while clock.started.elapsed() < Duration::from_millis(200) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let taken = clock.stop()?;
        assert!(taken.seconds >= 0.2);
        let fields = taken.fields(1.0, 1, 1, &[]);
        // A loaded machine gives this process less than all of the time, never more.
        let cpu = fields["cpu_client_us"].as_f64().ok_or("no CPU time")?;
        assert!((10_000.0..).contains(&cpu), "{cpu} us");
        assert!(!fields.contains_key("cpu_server_us"));
        assert!(!fields.contains_key("p50_us"));
        Ok(())
    }

    #[test]
    fn memory_of_this_process_is_plausible() -> Result<()> {
        let kib = rss_kib(&[std::process::id()])?;
        assert!((100.0..10_000_000.0).contains(&kib), "{kib} KiB");
        assert!(rss_kib(&[u32::MAX]).is_err());
        Ok(())
    }
}
