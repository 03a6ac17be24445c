//! The control stream: the handshake and what follows it.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use aster_proto::close;
use aster_proto::control::{self, Control, Hello, Refused, Welcome};
use aster_proto::frame::{Frame, StreamKind};
use aster_proto::limits::{self, Limits};
use aster_proto::status::{Code, Status};
use aster_proto::version;
use bytes::{Bytes, BytesMut};
use iroh::endpoint::{Connection, SendStream, VarInt};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::sink::Sink;
use super::source::{Budget, Source, SourceError};
use super::{Conn, Peer, Phase};
use crate::options::EndpointOptions;
use crate::service::Registry;

/// The sending half of the control stream, and the pings that wait for their answer.
#[derive(Default)]
pub(crate) struct ControlStream {
    sink: OnceLock<Sink>,
    pings: Mutex<HashMap<u64, oneshot::Sender<()>>>,
}

impl ControlStream {
    /// Sends a frame. On a connection that is over, or not yet past its first frame, there is nobody to hear it.
    pub(crate) fn send(&self, frame: &Control) {
        if let Some(sink) = self.sink.get() {
            let mut out = BytesMut::new();
            frame.encode(&mut out);
            // The end of the connection is noticed and reported where it is watched.
            let _ = sink.push_raw(&out);
        }
    }

    /// Bytes that wait to be written.
    fn backlog(&self) -> usize {
        self.sink.get().map_or(0, Sink::queued)
    }

    pub(crate) fn fail_pings(&self) {
        self.pings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// This side of its connections: what it says of itself in the handshake, and what it allows a peer.
#[derive(Debug, Clone)]
pub(crate) struct Introduction {
    pub(crate) agent: String,
    pub(crate) limits: Limits,
    /// See [`EndpointOptions::max_unsent`].
    pub(crate) max_unsent: usize,
    /// See [`EndpointOptions::lane_stall`].
    pub(crate) lane_stall: Duration,
}

impl From<&EndpointOptions> for Introduction {
    fn from(options: &EndpointOptions) -> Self {
        Self {
            agent: options.agent.clone(),
            limits: options.limits,
            max_unsent: options.max_unsent,
            lane_stall: options.lane_stall,
        }
    }
}

/// Closes a connection whose handshake nobody waits for any more; its streams would keep it open.
struct CloseOnDrop(Option<Arc<Conn>>);

impl CloseOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        if let Some(conn) = self.0.take() {
            let status = Status::transport(Code::CANCELLED, "connecting was given up", false);
            conn.close(close::connection::DONE, "", status);
        }
    }
}

/// A number for pings and greasing; it need not be hard to guess.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

/// Sometimes sends a frame that the peer must ignore (see [`control::grease_kind`]).
fn grease(sink: &Sink) {
    let number = random();
    if number.is_multiple_of(4) {
        let mut out = BytesMut::new();
        Control::Ignored(control::grease_kind((number >> 8) as u8)).encode(&mut out);
        let _ = sink.push_raw(&out);
    }
}

impl Conn {
    /// The dialler's side of the handshake, which may take until `end`. The connection is closed if it fails.
    pub(crate) async fn dial(
        quic: Connection,
        registry: Arc<Registry>,
        me: &Introduction,
        end: Instant,
    ) -> Result<Arc<Self>, Status> {
        let conn = Self::new(quic, registry, me, Budget::new(me.max_unsent));
        let left = end.saturating_duration_since(Instant::now());
        let wait = left.min(Duration::from_millis(limits::HANDSHAKE_MS));
        let guard = CloseOnDrop(Some(conn.clone()));
        let outcome = timeout(wait, conn.clone().shake_hands(me)).await;
        guard.disarm();
        match outcome {
            Ok(Ok(())) => Ok(conn),
            Ok(Err((code, status))) => {
                conn.close(code, &status.message, status.clone());
                Err(status)
            }
            Err(_) => {
                let text = format!(
                    "the peer accepted the connection and did not answer within {:.1} s",
                    wait.as_secs_f64()
                );
                let status = Status::transport(Code::UNAVAILABLE, text, false);
                conn.close(
                    close::connection::HANDSHAKE_TIMEOUT,
                    "no Welcome in time",
                    status.clone(),
                );
                Err(status)
            }
        }
    }

    async fn shake_hands(self: Arc<Self>, me: &Introduction) -> Result<(), (u32, Status)> {
        use close::connection::{DONE, PROTOCOL};
        let lost = |conn: &Self| (DONE, conn.lost(false));
        let (send, recv) = self.quic.open_bi().await.map_err(|_| lost(&self))?;
        let mut out = BytesMut::new();
        out.extend_from_slice(&[StreamKind::Control as u8]);
        let hello = Hello {
            features: version::FEATURES,
            agent: me.agent.clone(),
            offers: self.registry.offers().to_vec(),
            limits: me.limits,
            ..Hello::default()
        };
        Control::Hello(hello).encode(&mut out);
        let sink = self.start_control(send, &out);
        let mut source = Source::new(recv, limits::MAX_CONTROL_FRAME, self.budget.clone());
        let frame = match source.frame().await {
            Ok(Some(frame)) => frame,
            Err(SourceError::Lost) => return Err(lost(&self)),
            Ok(None) | Err(SourceError::Reset) => {
                let text = "the control stream ended before Welcome or Refused";
                return Err((PROTOCOL, Status::transport(Code::UNAVAILABLE, text, false)));
            }
            Err(error) => return Err((PROTOCOL, error.status(false))),
        };
        let parsed = Control::parse(&frame);
        drop(frame);
        match parsed.map_err(|error| (PROTOCOL, Status::from_wire(&error, false)))? {
            Control::Welcome(welcome) => {
                // Set once: this is the only place on the dialling side.
                let _ = self.peer.set(Peer {
                    offers: welcome.offers,
                    limits: welcome.limits,
                });
                self.lane.set_limit(welcome.limits.in_flight);
                self.open();
                grease(&sink);
                tokio::spawn(self.clone().accept_streams());
                tokio::spawn(self.read_control(source));
                Ok(())
            }
            Control::Refused(refused) => {
                let text = format!("the peer refused the connection: {}", refused.reason);
                Err((DONE, Status::transport(Code(refused.code), text, false)))
            }
            other => {
                let text = format!(
                    "the peer answered Hello with {other:?} in place of Welcome or Refused"
                );
                Err((PROTOCOL, Status::transport(Code::INTERNAL, text, false)))
            }
        }
    }

    /// The acceptor's side: the streams of the connection are taken from now on, the first of them with the dialler's
    /// `Hello`. Whoever accepts bounds the time until [`Conn::admitted`]. Connections of one peer share a `budget`.
    pub(crate) fn accept(
        quic: Connection,
        registry: Arc<Registry>,
        me: Arc<Introduction>,
        budget: Arc<Budget>,
    ) -> Arc<Self> {
        let conn = Self::new(quic, registry, &me, budget);
        // Set once: this is the only place on the accepting side.
        let _ = conn.control_intro.set(me);
        tokio::spawn(conn.clone().accept_streams());
        conn
    }

    fn start_control(&self, send: SendStream, head: &[u8]) -> Sink {
        let (sink, writer) = Sink::new(head);
        // A second control stream is refused before this is reached.
        let _ = self.control.sink.set(sink.clone());
        tokio::spawn(writer.run(send));
        sink
    }

    fn open(&self) {
        self.phase.send_if_modified(|phase| {
            let admitting = *phase == Phase::Admitting;
            if admitting {
                *phase = Phase::Open;
            }
            admitting
        });
    }

    /// The acceptor reads a control stream that has come in.
    pub(super) async fn take_control(self: Arc<Self>, send: SendStream, mut source: Source) {
        let Some(me) = self.control_intro.get().cloned() else {
            return self.violation("the acceptor opened a control stream");
        };
        if self.control_taken.swap(true, Ordering::AcqRel) {
            return self.violation("a second control stream came");
        }
        // Nothing of the frame may live on: a slice of it would hold the whole buffer it came in for as long as the
        // connection lasts.
        let hello = match source.frame().await {
            Ok(Some(frame)) => Control::parse(&frame),
            Err(SourceError::Lost) => return,
            Ok(None) | Err(SourceError::Reset) => {
                return self.violation("the control stream ended before Hello");
            }
            Err(error) => return self.violation(&error.status(false).message),
        };
        let hello = match hello {
            Ok(Control::Hello(hello)) => hello,
            Ok(other) => {
                return self.violation(&format!("the first control frame is {other:?}, not Hello"));
            }
            Err(error) => return self.violation(&error.to_string()),
        };
        if hello.credential.is_some() {
            // Credentials are not judged yet, and one that is not judged must not seem accepted.
            return self
                .refuse(
                    send,
                    Code::UNIMPLEMENTED,
                    "this server has an open gate and takes no credentials",
                )
                .await;
        }
        tracing::debug!(target: "aster", peer = %self.peer_id, agent = %hello.agent, "a peer says hello");
        let _ = self.peer.set(Peer {
            offers: hello.offers,
            limits: hello.limits,
        });
        self.lane.set_limit(hello.limits.in_flight);
        let welcome = Welcome {
            features: version::FEATURES,
            agent: me.agent.clone(),
            offers: self.registry.offers().to_vec(),
            limits: me.limits,
            ..Welcome::default()
        };
        let mut out = BytesMut::new();
        Control::Welcome(welcome).encode(&mut out);
        self.quic
            .set_receive_window(VarInt::from_u32(limits::CONNECTION_WINDOW));
        self.quic
            .set_max_concurrent_bi_streams(VarInt::from_u32(self.limits.streams));
        self.quic
            .set_max_concurrent_uni_streams(VarInt::from_u32(limits::MAX_UNI_STREAMS));
        let sink = self.start_control(send, &out);
        grease(&sink);
        source.set_max_payload(limits::MAX_CONTROL_FRAME);
        self.open();
        self.read_control(source).await;
    }

    async fn refuse(self: Arc<Self>, mut send: SendStream, code: Code, reason: &str) {
        let mut out = BytesMut::new();
        Control::Refused(Refused {
            code: code.0,
            reason: reason.to_owned(),
        })
        .encode(&mut out);
        let told = async {
            send.write_all(&out).await?;
            let _ = send.finish();
            let _ = send.stopped().await;
            Ok::<(), iroh::endpoint::WriteError>(())
        };
        // The reason is worth a moment; a peer that does not take it is closed all the same.
        let _ = timeout(Duration::from_secs(1), told).await;
        self.close(
            close::connection::REFUSED,
            reason,
            Status::transport(code, reason, false),
        );
    }

    async fn read_control(self: Arc<Self>, mut source: Source) {
        loop {
            match source.frame().await {
                Ok(Some(frame)) => {
                    if let Err(what) = self.take_frame(&frame) {
                        return self.violation(&what);
                    }
                }
                Ok(None) => return self.violation("the control stream ended"),
                Err(SourceError::Lost) => return,
                Err(error) => {
                    return self.violation(&format!(
                        "on the control stream: {}",
                        error.status(false).message
                    ));
                }
            }
        }
    }

    fn take_frame(self: &Arc<Self>, frame: &Frame) -> Result<(), String> {
        match Control::parse(frame).map_err(|error| error.to_string())? {
            Control::Ping(number) => {
                if self.control.backlog() > limits::MAX_UNREAD_PONGS {
                    return Err("pings come faster than their answers are read".into());
                }
                self.control.send(&Control::Pong(number));
            }
            Control::Pong(number) => {
                let waiting = self
                    .control
                    .pings
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(&number);
                if let Some(waiting) = waiting {
                    // Whoever asked may have stopped waiting.
                    let _ = waiting.send(());
                }
            }
            Control::Goaway(goaway) => {
                tracing::debug!(target: "aster", peer = %self.peer_id, "the peer is going away: {}", goaway.reason);
                self.going_away.store(true, Ordering::Release);
            }
            Control::CloseSession(close) => self.session_close(close.session, close.calls)?,
            Control::Ignored(_) => {}
            other => return Err(format!("{other:?} came after the handshake")),
        }
        Ok(())
    }

    /// Asks the peer's engine for a sign of life, which no user code can hold up.
    pub(crate) async fn ping(&self) -> Result<(), Status> {
        let number = random() & aster_proto::varint::MAX;
        let (heard, hear) = oneshot::channel();
        self.control
            .pings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(number, heard);
        self.control.send(&Control::Ping(number));
        hear.await.map_err(|_| self.lost(false))
    }
}

/// A frame's bytes as one payload, for sinks.
pub(crate) fn status_payload(status: &Status) -> Bytes {
    let mut out = BytesMut::new();
    status.encode(&mut out);
    out.freeze()
}
