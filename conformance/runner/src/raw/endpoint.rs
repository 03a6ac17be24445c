//! Bare QUIC: endpoints, connections and streams whose bytes are the scenario's.

use std::time::Duration;

use iroh::endpoint::{Connection, ConnectionError, RecvStream, SendStream, VarInt, presets};
use iroh::{Endpoint, EndpointAddr, RelayMode};

use super::address;
use super::wire::read_frame;

const ALPN: &[u8] = b"aster/1";

/// Nothing that is to happen takes longer, unless the scenario says so.
pub const SOON: Duration = Duration::from_secs(8);

/// Waits, but not for ever.
pub async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = T>,
) -> Result<T, String> {
    tokio::time::timeout(limit, work)
        .await
        .map_err(|_| format!("{what} did not come within {limit:?}"))
}

/// An endpoint of its own, without relay and discovery.
pub async fn bind() -> Result<Endpoint, String> {
    Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .alpns(vec![ALPN.to_vec()])
        .bind()
        .await
        .map_err(|error| format!("no endpoint: {error}"))
}

/// The address at which an endpoint is called on this machine.
pub fn address_of(endpoint: &Endpoint) -> Result<String, String> {
    let port = endpoint
        .bound_sockets()
        .iter()
        .find(|at| at.is_ipv4())
        .ok_or("no IPv4 socket")?
        .port();
    Ok(address::write(&endpoint.id(), port))
}

/// A connection to an address.
pub async fn dial(endpoint: &Endpoint, to: EndpointAddr) -> Result<Connection, String> {
    within(SOON, "a connection", endpoint.connect(to, ALPN))
        .await?
        .map_err(|error| format!("no connection: {error}"))
}

/// The next connection from somebody else.
pub async fn accept(endpoint: &Endpoint) -> Result<Connection, String> {
    let incoming = within(SOON, "a caller", endpoint.accept())
        .await?
        .ok_or("the endpoint is closed")?;
    let accepting = incoming
        .accept()
        .map_err(|error| format!("no connection: {error}"))?;
    within(SOON, "a connection", accepting)
        .await?
        .map_err(|error| format!("no connection: {error}"))
}

/// How a connection ended: the code and the reason that the other side gave.
pub async fn closed(connection: &Connection, limit: Duration) -> Result<(u64, String), String> {
    match within(limit, "the end of the connection", connection.closed()).await? {
        ConnectionError::ApplicationClosed(closed) => Ok((
            closed.error_code.into(),
            String::from_utf8_lossy(&closed.reason).into_owned(),
        )),
        other => Err(format!("the connection ended otherwise: {other}")),
    }
}

/// One stream; of a unidirectional one, one half.
pub struct Stream {
    send: Option<SendStream>,
    recv: Option<RecvStream>,
    kept: Vec<u8>,
}

impl Stream {
    /// Of its halves.
    pub fn new(send: Option<SendStream>, recv: Option<RecvStream>) -> Self {
        Self {
            send,
            recv,
            kept: Vec::new(),
        }
    }

    fn sender(&mut self) -> Result<&mut SendStream, String> {
        self.send
            .as_mut()
            .ok_or_else(|| "nothing can be sent on this stream".to_owned())
    }

    fn receiver(&mut self) -> Result<&mut RecvStream, String> {
        self.recv
            .as_mut()
            .ok_or_else(|| "nothing comes on this stream".to_owned())
    }

    /// Writes.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let sender = self.sender()?;
        within(SOON, "room for bytes", sender.write_all(bytes))
            .await?
            .map_err(|error| format!("the stream takes no bytes: {error}"))
    }

    /// Ends this side's direction.
    pub fn finish(&mut self) -> Result<(), String> {
        self.sender()?.finish().map_err(|error| error.to_string())
    }

    /// Gives up this side's direction.
    pub fn reset(&mut self, code: u32) -> Result<(), String> {
        self.sender()?
            .reset(VarInt::from_u32(code))
            .map_err(|error| error.to_string())
    }

    /// Wants no more of the other direction.
    pub fn stop(&mut self, code: u32) -> Result<(), String> {
        self.receiver()?
            .stop(VarInt::from_u32(code))
            .map_err(|error| error.to_string())
    }

    /// The next bytes as they come; `None` at the end of the stream.
    async fn more(&mut self) -> Result<Option<Vec<u8>>, String> {
        match self.receiver()?.read_chunk(64 << 10).await {
            Ok(chunk) => Ok(chunk.map(|chunk| chunk.to_vec())),
            Err(error) => Err(format!("the stream ended early: {error}")),
        }
    }

    /// One byte.
    pub async fn byte(&mut self) -> Result<u8, String> {
        loop {
            if !self.kept.is_empty() {
                return Ok(self.kept.remove(0));
            }
            match within(SOON, "a byte", self.more()).await?? {
                Some(bytes) => self.kept.extend(bytes),
                None => return Err("the stream ended before its first byte".to_owned()),
            }
        }
    }

    /// The next frame; `None` at the end of the stream.
    pub async fn frame(&mut self) -> Result<Option<(u8, Vec<u8>)>, String> {
        within(SOON, "a frame", async {
            loop {
                if let Some((byte, payload, rest)) = read_frame(&self.kept) {
                    let frame = (byte, payload.to_vec());
                    self.kept = rest.to_vec();
                    return Ok(Some(frame));
                }
                match self.more().await? {
                    Some(bytes) => self.kept.extend(bytes),
                    None if self.kept.is_empty() => return Ok(None),
                    None => {
                        return Err(format!(
                            "the stream ended inside a frame: {:02x?}",
                            self.kept
                        ));
                    }
                }
            }
        })
        .await?
    }

    /// The code with which the other side reset its direction; `None` if it ended it instead.
    pub async fn was_reset(&mut self) -> Result<Option<u64>, String> {
        let receiver = self.receiver()?;
        match within(SOON, "a reset", receiver.received_reset()).await? {
            Ok(code) => Ok(code.map(u64::from)),
            Err(error) => Err(format!("no reset: {error}")),
        }
    }

    /// The code with which the other side stopped this direction; `None` if it took everything.
    pub async fn was_stopped(&mut self) -> Result<Option<u64>, String> {
        let sender = self.sender()?;
        match within(SOON, "a stop", sender.stopped()).await? {
            Ok(code) => Ok(code.map(u64::from)),
            Err(error) => Err(format!("no stop: {error}")),
        }
    }
}

/// Opens a stream; `kind` is its first byte, if it is to have one.
pub async fn open(connection: &Connection, uni: bool) -> Result<Stream, String> {
    if uni {
        let send = within(SOON, "a stream", connection.open_uni()).await?;
        let send = send.map_err(|error| format!("no stream: {error}"))?;
        return Ok(Stream::new(Some(send), None));
    }
    let opened = within(SOON, "a stream", connection.open_bi()).await?;
    let (send, recv) = opened.map_err(|error| format!("no stream: {error}"))?;
    Ok(Stream::new(Some(send), Some(recv)))
}

/// The next bidirectional stream of the other side, and its kind byte.
pub async fn take(connection: &Connection) -> Result<(u8, Stream), String> {
    let taken = within(SOON, "a stream of the other side", connection.accept_bi()).await?;
    let (send, recv) = taken.map_err(|error| format!("no stream: {error}"))?;
    let mut stream = Stream::new(Some(send), Some(recv));
    let kind = stream.byte().await?;
    Ok((kind, stream))
}
