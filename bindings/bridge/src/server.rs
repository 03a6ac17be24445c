//! Servers.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aster::{Dispatch, Inbound, Service, SessionClosed};

use crate::engine::{Contract, MethodRef};
use crate::error::{BridgeError, lock};
use crate::event::{Event, Outcome};
use crate::inbound::{Arrived, InboundCall};
use crate::options;
use crate::outcome::Failure;
use crate::owned::Owned;
use crate::port::{Port, Shared, Ticket};
use crate::runtime::{self, Key};

/// One service that a server offers.
#[derive(Debug, Clone)]
pub struct Served {
    contract: Contract,
    expose_errors: bool,
}

impl Served {
    /// `expose_errors`: callers see the text of unexpected errors.
    pub fn new(contract: Contract, expose_errors: bool) -> Self {
        Self {
            contract,
            expose_errors,
        }
    }

    /// Its contract.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }
}

/// A server. Closed on being dropped.
pub struct Server {
    engine: Owned<aster::Server>,
    key: Key,
    sessions: Arc<Sessions>,
}

/// Sessions that have ended and whose close hooks run.
#[derive(Default)]
struct Sessions {
    ended: Mutex<HashMap<u64, SessionClosed>>,
}

impl Port {
    /// Binds and serves; completes with [`Outcome::Server`]. Gives the key by which its events will name it.
    pub fn serve(
        &self,
        services: Vec<Served>,
        options: &options::Endpoint,
        ticket: Ticket,
    ) -> Result<u64, BridgeError> {
        let options = options.server()?;
        let port = self.shared.clone();
        let key = runtime::next_key();
        let sessions = Arc::new(Sessions::default());
        let services = services.into_iter().enumerate().map(|(index, served)| {
            let contract = served.contract.clone();
            let dispatcher = Dispatcher {
                port: port.clone(),
                server: key,
                index,
                served,
                sessions: sessions.clone(),
                last_peer: Mutex::new("".into()),
            };
            Service::new(contract, Arc::new(dispatcher)).checked(true)
        });
        let services: Vec<_> = services.collect();
        self.shared.start(ticket, async move {
            match aster::Server::start(services, options).await {
                Ok(engine) => Outcome::Server(Server::started(port, key, engine, sessions)),
                Err(status) => Outcome::failed(Failure::of_status(status, "serve")),
            }
        })?;
        Ok(key)
    }
}

impl Server {
    /// On the I/O thread.
    fn started(
        port: Arc<Shared>,
        key: Key,
        engine: aster::Server,
        sessions: Arc<Sessions>,
    ) -> Self {
        let closing = engine.clone();
        runtime::register(
            port.id,
            key,
            Box::new(move || Box::pin(async move { closing.close().await })),
        );
        Self {
            engine: Owned::new(&port, engine),
            key,
            sessions,
        }
    }

    /// Names it in events; unique in the process.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// Where it can be called. It never changes.
    pub fn address(&self) -> String {
        self.engine.address().to_string()
    }

    /// Its endpoint id, 64 hex digits.
    pub fn endpoint_id(&self) -> String {
        self.engine.endpoint_id()
    }

    /// Lets running calls end for at most `grace_ms`, cancels the rest, and closes; completes with [`Outcome::Done`].
    pub fn drain(&self, grace_ms: u64, ticket: Ticket) -> Result<(), BridgeError> {
        let (engine, port, key) = (self.engine.clone(), self.engine.port().id, self.key);
        self.engine.port().start(ticket, async move {
            engine.drain(Duration::from_millis(grace_ms)).await;
            runtime::unregister(port, key);
            Outcome::Done
        })
    }

    /// Closes at once; completes with [`Outcome::Done`]. Idempotent.
    pub fn close(&self, ticket: Ticket) -> Result<(), BridgeError> {
        let (engine, port, key) = (self.engine.clone(), self.engine.port().id, self.key);
        self.engine.port().start(ticket, async move {
            engine.close().await;
            runtime::unregister(port, key);
            Outcome::Done
        })
    }

    /// Completes with [`Outcome::Done`] when the server is closed.
    pub fn wait_closed(&self, ticket: Ticket) -> Result<(), BridgeError> {
        let engine = self.engine.clone();
        self.engine.port().start(ticket, async move {
            engine.closed().await;
            Outcome::Done
        })
    }

    /// The close hook of the session of an [`Event::SessionClosed`] has ended.
    pub fn session_closed(&self, session: u64) {
        if !self.engine.port().runtime.is_forked() {
            let ended = lock(&self.sessions.ended).remove(&session);
            drop(ended);
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let (port, key) = (self.engine.port().id, self.key);
        // If the thread has ended, or is the parent's, there is nothing to close here.
        let close = move || runtime::close_in_background(runtime::close(port, key));
        let _ = self.engine.port().runtime.run_there(close);
    }
}

struct Dispatcher {
    port: Arc<Shared>,
    server: Key,
    index: usize,
    served: Served,
    sessions: Arc<Sessions>,
    /// Most calls come from the peer that called before: its id is then shared.
    last_peer: Mutex<Arc<str>>,
}

impl Dispatcher {
    fn peer(&self, peer: &str) -> Arc<str> {
        let mut last = lock(&self.last_peer);
        if **last != *peer {
            *last = peer.into();
        }
        last.clone()
    }

    fn method(&self, index: usize) -> Option<MethodRef> {
        self.served.contract.compiled().method_at(index)
    }
}

impl Dispatch for Dispatcher {
    fn call(&self, call: Inbound) {
        let Some(method) = self.method(call.method_index()) else {
            // The engine resolved it in the same contract; dropping the call answers it INTERNAL all the same.
            tracing::error!(target: "aster::bridge", "there is no method {}", call.method_index());
            return;
        };
        let (request, requests, responder) = call.into_parts();
        let arrived = Arrived {
            port: self.port.clone(),
            service_index: self.index,
            peer: self.peer(responder.peer()),
            contract: self.served.contract.clone(),
            method,
            expose_errors: self.served.expose_errors,
            request,
            requests,
            responder,
        };
        self.port.push(Event::Call {
            server: self.server,
            call: InboundCall::new(arrived),
        });
    }

    fn session_closed(&self, closed: SessionClosed) {
        if self.port.check().is_err() {
            // Nobody is there to run a hook.
            return;
        }
        let (session, reason) = (closed.session().key, closed.end().name());
        lock(&self.sessions.ended).insert(session, closed);
        let service_index = self.index;
        self.port.push(Event::SessionClosed {
            server: self.server,
            service_index,
            session,
            reason,
        });
    }
}
