//! The Rust peer of the conformance suite: a client or a server that does what the runner asks.
//!
//! One JSON object per line on standard input and output; `conformance/README.md` describes them. It is written
//! against the
//! public crate only: dynamic handlers, payloads by serde.

mod client;
mod declare;
mod neutral;
mod services;
mod table;
mod types;

use std::io::Write;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aster::{Network, Server, ServerOptions};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use client::{Outcome, Side, Trouble, failure};
use neutral::Neutral;
use services::{Bench, lock};

/// One line to the runner.
pub(crate) fn say(line: &Value) {
    let mut out = std::io::stdout().lock();
    // A runner that is gone hears nothing, and this process ends with its input.
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

#[derive(Default)]
struct Serving {
    neutral: Mutex<Neutral>,
    bench: Arc<Bench>,
    server: Mutex<Option<Server>>,
}

impl Serving {
    fn server(&self) -> Result<Server, String> {
        lock(&self.server)
            .clone()
            .ok_or_else(|| "the server does not serve yet".to_owned())
    }

    async fn perform(&self, command: &Value) -> Outcome {
        match command["do"].as_str().unwrap_or_default() {
            "types" => lock(&self.neutral).learn(&command["types"]),
            "serve" => {
                let mut options = ServerOptions::default();
                options.endpoint.network = Network::Local;
                let given = &command["options"];
                if let Some(bytes) = given["max_message_bytes"].as_u64() {
                    options.endpoint.limits.message = bytes as usize;
                }
                let mut all = vec![
                    services::probe(&self.bench)?,
                    services::probe2()?,
                    services::account(&self.bench)?,
                    services::values(&self.bench)?,
                    services::text()?,
                    services::drift()?,
                    services::clash()?,
                ];
                for contract in table::contracts()? {
                    all.push(table::serve(&contract)?);
                }
                let server = Server::start(all, options).await?;
                *lock(&self.server) = Some(server);
                return Ok(json!({"address": self.server()?.address().to_string()}));
            }
            "address" => return Ok(json!({"address": self.server()?.address().to_string()})),
            "release" => self
                .bench
                .release(command["key"].as_str().unwrap_or_default()),
            "seen" => {
                let key = command["key"].as_str().unwrap_or_default();
                let bytes = lock(&self.bench.seen)
                    .remove(key)
                    .ok_or_else(|| format!("no handler has seen {key}"))?;
                let value: rmpv::Value =
                    rmp_serde::from_slice(&bytes).map_err(|error| error.to_string())?;
                return Ok(json!({"value": lock(&self.neutral).unpack(&command["type"], &value)?}));
            }
            "drain" => {
                let grace = Duration::from_millis(command["grace_ms"].as_u64().unwrap_or_default());
                self.server()?.drain(grace).await;
            }
            "close" => self.server()?.close().await,
            other => return Err(Trouble::Fault(format!("a server can't {other:?}"))),
        }
        Ok(json!({}))
    }
}

async fn calling(side: &Arc<Side>, command: &Value) -> Outcome {
    match command["do"].as_str().unwrap_or_default() {
        "types" => {
            lock(&side.neutral).learn(&command["types"]);
            Ok(json!({}))
        }
        "connect" => side.connect(command).await,
        "disconnect" => side.disconnect(command).await,
        "ping" => side.ping(command).await,
        "services" => side.services(command),
        "contracts" => side.contracts(command).await,
        "call" => side.call(command).await,
        "cancel" => side.cancel(command),
        "burst" => side.burst(command).await,
        "open" => side.open(command).await,
        "send" => side.send(command).await,
        "half_close" => side.half_close(command).await,
        "next" => side.next(command).await,
        "answer" => side.answer(command).await,
        "cancel_stream" => side.cancel_stream(command).await,
        "open_session" => side.open_session(command).await,
        "close_session" => side.close_session(command),
        other => Err(Trouble::Fault(format!("a client can't {other:?}"))),
    }
}

fn reply(id: &Value, outcome: Outcome) {
    say(&match outcome {
        Ok(ok) => json!({"id": id, "ok": ok}),
        Err(Trouble::Failed(failed)) => {
            json!({"id": id, "error": failure(&failed.status, Some(&failed.metadata))})
        }
        Err(Trouble::Refused(status)) => json!({"id": id, "error": failure(&status, None)}),
        Err(Trouble::Usage(message)) => {
            json!({"id": id, "error": {"code": "USAGE", "message": message}})
        }
        Err(Trouble::Fault(fault)) => json!({"id": id, "fault": fault}),
    });
}

async fn run(is_client: bool) -> Result<(), String> {
    let mut contracts = vec![
        services::probe_contract()?,
        services::probe2_contract()?,
        services::account_contract()?,
        services::values_contract()?,
        services::text_contract()?,
        services::old_drift_contract()?,
        services::old_clash_contract()?,
    ];
    contracts.extend(table::contracts()?);
    let side = Arc::new(Side::new(contracts));
    let serving = Arc::new(Serving::default());
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.map_err(|error| error.to_string())? {
        let command: Value =
            serde_json::from_str(&line).map_err(|error| format!("{line}: {error}"))?;
        if command["do"] == "exit" {
            if command["how"] == "kill" {
                std::process::abort();
            }
            // A Rust program closes what it has: nothing runs for it once its runtime has ended.
            side.close().await;
            if let Ok(server) = serving.server() {
                server.close().await;
            }
            return Ok(());
        }
        let (side, serving) = (side.clone(), serving.clone());
        tokio::spawn(async move {
            let outcome = match is_client {
                true => calling(&side, &command).await,
                false => serving.perform(&command).await,
            };
            reply(&command["id"], outcome);
        });
    }
    Ok(())
}

fn main() -> ExitCode {
    let is_client = match std::env::args().nth(1).as_deref() {
        Some("client") => true,
        Some("server") => false,
        _ => {
            eprintln!("usage: aster-conformance-peer client|server");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(run(is_client)))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aster-conformance-peer: {error}");
            ExitCode::FAILURE
        }
    }
}
