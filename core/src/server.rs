//! Servers: connections that come in, and how they end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aster_proto::address::Address;
use aster_proto::close;
use aster_proto::limits;
use aster_proto::status::{Code, Status};
use iroh::endpoint::{Incoming, VarInt};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cancel::CancelCause;
use crate::conn::Conn;
use crate::conn::control::Introduction;
use crate::conn::source::Budget;
use crate::contracts;
use crate::net::Net;
use crate::options::ServerOptions;
use crate::service::{Registry, Service};

/// How long the close hooks and last answers may take once the connections are being closed.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long a connection that is not taken may be in coming up, to be told so.
const TURNING_AWAY: Duration = Duration::from_secs(1);

/// A server: it takes calls from its start until it is closed or dropped.
#[derive(Clone)]
pub struct Server(Arc<Handle>);

/// Closes the server with the last of its owners; the tasks hold [`Inner`] only.
struct Handle(Arc<Inner>);

struct Inner {
    net: Net,
    registry: Arc<Registry>,
    me: Arc<Introduction>,
    per_peer: usize,
    conns: Mutex<HashMap<u64, Arc<Conn>>>,
    next: Mutex<u64>,
    unadmitted: AtomicUsize,
    /// Places for connections that are being told why they are not taken.
    turning_away: Arc<Semaphore>,
    draining: AtomicBool,
    closed: watch::Sender<bool>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address().to_string())
            .finish()
    }
}

impl Server {
    /// Binds and serves. It waits for nothing outside this machine: the address is usable when this returns.
    ///
    /// Fails where two services have the same name and version, where the identity file can't be used, and where its
    /// port is taken.
    pub async fn start(services: Vec<Service>, options: ServerOptions) -> Result<Self, Status> {
        let registry = contracts::registry(services)?;
        let net = Net::bind(&options.endpoint, true).await?;
        let me = Introduction::from(&options.endpoint);
        let inner = Arc::new(Inner {
            net,
            registry,
            me: Arc::new(me),
            per_peer: options.endpoint.max_connections_per_peer,
            conns: Mutex::default(),
            next: Mutex::default(),
            unadmitted: AtomicUsize::new(0),
            turning_away: Arc::new(Semaphore::new(limits::MAX_TURNED_AWAY)),
            draining: AtomicBool::new(false),
            closed: watch::channel(false).0,
        });
        tokio::spawn(inner.clone().accept());
        Ok(Self(Arc::new(Handle(inner))))
    }

    fn inner(&self) -> &Arc<Inner> {
        &self.0.0
    }

    /// Where it can be called. It never changes.
    pub fn address(&self) -> &Address {
        self.inner().net.address()
    }

    /// Its endpoint id, 64 hex digits.
    pub fn endpoint_id(&self) -> String {
        self.inner().net.id().to_string()
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        let conns = self.inner().conns();
        conns.values().filter(|conn| !conn.is_over()).count()
    }

    /// Takes no new calls, waits until those it has are answered and the answers have arrived, for at most `grace`,
    /// cancels the rest, and closes. New calls are answered `UNAVAILABLE`, "did not run".
    pub async fn drain(&self, grace: Duration) {
        let inner = self.inner();
        inner.draining.store(true, Ordering::Release);
        let conns = inner.all();
        let mut work = JoinSet::new();
        for conn in conns {
            conn.go_away("the server is shutting down");
            work.spawn(async move {
                let calm = async {
                    conn.wait_idle().await;
                    conn.finish_answers().await;
                };
                if timeout(grace, calm).await.is_err() {
                    conn.cancel_all(CancelCause::Shutdown);
                    // The cancellations are answers too; a short while is theirs.
                    let _ = timeout(LAST_WORDS, conn.finish_answers()).await;
                }
            });
        }
        while work.join_next().await.is_some() {}
        inner.shut(close::connection::GOING_AWAY).await;
    }

    /// Closes at once: running calls are cancelled, their callers told.
    pub async fn close(&self) {
        self.inner().shut(close::connection::GOING_AWAY).await;
    }

    /// Waits until the server is closed.
    pub async fn closed(&self) {
        let mut closed = self.inner().closed.subscribe();
        // The sender lives as long as this server does.
        let _ = closed.wait_for(|closed| *closed).await;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let inner = self.0.clone();
        if !*inner.closed.borrow()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { inner.shut(close::connection::GOING_AWAY).await });
        }
    }
}

impl Inner {
    fn conns(&self) -> MutexGuard<'_, HashMap<u64, Arc<Conn>>> {
        self.conns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Vec<Arc<Conn>> {
        self.conns().values().cloned().collect()
    }

    async fn shut(&self, code: u32) {
        if self.closed.send_replace(true) {
            return;
        }
        self.draining.store(true, Ordering::Release);
        let conns = self.all();
        let mut work = JoinSet::new();
        for conn in conns {
            conn.close(
                code,
                "the server shut down",
                Status::transport(Code::UNAVAILABLE, "the server shut down", true),
            );
            // Close hooks of sessions run now.
            work.spawn(async move { conn.wait_hooks().await });
        }
        let hooks = async { while work.join_next().await.is_some() {} };
        let _ = timeout(LAST_WORDS, hooks).await;
        self.net.close().await;
    }

    async fn accept(self: Arc<Self>) {
        let mut closed = self.closed.subscribe();
        let Some(endpoint) = self.net.endpoint() else {
            return;
        };
        loop {
            let incoming = tokio::select! {
                incoming = endpoint.accept() => incoming,
                _ = closed.wait_for(|closed| *closed) => return,
            };
            let Some(incoming) = incoming else { return };
            if let Some((code, reason)) = self.closed_door() {
                match self.turning_away.clone().try_acquire_owned() {
                    Ok(place) => drop(tokio::spawn(async move {
                        turn_away(incoming, code, &reason).await;
                        drop(place);
                    })),
                    // Too many of them: a refusal without a reason costs next to nothing.
                    Err(_) => incoming.refuse(),
                }
                continue;
            }
            self.unadmitted.fetch_add(1, Ordering::AcqRel);
            tokio::spawn(self.clone().take(incoming));
        }
    }

    /// Why no connection is taken now, if none is.
    fn closed_door(&self) -> Option<(u32, String)> {
        if self.draining.load(Ordering::Acquire) {
            let reason = "the server is shutting down".to_owned();
            return Some((close::connection::GOING_AWAY, reason));
        }
        if self.unadmitted.load(Ordering::Acquire) < limits::MAX_UNADMITTED {
            return None;
        }
        let reason = format!(
            "{} others wait for admission, the most allowed: try again in a few seconds",
            limits::MAX_UNADMITTED
        );
        Some((close::connection::BUSY, reason))
    }

    async fn take(self: Arc<Self>, incoming: Incoming) {
        let waiting = Unadmitted(self.clone());
        let wait = Duration::from_millis(limits::HANDSHAKE_MS);
        let quic = match incoming.accept() {
            Ok(accepting) => match timeout(wait, accepting).await {
                Ok(Ok(quic)) => quic,
                Ok(Err(error)) => {
                    tracing::debug!(target: "aster", "a connection failed before it was up: {error}");
                    return;
                }
                Err(_) => return,
            },
            Err(error) => {
                tracing::debug!(target: "aster", "a connection attempt was not one: {error}");
                return;
            }
        };
        let peer = quic.remote_id().to_string();
        let (number, conn) = {
            let mut conns = self.conns();
            // Those that have ended may wait for handlers that take their time; they are not held against it.
            let mut of_peer = 0;
            let mut budget = None;
            for conn in conns.values().filter(|conn| *conn.peer_id == *peer) {
                of_peer += usize::from(!conn.is_over());
                budget = Some(conn.budget.clone());
            }
            if of_peer >= self.per_peer {
                drop(conns);
                let text = format!(
                    "this endpoint id has {of_peer} connections open here, the most allowed: close one"
                );
                quic.close(
                    VarInt::from_u32(close::connection::TOO_MANY),
                    text.as_bytes(),
                );
                return;
            }
            let number = {
                let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
                *next += 1;
                *next
            };
            let budget = budget.unwrap_or_else(|| Budget::new(self.me.max_unsent));
            let conn = Conn::accept(quic, self.registry.clone(), self.me.clone(), budget);
            conns.insert(number, conn.clone());
            (number, conn)
        };
        match timeout(wait, conn.admitted()).await {
            Ok(true) => {}
            Ok(false) => {}
            Err(_) => {
                let text = "no complete Hello in time";
                let status = Status::transport(Code::UNAVAILABLE, text, false);
                conn.close(close::connection::HANDSHAKE_TIMEOUT, text, status);
            }
        }
        drop(waiting);
        if self.draining.load(Ordering::Acquire) {
            conn.go_away("the server is shutting down");
        }
        conn.closed().await;
        // Its sessions' hooks may still run; a server that shuts down in this moment waits for them here.
        conn.wait_hooks().await;
        self.conns().remove(&number);
    }
}

/// Closes a connection as soon as it is up: before that nothing can be said on it.
async fn turn_away(incoming: Incoming, code: u32, reason: &str) {
    let Ok(accepting) = incoming.accept() else {
        return;
    };
    if let Ok(Ok(quic)) = timeout(TURNING_AWAY, accepting).await {
        quic.close(VarInt::from_u32(code), reason.as_bytes());
    }
}

/// One connection that waits for admission.
struct Unadmitted(Arc<Inner>);

impl Drop for Unadmitted {
    fn drop(&mut self) {
        self.0.unadmitted.fetch_sub(1, Ordering::AcqRel);
    }
}
