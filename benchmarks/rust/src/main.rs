//! Aster's rows of the peer benchmark in Rust: dynamic handlers, payloads encoded and decoded with serde.
//!
//! `aster-bench server` and `aster-bench client` speak the command line of the benchmark's runner, as do `raw-server`
//! and `raw-client`, which measure the transport by itself; `aster-bench memory` is the client of `benchmarks/memory.py`.

mod accounting;
mod client;
mod memory;
mod messages;
mod raw;
mod server;
mod spec;
mod workloads;

use std::process::ExitCode;

/// A benchmark ends with its first error: a text is enough.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

async fn run() -> Result<()> {
    let args = spec::Args::parse(std::env::args().skip(1))?;
    match args.role.as_str() {
        "server" => server::serve(args.data).await,
        "raw-server" => raw::serve().await,
        "client" | "raw-client" => {
            workloads::run(&args).await;
            Ok(())
        }
        "memory" => memory::run(&args).await,
        other => Err(format!(
            "no role {other}; there are server, client, raw-server, raw-client and memory"
        )
        .into()),
    }
}

// One thread on either side: it is how the bindings run the engine, and on two cores the quickest.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aster-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
