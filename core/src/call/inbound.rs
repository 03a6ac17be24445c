//! Calls that this side answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aster_proto::call::Codec;
use aster_proto::contract::Pattern;
use aster_proto::frame::{flag, kind};
use aster_proto::limits;
use aster_proto::metadata::Metadata;
use aster_proto::status::{Code, Status};
use bytes::{Bytes, BytesMut};

use super::requests::Requests;
use super::session::SessionRef;
use crate::cancel::{Cancel, CancelCause};
use crate::client::Caller;
use crate::codec;
use crate::compress;
use crate::conn::Conn;
use crate::conn::answer::{Request, dispatch};
use crate::conn::control::status_payload;
use crate::conn::sink::{Sink, SinkEnd};
use crate::conn::source::Unfolded;
use crate::conn::timers::TimerKey;
use crate::conn::unsent::Unsent;
use crate::service::Target;

/// Where an answer goes.
pub(crate) enum Path {
    /// Onto the lane.
    Lane,
    /// Onto the call's own stream.
    Stream(Sink),
}

/// One call being answered.
pub(crate) struct CallState {
    pub(crate) id: u64,
    pub(crate) conn: Arc<Conn>,
    pub(crate) target: Arc<Target>,
    pub(crate) session: Option<SessionRef>,
    pub(crate) cancel: Cancel,
    /// Its id on the lane, if it came by the lane.
    lane: Option<u64>,
    metadata: Metadata,
    deadline: Option<Instant>,
    compress: bool,
    path: Mutex<Path>,
    response: Mutex<Response>,
    timer: Mutex<Option<TimerKey>>,
    /// Its request, if that was compressed.
    unfolded: Mutex<Option<Unfolded>>,
    /// Its response metadata has gone out, or there was none when its first message did.
    begun: AtomicBool,
    /// The caller has been told how it ended, or has given it up.
    answered: AtomicBool,
    /// Its handler has ended.
    ended: AtomicBool,
}

#[derive(Default)]
struct Response {
    initial: Metadata,
    trailing: Metadata,
    started: bool,
    /// A large message for which there was no room yet: it counts while its handler waits with it.
    waiting: Option<Arc<Unsent>>,
}

impl CallState {
    pub(crate) fn new(
        id: u64,
        conn: Arc<Conn>,
        request: Request,
        session: Option<SessionRef>,
        deadline: Option<Instant>,
        path: Path,
        lane: Option<u64>,
    ) -> Self {
        Self {
            id,
            conn,
            target: request.target,
            session,
            cancel: Cancel::default(),
            lane,
            metadata: request.metadata,
            deadline,
            compress: request.compress,
            path: Mutex::new(path),
            response: Mutex::default(),
            timer: Mutex::default(),
            unfolded: Mutex::default(),
            begun: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    fn path(&self) -> MutexGuard<'_, Path> {
        self.path.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn response(&self) -> MutexGuard<'_, Response> {
        self.response.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer goes to a stream of its own from now on; `false` if there is an answer already, on its way to where
    /// answers went before.
    pub(crate) fn move_to(&self, sink: Sink) -> bool {
        // An answer is claimed before it looks where to go, so that one of the two sees the other.
        let mut path = self.path();
        if self.answered.load(Ordering::Acquire) {
            return false;
        }
        *path = Path::Stream(sink);
        true
    }

    pub(crate) fn set_timer(&self, key: TimerKey) {
        *self.timer.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
    }

    fn sink(&self) -> Option<Sink> {
        match &*self.path() {
            Path::Lane => None,
            Path::Stream(sink) => Some(sink.clone()),
        }
    }

    pub(super) fn pattern(&self) -> Pattern {
        self.target.method.pattern
    }

    /// A unary call by the lane or with a body waits in its session's queue; others run beside it.
    fn is_queued_kind(&self) -> bool {
        self.lane.is_some()
    }

    /// Hands a call with one request message to its service, once the message is readable and fits.
    pub(crate) fn dispatch_message(self: Arc<Self>, message: Bytes, compressed: bool) {
        if compressed {
            let max = self.conn.limits.message;
            tokio::spawn(async move {
                let budget = &self.conn.budget;
                let counted = compress::decompress(message, max, budget)
                    .await
                    .and_then(|message| Ok((budget.unfolded(message.len())?, message)));
                match counted {
                    Ok((counted, message)) => {
                        *self.unfolded.lock().unwrap_or_else(PoisonError::into_inner) =
                            Some(counted);
                        self.dispatch_plain(message);
                    }
                    Err(status) => self.refuse(status),
                }
            });
        } else {
            self.dispatch_plain(message);
        }
    }

    fn dispatch_plain(self: Arc<Self>, message: Bytes) {
        match self.readable(message) {
            Ok(message) => dispatch(self, Some(message), None),
            Err(status) => self.refuse(status),
        }
    }

    pub(super) fn readable(&self, message: Bytes) -> Result<Bytes, Status> {
        let service = &self.target.service;
        codec::from_wire(
            &service.contract,
            self.target.method.request,
            self.target.codec,
            service.checked,
            message,
        )
        .map_err(|mut status| {
            status.message = format!(
                "the request of {} does not fit its contract: {}",
                self.target.name(),
                status.message
            );
            status
        })
    }

    /// The answer, if none has been given: `false` if one has.
    fn claim(&self) -> bool {
        if self.answered.swap(true, Ordering::AcqRel) {
            return false;
        }
        let timer = self
            .timer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(timer) = timer {
            self.conn.timers.remove(timer);
        }
        true
    }

    /// The caller has given the call up: it hears no answer.
    pub(crate) fn abandon(&self) {
        self.claim();
    }

    /// Answers a call whose handler did not start, and ends it.
    pub(crate) fn refuse(self: &Arc<Self>, mut status: Status) {
        status.may_have_run = false;
        self.answer_failed(status);
        self.end();
    }

    /// Answers a call that its session did not take, and ends it.
    pub(crate) fn refuse_unadmitted(self: &Arc<Self>, status: Status) {
        self.answer_failed(status);
        self.end_waiting();
    }

    /// Ends a call whose handler did not start and whose caller is gone.
    pub(crate) fn end_unstarted(self: &Arc<Self>, cause: CancelCause) {
        self.cancel.fire(cause);
        self.answer_failed(Status::rejected(
            Code::CANCELLED,
            "the call was cancelled before its handler started",
        ));
        self.end_waiting();
    }

    /// Answers with a failure, or with the OK end of a stream. Without effect if the call is answered.
    pub(crate) fn answer_failed(self: &Arc<Self>, status: Status) {
        if self.claim() {
            self.send_failed(status);
        }
    }

    fn send_failed(self: &Arc<Self>, mut status: Status) {
        let (initial, started) = self.take_response(&mut status);
        self.send_end(&initial, started, &status);
    }

    /// The message, counted if it is large.
    fn count(&self, message: Bytes) -> Result<Bytes, Status> {
        let budget = &self.conn.budget;
        Ok(match budget.unsent(message.len(), || self.target.name())? {
            Some(counted) => counted.with(message),
            None => message,
        })
    }

    fn send_end(self: &Arc<Self>, initial: &Metadata, started: bool, status: &Status) {
        match self.sink() {
            Some(sink) => finish_stream(&sink, initial, started, status),
            None => self.conn.answer_lane.reply(
                &self.conn,
                self.lane_id(),
                initial,
                status,
                &Bytes::new(),
                false,
            ),
        }
    }

    fn lane_id(&self) -> u64 {
        self.lane.unwrap_or_default()
    }

    /// Metadata that the handler set, unless it has gone out; what is trailing goes into the status.
    fn take_response(&self, status: &mut Status) -> (Metadata, bool) {
        let mut response = self.response();
        let trailing = std::mem::take(&mut response.trailing);
        response.waiting = None;
        let started = std::mem::replace(&mut response.started, true);
        let initial = std::mem::take(&mut response.initial);
        drop(response);
        // An answer without part of what its handler said would be another answer.
        if let Err(mut over) = self.add_trailing(status, &trailing) {
            if !status.is_ok() {
                over.message = format!("{}; the call had failed: {status}", over.message);
            }
            *status = over;
        }
        (initial, started)
    }

    fn add_trailing(&self, status: &mut Status, trailing: &Metadata) -> Result<(), Status> {
        if status.metadata.is_empty() && trailing.is_empty() {
            return Ok(());
        }
        let mut merged = status.metadata.clone();
        // What the error says of a key goes before what the handler had set.
        let added: Vec<_> = trailing
            .iter()
            .filter(|(key, _)| status.metadata.get(key).is_none())
            .collect();
        let more: usize = added
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        self.takes(merged.size() + more, "trailing")?;
        for (key, value) in added {
            merged.insert(key, value.clone()).map_err(|error| {
                let text = format!("the trailing metadata of {}: {error}", self.target.name());
                Status::server(Code::RESOURCE_EXHAUSTED, text)
            })?;
        }
        status.metadata = merged;
        Ok(())
    }

    /// Whether the caller takes response metadata of this size.
    fn takes(&self, size: usize, which: &str) -> Result<(), Status> {
        let max = self.conn.peer_limits().metadata;
        if size <= max {
            return Ok(());
        }
        let text = format!(
            "the {which} metadata of {} has {size} bytes: the caller takes {max} (max_metadata)",
            self.target.name()
        );
        Err(Status::server(Code::RESOURCE_EXHAUSTED, text))
    }

    /// Answers a unary or client-streaming call.
    fn answer(self: &Arc<Self>, message: Bytes) {
        if !self.claim() {
            return;
        }
        if !self.compress || message.len() < limits::COMPRESS_THRESHOLD {
            return self.send_answer(&message, false);
        }
        let call = self.clone();
        self.conn.begin_busy();
        tokio::spawn(async move {
            match compress::compress(&message).await {
                Some(small) => match call.count(small) {
                    Ok(small) => call.send_answer(&small, true),
                    Err(over) => call.send_failed(over),
                },
                None => call.send_answer(&message, false),
            }
            call.conn.end_busy();
        });
    }

    fn send_answer(self: &Arc<Self>, message: &Bytes, compressed: bool) {
        let mut status = Status::ok();
        let (initial, started) = self.take_response(&mut status);
        if !status.is_ok() {
            return self.send_end(&initial, started, &status);
        }
        match self.sink() {
            Some(sink) => {
                let flags = if compressed { flag::COMPRESSED } else { 0 };
                if !started && !initial.is_empty() {
                    let _ = sink.push(kind::METADATA, &metadata_payload(&initial));
                }
                let _ = sink.push(kind::MESSAGE | flags, message);
                finish_stream(&sink, &Metadata::new(), true, &status);
            }
            None => self.conn.answer_lane.reply(
                &self.conn,
                self.lane_id(),
                &initial,
                &status,
                message,
                compressed,
            ),
        }
    }

    /// The handler has ended, or never started: what waited for that goes on.
    fn end(self: &Arc<Self>) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        self.cancel.clear();
        if let Some(session) = self.session {
            self.conn.session_call_done(session, self.is_queued_kind());
        }
        self.end_common();
    }

    /// Ends a call that was taken out of its session's queue, or whose turn had come and passed.
    fn end_waiting(self: &Arc<Self>) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(session) = self.session {
            self.conn.session_step(session.id);
        }
        self.end_common();
    }

    fn end_common(&self) {
        if let Some(lane) = self.lane {
            self.conn.forget_body(lane);
        }
        let counted = self
            .unfolded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(counted);
        self.conn.end_busy();
    }
}

fn metadata_payload(metadata: &Metadata) -> Bytes {
    let mut out = BytesMut::new();
    metadata.encode(&mut out);
    out.freeze()
}

/// Ends an answer stream. That the caller has stopped listening is noticed by the stream's writer.
fn finish_stream(sink: &Sink, initial: &Metadata, started: bool, status: &Status) {
    if !started && !initial.is_empty() {
        let _ = sink.push(kind::METADATA, &metadata_payload(initial));
    }
    let _ = sink.push(kind::STATUS, &status_payload(status));
    sink.finish();
}

/// A call as its service gets it.
pub struct Inbound {
    responder: Responder,
    request: Option<Bytes>,
    requests: Option<Requests>,
}

impl Inbound {
    pub(crate) fn new(
        call: Arc<CallState>,
        request: Option<Bytes>,
        requests: Option<Requests>,
    ) -> Self {
        Self {
            responder: Responder(call),
            request,
            requests,
        }
    }

    /// The method's place in the contract's methods sorted by name.
    pub fn method_index(&self) -> usize {
        self.responder.0.target.method.index
    }

    /// How many messages go each way.
    pub fn pattern(&self) -> Pattern {
        self.responder.0.pattern()
    }

    /// What the call is answered through, for everything else that is known of it.
    pub fn responder(&self) -> &Responder {
        &self.responder
    }

    /// The one request message (unary and server-streaming calls), or the request messages, and where the answer goes.
    pub fn into_parts(self) -> (Option<Bytes>, Option<Requests>, Responder) {
        (self.request, self.requests, self.responder)
    }
}

/// What a call is answered through. It is shared freely; when the last clone is dropped the call has ended.
pub struct Responder(Arc<CallState>);

impl Responder {
    /// A number that is unique in this process.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// The caller's endpoint id, 64 hex digits.
    pub fn peer(&self) -> &str {
        &self.0.conn.peer_id
    }

    /// Who called, to be called back.
    pub fn caller(&self) -> Caller {
        Caller::new(&self.0.conn)
    }

    /// `Service.method`.
    pub fn name(&self) -> String {
        self.0.target.name()
    }

    /// The caller's metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.0.metadata
    }

    /// When the call's time is up.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.deadline
    }

    /// The time left until the deadline; zero once it has passed.
    pub fn time_left(&self) -> Option<Duration> {
        self.0
            .deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// The session the call belongs to.
    pub fn session(&self) -> Option<SessionRef> {
        self.0.session
    }

    /// Why the call was cancelled, if it was.
    pub fn cancel_cause(&self) -> Option<CancelCause> {
        self.0.cancel.cause()
    }

    /// Waits until the call is cancelled.
    pub async fn cancelled(&self) -> CancelCause {
        self.0.cancel.cancelled().await
    }

    /// Calls `callback` on the I/O thread when the call is cancelled, at once if it is already.
    pub fn on_cancel(&self, callback: Box<dyn FnOnce(CancelCause) + Send>) {
        self.0.cancel.on_cancel(callback);
    }

    /// Sets the initial response metadata. Fails once the answer has begun.
    pub fn set_metadata(&self, metadata: Metadata) -> Result<(), Status> {
        let mut response = self.0.response();
        if response.started {
            let text = "response metadata goes before the first message, and that has been sent: use trailing metadata";
            return Err(Status::server(Code::FAILED_PRECONDITION, text));
        }
        self.0.takes(metadata.size(), "initial")?;
        response.initial = metadata;
        Ok(())
    }

    /// Sets the trailing metadata, which goes with the end of the answer. Fails over what the caller takes.
    pub fn set_trailing(&self, metadata: Metadata) -> Result<(), Status> {
        self.0.takes(metadata.size(), "trailing")?;
        self.0.response().trailing = metadata;
        Ok(())
    }

    /// Answers a unary or client-streaming call. Without effect if the call has been answered or given up.
    ///
    /// A message over the caller's limit is answered `RESOURCE_EXHAUSTED` in its place, and so is a large one while the
    /// caller has left too many of them unread.
    pub fn reply(&self, message: Bytes) {
        match self
            .to_wire(message)
            .and_then(|message| self.0.count(message))
        {
            Ok(message) => self.0.answer(message),
            Err(status) => self.0.answer_failed(status),
        }
    }

    fn to_wire(&self, message: Bytes) -> Result<Bytes, Status> {
        let target = &self.0.target;
        let message = codec::to_wire(
            &target.service.contract,
            target.method.response,
            target.codec,
            message,
        )
        .map_err(|status| {
            Status::server(
                Code::INTERNAL,
                format!(
                    "the answer of {} can't be written: {}",
                    target.name(),
                    status.message
                ),
            )
        })?;
        self.fits(&message)?;
        Ok(message)
    }

    /// Whether the caller takes a message of this size.
    fn fits(&self, message: &Bytes) -> Result<(), Status> {
        let target = &self.0.target;
        let max = self.0.conn.peer_limits().message;
        if message.len() > max {
            return Err(Status::server(
                Code::RESOURCE_EXHAUSTED,
                format!(
                    "the answer of {} has {} bytes: the caller takes {max} (max_message)",
                    target.name(),
                    message.len()
                ),
            ));
        }
        Ok(())
    }

    /// Sends one message of a server-streaming or bidirectional answer, if there is room: otherwise it is given back,
    /// and [`Responder::ready`] tells when there is.
    pub fn try_send(&self, message: Bytes) -> Result<Option<Bytes>, Status> {
        // This is the path of every streamed message: the sink is used under the lock rather than cloned, and so is
        // the message where it goes out as it is.
        let path = self.0.path();
        let Path::Stream(sink) = &*path else {
            drop(path);
            return Err(Status::server(
                Code::INTERNAL,
                format!("{} has one answer, not a stream", self.name()),
            ));
        };
        if self.0.answered.load(Ordering::Acquire) {
            return Err(self.gone());
        }
        if !self.0.begun.load(Ordering::Acquire) {
            self.start(sink)?;
        }
        let pushed = if self.0.target.codec == Codec::MessagePack {
            self.fits(&message)?;
            self.push(sink, 0, &message)
        } else {
            let wire = self.to_wire(message.clone())?;
            self.push(sink, 0, &wire)
        };
        Ok(if pushed? { None } else { Some(message) })
    }

    /// Sends a message in wire form, counted if it is large; `false` if there is no room.
    fn push(&self, sink: &Sink, flags: u8, message: &Bytes) -> Result<bool, Status> {
        let byte = kind::MESSAGE | flags;
        if message.len() < limits::COUNTED_ANSWER {
            return sink
                .try_push(byte, message)
                .map_err(|end| self.end_status(&end));
        }
        // One that had to wait has been counted.
        let waited = self.0.response().waiting.take();
        let counted = match waited.filter(|waited| waited.size() == message.len()) {
            Some(waited) => Some(waited),
            None => {
                let budget = &self.0.conn.budget;
                budget.unsent(message.len(), || self.name())?
            }
        };
        let wire = match &counted {
            Some(counted) => counted.with(message.clone()),
            None => message.clone(),
        };
        let pushed = sink
            .try_push(byte, &wire)
            .map_err(|end| self.end_status(&end))?;
        if !pushed {
            self.0.response().waiting = counted;
        }
        Ok(pushed)
    }

    /// Sends one message of a server-streaming or bidirectional answer; waits while the caller reads slower than that.
    ///
    /// Fails when the caller is gone.
    pub async fn send(&self, message: Bytes) -> Result<(), Status> {
        if self.0.compress && message.len() >= limits::COMPRESS_THRESHOLD {
            let Some(sink) = self.0.sink() else {
                return Err(Status::server(
                    Code::INTERNAL,
                    format!("{} has one answer, not a stream", self.name()),
                ));
            };
            self.start(&sink)?;
            let wire = self.to_wire(message)?;
            let (wire, flags) = match compress::compress(&wire).await {
                Some(small) => (small, flag::COMPRESSED),
                None => (wire, 0),
            };
            loop {
                if self.push(&sink, flags, &wire)? {
                    return Ok(());
                }
                self.ready().await?;
            }
        }
        let mut message = message;
        loop {
            match self.try_send(message)? {
                None => return Ok(()),
                Some(back) => message = back,
            }
            self.ready().await?;
        }
    }

    /// Waits until there is room for a message. Fails when the caller is gone.
    pub async fn ready(&self) -> Result<(), Status> {
        let Some(sink) = self.0.sink() else {
            return Ok(());
        };
        tokio::select! {
            biased;
            ready = sink.ready() => ready.map_err(|end| self.end_status(&end)),
            _ = self.0.cancel.cancelled() => Err(self.gone()),
        }
    }

    /// Whether large messages are to be compressed: then [`Responder::send`] is the way, `try_send` does not compress.
    pub fn compresses(&self) -> bool {
        self.0.compress
    }

    fn start(&self, sink: &Sink) -> Result<(), Status> {
        let mut response = self.0.response();
        self.0.begun.store(true, Ordering::Release);
        if !std::mem::replace(&mut response.started, true) && !response.initial.is_empty() {
            let initial = std::mem::take(&mut response.initial);
            sink.push(kind::METADATA, &metadata_payload(&initial))
                .map_err(|end| self.end_status(&end))?;
        }
        Ok(())
    }

    fn end_status(&self, end: &SinkEnd) -> Status {
        match end {
            SinkEnd::Lost => self.0.conn.lost(true),
            SinkEnd::Stopped | SinkEnd::Done => self.gone(),
        }
    }

    /// Why nothing more can be sent, as the handler is told.
    fn gone(&self) -> Status {
        let name = self.name();
        match self.cancel_cause() {
            Some(CancelCause::Deadline) => Status::server(
                Code::DEADLINE_EXCEEDED,
                format!("the deadline of {name} has passed, and its caller has been told"),
            ),
            Some(CancelCause::Session) => {
                Status::server(Code::CANCELLED, format!("the session of {name} was closed"))
            }
            _ => Status::server(
                Code::CANCELLED,
                format!("the caller of {name} does not listen any more"),
            ),
        }
    }

    /// Ends the call: with OK the end of an answer stream, otherwise the failure. Without effect if it has ended.
    pub fn finish(&self, status: Status) {
        if status.is_ok() && !self.0.pattern().streams_responses() {
            return self.0.answer_failed(Status::server(
                Code::INTERNAL,
                format!("the handler of {} ended without its answer", self.name()),
            ));
        }
        self.0.answer_failed(status);
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        let text = format!("the handler of {} ended without an answer", self.name());
        self.0.answer_failed(Status::server(Code::INTERNAL, text));
        self.0.end();
    }
}
