//! The client side of the memory scenarios; `benchmarks/memory.py` starts it, says what they are, and
//! reads the memory of both processes between the two events printed here.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::Result;
use crate::client::Connection;
use crate::spec::Args;

const POINTS: usize = 1_000_000;
const MESSAGE: usize = 64 * 1024;
const DOWNLOAD: usize = 1_000_000_000;
const BYTES_PER_SECOND: f64 = 32.0 * 1024.0 * 1024.0;
const SESSIONS: usize = 5_000;

/// Runs the scenario that `--workload` names: warms up, waits for a line on stdin, runs, waits for the end.
pub(crate) async fn run(args: &Args) -> Result<()> {
    let [scenario] = args.workloads.as_slice() else {
        return Err("memory runs one scenario: --workload ingest, download or sessions".into());
    };
    let connection = Connection::open(&args.address, args.data.clone()).await?;
    let (warm, full) = match scenario.as_str() {
        "ingest" => (10_000, POINTS),
        "download" => (4 << 20, DOWNLOAD),
        "sessions" => (50, SESSIONS),
        other => {
            return Err(
                format!("no scenario {other}; there are ingest, download and sessions").into(),
            );
        }
    };
    let mut sessions = Vec::new();
    for (event, amount) in [("warm", warm), ("done", full)] {
        let started = Instant::now();
        match scenario.as_str() {
            "ingest" => ingest(&connection, amount).await?,
            "download" => download(&connection, amount).await?,
            _ => {
                for _ in 0..amount {
                    // Kept open until the process ends: closing is what this does not measure.
                    sessions.push(connection.session().await?);
                }
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "{}",
            json!({"event": event, "n": amount, "seconds": seconds})
        );
        read_line().await?;
    }
    Ok(())
}

/// Waits for the runner without holding up the connection.
async fn read_line() -> Result<()> {
    let mut line = String::new();
    tokio::task::spawn_blocking(move || std::io::stdin().read_line(&mut line)).await??;
    Ok(())
}

async fn ingest(connection: &Connection, count: usize) -> Result<()> {
    let mut stream = connection.ingest().await?;
    for i in 0..count {
        stream.send(i).await?;
    }
    let accepted = stream.finish().await?.accepted;
    if accepted != i64::try_from(count)? {
        return Err(format!("{accepted} points accepted of {count}").into());
    }
    Ok(())
}

/// The slow reader: takes no more than so many bytes a second.
async fn download(connection: &Connection, size: usize) -> Result<()> {
    let count = size.div_ceil(MESSAGE);
    let mut stream = connection.download(count, MESSAGE).await?;
    let (mut got, started) = (0, Instant::now());
    while let Some(blob) = stream.next().await? {
        got += blob.data.len();
        let due = Duration::from_secs_f64(got as f64 / BYTES_PER_SECOND);
        tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
    }
    if got != count * MESSAGE {
        return Err(format!("{got} bytes received of {}", count * MESSAGE).into());
    }
    Ok(())
}
