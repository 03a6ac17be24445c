//! A peer in between that passes every byte on, or turns one round: proof that the suite sees a fault of one byte.
//!
//! QUIC is encrypted end to end, so it ends both connections and copies streams, resets and closes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use iroh::Endpoint;
use iroh::endpoint::{Connection, ConnectionError, RecvStream, SendStream, VarInt};

use crate::raw::{address, endpoint};

/// Which byte is turned round: the one at this place of all that the client sends on one kind of stream.
#[derive(Debug, Clone, Copy)]
pub struct Flip {
    /// The kind byte of the stream.
    pub kind: u8,
    /// The place, counted over all streams of the kind, the kind bytes left out.
    pub at: usize,
}

struct Shared {
    flip: Option<Flip>,
    seen: AtomicUsize,
    done: AtomicBool,
}

impl Shared {
    fn pass(&self, kind: Option<u8>, bytes: &mut [u8]) {
        let Some(flip) = self.flip.filter(|flip| Some(flip.kind) == kind) else {
            return;
        };
        let before = self.seen.fetch_add(bytes.len(), Ordering::SeqCst);
        if let Some(byte) = flip.at.checked_sub(before).and_then(|at| bytes.get_mut(at)) {
            *byte ^= 0x01;
            self.done.store(true, Ordering::SeqCst);
        }
    }
}

/// A running proxy to one server.
pub struct Proxy {
    endpoint: Endpoint,
    address: String,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Listens, and connects each caller to `server`.
    pub async fn start(server: &str, flip: Option<Flip>) -> Result<Self, String> {
        let endpoint = endpoint::bind().await?;
        let address = endpoint::address_of(&endpoint)?;
        let target = address::read(server)?;
        let shared = Arc::new(Shared {
            flip,
            seen: AtomicUsize::new(0),
            done: AtomicBool::new(false),
        });
        let (listening, passing) = (endpoint.clone(), shared.clone());
        tokio::spawn(async move {
            while let Some(incoming) = listening.accept().await {
                let (target, passing) = (target.clone(), passing.clone());
                tokio::spawn(async move {
                    let Ok(caller) = (match incoming.accept() {
                        Ok(accepting) => accepting.await,
                        Err(_) => return,
                    }) else {
                        return;
                    };
                    // An endpoint for each, as each caller has its own towards the server.
                    match endpoint::bind().await {
                        Ok(own) => match endpoint::dial(&own, target).await {
                            Ok(server) => {
                                between(&caller, &server, &passing).await;
                                own.close().await;
                            }
                            Err(error) => caller.close(VarInt::from_u32(1), error.as_bytes()),
                        },
                        Err(error) => caller.close(VarInt::from_u32(1), error.as_bytes()),
                    }
                });
            }
        });
        Ok(Self {
            endpoint,
            address,
            shared,
        })
    }

    /// Where it is called.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether the byte has been turned round.
    pub fn flipped(&self) -> bool {
        self.shared.done.load(Ordering::SeqCst)
    }

    /// Stops listening and ends all connections.
    pub async fn close(self) {
        self.endpoint.close().await;
    }
}

/// Passes everything between two connections until one of them ends, and ends the other likewise.
async fn between(caller: &Connection, server: &Connection, shared: &Arc<Shared>) {
    tokio::select! {
        end = caller.closed() => close_as(server, &end),
        end = server.closed() => close_as(caller, &end),
        () = streams(caller, server, shared, true) => {}
        () = streams(server, caller, shared, false) => {}
    }
    // A stream that can't be taken means a connection that has ended: wait for how, and tell the other.
    let (first, second) = (caller.close_reason(), server.close_reason());
    if let Some(end) = first {
        close_as(server, &end);
    } else if let Some(end) = second {
        close_as(caller, &end);
    }
}

fn close_as(other: &Connection, end: &ConnectionError) {
    match end {
        ConnectionError::ApplicationClosed(end) => other.close(end.error_code, &end.reason),
        _ => other.close(VarInt::from_u32(0), b"the other side is gone"),
    }
}

/// Passes on the streams that `from` opens.
async fn streams(from: &Connection, to: &Connection, shared: &Arc<Shared>, is_caller: bool) {
    loop {
        tokio::select! {
            taken = from.accept_bi() => {
                let Ok((back, incoming)) = taken else { return };
                let Ok((outgoing, answers)) = to.open_bi().await else { return };
                // What the caller sends may be turned round, answers never.
                let there = is_caller.then(|| shared.clone());
                tokio::spawn(copy(incoming, outgoing, there));
                tokio::spawn(copy(answers, back, None));
            }
            taken = from.accept_uni() => {
                let Ok(incoming) = taken else { return };
                let Ok(outgoing) = to.open_uni().await else { return };
                tokio::spawn(copy(incoming, outgoing, None));
            }
        }
    }
}

/// Copies one direction of a stream with its end, reset or stop.
async fn copy(mut from: RecvStream, mut to: SendStream, shared: Option<Arc<Shared>>) {
    let mut kind = None;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            stopped = to.stopped() => {
                if let Ok(Some(code)) = stopped {
                    // The stream may have ended meanwhile, and then there is nothing to stop.
                    let _ = from.stop(code);
                }
                return;
            }
        };
        match read {
            Ok(Some(count)) => {
                let mut bytes = &mut buffer[..count];
                if kind.is_none() {
                    kind = Some(bytes[0]);
                    if to.write_all(&bytes[..1]).await.is_err() {
                        return;
                    }
                    bytes = &mut bytes[1..];
                }
                if let Some(shared) = &shared {
                    shared.pass(kind, bytes);
                }
                if to.write_all(bytes).await.is_err() {
                    if let Ok(Some(code)) = to.stopped().await {
                        let _ = from.stop(code);
                    }
                    return;
                }
            }
            Ok(None) => {
                let _ = to.finish();
                // The other side may still stop it, which ends nothing any more.
                return;
            }
            Err(iroh::endpoint::ReadError::Reset(code)) => {
                let _ = to.reset(code);
                return;
            }
            Err(_) => return,
        }
    }
}
