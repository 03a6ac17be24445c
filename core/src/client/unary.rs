//! Unary calls: which way a message goes, what happens when that way fails, and how a call is given up.

use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aster_proto::call::Codec;
use aster_proto::close;
use aster_proto::contract::Pattern;
use aster_proto::frame::{flag, kind};
use aster_proto::limits;
use aster_proto::status::{Code, Origin, Status};
use bytes::Bytes;

use super::{CallOptions, Client, Method};
use crate::call::outbound::{Answer, Failed, check_request_metadata};
use crate::call::session::{Session, Turn};
use crate::codec;
use crate::compress;
use crate::conn::Conn;
use crate::conn::lane::{LaneCall, body_head, message_frame};
use crate::conn::sink::Sink;
use crate::conn::stream::{AnswerReader, Answered, call_head};
use crate::failure::Failure;

/// How long the refusal of a call may come after the end of the stream that was opened for its message.
const REFUSAL_WAIT: Duration = Duration::from_secs(1);

/// Cancels a call whose caller has stopped waiting.
pub(super) struct CancelOnDrop(pub(super) Option<CallHandle>);

impl CancelOnDrop {
    pub(super) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(handle) = self.0.take() {
            handle.cancel();
        }
    }
}

/// A unary call under way.
#[derive(Clone)]
pub struct CallHandle(Arc<UnaryCall>);

impl CallHandle {
    /// Cancels the call: it ends `CANCELLED`, and so does its handler. It is no error to cancel one that has ended.
    pub fn cancel(&self) {
        self.0.give_up(Status::client(
            Code::CANCELLED,
            "the call was cancelled on this side",
        ));
    }
}

pub(super) type UnaryDone = Box<dyn FnOnce(Result<Answer, Failure>) + Send>;

pub(super) struct UnaryCall {
    client: Client,
    method: Method,
    request: Bytes,
    options: CallOptions,
    compress: bool,
    deadline: Option<Instant>,
    state: Mutex<UnaryState>,
}

struct UnaryState {
    place: Where,
    attempts: u32,
    done: Option<UnaryDone>,
}

/// Where a unary call is, for its cancellation.
enum Where {
    /// Waiting for a connection or a place.
    Waiting,
    /// On the lane of this connection.
    Lane(Arc<Conn>, u64),
    /// In a task of its own.
    Task(tokio::task::AbortHandle, Option<(Arc<Conn>, u64)>),
}

impl UnaryCall {
    /// Makes the call; `done` hears its end.
    pub(super) fn begin(
        client: Client,
        method: Method,
        request: Bytes,
        options: CallOptions,
        compress: bool,
        deadline: Option<Instant>,
        done: UnaryDone,
    ) -> CallHandle {
        let state = Mutex::new(UnaryState {
            place: Where::Waiting,
            attempts: 0,
            done: Some(done),
        });
        let call = Arc::new(Self {
            client,
            method,
            request,
            options,
            compress,
            deadline,
            state,
        });
        call.clone().start();
        CallHandle(call)
    }

    fn state(&self) -> MutexGuard<'_, UnaryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_done(&self) -> bool {
        self.state().done.is_none()
    }

    fn finish(&self, result: Result<Answer, Failed>, peer: &str) {
        let done = self.state().done.take();
        if let Some(done) = done {
            done(result.map_err(|failed| Failure::new(failed, self.method.name(), peer)));
        }
    }

    fn give_up(&self, status: Status) {
        let (done, place) = {
            let mut state = self.state();
            (
                state.done.take(),
                std::mem::replace(&mut state.place, Where::Waiting),
            )
        };
        let Some(done) = done else { return };
        let mut peer = self.client.peer();
        match place {
            Where::Waiting => {}
            Where::Lane(conn, id) => {
                peer = conn.peer_id.to_string();
                conn.lane_cancel(id, status.clone());
            }
            Where::Task(task, lane) => {
                // The task's streams end with it, and tell the peer.
                task.abort();
                if let Some((conn, id)) = lane {
                    conn.lane_cancel(id, status.clone());
                }
            }
        }
        done(Err(Failure::of(status, self.method.name(), &peer)));
    }

    /// Makes the call at once if it is small and the connection is up, otherwise in a task.
    fn start(self: Arc<Self>) {
        let small = self.request.len() <= limits::MAX_LANE_MESSAGE
            && self.method.codec() == Codec::MessagePack
            && !(self.compress && self.request.len() >= limits::COMPRESS_THRESHOLD);
        let session = self.options.session.as_ref();
        if small
            && self.method.pattern() == Pattern::Unary
            && session.is_none_or(Session::is_free)
            && let Some(conn) = self.client.current()
            && self.fits(&conn.peer_limits())
            && conn.lane.try_place()
        {
            return self.on_lane(&conn, None, false);
        }
        let turn = session.map(Session::turn);
        let call = self.clone();
        self.spawn(async move { call.slowly(turn).await }, None);
    }

    /// Whether the peer takes a call of this size, as far as can be told without a look at its message's wire form.
    fn fits(&self, peer: &limits::Limits) -> bool {
        self.request.len() <= peer.message && self.options.metadata.size() <= peer.metadata
    }

    fn spawn(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
        lane: Option<(Arc<Conn>, u64)>,
    ) {
        let mut state = self.state();
        if state.done.is_some() {
            let task = tokio::spawn(work);
            state.place = Where::Task(task.abort_handle(), lane);
        }
    }

    /// Issues the call on the lane, for which a place is held.
    fn on_lane(self: &Arc<Self>, conn: &Arc<Conn>, message: Option<&Bytes>, compressed: bool) {
        let session = match self
            .options
            .session
            .as_ref()
            .map(|session| session.issue(conn))
            .transpose()
        {
            Ok(session) => session,
            Err(status) => {
                conn.lane.give_back();
                return self.finish(Err(Failed::new(status)), &conn.peer_id);
            }
        };
        let lane_call = LaneCall {
            method: &self.method,
            session,
            deadline: self.deadline,
            compress: self.compress,
            metadata: &self.options.metadata,
            message: Some(message.unwrap_or(&self.request)),
            compressed,
        };
        let call = self.clone();
        let on = conn.clone();
        let attempts = self.state().attempts;
        let id = conn.lane_call(&lane_call, Box::new(move |result| call.ended(result, &on)));
        let mut state = self.state();
        if state.attempts != attempts {
            // The lane was dead, and the next attempt has its own place already.
        } else if state.done.is_some() {
            state.place = Where::Lane(conn.clone(), id);
        } else {
            // It has ended already, or was cancelled a moment ago on another thread; then the peer is to know.
            drop(state);
            conn.lane_cancel(
                id,
                Status::client(Code::CANCELLED, "the call was cancelled on this side"),
            );
        }
    }

    /// An attempt has ended: the call has, or it is made again.
    fn ended(self: Arc<Self>, result: Result<Answer, Failed>, conn: &Arc<Conn>) {
        let result = match result {
            Ok(mut answer) => {
                let method = &self.method;
                match codec::from_wire(
                    method.contract(),
                    method.types().response,
                    method.codec(),
                    method.is_checked(),
                    answer.message,
                ) {
                    Ok(message) => {
                        answer.message = message;
                        Ok(answer)
                    }
                    Err(status) => {
                        let text =
                            format!("the answer does not fit the contract: {}", status.message);
                        Err(Failed::new(Status::client(Code::INTERNAL, text)))
                    }
                }
            }
            Err(failed) if self.may_retry(&failed.status) => {
                let call = self.clone();
                // In a task: the end of a connection is being told while this runs.
                self.spawn(async move { call.slowly(None).await }, None);
                return;
            }
            Err(failed) => Err(failed),
        };
        self.finish(result, &conn.peer_id);
    }

    fn may_retry(&self, status: &Status) -> bool {
        let idempotent = self
            .options
            .idempotent
            .unwrap_or(self.method.is_idempotent());
        let of_the_way = status.code == Code::UNAVAILABLE && status.origin != Origin::Handler;
        let in_time = self
            .deadline
            .is_none_or(|deadline| deadline > Instant::now());
        // The state of a session is gone with its connection.
        let stateless = self.options.session.is_none();
        if !(of_the_way && in_time && stateless && (!status.may_have_run || idempotent)) {
            return false;
        }
        if self.client.0.closed.load(Ordering::Acquire) {
            return false;
        }
        let mut state = self.state();
        state.attempts += 1;
        state.done.is_some() && state.attempts <= self.client.0.options.retries
    }

    /// `turn`: the call's place among the unary calls of its session.
    async fn slowly(self: Arc<Self>, turn: Option<Turn>) {
        let work = self.clone().attempt(turn);
        match self.deadline {
            None => work.await,
            Some(deadline) => {
                if tokio::time::timeout_at(deadline.into(), work)
                    .await
                    .is_err()
                {
                    let text = "the deadline passed before the answer came";
                    self.give_up(Status::client(Code::DEADLINE_EXCEEDED, text));
                }
            }
        }
    }

    async fn attempt(self: Arc<Self>, turn: Option<Turn>) {
        let peer = self.client.peer();
        if let Some(Err(status)) = self.options.session.as_ref().map(Session::check) {
            return self.finish(Err(Failed::new(status)), &peer);
        }
        let method = &self.method;
        let prepared = codec::to_wire(
            method.contract(),
            method.types().request,
            method.codec(),
            self.request.clone(),
        );
        let message = match prepared {
            Ok(message) => message,
            Err(status) => return self.finish(Err(Failed::new(status)), &peer),
        };
        let (message, compressed) = match self.compress {
            true => match compress::compress(&message).await {
                Some(small) => (small, true),
                None => (message, false),
            },
            false => (message, false),
        };
        let conn = match self.client.conn().await {
            Ok(conn) => conn,
            Err(status) => return self.finish(Err(Failed::new(status)), &peer),
        };
        let limits = conn.peer_limits();
        if let Err(over) = check_request_metadata(&self.options.metadata, limits.metadata) {
            return self.finish(Err(Failed::new(over)), &peer);
        }
        let max = limits.message;
        if message.len() > max {
            let text = format!(
                "the request has {} bytes: the peer takes {max} (max_message)",
                message.len()
            );
            return self.finish(
                Err(Failed::new(Status::unsent(Code::RESOURCE_EXHAUSTED, text))),
                &peer,
            );
        }
        if let Some(turn) = &turn {
            turn.come().await;
        }
        if self.is_done() {
            return;
        }
        let small = message.len() <= limits::MAX_LANE_MESSAGE && method.pattern() == Pattern::Unary;
        if small {
            if !conn.lane.place().await {
                let lost = conn.lost(false);
                return self.ended(Err(Failed::new(lost)), &conn);
            }
            return self.on_lane(&conn, Some(&message), compressed);
        }
        if self.options.session.is_some() {
            return self.with_body(conn, message, compressed, turn).await;
        }
        let head = call_head(
            method,
            None,
            self.deadline,
            self.compress,
            &self.options.metadata,
        );
        let result = exchange(&conn, &head, &message, compressed, method.pattern()).await;
        self.ended(result, &conn);
    }

    /// A large unary call of a session: its header takes its place on the lane, its messages a stream of their own.
    async fn with_body(
        self: Arc<Self>,
        conn: Arc<Conn>,
        message: Bytes,
        compressed: bool,
        turn: Option<Turn>,
    ) {
        if !conn.lane.place().await {
            let lost = conn.lost(false);
            return self.ended(Err(Failed::new(lost)), &conn);
        }
        let session = match self
            .options
            .session
            .as_ref()
            .map(|session| session.issue(&conn))
            .transpose()
        {
            Ok(session) => session,
            Err(status) => {
                conn.lane.give_back();
                return self.finish(Err(Failed::new(status)), &conn.peer_id);
            }
        };
        let call = LaneCall {
            method: &self.method,
            session,
            deadline: self.deadline,
            compress: self.compress,
            metadata: &self.options.metadata,
            message: None,
            compressed: false,
        };
        let (refuse, mut refused) = tokio::sync::oneshot::channel();
        let on_lane = Box::new(move |result: Result<Answer, Failed>| {
            // The other way may have been the first to answer.
            let _ = refuse.send(result);
        });
        let id = conn.lane_call(&call, on_lane);
        drop(turn);
        let given_up = match &mut self.state().place {
            Where::Task(_, lane) => {
                *lane = Some((conn.clone(), id));
                false
            }
            _ => true,
        };
        if given_up {
            // A moment ago, on another thread.
            let text = "the call was cancelled on this side";
            return conn.lane_cancel(id, Status::client(Code::CANCELLED, text));
        }
        let head = body_head(id);
        let exchange = exchange(&conn, &head, &message, compressed, Pattern::Unary);
        // A call that is refused is answered on the lane, before its message has been read; any other on the stream.
        let result = tokio::select! {
            biased;
            Ok(result) = &mut refused => result,
            result = exchange => {
                let broken_off = match &result {
                    Err(failed) => failed.status.code == Code::UNAVAILABLE && !conn.is_over(),
                    Ok(_) => false,
                };
                // The stream of a refused call is broken off, and its answer may still be on its way.
                let refusal = match broken_off {
                    true => tokio::time::timeout(REFUSAL_WAIT, &mut refused).await.ok(),
                    false => None,
                };
                conn.lane_forget(id);
                refusal.and_then(Result::ok).unwrap_or(result)
            }
        };
        if let Where::Task(_, lane) = &mut self.state().place {
            *lane = None;
        }
        self.ended(result, &conn);
    }
}

/// One message out, one answer back, on a stream of their own.
async fn exchange(
    conn: &Arc<Conn>,
    head: &[u8],
    message: &Bytes,
    compressed: bool,
    pattern: Pattern,
) -> Result<Answer, Failed> {
    let Ok((send, recv)) = conn.quic.open_bi().await else {
        return Err(Failed::new(conn.lost(false)));
    };
    let mut first = bytes::BytesMut::from(head);
    let small = message.len() <= limits::MAX_LANE_MESSAGE;
    if small {
        message_frame(&mut first, message, compressed);
    }
    let (sink, writer) = Sink::new(&first);
    if !small {
        let flags = if compressed { flag::COMPRESSED } else { 0 };
        // A sink that has just been made takes it.
        let _ = sink.push(kind::MESSAGE | flags, message);
    }
    sink.finish();
    let guard = ResetOnDrop(Some(sink.clone()));
    tokio::spawn(writer.run(send));
    let mut reader = AnswerReader::from_stream(conn, recv, pattern);
    let result = match reader.single().await {
        Answered::Ok(answer) => Ok(answer),
        Answered::Failed(mut failed) => {
            if reader.is_broken() {
                sink.reset(close::stream::PROTOCOL);
            }
            if failed.status.origin == Origin::Transport && conn.quic.close_reason().is_some() {
                failed.status = conn.lost(sink.has_written());
            }
            Err(failed)
        }
    };
    guard.disarm();
    result
}

/// Resets a request that is still being written when its call is cancelled.
struct ResetOnDrop(Option<Sink>);

impl ResetOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for ResetOnDrop {
    fn drop(&mut self) {
        if let Some(sink) = self.0.take() {
            sink.reset(close::stream::CANCELLED);
        }
    }
}
