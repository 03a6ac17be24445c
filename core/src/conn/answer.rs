//! Taking calls: from a header to a running handler, through the limits, the contract and the session.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use aster_proto::call::{CallHeader, Route};
use aster_proto::limits;
use aster_proto::session::{Admit, Sessions, Step};
use aster_proto::status::{Code, Status};
use bytes::Bytes;
use iroh::endpoint::SendStream;
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use super::Conn;
use super::source::Source;
use super::timers::Timed;
use crate::call::inbound::{CallState, Inbound, Path};
use crate::call::requests::Requests;
use crate::call::session::SessionRef;
use crate::cancel::CancelCause;
use crate::service::{Service, Target};

/// How long the handlers of a lost session may take to end before its close hook runs all the same.
const LOST_SESSION_WAIT: Duration = Duration::from_secs(5);

static NEXT_CALL: AtomicU64 = AtomicU64::new(1);

/// Everything a connection knows of the calls that it answers.
pub(crate) struct Answers {
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) sessions: Sessions<Ready>,
    pub(super) records: HashMap<u64, Record>,
    pub(super) streams: FxHashMap<u64, Weak<CallState>>,
    pub(super) bodies: FxHashMap<u64, BodySlot>,
    /// The connection is gone: nothing begins any more.
    pub(super) lost: bool,
}

/// The engine's side of a session: whose it is and what runs in it.
pub(super) struct Record {
    pub(super) session: SessionRef,
    pub(super) service: Arc<Service>,
    pub(super) running: u64,
    pub(super) streams: Vec<Weak<CallState>>,
    /// The connection is gone; the hook runs once nothing runs any more.
    pub(super) lost: bool,
}

/// A unary call that may have to wait for its turn in a session.
pub(crate) struct Ready {
    pub(crate) call: Arc<CallState>,
    pub(crate) request: LaneRequest,
}

/// The message of a lane call.
pub(crate) enum LaneRequest {
    /// It came with the call; whether it is compressed.
    Here(Bytes, bool),
    /// It comes, or has come, on a stream of its own.
    Body(u64),
}

/// What follows from a [`Step`] of a session, taken under the lock under which the step was made.
pub(super) enum After {
    Stay,
    AwaitCalls,
    CancelStreams(Vec<Weak<CallState>>),
    End(Record),
}

impl State {
    pub(super) fn step(&mut self, id: u64) -> After {
        let step = self.sessions.step(id);
        self.after(id, step)
    }

    /// A session that has ended loses its record in the same moment: a call that comes in between would find one
    /// without the other.
    pub(super) fn after(&mut self, id: u64, step: Step) -> After {
        match step {
            Step::Stay => After::Stay,
            Step::AwaitCalls => After::AwaitCalls,
            Step::CancelStreams => {
                let record = self.records.get_mut(&id);
                After::CancelStreams(
                    record
                        .map(|record| std::mem::take(&mut record.streams))
                        .unwrap_or_default(),
                )
            }
            Step::End => self.records.remove(&id).map_or(After::Stay, After::End),
        }
    }
}

pub(super) enum BodySlot {
    Awaited(oneshot::Sender<(SendStream, Source)>),
    Arrived(Box<(SendStream, Source)>),
    /// It has come and is read: another one breaks the protocol.
    Taken,
}

impl Answers {
    pub(crate) fn new(max_sessions: u32) -> Self {
        Self {
            state: Mutex::new(State {
                sessions: Sessions::new(max_sessions),
                records: HashMap::new(),
                streams: FxHashMap::default(),
                bodies: FxHashMap::default(),
                lost: false,
            }),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn remove_stream(&self, id: u64) {
        self.state().streams.remove(&id);
    }
}

impl Timed for CallState {
    fn expired(self: Arc<Self>) {
        let text = format!(
            "the deadline of {} passed before its handler ended",
            self.target.name()
        );
        let waiting = self.session.and_then(|session| {
            self.conn
                .answers
                .state()
                .sessions
                .cancel_queued(session.id, |ready| Arc::ptr_eq(&ready.call, &self))
        });
        let mut status = Status::server(Code::DEADLINE_EXCEEDED, text);
        if waiting.is_some() {
            status.may_have_run = false;
            status.message = format!(
                "the deadline of {} passed while it waited for its turn in its session",
                self.target.name()
            );
        }
        self.answer_failed(status);
        match waiting {
            Some(_) => self.end_unstarted(CancelCause::Deadline),
            None => drop(self.cancel.fire(CancelCause::Deadline)),
        }
    }
}

/// What a header asks for, made of a call stream or the lane.
pub(crate) struct Request {
    pub(crate) target: Arc<Target>,
    pub(crate) session: Option<u64>,
    pub(crate) deadline_ms: Option<u64>,
    pub(crate) compress: bool,
    pub(crate) metadata: aster_proto::metadata::Metadata,
}

impl Request {
    pub(crate) fn new(target: Arc<Target>, mut header: CallHeader<'_>) -> Self {
        header.metadata.hide_reserved();
        Self {
            target,
            session: header.session,
            deadline_ms: header.deadline_ms,
            compress: header.compress,
            metadata: header.metadata,
        }
    }
}

impl Conn {
    /// What a route leads to, for this peer now.
    pub(crate) fn resolve(&self, route: &Route<'_>) -> Result<Target, Status> {
        if self.is_draining() {
            return Err(Status::rejected(
                Code::UNAVAILABLE,
                "this server is going away and takes no new calls: call another",
            ));
        }
        self.registry.resolve(route)
    }

    /// Makes the state of a call; `Err` is its answer.
    pub(crate) fn begin(
        self: &Arc<Self>,
        request: Request,
        path: Path,
        lane: Option<u64>,
    ) -> Result<Arc<CallState>, Status> {
        let refuse = |code, text: String| Status::rejected(code, text);
        let target = &request.target;
        if self.is_draining() {
            let text = "this server is going away and takes no new calls: call another";
            return Err(refuse(Code::UNAVAILABLE, text.into()));
        }
        let session = match (target.is_session(), request.session) {
            (true, Some(id)) => Some(id),
            (false, None) => None,
            (true, None) => {
                let text = format!(
                    "{} belongs to a session service and the call names no session",
                    target.name()
                );
                return Err(refuse(Code::FAILED_PRECONDITION, text));
            }
            (false, Some(_)) => {
                let text = format!(
                    "{} belongs to a shared service and the call names a session",
                    target.name()
                );
                return Err(refuse(Code::INVALID_ARGUMENT, text));
            }
        };
        let size = request.metadata.size();
        if size > self.limits.metadata {
            let text = format!(
                "the metadata of the call has {size} bytes: {} are taken here (max_metadata)",
                self.limits.metadata
            );
            return Err(refuse(Code::RESOURCE_EXHAUSTED, text));
        }
        // A caller that cancels has its place in flight back at once, while a handler may take its time to end.
        let in_flight = self.limits.streams as usize + self.limits.in_flight as usize;
        let most = limits::MAX_RUNNING_FACTOR * in_flight;
        if self.busy() >= most {
            let text = format!(
                "{most} calls of this connection have not ended, cancelled ones included, the most allowed: wait for \
                 some to end"
            );
            return Err(refuse(Code::RESOURCE_EXHAUSTED, text));
        }
        if request.deadline_ms == Some(0) {
            let text = format!(
                "the deadline of {} had passed when the call arrived",
                target.name()
            );
            return Err(refuse(Code::DEADLINE_EXCEEDED, text));
        }
        let session = session
            .map(|id| self.session_record(id, target))
            .transpose()?;
        let id = NEXT_CALL.fetch_add(1, Ordering::Relaxed);
        // A year is for ever, and keeps the clock's arithmetic within its range.
        let year = Duration::from_secs(365 * 24 * 3_600);
        let asked = request.deadline_ms.map(Duration::from_millis);
        let left = match (asked, target.timeout) {
            (Some(asked), Some(longest)) => Some(asked.min(longest)),
            (asked, longest) => asked.or(longest),
        };
        let deadline = left.map(|left| Instant::now() + left.min(year));
        let call = Arc::new(CallState::new(
            id,
            self.clone(),
            request,
            session,
            deadline,
            path,
            lane,
        ));
        self.begin_busy();
        if let Some(deadline) = deadline {
            let what: Weak<CallState> = Arc::downgrade(&call);
            call.set_timer(self.timers.add(deadline, what));
        }
        Ok(call)
    }

    /// A unary call of the lane: runs it, queues it in its session, or answers why not.
    pub(crate) fn admit_unary(self: &Arc<Self>, ready: Ready) {
        let mut ready = ready;
        let Some(session) = ready.call.session else {
            return self.run_unary(ready);
        };
        if let LaneRequest::Here(message, _) = &mut ready.request {
            // It may have to wait, and a slice of what came off the network would hold all that came with it.
            *message = Bytes::copy_from_slice(message);
        }
        let admitted = {
            let mut state = self.answers.state();
            let admitted = state.sessions.unary(session.id, ready);
            if matches!(admitted, Admit::Run(_))
                && let Some(record) = state.records.get_mut(&session.id)
            {
                record.running += 1;
            }
            admitted
        };
        match admitted {
            Admit::Run(ready) => self.run_unary(ready),
            Admit::Queued => {}
            Admit::Refused(ready, status) => {
                self.forget_unopened(session.id);
                ready.call.refuse_unadmitted(*status);
            }
        }
    }

    /// Runs a unary call whose turn it is.
    pub(crate) fn run_unary(self: &Arc<Self>, ready: Ready) {
        let Ready { call, request } = ready;
        if call.cancel.cause().is_some() {
            // Between its turn and its start.
            let text = "the call was cancelled before its handler started";
            return call.refuse(Status::rejected(Code::CANCELLED, text));
        }
        match request {
            LaneRequest::Here(message, compressed) => call.dispatch_message(message, compressed),
            LaneRequest::Body(id) => {
                let body = self.await_body(id);
                let conn = self.clone();
                tokio::spawn(async move { conn.run_body(call, body).await });
            }
        }
    }

    /// A call has a stream of its own from now on, and ends with it.
    pub(crate) fn add_stream(&self, call: &Arc<CallState>) {
        let lost = {
            let mut state = self.answers.state();
            if !state.lost {
                state.streams.insert(call.id, Arc::downgrade(call));
            }
            state.lost
        };
        if lost {
            call.cancel.fire(CancelCause::Connection);
        }
    }

    /// A streaming call, or a unary call on a stream of its own, in its session if it has one.
    pub(crate) fn admit_stream(&self, call: &Arc<CallState>) -> Result<(), Status> {
        let Some(session) = call.session else {
            return Ok(());
        };
        let mut state = self.answers.state();
        if let Err(status) = state.sessions.stream(session.id) {
            drop(state);
            self.forget_unopened(session.id);
            return Err(status);
        }
        if let Some(record) = state.records.get_mut(&session.id) {
            record.running += 1;
            record.streams.retain(|stream| stream.strong_count() > 0);
            record.streams.push(Arc::downgrade(call));
        }
        Ok(())
    }

    /// The connection is gone: every handler is told, every session ends once its handlers have.
    pub(crate) fn answers_lost(self: &Arc<Self>) {
        let (queued, streams, sessions) = {
            let mut state = self.answers.state();
            state.lost = true;
            state.bodies.clear();
            let queued: Vec<Ready> = state
                .sessions
                .end_all()
                .into_iter()
                .flat_map(|(_, queue)| queue)
                .collect();
            let streams: Vec<_> = state
                .streams
                .drain()
                .filter_map(|(_, call)| call.upgrade())
                .collect();
            let mut sessions = Vec::new();
            for (id, record) in &mut state.records {
                record.lost = true;
                sessions.push(*id);
            }
            (queued, streams, sessions)
        };
        for ready in queued {
            ready.call.end_unstarted(CancelCause::Connection);
        }
        for call in streams.into_iter().chain(self.answer_lane.take_all()) {
            call.cancel.fire(CancelCause::Connection);
        }
        for id in sessions {
            self.session_lost_step(id);
            if self.answers.state().records.contains_key(&id) {
                let conn = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(LOST_SESSION_WAIT).await;
                    conn.session_end_lost(id);
                });
            }
        }
    }

    /// Cancels every running call, for a drain whose time is up.
    pub(crate) fn cancel_all(&self, cause: CancelCause) {
        let streams: Vec<_> = self
            .answers
            .state()
            .streams
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        for call in streams.into_iter().chain(self.answer_lane.all()) {
            call.answer_failed(Status::server(
                Code::UNAVAILABLE,
                "the server shut down before the call ended",
            ));
            call.cancel.fire(cause);
        }
    }

    /// The caller gave a lane call up: takes it out of its session's queue if it waits there.
    pub(crate) fn cancel_unary(self: &Arc<Self>, call: &Arc<CallState>) {
        let waiting = call.session.and_then(|session| {
            self.answers
                .state()
                .sessions
                .cancel_queued(session.id, |ready| Arc::ptr_eq(&ready.call, call))
        });
        call.cancel.fire(CancelCause::Caller);
        if waiting.is_some() {
            call.end_unstarted(CancelCause::Caller);
        }
    }
}

/// Hands a call to its service.
pub(crate) fn dispatch(call: Arc<CallState>, request: Option<Bytes>, requests: Option<Requests>) {
    let dispatch = call.target.service.dispatch.clone();
    let inbound = Inbound::new(call, request, requests);
    // It runs in the task that reads for all calls of the lane. The call is answered as it is dropped in the panic.
    if catch_unwind(AssertUnwindSafe(|| dispatch.call(inbound))).is_err() {
        tracing::error!(target: "aster", "taking a call panicked; the call has failed INTERNAL");
    }
}
