//! Clients: a connection that is made again when it is lost, and the calls on it.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aster_proto::address::Address;
use aster_proto::call::{Codec, Route};
use aster_proto::close;
use aster_proto::contract::{ContractId, MethodRef, Pattern};
use aster_proto::control::Offer;
use aster_proto::frame::{flag, kind};
use aster_proto::limits;
use aster_proto::metadata::Metadata;
use aster_proto::status::{Code, Origin, Status};
use bytes::Bytes;

use crate::call::outbound::{Answer, Failed};
use crate::call::session::Session;
use crate::call::streaming::{CallReceiver, CallSender, Shared};
use crate::codec;
use crate::compress;
use crate::conn::Conn;
use crate::conn::control::Introduction;
use crate::conn::lane::{LaneCall, body_head, message_frame};
use crate::conn::sink::Sink;
use crate::conn::stream::{AnswerReader, Answered, call_head};
use crate::contract::Contract;
use crate::contracts;
use crate::failure::Failure;
use crate::net::Net;
use crate::options::ClientOptions;
use crate::service::{Registry, unknown_service};

/// The first wait before connecting again; it doubles with each failure.
const BACKOFF: Duration = Duration::from_millis(100);
/// The longest wait before connecting again.
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// A method of a contract, ready to be called. Cloning is cheap; keep it, since a connection remembers it.
#[derive(Debug, Clone)]
pub struct Method(Arc<MethodInner>);

#[derive(Debug)]
struct MethodInner {
    contract: Contract,
    /// The contract that the server serves, where it is another one that this one gets on with.
    served: ContractId,
    method: MethodRef,
    name: String,
    codec: Codec,
    checked: bool,
}

impl Method {
    /// A method of `contract`; `None` if it has none of that name.
    pub fn new(contract: &Contract, name: &str) -> Option<Self> {
        let method = contract.compiled().method(name)?;
        Some(Self(Arc::new(MethodInner {
            contract: contract.clone(),
            served: contract.id(),
            method,
            name: format!("{}.{name}", contract.name()),
            codec: Codec::MessagePack,
            checked: false,
        })))
    }

    fn change(&self, change: impl FnOnce(&mut MethodInner)) -> Self {
        let inner = &self.0;
        let mut inner = MethodInner { contract: inner.contract.clone(), name: inner.name.clone(), ..**inner };
        change(&mut inner);
        Self(Arc::new(inner))
    }

    /// The same, with another codec on the wire. Messages are MessagePack for the user of the engine whichever it is.
    #[must_use]
    pub fn with_codec(&self, codec: Codec) -> Self {
        self.change(|inner| inner.codec = codec)
    }

    /// The same, with answers checked against the contract before they are handed over. Default: no.
    #[must_use]
    pub fn with_checks(&self, checked: bool) -> Self {
        self.change(|inner| inner.checked = checked)
    }

    /// The same, for a server whose contract is another one, which [`Contract::compare`] found to get on with this one.
    #[must_use]
    pub fn served_as(&self, served: &Contract) -> Self {
        self.change(|inner| inner.served = served.id())
    }

    /// `Service.method`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its contract.
    pub fn contract(&self) -> &Contract {
        &self.0.contract
    }

    /// How many messages go each way.
    pub fn pattern(&self) -> Pattern {
        self.0.method.pattern
    }

    /// Its place in its contract, and its types there.
    pub fn types(&self) -> &MethodRef {
        &self.0.method
    }

    pub(crate) fn codec(&self) -> Codec {
        self.0.codec
    }

    pub(crate) fn is_checked(&self) -> bool {
        self.0.checked
    }

    pub(crate) fn key(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    pub(crate) fn route(&self) -> Route<'_> {
        let inner = &self.0;
        Route {
            service: inner.contract.name(),
            version: inner.contract.version(),
            method: inner.contract.compiled().method_name(inner.method.index),
            contract: Some(*inner.served.as_bytes()),
            codec: inner.codec,
        }
    }

    fn manifest_timeout(&self) -> Option<Duration> {
        let name = self.0.contract.compiled().method_name(self.0.method.index);
        self.0.contract.manifest().methods.get(name)?.timeout_ms.map(Duration::from_millis)
    }
}

/// What one call can be told.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CallOptions {
    /// The longest it may take. Default: the client's, else the method's, else none.
    pub timeout: Option<Duration>,
    /// Metadata for the server.
    pub metadata: Metadata,
    /// Whether messages of 4 KiB and more are compressed, in both directions. Default: the client's.
    pub compress: Option<bool>,
    /// The session it belongs to.
    pub session: Option<Session>,
    /// Whether it may be made again when it is not known to have run. Default: the contract's word.
    pub idempotent: Option<bool>,
}

impl CallOptions {
    /// Nothing but defaults.
    pub fn new() -> Self {
        Self::default()
    }
}

/// A client of one server, or of one of several that are equal.
///
/// It connects again by itself when the connection is lost. A call that was never sent, or that is idempotent, is made
/// again; any other fails `UNAVAILABLE` and says whether it may have run.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    net: Net,
    addresses: Vec<Address>,
    options: ClientOptions,
    link: Mutex<Link>,
    connecting: tokio::sync::Mutex<()>,
    closed: AtomicBool,
}

#[derive(Default)]
struct Link {
    conn: Option<Arc<Conn>>,
    failures: u32,
    not_before: Option<Instant>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("peer", &self.peer()).finish()
    }
}

impl Client {
    /// Connects to the first address that answers.
    pub async fn connect(addresses: Vec<Address>, options: ClientOptions) -> Result<Self, Failure> {
        let failed = |status| Failure::of(status, "connect", "");
        if addresses.is_empty() {
            return Err(failed(Status::unsent(Code::INVALID_ARGUMENT, "no address was given: pass the one the server printed")));
        }
        let net = Net::bind(&options.endpoint, false).await.map_err(failed)?;
        let client = Self(Arc::new(Inner {
            net,
            addresses,
            options,
            link: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            closed: AtomicBool::new(false),
        }));
        match client.conn().await {
            Ok(_) => Ok(client),
            Err(status) => {
                client.0.net.close().await;
                Err(failed(status))
            }
        }
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.0.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, if there is one that takes calls.
    fn current(&self) -> Option<Arc<Conn>> {
        self.link().conn.as_ref().filter(|conn| conn.is_usable()).cloned()
    }

    fn closed_status() -> Status {
        Status::unsent(Code::FAILED_PRECONDITION, "the client is closed: make a new one")
    }

    /// The connection; made if there is none.
    async fn conn(&self) -> Result<Arc<Conn>, Status> {
        if let Some(conn) = self.current() {
            return Ok(conn);
        }
        let _one_at_a_time = self.0.connecting.lock().await;
        if let Some(conn) = self.current() {
            return Ok(conn);
        }
        let not_before = self.link().not_before;
        if let Some(wait) = not_before {
            tokio::time::sleep_until(wait.into()).await;
        }
        if self.0.closed.load(Ordering::Acquire) {
            return Err(Self::closed_status());
        }
        let result = self.dial().await;
        let mut link = self.link();
        match result {
            Ok(conn) => {
                if self.0.closed.load(Ordering::Acquire) {
                    drop(link);
                    conn.close(close::connection::DONE, "", Self::closed_status());
                    return Err(Self::closed_status());
                }
                *link = Link { conn: Some(conn.clone()), failures: 0, not_before: None };
                Ok(conn)
            }
            Err(status) => {
                link.failures += 1;
                let wait = BACKOFF.saturating_mul(1 << link.failures.min(10)).min(MAX_BACKOFF);
                // Half of the wait is chance, so that clients of one server do not all come back at once.
                link.not_before = Some(Instant::now() + wait / 2 + wait.mul_f64(chance() / 2.0));
                Err(status)
            }
        }
    }

    async fn dial(&self) -> Result<Arc<Conn>, Status> {
        let inner = &self.0;
        let end = Instant::now() + inner.options.connect_timeout;
        let me = Introduction { agent: inner.options.endpoint.agent.clone(), limits: inner.options.endpoint.limits };
        let mut first: Option<Status> = None;
        for (at, address) in inner.addresses.iter().enumerate() {
            let left = end.saturating_duration_since(Instant::now());
            // What is left is shared among the addresses that are left, so that one dead server does not use it up.
            let share = left / u32::try_from(inner.addresses.len() - at).unwrap_or(1);
            let outcome = async {
                let quic = inner.net.dial(address, share).await?;
                Conn::dial(quic, Arc::new(Registry::default()), &me).await
            };
            match outcome.await {
                Ok(conn) => return Ok(conn),
                Err(status) => {
                    first.get_or_insert(status);
                }
            }
        }
        Err(first.unwrap_or_else(|| Status::unsent(Code::INVALID_ARGUMENT, "no address was given")))
    }

    /// The endpoint id of the peer that it is, or was last, connected to; otherwise the first address's.
    pub fn peer(&self) -> String {
        match &self.link().conn {
            Some(conn) => conn.peer_id.to_string(),
            None => self.0.addresses[0].endpoint_id.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }

    /// The services that the peer offers.
    pub fn offers(&self) -> Vec<Offer> {
        self.link().conn.as_ref().map(|conn| conn.peer().offers).unwrap_or_default()
    }

    /// The contract of a service of the peer. Fetched at most once per process and contract.
    ///
    /// Without a version: 1 if it is offered, else the only one there is.
    pub async fn contract(&self, name: &str, version: Option<u32>) -> Result<Contract, Failure> {
        let failed = |status| Failure::of(status, name, &self.peer());
        let conn = self.conn().await.map_err(failed)?;
        let offers = conn.peer().offers;
        let mut found: Vec<&Offer> = offers.iter().filter(|offer| offer.service == name).collect();
        match version {
            Some(version) => found.retain(|offer| offer.version == version),
            None if found.iter().any(|offer| offer.version == 1) => found.retain(|offer| offer.version == 1),
            None => {}
        }
        let offer = match found[..] {
            [offer] => offer,
            [] => return Err(failed(Status::unsent(Code::UNIMPLEMENTED, unknown_service(name, version, &offers)))),
            _ => {
                let versions: Vec<String> = found.iter().map(|offer| offer.version.to_string()).collect();
                let text = format!("service {name} has versions {} here and none of them is 1: name one", versions.join(", "));
                return Err(failed(Status::unsent(Code::INVALID_ARGUMENT, text)));
            }
        };
        let id = ContractId::from(offer.contract);
        if let Some(contract) = contracts::cached(&id) {
            return Ok(contract);
        }
        let (method, request) = contracts::request(&id).map_err(failed)?;
        let options = CallOptions { timeout: Some(self.0.options.connect_timeout), ..CallOptions::default() };
        let answer = self.unary(&method, request, options).await?;
        contracts::accept(&id, &answer.message).map_err(failed)
    }

    /// A new session of a service. It begins with its first call.
    pub fn open_session(&self, service: &str, implicit: bool) -> Session {
        Session::new(service, implicit)
    }

    /// Asks the peer's engine for a sign of life: the round trip. A peer that gives none in time is taken for dead, and
    /// its connection closed.
    pub async fn ping(&self, timeout: Duration) -> Result<Duration, Failure> {
        let failed = |status| Failure::of(status, "ping", &self.peer());
        let conn = self.conn().await.map_err(failed)?;
        let began = Instant::now();
        match tokio::time::timeout(timeout, conn.ping()).await {
            Ok(Ok(())) => Ok(began.elapsed()),
            Ok(Err(status)) => Err(failed(status)),
            Err(_) => {
                let text = format!("the peer did not answer a ping within {:.1} s: it is dead or unreachable", timeout.as_secs_f64());
                let status = Status::transport(Code::UNAVAILABLE, text, true);
                conn.close(close::connection::DONE, "no answer to a ping", status.clone());
                Err(failed(status))
            }
        }
    }

    /// Ends the calls and the connection; the peer is told. Closing twice is no error.
    pub async fn close(&self) {
        if !self.0.closed.swap(true, Ordering::AcqRel) {
            let conn = self.link().conn.take();
            if let Some(conn) = conn {
                let status = Status::transport(Code::CANCELLED, "the client was closed", true);
                conn.close(close::connection::DONE, "", status);
            }
            self.0.net.close().await;
        }
    }

    fn deadline(&self, method: &Method, options: &CallOptions) -> Option<Instant> {
        let timeout = options.timeout.or(self.0.options.timeout).or_else(|| method.manifest_timeout())?;
        Instant::now().checked_add(timeout)
    }

    fn compresses(&self, options: &CallOptions) -> bool {
        options.compress.unwrap_or(self.0.options.compress)
    }

    /// Makes a unary call.
    pub async fn unary(&self, method: &Method, request: Bytes, options: CallOptions) -> Result<Answer, Failure> {
        let (give, take) = tokio::sync::oneshot::channel();
        let handle = self.unary_with(method, request, options, move |result| {
            // Whoever asked has gone: then the call is being cancelled.
            let _ = give.send(result);
        });
        let guard = CancelOnDrop(Some(handle));
        let result = match take.await {
            Ok(result) => result,
            Err(_) => Err(Failure::of(Status::client(Code::INTERNAL, "the call was dropped by the engine"), method.name(), &self.peer())),
        };
        guard.disarm();
        result
    }

    /// Makes a unary call whose outcome goes to `done`, which is called once, on the I/O thread. For language bindings:
    /// there is no task and no channel per call while the connection is up. To be called on the I/O thread.
    pub fn unary_with(
        &self,
        method: &Method,
        request: Bytes,
        options: CallOptions,
        done: impl FnOnce(Result<Answer, Failure>) + Send + 'static,
    ) -> CallHandle {
        let deadline = self.deadline(method, &options);
        let call = Arc::new(UnaryCall {
            client: self.clone(),
            method: method.clone(),
            request,
            compress: self.compresses(&options),
            options,
            deadline,
            state: Mutex::new(UnaryState { place: Where::Waiting, attempts: 0, done: Some(Box::new(done)) }),
        });
        call.clone().start();
        CallHandle(call)
    }

    /// Starts a streaming call. Works for unary methods too.
    pub async fn start(&self, method: &Method, options: CallOptions) -> Result<(CallSender, CallReceiver), Failure> {
        let failed = |status, peer: &str| Failure::of(status, method.name(), peer);
        let deadline = self.deadline(method, &options);
        let compress = self.compresses(&options);
        let open = async {
            loop {
                let conn = self.conn().await.map_err(|status| failed(status, &self.peer()))?;
                let session = options.session.as_ref().map(|session| session.issue(&conn)).transpose();
                let session = session.map_err(|status| failed(status, &conn.peer_id))?;
                match conn.quic.open_bi().await {
                    Ok((send, recv)) => return Ok((conn, session, send, recv)),
                    // It was lost between the look and the use: nothing has been sent, so the next one will do.
                    Err(_) if session.is_none() => {}
                    Err(_) => return Err(failed(conn.lost(false), &conn.peer_id)),
                }
                // Let the connection's own task see its end first.
                conn.closed().await;
            }
        };
        let (conn, session, send, recv) = match deadline {
            None => open.await?,
            Some(deadline) => match tokio::time::timeout_at(deadline.into(), open).await {
                Ok(opened) => opened?,
                Err(_) => {
                    let text = "the deadline passed before the call could be sent";
                    return Err(failed(Status::unsent(Code::DEADLINE_EXCEEDED, text), &self.peer()));
                }
            },
        };
        let head = call_head(method, session, deadline, compress, &options.metadata);
        let (sink, writer) = Sink::new(&head);
        tokio::spawn(writer.run(send));
        let reader = AnswerReader::from_stream(&conn, recv, method.pattern());
        let shared =
            Arc::new(Shared { conn, method: method.clone(), sink, deadline, compress, over: AtomicBool::new(false) });
        let receiver = CallReceiver { shared: shared.clone(), reader, end: None };
        Ok((CallSender { shared, finished: false }, receiver))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let link = self.link.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(conn) = link.conn.take() {
            conn.close(close::connection::DONE, "", Status::transport(Code::CANCELLED, "the client was dropped", true));
        }
    }
}

/// A number from 0 to 1.
fn chance() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    (RandomState::new().hash_one(0) >> 11) as f64 / (1u64 << 53) as f64
}

struct CancelOnDrop(Option<CallHandle>);

impl CancelOnDrop {
    fn disarm(mut self) {
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
        self.0.give_up(Status::client(Code::CANCELLED, "the call was cancelled on this side"));
    }
}

type UnaryDone = Box<dyn FnOnce(Result<Answer, Failure>) + Send>;

struct UnaryCall {
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
            (state.done.take(), std::mem::replace(&mut state.place, Where::Waiting))
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
                    conn.lane_send_cancel(id);
                    conn.lane.give_back();
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
        if small
            && self.method.pattern() == Pattern::Unary
            && let Some(conn) = self.client.current()
            && conn.lane.try_place()
        {
            return self.on_lane(&conn, None, false);
        }
        let call = self.clone();
        self.spawn(async move { call.slowly().await }, None);
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static, lane: Option<(Arc<Conn>, u64)>) {
        let mut state = self.state();
        if state.done.is_some() {
            let task = tokio::spawn(work);
            state.place = Where::Task(task.abort_handle(), lane);
        }
    }

    /// Issues the call on the lane, for which a place is held.
    fn on_lane(self: &Arc<Self>, conn: &Arc<Conn>, message: Option<&Bytes>, compressed: bool) {
        let session = match self.options.session.as_ref().map(|session| session.issue(conn)).transpose() {
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
        let id = conn.lane_call(&lane_call, Some(Box::new(move |result| call.ended(result, &on))));
        let mut state = self.state();
        if state.done.is_some() {
            state.place = Where::Lane(conn.clone(), id);
        } else {
            // It has ended already, or was cancelled a moment ago on another thread; then the peer is to know.
            drop(state);
            conn.lane_cancel(id, Status::client(Code::CANCELLED, "the call was cancelled on this side"));
        }
    }

    /// An attempt has ended: the call has, or it is made again.
    fn ended(self: Arc<Self>, result: Result<Answer, Failed>, conn: &Arc<Conn>) {
        let result = match result {
            Ok(mut answer) => {
                let method = &self.method;
                match codec::from_wire(method.contract(), method.types().response, method.codec(), method.is_checked(), answer.message) {
                    Ok(message) => {
                        answer.message = message;
                        Ok(answer)
                    }
                    Err(status) => {
                        let text = format!("the answer does not fit the contract: {}", status.message);
                        Err(Failed::new(Status::client(Code::INTERNAL, text)))
                    }
                }
            }
            Err(failed) if self.may_retry(&failed.status) => {
                let call = self.clone();
                // In a task: the end of a connection is being told while this runs.
                self.spawn(async move { call.slowly().await }, None);
                return;
            }
            Err(failed) => Err(failed),
        };
        self.finish(result, &conn.peer_id);
    }

    fn may_retry(&self, status: &Status) -> bool {
        let idempotent = self.options.idempotent.unwrap_or(self.method.types().idempotent);
        let of_the_way = status.code == Code::UNAVAILABLE && status.origin != Origin::Handler;
        let in_time = self.deadline.is_none_or(|deadline| deadline > Instant::now());
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

    async fn slowly(self: Arc<Self>) {
        let work = self.clone().attempt();
        match self.deadline {
            None => work.await,
            Some(deadline) => {
                if tokio::time::timeout_at(deadline.into(), work).await.is_err() {
                    let text = "the deadline passed before the answer came";
                    self.give_up(Status::client(Code::DEADLINE_EXCEEDED, text));
                }
            }
        }
    }

    async fn attempt(self: Arc<Self>) {
        let peer = self.client.peer();
        let method = &self.method;
        let prepared = codec::to_wire(method.contract(), method.types().request, method.codec(), self.request.clone());
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
        let max = conn.peer_limits().message;
        if message.len() > max {
            let text = format!("the request has {} bytes: the peer takes {max} (max_message)", message.len());
            return self.finish(Err(Failed::new(Status::unsent(Code::RESOURCE_EXHAUSTED, text))), &peer);
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
            return self.with_body(conn, message, compressed).await;
        }
        let head = call_head(method, None, self.deadline, self.compress, &self.options.metadata);
        let result = exchange(&conn, &head, &message, compressed, method.pattern()).await;
        self.ended(result, &conn);
    }

    /// A large unary call of a session: its header takes its place on the lane, its messages a stream of their own.
    async fn with_body(self: Arc<Self>, conn: Arc<Conn>, message: Bytes, compressed: bool) {
        if !conn.lane.place().await {
            let lost = conn.lost(false);
            return self.ended(Err(Failed::new(lost)), &conn);
        }
        let session = match self.options.session.as_ref().map(|session| session.issue(&conn)).transpose() {
            Ok(session) => session,
            Err(status) => {
                conn.lane.give_back();
                return self.finish(Err(Failed::new(status)), &conn.peer_id);
            }
        };
        let id = conn.lane_call(
            &LaneCall {
                method: &self.method,
                session,
                deadline: self.deadline,
                compress: self.compress,
                metadata: &self.options.metadata,
                message: None,
                compressed: false,
            },
            None,
        );
        if let Where::Task(_, lane) = &mut self.state().place {
            *lane = Some((conn.clone(), id));
        }
        let result = exchange(&conn, &body_head(id), &message, compressed, Pattern::Unary).await;
        let took = match &mut self.state().place {
            Where::Task(_, lane) => lane.take(),
            _ => None,
        };
        if took.is_some() {
            conn.lane.give_back();
        }
        self.ended(result, &conn);
    }
}

/// One message out, one answer back, on a stream of their own.
async fn exchange(conn: &Arc<Conn>, head: &[u8], message: &Bytes, compressed: bool, pattern: Pattern) -> Result<Answer, Failed> {
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
