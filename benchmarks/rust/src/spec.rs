//! The command line that the runner uses, and the workload file it names.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::Result;

/// Where the workloads are when the runner names no file: this repository's own copy.
const OWN_SPEC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../spec/workload.json");

/// The values that every peer sends.
#[derive(Debug, Deserialize)]
pub(crate) struct Data {
    pub(crate) concurrency: usize,
    pub(crate) agent_id: String,
    pub(crate) status: String,
    pub(crate) uptime_secs: i64,
    pub(crate) metric_name: String,
    pub(crate) metric_value_step: f64,
    pub(crate) timestamp0: f64,
    pub(crate) tags: HashMap<String, String>,
    pub(crate) log_level: String,
    log_filler: String,
    pub(crate) log_message_len: usize,
    log_message_pool: usize,
    pub(crate) chat_text: String,
    pub(crate) echo_bytes: usize,
    settle_seconds: f64,
    #[serde(skip)]
    pub(crate) log_messages: Vec<String>,
}

impl Data {
    /// How long memory is given to settle before it is read.
    pub(crate) fn settle(&self) -> Duration {
        Duration::from_secs_f64(self.settle_seconds)
    }

    fn fill_log_messages(&mut self) {
        let width = self.log_message_len;
        self.log_messages = (0..self.log_message_pool)
            .map(|i| {
                let text = format!("req {i:08} {}", self.log_filler);
                format!("{text:.<width$.width$}")
            })
            .collect();
    }
}

/// Bounds of one workload in one mode. Streams warm up by messages, everything else by time.
#[derive(Clone, Debug, Deserialize)]
struct Bounds {
    n: usize,
    max_seconds: f64,
    warmup_seconds: Option<f64>,
    warmup_messages: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Workload {
    unit: String,
    better: String,
    full: Bounds,
    quick: Bounds,
}

#[derive(Debug, Deserialize)]
struct Spec {
    workloads: HashMap<String, Workload>,
    data: Data,
}

/// What a workload runs for: at most `n` operations, at most `limit`, after `warm` seconds or messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) n: usize,
    pub(crate) limit: Duration,
    pub(crate) warm: f64,
}

/// A parsed command line.
#[derive(Clone, Debug)]
pub(crate) struct Args {
    pub(crate) role: String,
    pub(crate) address: String,
    pub(crate) workloads: Vec<String>,
    pub(crate) server_pids: Vec<u32>,
    pub(crate) data: Arc<Data>,
    mode: String,
    n: Option<usize>,
    max_seconds: Option<f64>,
    warmup_scale: f64,
    workload_table: Arc<HashMap<String, Workload>>,
}

const FLAGS: [&str; 10] = [
    "address",
    "security",
    "certs",
    "spec",
    "workload",
    "n",
    "max-seconds",
    "mode",
    "warmup-scale",
    "server-pids",
];

impl Args {
    /// Reads `<role> --flag value ...`; an unknown flag or workload is an error.
    pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Args> {
        let mut words = words.into_iter();
        let role = words
            .next()
            .ok_or("expected `server`, `client` or `memory`")?;
        let mut flags = HashMap::new();
        while let Some(word) = words.next() {
            let name = word
                .strip_prefix("--")
                .filter(|name| FLAGS.contains(name))
                .ok_or_else(|| format!("unknown option {word:?}; known: --{}", FLAGS.join(", --")))?
                .to_owned();
            let value = words
                .next()
                .ok_or_else(|| format!("--{name} needs a value"))?;
            flags.insert(name, value);
        }
        if let Some(security) = flags.get("security").filter(|s| *s != "tls") {
            return Err(format!(
                "--security {security}: Aster is always encrypted, only tls exists"
            )
            .into());
        }
        let path = flags
            .get("spec")
            .map_or_else(|| PathBuf::from(OWN_SPEC), PathBuf::from);
        let text =
            std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let mut spec: Spec =
            serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        spec.data.fill_log_messages();

        let workloads = match flags.get("workload").map(String::as_str) {
            None | Some("all") => {
                let mut all: Vec<_> = spec.workloads.keys().cloned().collect();
                all.sort();
                all
            }
            Some(list) => list.split(',').map(str::to_owned).collect(),
        };
        // The scenarios of `memory` are not in the file; it checks them itself.
        if let Some(unknown) = workloads
            .iter()
            .find(|w| role != "memory" && !spec.workloads.contains_key(*w))
        {
            return Err(format!("no workload {unknown} in {}", path.display()).into());
        }
        let mode = flags.remove("mode").unwrap_or_else(|| "full".to_owned());
        if !matches!(mode.as_str(), "full" | "quick") {
            return Err(format!("--mode {mode}: expected full or quick").into());
        }
        Ok(Args {
            role,
            address: flags.remove("address").unwrap_or_default(),
            workloads,
            server_pids: flags
                .get("server-pids")
                .map(|list| list.split(',').filter(|p| !p.is_empty()))
                .into_iter()
                .flatten()
                .map(str::parse)
                .collect::<std::result::Result<_, _>>()?,
            data: Arc::new(spec.data),
            mode,
            n: flags.get("n").map(|n| n.parse()).transpose()?,
            max_seconds: flags.get("max-seconds").map(|s| s.parse()).transpose()?,
            warmup_scale: flags
                .get("warmup-scale")
                .map_or(Ok(1.0), |x| x.parse::<f64>())?,
            workload_table: Arc::new(spec.workloads),
        })
    }

    /// Unit and direction of a workload, for its result line.
    pub(crate) fn meta(&self, workload: &str) -> Option<(&str, &str)> {
        let found = self.workload_table.get(workload)?;
        Some((&found.unit, &found.better))
    }

    /// How much of a workload to run.
    pub(crate) fn sizes(&self, workload: &str) -> Result<Sizes> {
        let found = self
            .workload_table
            .get(workload)
            .ok_or_else(|| format!("no workload {workload}"))?;
        let bounds = if self.mode == "quick" {
            &found.quick
        } else {
            &found.full
        };
        let warm = bounds
            .warmup_seconds
            .or(bounds.warmup_messages)
            .unwrap_or(0.0);
        Ok(Sizes {
            n: self.n.unwrap_or(bounds.n),
            limit: Duration::from_secs_f64(self.max_seconds.unwrap_or(bounds.max_seconds)),
            warm: warm * self.warmup_scale,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Args> {
        Args::parse(words.iter().map(|w| (*w).to_owned()))
    }

    #[test]
    fn reads_what_the_runner_passes() -> Result<()> {
        let args = parse(&[
            "client",
            "--address",
            "aster1x",
            "--security",
            "tls",
            "--certs",
            "somewhere",
            "--workload",
            "W3,W1",
            "--mode",
            "quick",
            "--server-pids",
            "1,22",
            "--warmup-scale",
            "2",
        ])?;
        assert_eq!(args.role, "client");
        assert_eq!(args.address, "aster1x");
        assert_eq!(args.workloads, ["W3", "W1"]);
        assert_eq!(args.server_pids, [1, 22]);
        let sizes = args.sizes("W3")?;
        assert_eq!((sizes.n, sizes.warm), (100_000, 2000.0));
        assert_eq!(sizes.limit, Duration::from_millis(800));
        assert_eq!(args.meta("W3"), Some(("msg/s", "higher")));
        Ok(())
    }

    #[test]
    fn all_workloads_by_default_with_messages_of_the_length_asked_for() -> Result<()> {
        let args = parse(&["client"])?;
        assert_eq!(
            args.workloads,
            ["W1", "W2", "W3", "W4", "W5", "W6", "W7", "W8"]
        );
        assert_eq!(args.data.log_messages.len(), 64);
        assert!(args.data.log_messages.iter().all(|m| m.len() == 64));
        assert!(args.data.log_messages[7].starts_with("req 00000007 request served"));
        Ok(())
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for words in [
            &[][..],
            &["client", "--nope", "1"],
            &["client", "--n"],
            &["client", "--n", "many"],
            &["client", "--workload", "W99"],
            &["client", "--mode", "slow"],
            &["client", "--security", "plain"],
            &["client", "--spec", "/nowhere.json"],
        ] {
            assert!(parse(words).is_err(), "{words:?} was accepted");
        }
    }
}
