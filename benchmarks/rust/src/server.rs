//! The server: `Bench` and `BenchSession` as dynamic handlers, which take and give payload bytes.

use std::sync::Arc;
use std::time::Duration;

use aster::{
    Code, Contract, Handlers, Network, Outgoing, Requests, Server, ServerOptions, Service, Status,
};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::Result;
use crate::messages::{
    self, Blob, ChatMessage, DownloadRequest, IngestResult, LogEntry, MetricPoint, StatusRequest,
    StatusResponse, TailRequest,
};
use crate::spec::Data;

/// The contract of `Bench`; benchmarks/python/bench_service.py describes the same service.
pub(crate) fn bench_contract() -> Result<Contract> {
    Ok(Contract::from_json(include_str!("bench.json"))?)
}

/// The contract of `BenchSession`.
pub(crate) fn session_contract() -> Result<Contract> {
    Ok(Contract::from_json(include_str!("bench_session.json"))?)
}

fn encode<T: Serialize>(value: &T) -> std::result::Result<Bytes, Status> {
    messages::encode(value)
        .map(Bytes::from)
        .map_err(|error| Status::handler(Code::INTERNAL, error.to_string()))
}

fn decode<T: DeserializeOwned>(payload: &[u8]) -> std::result::Result<T, Status> {
    messages::decode(payload)
        .map_err(|error| Status::handler(Code::INVALID_ARGUMENT, error.to_string()))
}

async fn ingest(mut points: Requests) -> std::result::Result<Bytes, Status> {
    let mut result = IngestResult::default();
    while let Some(payload) = points.next().await? {
        let point: MetricPoint = decode(&payload)?;
        result.accepted += 1;
        result.total += point.value;
    }
    encode(&result)
}

async fn tail(data: Arc<Data>, request: Bytes, out: Outgoing) -> std::result::Result<(), Status> {
    let request: TailRequest = decode(&request)?;
    for i in 0..usize::try_from(request.count).unwrap_or_default() {
        let entry = LogEntry {
            timestamp: data.timestamp0 + i as f64,
            level: data.log_level.clone(),
            message: data.log_messages[i % data.log_messages.len()].clone(),
            agent_id: data.agent_id.clone(),
        };
        out.send(encode(&entry)?).await?;
    }
    Ok(())
}

async fn chat(mut messages: Requests, out: Outgoing) -> std::result::Result<(), Status> {
    while let Some(payload) = messages.next().await? {
        let message: ChatMessage = decode(&payload)?;
        out.send(encode(&message)?).await?;
    }
    Ok(())
}

async fn download(request: Bytes, out: Outgoing) -> std::result::Result<(), Status> {
    let request: DownloadRequest = decode(&request)?;
    let blob = Blob {
        data: vec![0; usize::try_from(request.size).unwrap_or_default()],
    };
    for _ in 0..request.count {
        out.send(encode(&blob)?).await?;
    }
    Ok(())
}

fn services(data: &Arc<Data>) -> Result<Vec<Service>> {
    let (for_status, for_tail) = (data.clone(), data.clone());
    let bench = Handlers::new(bench_contract()?)
        .unary("getStatus", move |_, request| {
            let data = for_status.clone();
            async move {
                let request: StatusRequest = decode(&request)?;
                encode(&StatusResponse {
                    agent_id: request.agent_id,
                    status: data.status.clone(),
                    uptime_secs: data.uptime_secs,
                })
            }
        })
        .unary("echo", |_, request| async move {
            let blob: Blob = decode(&request)?;
            encode(&blob)
        })
        .client_stream("ingestMetrics", |_, points| ingest(points))
        .server_stream("tailLogs", move |_, request, out| {
            tail(for_tail.clone(), request, out)
        })
        .server_stream("download", |_, request, out| download(request, out))
        .bidi_stream("chat", |_, messages, out| chat(messages, out))
        .build()?;
    let session = Handlers::new(session_contract()?)
        .unary("getStatus", |_, request| async move {
            let request: StatusRequest = decode(&request)?;
            encode(&StatusResponse {
                agent_id: request.agent_id,
                status: "session".to_owned(),
                uptime_secs: 0,
            })
        })
        .build()?;
    Ok(vec![bench, session])
}

/// Serves until stdin closes, so that no server outlives its runner.
pub(crate) async fn serve(data: Arc<Data>) -> Result<()> {
    let mut options = ServerOptions::default();
    options.endpoint.network = Network::Local;
    let server = Server::start(services(&data)?, options).await?;
    let ready = json!({
        "event": "ready", "address": server.address().to_string(), "pids": [std::process::id()],
    });
    println!("{ready}");
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()))
        .await??;
    server.drain(Duration::ZERO).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_method_has_a_handler_and_answers() -> Result<()> {
        let args = crate::spec::Args::parse(["client".to_owned()])?;
        let mut options = ServerOptions::default();
        options.endpoint.network = Network::Local;
        let server = Server::start(services(&args.data)?, options).await?;
        let connection =
            crate::client::Connection::open(&server.address().to_string(), args.data.clone())
                .await?;

        let status = connection.status("me").await?;
        assert_eq!((status.agent_id.as_str(), status.uptime_secs), ("me", 3600));

        let mut points = connection.ingest().await?;
        for i in 0..100 {
            points.send(i).await?;
        }
        let result = points.finish().await?;
        assert_eq!((result.accepted, result.total), (100, 2475.0));

        let mut lengths = Vec::new();
        connection
            .tail(70, |entry| {
                lengths.push(entry.message.len());
                true
            })
            .await?;
        assert_eq!(lengths, [64; 70]);
        let mut seen = 0;
        connection
            .tail(1_000_000, |_| {
                seen += 1;
                seen < 10
            })
            .await?;
        assert_eq!(seen, 10);

        let mut chat = connection.chat().await?;
        for seq in 0..3 {
            let reply = chat.trip(seq, "hello").await?;
            assert_eq!((reply.seq, reply.text.as_str()), (seq, "hello"));
        }
        chat.close().await?;

        assert_eq!(connection.echo(vec![7; 100_000]).await?, vec![7; 100_000]);

        let mut blobs = connection.download(3, 10).await?;
        let mut bytes = 0;
        while let Some(blob) = blobs.next().await? {
            bytes += blob.data.len();
        }
        assert_eq!(bytes, 30);

        let session = connection.session().await?;
        assert!(session.id().is_some());
        connection.close().await;
        server.close().await;
        Ok(())
    }
}
