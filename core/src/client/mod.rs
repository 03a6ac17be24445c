//! Clients: a connection that is made again when it is lost, and the calls on it.

mod caller;
mod method;
mod unary;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use aster_proto::address::Address;
use aster_proto::close;
use aster_proto::contract::ContractId;
use aster_proto::control::Offer;
use aster_proto::metadata::Metadata;
use aster_proto::status::{Code, Status};
use bytes::Bytes;

pub use self::caller::Caller;
pub use self::method::Method;
pub use self::unary::CallHandle;
use self::unary::{CancelOnDrop, UnaryCall};
use crate::call::outbound::{Answer, check_request_metadata};
use crate::call::session::Session;
use crate::call::streaming::{CallReceiver, CallSender, Shared};
use crate::conn::Conn;
use crate::conn::control::Introduction;
use crate::conn::sink::Sink;
use crate::conn::stream::{AnswerReader, call_head};
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
/// How long the close hooks of sessions may take once the client is being closed.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What one call can be told.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CallOptions {
    /// The longest it may take. Default: the method's, else the client's, else none. The server's word for the method
    /// holds beside it: whichever is over first ends the call.
    pub timeout: Option<Duration>,
    /// What is left to the call on whose behalf this one is made. It bounds any time limit. Default: nothing bounds it.
    pub within: Option<Duration>,
    /// Metadata for the server.
    pub metadata: Metadata,
    /// Whether messages of 4 KiB and more are compressed, in both directions. Default: the client's.
    pub compress: Option<bool>,
    /// The session it belongs to.
    pub session: Option<Session>,
    /// Whether it may be made again when it is not known to have run. Default: the method's word.
    pub idempotent: Option<bool>,
}

impl CallOptions {
    /// Nothing but defaults.
    pub fn new() -> Self {
        Self::default()
    }
}

/// A client of one server, or of one of several that are equal; or of a peer that called ([`Caller::client`]).
///
/// It connects again by itself when the connection is lost, at once if it has services of its own, else with the next
/// call. A call that was never sent, or that is idempotent, is made again; any other fails `UNAVAILABLE` and says whether
/// it may have run.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    way: Way,
    options: ClientOptions,
    link: Mutex<Link>,
    closed: AtomicBool,
}

/// How it has a connection.
enum Way {
    /// It dials, and dials again.
    Dial(Box<Dial>),
    /// It is the peer's, who made it.
    Caller(Caller),
}

struct Dial {
    net: Net,
    addresses: Vec<Address>,
    /// What the server may call here.
    registry: Arc<Registry>,
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Link {
    conn: Option<Arc<Conn>>,
    failures: u32,
    not_before: Option<Instant>,
    /// How many attempts to connect have failed, and how the last one did.
    failed: (u64, Option<Status>),
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("peer", &self.peer())
            .finish()
    }
}

impl Client {
    /// Connects to the first address that answers.
    pub async fn connect(addresses: Vec<Address>, options: ClientOptions) -> Result<Self, Failure> {
        let failed = |status| Failure::of(status, "connect", "");
        if addresses.is_empty() {
            return Err(failed(Status::unsent(
                Code::INVALID_ARGUMENT,
                "no address was given: pass the one the server printed",
            )));
        }
        let registry = match options.services.is_empty() {
            true => Arc::default(),
            false => contracts::registry(options.services.clone()).map_err(failed)?,
        };
        registry.fits_hello(&options.endpoint).map_err(failed)?;
        let serves = !options.services.is_empty();
        let net = Net::bind(&options.endpoint, false).await.map_err(failed)?;
        let dial = Dial {
            net,
            addresses,
            registry,
            connecting: tokio::sync::Mutex::default(),
        };
        let client = Self(Arc::new(Inner {
            way: Way::Dial(Box::new(dial)),
            options,
            link: Mutex::default(),
            closed: AtomicBool::new(false),
        }));
        match client.conn().await {
            Ok(conn) => {
                if serves {
                    tokio::spawn(keep_connected(conn, Arc::downgrade(&client.0)));
                }
                Ok(client)
            }
            Err(status) => {
                let peer = client.peer();
                client.close().await;
                Err(Failure::of(status, "connect", &peer))
            }
        }
    }

    /// A client on a connection that the peer has made.
    fn of_caller(caller: Caller) -> Self {
        let options = ClientOptions {
            retries: 0,
            ..ClientOptions::default()
        };
        Self(Arc::new(Inner {
            way: Way::Caller(caller),
            options,
            link: Mutex::default(),
            closed: AtomicBool::new(false),
        }))
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.0.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, if there is one that takes calls.
    fn current(&self) -> Option<Arc<Conn>> {
        match &self.0.way {
            Way::Caller(_) if self.0.closed.load(Ordering::Acquire) => None,
            Way::Caller(caller) => caller.usable(),
            Way::Dial(_) => {
                let link = self.link();
                let conn = link.conn.as_ref().filter(|conn| conn.is_usable());
                conn.cloned()
            }
        }
    }

    fn closed_status() -> Status {
        Status::unsent(
            Code::FAILED_PRECONDITION,
            "the client is closed: make a new one",
        )
    }

    /// The connection; made if there is none.
    async fn conn(&self) -> Result<Arc<Conn>, Status> {
        if let Some(conn) = self.current() {
            return Ok(conn);
        }
        let way = match &self.0.way {
            Way::Dial(way) => way,
            Way::Caller(_) if self.0.closed.load(Ordering::Acquire) => {
                return Err(Self::closed_status());
            }
            Way::Caller(caller) => return Err(caller.gone()),
        };
        let before = self.link().failed.0;
        let _one_at_a_time = way.connecting.lock().await;
        if let Some(conn) = self.current() {
            return Ok(conn);
        }
        if let (number, Some(status)) = &self.link().failed
            && *number != before
        {
            // An attempt failed while this call waited for it: a thousand waiting calls are not a thousand attempts.
            return Err(status.clone());
        }
        let not_before = self.link().not_before;
        if let Some(wait) = not_before {
            tokio::time::sleep_until(wait.into()).await;
        }
        if self.0.closed.load(Ordering::Acquire) {
            return Err(Self::closed_status());
        }
        let result = self.dial(way).await;
        let mut link = self.link();
        match result {
            Ok(conn) => {
                if self.0.closed.load(Ordering::Acquire) {
                    drop(link);
                    conn.close(close::connection::DONE, "", Self::closed_status());
                    return Err(Self::closed_status());
                }
                *link = Link {
                    conn: Some(conn.clone()),
                    failures: 0,
                    not_before: None,
                    failed: (link.failed.0, None),
                };
                Ok(conn)
            }
            Err(status) => {
                link.failures += 1;
                link.failed = (link.failed.0 + 1, Some(status.clone()));
                let wait = BACKOFF
                    .saturating_mul(1 << link.failures.min(10))
                    .min(MAX_BACKOFF);
                // Half of the wait is chance, so that clients of one server do not all come back at once.
                link.not_before = Some(Instant::now() + wait / 2 + wait.mul_f64(chance() / 2.0));
                Err(status)
            }
        }
    }

    async fn dial(&self, way: &Dial) -> Result<Arc<Conn>, Status> {
        let options = &self.0.options;
        let end = Instant::now() + options.connect_timeout;
        let me = Introduction::from(&options.endpoint);
        let mut first: Option<Status> = None;
        for (at, address) in way.addresses.iter().enumerate() {
            let left = end.saturating_duration_since(Instant::now());
            // What is left is shared among the addresses that are left, so that one dead server does not use it up.
            let share = left / u32::try_from(way.addresses.len() - at).unwrap_or(1);
            let outcome = async {
                let until = Instant::now() + share;
                let quic = way.net.dial(address, share).await?;
                Conn::dial(quic, way.registry.clone(), &me, until).await
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
        let first = match &self.0.way {
            Way::Caller(caller) => return caller.peer().to_owned(),
            Way::Dial(way) => way.addresses.first(),
        };
        if let Some(conn) = &self.link().conn {
            return conn.peer_id.to_string();
        }
        let id = first.map(|address| address.endpoint_id).unwrap_or_default();
        id.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The services that the peer offers.
    pub fn offers(&self) -> Vec<Offer> {
        if let Way::Caller(caller) = &self.0.way {
            return caller.offers();
        }
        self.link()
            .conn
            .as_ref()
            .map(|conn| conn.peer().offers)
            .unwrap_or_default()
    }

    /// The contract of a service of the peer. Fetched at most once per process and contract.
    ///
    /// Without a version: 1 if it is offered, else the only one there is.
    pub async fn contract(&self, name: &str, version: Option<u32>) -> Result<Contract, Failure> {
        let failed = |status| Failure::of(status, name, &self.peer());
        let conn = self.conn().await.map_err(failed)?;
        let offers = conn.peer().offers;
        let mut found: Vec<&Offer> = offers
            .iter()
            .filter(|offer| offer.service == name)
            .collect();
        match version {
            Some(version) => found.retain(|offer| offer.version == version),
            None if found.iter().any(|offer| offer.version == 1) => {
                found.retain(|offer| offer.version == 1)
            }
            None => {}
        }
        let offer = match found[..] {
            [offer] => offer,
            [] => {
                return Err(failed(Status::unsent(
                    Code::UNIMPLEMENTED,
                    unknown_service(name, version, &offers),
                )));
            }
            _ => {
                let versions: Vec<String> = found
                    .iter()
                    .map(|offer| offer.version.to_string())
                    .collect();
                let text = format!(
                    "service {name} has versions {} here and none of them is 1: name one",
                    versions.join(", ")
                );
                return Err(failed(Status::unsent(Code::INVALID_ARGUMENT, text)));
            }
        };
        let id = ContractId::from(offer.contract);
        if let Some(contract) = contracts::cached(&id) {
            return Ok(contract);
        }
        let (method, request) = contracts::request(&id).map_err(failed)?;
        let options = CallOptions {
            timeout: Some(self.0.options.connect_timeout),
            ..CallOptions::default()
        };
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
                let text = format!(
                    "the peer did not answer a ping within {:.1} s: it is dead or unreachable",
                    timeout.as_secs_f64()
                );
                let status = Status::transport(Code::UNAVAILABLE, text, true);
                conn.close(
                    close::connection::DONE,
                    "no answer to a ping",
                    status.clone(),
                );
                Err(failed(status))
            }
        }
    }

    /// Ends the calls and the connection; the peer is told. Closing twice is no error.
    ///
    /// A client of a caller is good for nothing afterwards; its connection and the calls on it stay.
    pub async fn close(&self) {
        if self.0.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        let Way::Dial(way) = &self.0.way else {
            return;
        };
        let conn = self.link().conn.take();
        if let Some(conn) = conn {
            let status = Status::transport(Code::CANCELLED, "the client was closed", true);
            conn.close(close::connection::DONE, "", status);
            // Close hooks of the sessions that the server had here.
            let _ = tokio::time::timeout(LAST_WORDS, conn.wait_hooks()).await;
        }
        way.net.close().await;
    }

    fn deadline(&self, method: &Method, options: &CallOptions) -> Option<Instant> {
        let own = options
            .timeout
            .or(method.timeout())
            .or(self.0.options.timeout);
        let timeout = match (own, options.within) {
            (Some(own), Some(within)) => own.min(within),
            (own, within) => own.or(within)?,
        };
        Instant::now().checked_add(timeout)
    }

    fn compresses(&self, options: &CallOptions) -> bool {
        options.compress.unwrap_or(self.0.options.compress)
    }

    /// Makes a unary call.
    pub async fn unary(
        &self,
        method: &Method,
        request: Bytes,
        options: CallOptions,
    ) -> Result<Answer, Failure> {
        let (give, take) = tokio::sync::oneshot::channel();
        let handle = self.unary_with(method, request, options, move |result| {
            // Whoever asked has gone: then the call is being cancelled.
            let _ = give.send(result);
        });
        let guard = CancelOnDrop(Some(handle));
        let result = match take.await {
            Ok(result) => result,
            Err(_) => Err(Failure::of(
                Status::client(Code::INTERNAL, "the call was dropped by the engine"),
                method.name(),
                &self.peer(),
            )),
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
        let compress = self.compresses(&options);
        UnaryCall::begin(
            self.clone(),
            method.clone(),
            request,
            options,
            compress,
            deadline,
            Box::new(done),
        )
    }

    /// Starts a streaming call. Works for unary methods too.
    pub async fn start(
        &self,
        method: &Method,
        options: CallOptions,
    ) -> Result<(CallSender, CallReceiver), Failure> {
        let failed = |status, peer: &str| Failure::of(status, method.name(), peer);
        let deadline = self.deadline(method, &options);
        let compress = self.compresses(&options);
        let open = async {
            if let Some(session) = &options.session {
                session
                    .check()
                    .map_err(|status| failed(status, &self.peer()))?;
            }
            loop {
                let conn = self
                    .conn()
                    .await
                    .map_err(|status| failed(status, &self.peer()))?;
                check_request_metadata(&options.metadata, conn.peer_limits().metadata)
                    .map_err(|status| failed(status, &conn.peer_id))?;
                let session = options
                    .session
                    .as_ref()
                    .map(|session| session.issue(&conn))
                    .transpose();
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
                    return Err(failed(
                        Status::unsent(Code::DEADLINE_EXCEEDED, text),
                        &self.peer(),
                    ));
                }
            },
        };
        let head = call_head(method, session, deadline, compress, &options.metadata);
        let (sink, writer) = Sink::new(&head);
        tokio::spawn(writer.run(send));
        let reader = AnswerReader::from_stream(&conn, recv, method.pattern());
        let shared = Arc::new(Shared {
            conn,
            method: method.clone(),
            sink,
            deadline,
            compress,
            over: AtomicBool::new(false),
        });
        let receiver = CallReceiver {
            shared: shared.clone(),
            reader,
            end: None,
        };
        Ok((
            CallSender {
                shared,
                finished: false,
            },
            receiver,
        ))
    }
}

/// Connects a client again whenever its connection ends, until it is closed or dropped: whoever offers services wants to
/// be there when they are called.
async fn keep_connected(first: Arc<Conn>, client: Weak<Inner>) {
    let mut conn = first;
    loop {
        conn.closed().await;
        conn = loop {
            let Some(inner) = client.upgrade() else {
                return;
            };
            if inner.closed.load(Ordering::Acquire) {
                return;
            }
            // It waits a while between attempts.
            match Client(inner).conn().await {
                Ok(conn) => break conn,
                Err(status) => {
                    tracing::debug!(target: "aster", "a client with services is not connected: {status}")
                }
            }
        };
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let link = self.link.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(conn) = link.conn.take() {
            conn.close(
                close::connection::DONE,
                "",
                Status::transport(Code::CANCELLED, "the client was dropped", true),
            );
        }
    }
}

/// A number from 0 to 1.
fn chance() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    (RandomState::new().hash_one(0) >> 11) as f64 / (1u64 << 53) as f64
}
