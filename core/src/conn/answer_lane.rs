//! The lane, answering side: reads small unary calls without ever waiting for a handler, and gathers their answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aster_proto::call::{self, CallHeader, LaneFrame, RouteRef};
use aster_proto::close;
use aster_proto::contract::Pattern;
use aster_proto::frame::{StreamKind, flag, kind};
use aster_proto::limits;
use aster_proto::metadata::Metadata;
use aster_proto::status::{Code, Status};
use bytes::{BufMut, Bytes, BytesMut};
use iroh::endpoint::SendStream;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::Conn;
use super::answer::{LaneRequest, Ready, Request};
use super::control::status_payload;
use super::sink::Sink;
use super::source::Source;
use crate::call::inbound::{CallState, Path};
use crate::cancel::CancelCause;
use crate::service::Target;

/// Large answers a peer may leave unread, in bytes, before its lane stops being read.
const MAX_LARGE_BACKLOG: usize = limits::MAX_PARTIAL;

/// The answering side of the lane.
#[derive(Default)]
pub(crate) struct AnswerLane {
    state: Mutex<State>,
    work: Notify,
    drained: Notify,
    large: AtomicUsize,
}

#[derive(Default)]
struct State {
    out: BytesMut,
    /// Bytes taken from `out` that the connection has not taken yet.
    writing: usize,
    in_flight: FxHashMap<u64, Arc<CallState>>,
    /// Ids below this one have been seen.
    next: u64,
    taken: bool,
    finish: bool,
    /// The caller has ended its direction: this one ends with the last answer.
    last: bool,
    acknowledged: bool,
    /// The connection is gone: no call begins any more.
    lost: bool,
}

impl AnswerLane {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All calls that are being answered; none afterwards.
    pub(crate) fn take_all(&self) -> Vec<Arc<CallState>> {
        let mut state = self.state();
        state.lost = true;
        std::mem::take(&mut state.in_flight).into_values().collect()
    }

    /// A call is being answered from now on; `false` if the connection was lost before.
    fn insert(&self, id: u64, call: &Arc<CallState>) -> bool {
        let mut state = self.state();
        state.next = id + 1;
        if !state.lost {
            state.in_flight.insert(id, call.clone());
        }
        !state.lost
    }

    /// All calls that are being answered.
    pub(crate) fn all(&self) -> Vec<Arc<CallState>> {
        self.state().in_flight.values().cloned().collect()
    }

    /// Whether a lane call has been seen and is over.
    pub(crate) fn has_passed(&self, id: u64) -> bool {
        let state = self.state();
        id < state.next && !state.in_flight.contains_key(&id)
    }

    /// Ends the answers after those that are queued, for a drain.
    pub(crate) fn finish(&self) -> bool {
        let mut state = self.state();
        state.finish = true;
        let open = state.taken;
        drop(state);
        self.work.notify_one();
        open
    }

    /// Waits until everything written has been acknowledged, after [`AnswerLane::finish`].
    pub(crate) async fn acknowledged(&self) {
        loop {
            let drained = self.drained.notified();
            if self.state().acknowledged {
                return;
            }
            drained.await;
        }
    }

    fn push(&self, frame: impl FnOnce(&mut BytesMut)) {
        let mut state = self.state();
        let idle = state.out.is_empty();
        frame(&mut state.out);
        drop(state);
        if idle {
            self.work.notify_one();
        }
    }

    /// Answers a call, on the lane or, if the answer is large, on a stream of its own.
    pub(crate) fn reply(
        &self,
        conn: &Arc<Conn>,
        id: u64,
        initial: &Metadata,
        status: &Status,
        message: &Bytes,
        compressed: bool,
    ) {
        let mut state = self.state();
        let Some(call) = state.in_flight.get(&id) else {
            return;
        };
        if message.len() > limits::MAX_LANE_MESSAGE {
            // It stays in flight until it is written, so that answers left unread count against the caller's calls.
            let call = call.clone();
            drop(state);
            self.large.fetch_add(message.len(), Ordering::AcqRel);
            conn.begin_busy();
            tokio::spawn(large_answer(
                conn.clone(),
                call,
                id,
                initial.clone(),
                status.clone(),
                message.clone(),
                compressed,
            ));
            return;
        }
        let call = state.in_flight.remove(&id);
        let idle = state.out.is_empty();
        let flags = if compressed { flag::COMPRESSED } else { 0 };
        call::put_lane_reply(&mut state.out, id, flags, initial, status, message);
        drop(state);
        drop(call);
        if idle {
            self.work.notify_one();
        }
    }

    fn backlog(&self) -> bool {
        let state = self.state();
        state.out.len() + state.writing > limits::MAX_LANE_BACKLOG
            || self.large.load(Ordering::Acquire) > MAX_LARGE_BACKLOG
    }
}

async fn large_answer(
    conn: Arc<Conn>,
    call: Arc<CallState>,
    id: u64,
    initial: Metadata,
    status: Status,
    message: Bytes,
    compressed: bool,
) {
    let size = message.len();
    let write = async {
        let send = tokio::select! {
            send = conn.quic.open_uni() => send,
            // A caller that grants no streams may still give its call up.
            _ = call.cancel.cancelled() => return,
        };
        let Ok(send) = send else { return };
        let mut head = BytesMut::new();
        head.put_u8(StreamKind::LargeAnswer as u8);
        aster_proto::varint::put(&mut head, id);
        let (sink, writer) = Sink::new(&head);
        if !initial.is_empty() {
            let mut out = BytesMut::new();
            initial.encode(&mut out);
            let _ = sink.push(kind::METADATA, &out.freeze());
        }
        let flags = if compressed { flag::COMPRESSED } else { 0 };
        let _ = sink.push(kind::MESSAGE | flags, &message);
        let _ = sink.push(kind::STATUS, &status_payload(&status));
        sink.finish();
        let written = writer.run(send);
        tokio::pin!(written);
        // A caller that stops the stream has given the call up.
        tokio::select! {
            _ = &mut written => {}
            _ = call.cancel.cancelled() => {
                sink.reset(close::stream::CANCELLED);
                written.await;
            }
        }
    };
    write.await;
    conn.answer_lane.state().in_flight.remove(&id);
    conn.answer_lane.large.fetch_sub(size, Ordering::AcqRel);
    conn.answer_lane.drained.notify_waiters();
    // It may have been the last.
    conn.answer_lane.work.notify_one();
    conn.end_busy();
}

/// Runs the lane that a peer has opened.
pub(crate) async fn run(conn: &Arc<Conn>, mut send: SendStream, mut source: Source) {
    let lane = &conn.answer_lane;
    if std::mem::replace(&mut lane.state().taken, true) {
        return conn.violation("a second lane came");
    }
    source.set_max_payload(limits::MAX_LANE_FRAME);
    let write = async {
        loop {
            let (bytes, finish) = {
                let mut state = lane.state();
                let bytes = state.out.split().freeze();
                state.writing = bytes.len();
                let over = state.last && state.in_flight.is_empty();
                (bytes, state.finish || over)
            };
            if !bytes.is_empty() {
                if send.write_chunk(bytes).await.is_err() {
                    if conn.quic.close_reason().is_none() {
                        conn.violation("it stopped the answers of its lane, and with them those of all its calls");
                    }
                    return;
                }
                lane.state().writing = 0;
                lane.drained.notify_waiters();
            } else if finish {
                let _ = send.finish();
                // Acknowledged to the last byte, or the connection is over.
                let _ = send.stopped().await;
                return;
            } else {
                lane.work.notified().await;
            }
        }
    };
    let read = read(conn, &mut source);
    {
        tokio::pin!(write, read);
        tokio::select! {
            () = &mut write => {}
            () = &mut read => {
                lane.state().last = true;
                lane.work.notify_one();
                write.await;
            }
        }
    }
    lane.state().acknowledged = true;
    lane.drained.notify_waiters();
}

async fn read(conn: &Arc<Conn>, source: &mut Source) {
    let mut routes: Vec<Result<Arc<Target>, Status>> = Vec::new();
    loop {
        if conn.answer_lane.backlog() && !wait_for_reader(conn).await {
            return;
        }
        let frame = match source.frame().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return,
            Err(error) => {
                if conn.quic.close_reason().is_none() {
                    conn.violation(&format!("on the lane: {}", error.status(false).message));
                }
                return;
            }
        };
        let taken = LaneFrame::parse(frame).map_err(|error| error.to_string());
        if let Err(what) = taken.and_then(|frame| take(conn, &mut routes, frame)) {
            return conn.violation(&what);
        }
    }
}

/// Waits until the peer has read its answers. Gives the peer up if it does not.
async fn wait_for_reader(conn: &Arc<Conn>) -> bool {
    let lane = &conn.answer_lane;
    let wait = async {
        loop {
            let drained = lane.drained.notified();
            if !lane.backlog() {
                return;
            }
            drained.await;
        }
    };
    let stall = conn.lane_stall;
    tokio::select! {
        () = wait => true,
        _ = conn.closed() => false,
        () = tokio::time::sleep(stall) => {
            let text = format!("answers were left unread for {:.1} s: read answers while sending calls", stall.as_secs_f64());
            tracing::warn!(target: "aster", peer = %conn.peer_id, "connection closed, {text}");
            conn.close(close::connection::LANE_STALLED, &text, Status::transport(Code::UNAVAILABLE, text.clone(), true));
            false
        }
    }
}

fn take(
    conn: &Arc<Conn>,
    routes: &mut Vec<Result<Arc<Target>, Status>>,
    frame: LaneFrame,
) -> Result<(), String> {
    match frame {
        LaneFrame::Call {
            id,
            header,
            message,
            compressed,
        } => {
            let lane = &conn.answer_lane;
            let full = {
                let state = lane.state();
                if id < state.next {
                    return Err(format!("lane call id {id} came out of order"));
                }
                state.in_flight.len() >= conn.limits.in_flight as usize
            };
            let request = match message {
                Some(message) => LaneRequest::Here(message, compressed),
                None => LaneRequest::Body(id),
            };
            if let Err(status) = begin(conn, routes, id, &header, request, full)? {
                lane.state().next = id + 1;
                // It may have come first.
                conn.forget_body(id);
                lane.push(|out| call::put_lane_reply(out, id, 0, &Metadata::new(), &status, &[]));
            }
            Ok(())
        }
        LaneFrame::Cancel { id } => {
            let call = conn.answer_lane.state().in_flight.remove(&id);
            // The answer may have crossed the cancellation.
            if let Some(call) = call {
                call.abandon();
                conn.cancel_unary(&call);
            }
            Ok(())
        }
        LaneFrame::Unknown => Ok(()),
        LaneFrame::Reply { .. } => Err("an answer came on the calling side of a lane".into()),
    }
}

/// Begins a lane call. The outer error closes the connection, the inner one answers the call.
fn begin(
    conn: &Arc<Conn>,
    routes: &mut Vec<Result<Arc<Target>, Status>>,
    id: u64,
    header: &[u8],
    request: LaneRequest,
    full: bool,
) -> Result<Result<(), Status>, String> {
    let decoded = CallHeader::decode(header);
    // A call that fails defines its route all the same, or the numbers of the two sides would not agree from here on.
    let target = match CallHeader::decode_route(header) {
        Ok(reference) => route(conn, routes, &reference)?,
        Err(error) => Err(Status::from_wire(&error, false)),
    };
    let header = match decoded {
        Ok(header) => header,
        Err(error) => return Ok(Err(Status::from_wire(&error, false))),
    };
    let session = header.session;
    let begun = target.and_then(|target| {
        if full {
            let text = format!(
                "{} calls of this peer are in flight, the most allowed (max_in_flight): await answers first",
                conn.limits.in_flight
            );
            return Err(Status::rejected(Code::RESOURCE_EXHAUSTED, text));
        }
        if target.method.pattern != Pattern::Unary {
            let text = format!(
                "{} is a {} method: it needs a stream of its own, not the lane",
                target.name(),
                target.method.pattern.name()
            );
            return Err(Status::rejected(Code::INVALID_ARGUMENT, text));
        }
        conn.begin(Request::new(target, header), Path::Lane, Some(id))
    });
    match begun {
        Ok(call) => {
            if conn.answer_lane.insert(id, &call) {
                conn.admit_unary(Ready { call, request });
            } else {
                call.end_unstarted(CancelCause::Connection);
            }
            Ok(Ok(()))
        }
        Err(status) => {
            if let Some(session) = session {
                conn.session_refused(session);
            }
            Ok(Err(status))
        }
    }
}

/// What a route leads to. The outer error closes the connection, the inner one answers the call.
fn route(
    conn: &Arc<Conn>,
    routes: &mut Vec<Result<Arc<Target>, Status>>,
    reference: &RouteRef<'_>,
) -> Result<Result<Arc<Target>, Status>, String> {
    match reference {
        RouteRef::Defined(number) => {
            let known = usize::try_from(*number)
                .ok()
                .and_then(|number| routes.get(number));
            known
                .cloned()
                .ok_or_else(|| format!("route {number} is not defined on this lane"))
        }
        RouteRef::Full { route, define } => {
            let target = conn.resolve(route).map(Arc::new);
            if let Some(number) = define {
                if *number != routes.len() as u64 || *number >= limits::MAX_ROUTES {
                    return Err(format!(
                        "route {number} was defined where {} was due, of at most {} routes",
                        routes.len(),
                        limits::MAX_ROUTES
                    ));
                }
                routes.push(target.clone());
            }
            Ok(target)
        }
    }
}
