//! The transport by itself: iroh streams with its default settings, no calls, no codec. What it costs no RPC over it can
//! undercut, so this row says how much of our rows is ours.

use std::sync::Arc;

use iroh::endpoint::{Connection as Quic, RecvStream, SendStream, presets};
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMode, TransportAddr};
use serde_json::json;
use tokio::sync::Mutex;

use crate::Result;
use crate::spec::{Args, Data};
use crate::workloads::Caller;

const ALPN: &[u8] = b"aster-bench/raw";
/// What one message may have at most.
const MOST: u64 = 64 << 20;

async fn bind(alpns: Vec<Vec<u8>>) -> Result<Endpoint> {
    let builder = Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .alpns(alpns);
    Ok(builder.bind().await?)
}

async fn write(send: &mut SendStream, message: &[u8]) -> Result<()> {
    // One write: two would be two datagrams.
    let mut framed = Vec::with_capacity(8 + message.len());
    framed.extend_from_slice(&(message.len() as u64).to_be_bytes());
    framed.extend_from_slice(message);
    Ok(send.write_all(&framed).await?)
}

/// The next message; `None` at the end of the stream.
async fn read(recv: &mut RecvStream) -> Result<Option<Vec<u8>>> {
    let mut length = [0; 8];
    match recv.read_exact(&mut length).await {
        Ok(()) => {}
        Err(iroh::endpoint::ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let length = u64::from_be_bytes(length);
    if length > MOST {
        return Err(format!("a message of {length} bytes").into());
    }
    let mut message = vec![0; usize::try_from(length)?];
    recv.read_exact(&mut message).await?;
    Ok(Some(message))
}

async fn echo(mut send: SendStream, mut recv: RecvStream) -> Result<()> {
    while let Some(message) = read(&mut recv).await? {
        write(&mut send, &message).await?;
    }
    send.finish()?;
    Ok(())
}

async fn answer(connection: Quic) {
    while let Ok((send, recv)) = connection.accept_bi().await {
        // A caller that goes away ends its streams.
        tokio::spawn(echo(send, recv));
    }
}

/// Echoes what comes until stdin closes.
pub(crate) async fn serve() -> Result<()> {
    let endpoint = bind(vec![ALPN.to_vec()]).await?;
    let port = endpoint
        .bound_sockets()
        .iter()
        .find(|socket| socket.is_ipv4())
        .ok_or("no IPv4 socket")?
        .port();
    let address = format!("{}@127.0.0.1:{port}", endpoint.id());
    println!(
        "{}",
        json!({"event": "ready", "address": address, "pids": [std::process::id()]})
    );
    let accepting = endpoint.clone();
    tokio::spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            tokio::spawn(async move {
                if let Ok(connection) = incoming.await {
                    answer(connection).await;
                }
            });
        }
    });
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()))
        .await??;
    endpoint.close().await;
    Ok(())
}

/// A connection of its own, with one stream for small messages.
pub(crate) struct Connection {
    endpoint: Endpoint,
    quic: Quic,
    small: Arc<Mutex<(SendStream, RecvStream)>>,
}

impl Caller for Connection {
    async fn connect(args: &Args) -> Result<Self> {
        let (id, socket) = args
            .address
            .split_once('@')
            .ok_or("expected <endpoint id>@<socket address>")?;
        let ways = [TransportAddr::Ip(socket.parse()?)];
        let target = EndpointAddr::from_parts(id.parse::<EndpointId>()?, ways);
        let endpoint = bind(Vec::new()).await?;
        let quic = endpoint.connect(target, ALPN).await?;
        let small = Arc::new(Mutex::new(quic.open_bi().await?));
        Ok(Self {
            endpoint,
            quic,
            small,
        })
    }

    async fn small(&self, data: &Data) -> Result<()> {
        let mut small = self.small.lock().await;
        let (send, recv) = &mut *small;
        write(send, data.agent_id.as_bytes()).await?;
        match read(recv).await? {
            Some(back) if back == data.agent_id.as_bytes() => Ok(()),
            _ => Err("the peer returned the wrong result: small".into()),
        }
    }

    async fn echo(&self, payload: Vec<u8>) -> Result<Vec<u8>> {
        let (mut send, mut recv) = self.quic.open_bi().await?;
        let written = async {
            write(&mut send, &payload).await?;
            Result::Ok(send.finish()?)
        };
        let (back, ()) = tokio::try_join!(read(&mut recv), written)?;
        back.ok_or_else(|| "the stream ended without an answer".into())
    }

    async fn close(&self) {
        self.endpoint.close().await;
    }
}
