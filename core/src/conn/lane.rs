//! The lane, calling side: all small unary calls of a connection on one stream.

use std::collections::hash_map::Entry;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use aster_proto::call::{self, LaneFrame, RouteRef, encode_header};
use aster_proto::close;
use aster_proto::contract::Pattern;
use aster_proto::frame::{self, StreamKind, flag};
use aster_proto::limits;
use aster_proto::metadata::Metadata;
use aster_proto::status::{Code, Status};
use bytes::{BufMut, Bytes, BytesMut};
use rustc_hash::FxHashMap;
use tokio::sync::{Notify, Semaphore};

use super::Conn;
use super::source::Source;
use super::stream::{AnswerReader, Answered, deadline_left};
use super::timers::{Timed, TimerKey};
use crate::call::outbound::{Answer, Failed, check_metadata};
use crate::client::Method;

/// What hears the end of a lane call, on the I/O thread.
pub(crate) type Done = Box<dyn FnOnce(Result<Answer, Failed>) + Send>;

/// The calling side of the lane.
pub(crate) struct Lane {
    state: Mutex<State>,
    work: Notify,
    places: Semaphore,
}

#[derive(Default)]
struct State {
    out: BytesMut,
    header: BytesMut,
    next: u64,
    /// Calls with a lower id have been handed to the connection, and may have run.
    sent: u64,
    pending: FxHashMap<u64, Pending>,
    routes: FxHashMap<usize, u64>,
    /// Keeps the methods alive whose addresses are keys of `routes`.
    methods: Vec<Method>,
    started: bool,
    dead: Option<Status>,
    limit: u32,
}

struct Pending {
    done: Done,
    timer: Option<(TimerKey, Arc<dyn Timed>)>,
    compressed_max: usize,
}

/// One call to be made on the lane.
pub(crate) struct LaneCall<'a> {
    pub(crate) method: &'a Method,
    pub(crate) session: Option<u64>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) compress: bool,
    pub(crate) metadata: &'a Metadata,
    /// `None`: the message follows on a stream of its own, and so does the answer, unless the call is refused.
    pub(crate) message: Option<&'a [u8]>,
    pub(crate) compressed: bool,
}

impl Default for Lane {
    fn default() -> Self {
        let state = State {
            limit: limits::MAX_IN_FLIGHT,
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
            work: Notify::new(),
            places: Semaphore::new(limits::MAX_IN_FLIGHT as usize),
        }
    }
}

impl Lane {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over the peer's limit of calls in flight. To be called once, before any call.
    pub(crate) fn set_limit(&self, limit: u32) {
        // More than a million waiting calls are no help, and more than a semaphore can count a panic.
        let limit = limit.clamp(1, 1 << 20);
        let before = std::mem::replace(&mut self.state().limit, limit);
        if limit > before {
            self.places.add_permits((limit - before) as usize);
        } else {
            self.places.forget_permits((before - limit) as usize);
        }
    }

    /// A place among the calls in flight, if one is free and nobody waits for it.
    pub(crate) fn try_place(&self) -> bool {
        match self.places.try_acquire() {
            Ok(place) => {
                place.forget();
                true
            }
            Err(_) => false,
        }
    }

    /// Waits for a place among the calls in flight, first come first served.
    pub(crate) async fn place(&self) -> bool {
        match self.places.acquire().await {
            Ok(place) => {
                place.forget();
                true
            }
            Err(_) => false,
        }
    }

    /// Gives back a place that was not used.
    pub(crate) fn give_back(&self) {
        self.places.add_permits(1);
    }

    /// Fails everything that is pending and everything to come.
    pub(crate) fn fail_all(&self, status: &Status) {
        let (pending, sent) = {
            let mut state = self.state();
            state.dead.get_or_insert_with(|| status.clone());
            state.out = BytesMut::new();
            (std::mem::take(&mut state.pending), state.sent)
        };
        self.places.close();
        self.work.notify_one();
        for (id, pending) in pending {
            let mut status = status.clone();
            status.may_have_run = id < sent;
            (pending.done)(Err(Failed::new(status)));
        }
    }
}

/// A deadline of a lane call.
struct Deadline {
    conn: Weak<Conn>,
    id: u64,
}

impl Timed for Deadline {
    fn expired(self: Arc<Self>) {
        if let Some(conn) = self.conn.upgrade() {
            let text = "the deadline passed before the answer came";
            conn.lane_cancel(self.id, Status::client(Code::DEADLINE_EXCEEDED, text));
        }
    }
}

impl Conn {
    /// Issues a call on the lane, for which the caller holds a place: its id.
    ///
    /// `done` is called once, unless the call is forgotten first.
    pub(crate) fn lane_call(self: &Arc<Self>, call: &LaneCall<'_>, done: Done) -> u64 {
        let mut guard = self.lane.state();
        let state = &mut *guard;
        let id = state.next;
        if let Some(status) = &state.dead {
            let mut status = status.clone();
            status.may_have_run = false;
            drop(guard);
            done(Err(Failed::new(status)));
            return id;
        }
        state.next += 1;
        let key = call.method.key();
        let known = state.routes.len() as u64;
        let route = match state.routes.entry(key) {
            Entry::Occupied(number) => RouteRef::Defined(*number.get()),
            Entry::Vacant(entry) => {
                let define = (known < limits::MAX_ROUTES).then_some(known);
                if let Some(number) = define {
                    entry.insert(number);
                    state.methods.push(call.method.clone());
                }
                RouteRef::Full {
                    route: call.method.route(),
                    define,
                }
            }
        };
        state.header.clear();
        let left = call.deadline.map(deadline_left);
        encode_header(
            &mut state.header,
            &route,
            call.session,
            left,
            call.compress,
            call.metadata,
        );
        let idle = state.out.is_empty();
        if !state.started && idle {
            state.out.put_u8(StreamKind::Lane as u8);
        }
        let flags = if call.compressed { flag::COMPRESSED } else { 0 }
            | if call.message.is_none() {
                flag::BODY
            } else {
                0
            };
        call::put_lane_call(
            &mut state.out,
            id,
            flags,
            &state.header,
            call.message.unwrap_or_default(),
        );
        let start = !std::mem::replace(&mut state.started, true);
        let timer = call.deadline.map(|deadline| {
            let what: Arc<dyn Timed> = Arc::new(Deadline {
                conn: Arc::downgrade(self),
                id,
            });
            // The timers hold what they watch weakly: it lives as long as the call is pending.
            (self.timers.add(deadline, Arc::downgrade(&what)), what)
        });
        state.pending.insert(
            id,
            Pending {
                done,
                timer,
                compressed_max: self.limits.message,
            },
        );
        drop(guard);
        if start {
            tokio::spawn(run(self.clone()));
        } else if idle {
            self.lane.work.notify_one();
        }
        id
    }

    fn lane_take(&self, id: u64) -> Option<Pending> {
        let pending = self.lane.state().pending.remove(&id)?;
        self.lane.give_back();
        if let Some((timer, _)) = &pending.timer {
            self.timers.remove(*timer);
        }
        Some(pending)
    }

    /// Gives a call up with this status, and tells the peer. Nothing happens if it has ended.
    pub(crate) fn lane_cancel(&self, id: u64, status: Status) {
        let Some(pending) = self.lane_take(id) else {
            return;
        };
        self.lane_send_cancel(id);
        (pending.done)(Err(Failed::new(status)));
    }

    /// Forgets a call whose answer came another way.
    pub(crate) fn lane_forget(&self, id: u64) {
        drop(self.lane_take(id));
    }

    /// Tells the peer that a call is given up.
    fn lane_send_cancel(&self, id: u64) {
        let mut state = self.lane.state();
        if state.dead.is_none() {
            let idle = state.out.is_empty();
            call::put_lane_cancel(&mut state.out, id);
            drop(state);
            if idle {
                self.lane.work.notify_one();
            }
        }
    }

    fn lane_reply(self: &Arc<Self>, frame: LaneFrame) -> Result<(), String> {
        match frame {
            LaneFrame::Reply {
                id,
                mut status,
                mut initial,
                message,
                compressed,
            } => {
                // A late answer to a call that was given up.
                let Some(pending) = self.lane_take(id) else {
                    return Ok(());
                };
                status.metadata.hide_reserved();
                initial.hide_reserved();
                let max = self.limits.metadata;
                let fits = check_metadata("initial", &initial, max)
                    .and_then(|()| check_metadata("trailing", &status.metadata, max));
                if let Err(mut over) = fits {
                    over.may_have_run = status.is_ok() || status.may_have_run;
                    (pending.done)(Err(Failed::new(over)));
                } else if !status.is_ok() {
                    (pending.done)(Err(Failed {
                        status: *status,
                        metadata: initial,
                    }));
                } else if compressed {
                    let max = pending.compressed_max;
                    let budget = self.budget.clone();
                    tokio::spawn(async move {
                        let result = crate::compress::decompress(message, max, &budget).await;
                        (pending.done)(match result {
                            Ok(message) => Ok(Answer {
                                message,
                                metadata: initial,
                                trailing: status.metadata,
                            }),
                            Err(mut status) => {
                                // An answer means that it ran.
                                status.may_have_run = true;
                                Err(Failed::new(status))
                            }
                        });
                    });
                } else {
                    (pending.done)(Ok(Answer {
                        message,
                        metadata: initial,
                        trailing: status.metadata,
                    }));
                }
                Ok(())
            }
            LaneFrame::Unknown => Ok(()),
            LaneFrame::Call { .. } | LaneFrame::Cancel { .. } => {
                Err("a call came on the answering side of a lane".into())
            }
        }
    }
}

/// Opens the lane, writes what is called and reads what is answered, until the connection or the lane ends.
async fn run(conn: Arc<Conn>) {
    let Ok((mut send, recv)) = conn.quic.open_bi().await else {
        let status = conn.lost(false);
        conn.lane.fail_all(&status);
        return;
    };
    let mut source = Source::new(recv, limits::MAX_LANE_FRAME, conn.budget.clone());
    let write = async {
        loop {
            let bytes = {
                let mut state = conn.lane.state();
                if state.dead.is_some() {
                    return;
                }
                state.sent = state.next;
                state.out.split().freeze()
            };
            if bytes.is_empty() {
                conn.lane.work.notified().await;
            } else if send.write_chunk(bytes).await.is_err() {
                return;
            }
        }
    };
    let read = async {
        loop {
            match source.frame().await {
                Ok(Some(frame)) => {
                    let taken = LaneFrame::parse(frame).map_err(|error| error.to_string());
                    if let Err(what) = taken.and_then(|frame| conn.lane_reply(frame)) {
                        conn.violation(&what);
                        return;
                    }
                }
                // The peer has drained: what is still unanswered will not be answered.
                Ok(None) => return,
                Err(error) => {
                    if conn.quic.close_reason().is_none() {
                        conn.violation(&format!("on the lane: {}", error.status(true).message));
                    }
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = write => {}
        () = read => {}
    }
    // Whoever ended first: no call can be answered on this lane any more, and none be made on this connection.
    conn.going_away.store(true, Ordering::Release);
    let status = match conn.is_over() {
        true => conn.lost(true),
        false => {
            let text =
                "the peer ended its answers and takes no more small calls on this connection";
            Status::transport(Code::UNAVAILABLE, text, true)
        }
    };
    conn.lane.fail_all(&status);
    // An end, not a reset: this side makes no more calls on it, and that is no fault of anybody's.
    let _ = send.finish();
}

/// Reads the large answer to a lane call from the stream it came on.
pub(crate) async fn take_large_answer(conn: &Arc<Conn>, mut source: Source) {
    let id = match source.varint().await {
        Ok(Some(id)) => id,
        Ok(None) => return,
        Err(_) => return source.stop(close::stream::PROTOCOL),
    };
    if !conn.lane.state().pending.contains_key(&id) {
        // Given up in the meantime.
        return source.stop(close::stream::CANCELLED);
    }
    let mut reader = AnswerReader::new(source, Pattern::Unary, &conn.limits);
    let result = reader.single().await;
    let Some(pending) = conn.lane_take(id) else {
        return;
    };
    (pending.done)(match result {
        Answered::Ok(answer) => Ok(answer),
        Answered::Failed(failed) => Err(failed),
    });
}

/// The bytes that head a stream which carries the messages of lane call `id`.
pub(crate) fn body_head(id: u64) -> BytesMut {
    let mut head = BytesMut::new();
    head.put_u8(StreamKind::Body as u8);
    aster_proto::varint::put(&mut head, id);
    head
}

/// The bytes of one message frame.
pub(crate) fn message_frame(out: &mut BytesMut, message: &Bytes, compressed: bool) {
    let flags = if compressed { flag::COMPRESSED } else { 0 };
    frame::put(out, frame::kind::MESSAGE | flags, message);
}
