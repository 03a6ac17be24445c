//! One connection: its handshake, its control stream, and the streams that come in.
//!
//! Peers are symmetric once admitted: [`lane`] and [`stream`] make calls, [`answer`] takes them.

pub(crate) mod answer;
mod answer_lane;
mod answer_request;
mod answer_session;
pub(crate) mod control;
pub(crate) mod lane;
mod memory;
pub(crate) mod sink;
pub(crate) mod source;
pub(crate) mod stream;
pub(crate) mod timers;
pub(crate) mod unsent;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aster_proto::close;
use aster_proto::control::{CloseSession, Control, Goaway, Offer};
use aster_proto::frame::StreamKind;
use aster_proto::limits::{self, Limits};
use aster_proto::status::{Code, Status};
use iroh::endpoint::{Connection, ConnectionError, RecvStream, SendStream, VarInt};
use tokio::sync::{Notify, watch};

use self::answer::Answers;
use self::answer_lane::AnswerLane;
use self::control::{ControlStream, Introduction};
use self::lane::Lane;
use self::source::{Budget, Source};
use self::timers::Timers;
use crate::service::Registry;

/// Where a connection stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Phase {
    /// The handshake runs.
    Admitting,
    /// Calls may go both ways.
    Open,
    /// It is over, and why: the status of calls that it takes along.
    Closed(Status),
}

/// What the peer said in the handshake.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) offers: Vec<Offer>,
    pub(crate) limits: Limits,
}

static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);

/// A connection, shared by all that use it.
pub(crate) struct Conn {
    /// Unique in the process.
    pub(crate) number: u64,
    pub(crate) quic: Connection,
    pub(crate) peer_id: Arc<str>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) limits: Limits,
    pub(crate) lane_stall: Duration,
    pub(crate) timers: Arc<Timers>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) lane: Lane,
    pub(crate) answers: Answers,
    pub(crate) answer_lane: AnswerLane,
    control: ControlStream,
    /// What the acceptor says of itself; not set on the dialling side, which takes no control stream.
    control_intro: OnceLock<Arc<Introduction>>,
    control_taken: AtomicBool,
    peer: OnceLock<Peer>,
    phase: watch::Sender<Phase>,
    /// The peer sent `Goaway`: it takes no new calls.
    going_away: AtomicBool,
    /// This side sent `Goaway`.
    draining: AtomicBool,
    next_session: AtomicU64,
    /// Calls being answered, large answers and answer streams not yet acknowledged.
    busy: AtomicUsize,
    idle: Notify,
}

impl Conn {
    /// A connection before its handshake.
    fn new(
        quic: Connection,
        registry: Arc<Registry>,
        me: &Introduction,
        budget: Arc<Budget>,
    ) -> Arc<Self> {
        let limits = me.limits;
        let peer_id: Arc<str> = quic.remote_id().to_string().into();
        let (phase, _) = watch::channel(Phase::Admitting);
        Arc::new(Self {
            number: NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed),
            quic,
            peer_id,
            registry,
            limits,
            lane_stall: me.lane_stall,
            timers: Arc::default(),
            budget,
            lane: Lane::default(),
            answers: Answers::new(limits.sessions),
            answer_lane: AnswerLane::default(),
            control: ControlStream::default(),
            control_intro: OnceLock::new(),
            control_taken: AtomicBool::new(false),
            peer: OnceLock::new(),
            phase,
            going_away: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            next_session: AtomicU64::new(1),
            busy: AtomicUsize::new(0),
            idle: Notify::new(),
        })
    }

    /// What the peer said; empty before the handshake is over.
    pub(crate) fn peer(&self) -> Peer {
        self.peer.get().cloned().unwrap_or(Peer {
            offers: Vec::new(),
            limits: Limits::default(),
        })
    }

    pub(crate) fn peer_limits(&self) -> Limits {
        self.peer
            .get()
            .map_or_else(Limits::default, |peer| peer.limits)
    }

    pub(crate) fn next_session(&self) -> u64 {
        self.next_session.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether the connection has ended.
    pub(crate) fn is_over(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Closed(_)) || self.quic.close_reason().is_some()
    }

    /// Whether new calls may be made.
    pub(crate) fn is_usable(&self) -> bool {
        !self.going_away.load(Ordering::Acquire)
            && *self.phase.borrow() == Phase::Open
            && self.quic.close_reason().is_none()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Waits for the end of the handshake; `false` if the connection is over.
    pub(crate) async fn admitted(&self) -> bool {
        let mut phase = self.phase.subscribe();
        match phase.wait_for(|phase| *phase != Phase::Admitting).await {
            Ok(phase) => *phase == Phase::Open,
            Err(_) => false,
        }
    }

    /// Waits for the end of the connection: why it ended.
    pub(crate) async fn closed(&self) -> Status {
        let mut phase = self.phase.subscribe();
        match phase
            .wait_for(|phase| matches!(phase, Phase::Closed(_)))
            .await
            .as_deref()
        {
            Ok(Phase::Closed(status)) => status.clone(),
            _ => Status::transport(Code::UNAVAILABLE, "the connection ended", true),
        }
    }

    /// The status of a call whose connection has ended.
    pub(crate) fn lost(&self, may_have_run: bool) -> Status {
        let mut status = match &*self.phase.borrow() {
            Phase::Closed(status) => status.clone(),
            _ => match self.quic.close_reason() {
                Some(reason) => close_status(&reason),
                None => Status::transport(Code::UNAVAILABLE, "the connection ended", true),
            },
        };
        status.may_have_run = may_have_run;
        status
    }

    /// Ends the connection and everything on it. The first reason stands.
    pub(crate) fn close(self: &Arc<Self>, code: u32, reason: &str, status: Status) {
        // Before QUIC says that this side closed it, which another thread would take for the reason.
        let first = self.set_closed(&status);
        self.quic.close(VarInt::from_u32(code), reason.as_bytes());
        if first {
            self.end_all(&status);
        }
    }

    /// Ends the connection because the peer broke the protocol.
    pub(crate) fn violation(self: &Arc<Self>, what: &str) {
        tracing::warn!(target: "aster", peer = %self.peer_id, "connection closed, the peer broke the protocol: {what}");
        let text = format!("the peer broke the protocol: {what}");
        self.close(
            close::connection::PROTOCOL,
            what,
            Status::transport(Code::INTERNAL, text, true),
        );
    }

    fn shut(self: &Arc<Self>, status: Status) {
        if self.set_closed(&status) {
            self.end_all(&status);
        }
    }

    /// Whether this is the first reason for the end.
    fn set_closed(&self, status: &Status) -> bool {
        self.phase.send_if_modified(|phase| {
            let open = !matches!(phase, Phase::Closed(_));
            if open {
                *phase = Phase::Closed(status.clone());
            }
            open
        })
    }

    fn end_all(self: &Arc<Self>, status: &Status) {
        self.lane.fail_all(status);
        self.control.fail_pings();
        self.answers_lost();
        // Its task holds the connection, and with it the socket.
        self.answer_lane.finish();
        self.idle.notify_waiters();
    }

    /// Something is being answered from now until [`Conn::end_busy`].
    pub(crate) fn begin_busy(&self) {
        self.busy.fetch_add(1, Ordering::AcqRel);
    }

    /// How much is being answered.
    pub(crate) fn busy(&self) -> usize {
        self.busy.load(Ordering::Acquire)
    }

    pub(crate) fn end_busy(&self) {
        if self.busy.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.idle.notify_waiters();
        }
    }

    /// Waits until nothing is being answered, or the connection is over.
    pub(crate) async fn wait_idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.busy.load(Ordering::Acquire) == 0
                || matches!(*self.phase.borrow(), Phase::Closed(_))
            {
                return;
            }
            idle.await;
        }
    }

    /// Waits until the close hooks of a closed connection's sessions have run.
    pub(crate) async fn wait_hooks(&self) {
        loop {
            let idle = self.idle.notified();
            if self.busy.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Ends the lane's answers and waits until the peer has acknowledged them.
    pub(crate) async fn finish_answers(&self) {
        if self.answer_lane.finish() {
            self.answer_lane.acknowledged().await;
        }
    }

    /// Says that no new calls are taken.
    pub(crate) fn go_away(&self, reason: &str) {
        if !self.draining.swap(true, Ordering::AcqRel) {
            self.control.send(&Control::Goaway(Goaway {
                reason: reason.to_owned(),
            }));
        }
    }

    /// Says that this side is done with a session.
    pub(crate) fn close_session(&self, session: u64, calls: u64) {
        self.control
            .send(&Control::CloseSession(CloseSession { session, calls }));
    }

    /// Takes streams as they come, until the connection ends. Accepting never reads: each stream is read in a task of its own.
    async fn accept_streams(self: Arc<Self>) {
        let reason = loop {
            tokio::select! {
                stream = self.quic.accept_bi() => match stream {
                    Ok((send, recv)) => drop(tokio::spawn(self.clone().take_bidi(send, recv))),
                    Err(reason) => break reason,
                },
                stream = self.quic.accept_uni() => match stream {
                    Ok(recv) => drop(tokio::spawn(self.clone().take_uni(recv))),
                    Err(reason) => break reason,
                },
            }
        };
        self.shut(close_status(&reason));
    }

    async fn take_bidi(self: Arc<Self>, send: SendStream, recv: RecvStream) {
        let mut send = send;
        let mut source = Source::new(recv, limits::MAX_HELLO, self.budget.clone());
        let byte = match source.byte().await {
            Ok(Some(byte)) => byte,
            // A stream that says nothing concerns nobody.
            Ok(None) | Err(_) => {
                let _ = send.reset(VarInt::from_u32(close::stream::PROTOCOL));
                return;
            }
        };
        let kind = match StreamKind::from_byte(byte) {
            Ok(kind) => kind,
            Err(error) => {
                // A newer peer may have kinds that this version can do without: only that stream ends.
                tracing::debug!(target: "aster", peer = %self.peer_id, "{error}");
                source.stop(close::stream::PROTOCOL);
                let _ = send.reset(VarInt::from_u32(close::stream::PROTOCOL));
                return;
            }
        };
        // Each in a box of its own: the control stream of an idle connection should not take the room of a call.
        match kind {
            StreamKind::Control => Box::pin(self.take_control(send, source)).await,
            StreamKind::Call if self.admitted().await => {
                Box::pin(stream::answer(&self, send, source)).await
            }
            StreamKind::Lane if self.admitted().await => {
                Box::pin(answer_lane::run(&self, send, source)).await
            }
            StreamKind::Body if self.admitted().await => {
                Box::pin(answer_request::take_body(&self, send, source)).await
            }
            StreamKind::LargeAnswer => {
                self.violation("a large answer came on a bidirectional stream")
            }
            _ => {}
        }
    }

    async fn take_uni(self: Arc<Self>, recv: RecvStream) {
        let mut source = Source::new(
            recv,
            self.limits.message.max(limits::MAX_HEADER),
            self.budget.clone(),
        );
        match source.byte().await {
            Ok(Some(byte)) if byte == StreamKind::LargeAnswer as u8 => {
                lane::take_large_answer(&self, source).await
            }
            Ok(Some(byte)) => {
                tracing::debug!(target: "aster", peer = %self.peer_id, "unknown kind {byte:#04x} of a unidirectional stream");
                source.stop(close::stream::PROTOCOL);
            }
            Ok(None) | Err(_) => {}
        }
    }
}

/// What the end of a connection means for the calls on it.
pub(crate) fn close_status(reason: &ConnectionError) -> Status {
    let unavailable = |text: String| Status::transport(Code::UNAVAILABLE, text, true);
    match reason {
        ConnectionError::ApplicationClosed(closed) => {
            let code = u64::from(closed.error_code);
            let said = String::from_utf8_lossy(&closed.reason).into_owned();
            match u32::try_from(code) {
                Ok(close::connection::DONE) => unavailable("the peer closed the connection".into()),
                Ok(close::connection::GOING_AWAY) => unavailable("the peer shut down".into()),
                Ok(close::connection::PROTOCOL) => Status::transport(
                    Code::INTERNAL,
                    format!("the peer closed the connection over a protocol error: {said}"),
                    true,
                ),
                Ok(close::connection::REFUSED) => Status::transport(
                    Code::PERMISSION_DENIED,
                    format!("the peer refused the connection: {said}"),
                    true,
                ),
                Ok(close::connection::HANDSHAKE_TIMEOUT) => {
                    unavailable(format!("the handshake took too long: {said}"))
                }
                Ok(close::connection::TOO_MANY) => Status::transport(
                    Code::RESOURCE_EXHAUSTED,
                    format!("the peer has too many connections: {said}"),
                    true,
                ),
                Ok(close::connection::LANE_STALLED) => {
                    unavailable(format!("the peer gave up: {said}"))
                }
                Ok(close::connection::BUSY) => {
                    unavailable(format!("the peer takes no new connections now: {said}"))
                }
                _ => unavailable(format!(
                    "the peer closed the connection with code {code}: {said}"
                )),
            }
        }
        ConnectionError::TimedOut => unavailable(
            "the peer does not answer any more (it was killed, or the network is gone)".into(),
        ),
        ConnectionError::LocallyClosed => {
            unavailable("the connection was closed on this side".into())
        }
        ConnectionError::Reset => {
            unavailable("the peer lost the connection's state, it was probably restarted".into())
        }
        other => unavailable(format!("the connection failed: {other}")),
    }
}
