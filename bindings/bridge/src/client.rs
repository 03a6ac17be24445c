//! Clients, and their unary calls.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use aster::Address;

use crate::call::ClientCall;
use crate::engine::{Codec, Contract, MethodRef, Mode, Offer, ValueError};
use crate::error::BridgeError;
use crate::event::Outcome;
use crate::options;
use crate::outcome::Failure;
use crate::owned::Owned;
use crate::payload::{Payload, fit};
use crate::port::{Completer, Port, PortId, Shared, Ticket};
use crate::runtime::{self, Command, Key};
use crate::served::{EndedSessions, Served, dispatched};

/// A connection to a peer, kept up by the engine. Closed on being dropped: calls that wait for an answer then fail.
pub struct Client {
    engine: Owned<aster::Client>,
    key: Key,
    peer: String,
    closed: AtomicBool,
    /// Those of the services that it offers.
    sessions: Arc<EndedSessions>,
}

/// A method of a contract, as a client calls it.
#[derive(Clone)]
pub struct Method {
    pub(crate) engine: aster::Method,
    contract: Contract,
    reference: MethodRef,
    where_: Arc<str>,
}

/// A session of a client with a service. Closed on being dropped.
pub struct Session {
    engine: Owned<aster::Session>,
}

/// A session as an option of a call.
#[derive(Debug, Clone)]
pub struct CallSession {
    port: PortId,
    pub(crate) engine: aster::Session,
}

impl Port {
    /// Connects to the first of `addresses` that answers, and completes with [`Outcome::Client`].
    pub fn connect(
        &self,
        addresses: &[String],
        options: &options::Endpoint,
        ticket: Ticket,
    ) -> Result<(), BridgeError> {
        self.connect_serving(addresses, Vec::new(), options, ticket)?;
        Ok(())
    }

    /// The same, offering services to the server. Gives the key by which the client's events will name it.
    pub fn connect_serving(
        &self,
        addresses: &[String],
        services: Vec<Served>,
        options: &options::Endpoint,
        ticket: Ticket,
    ) -> Result<u64, BridgeError> {
        let mut options = options.client()?;
        let parse = |text: &String| {
            text.parse::<Address>()
                .map_err(|error| BridgeError::Argument(error.to_string()))
        };
        let addresses = addresses.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let port = self.shared.clone();
        let key = runtime::next_key();
        let (services, sessions) = dispatched(services, &port, key);
        options.services = services;
        self.shared.start(ticket, async move {
            match aster::Client::connect(addresses, options).await {
                Ok(engine) => Outcome::Client(Client::opened(port, key, engine, sessions)),
                Err(failure) => Outcome::failed(Failure::of_engine(failure)),
            }
        })?;
        Ok(key)
    }
}

impl Client {
    /// A client of a peer that called, on the connection of its call.
    pub(crate) fn of_caller(port: &Arc<Shared>, caller: &aster::Caller) -> Self {
        Self {
            // Nothing is registered by it: the connection is not this client's to close.
            key: runtime::next_key(),
            peer: caller.peer().to_owned(),
            engine: Owned::new(port, caller.client()),
            closed: AtomicBool::new(false),
            sessions: Arc::default(),
        }
    }

    /// On the I/O thread.
    fn opened(
        port: Arc<Shared>,
        key: Key,
        engine: aster::Client,
        sessions: Arc<EndedSessions>,
    ) -> Self {
        let closing = engine.clone();
        runtime::register(
            port.id,
            key,
            Box::new(move || Box::pin(async move { closing.close().await })),
        );
        Self {
            key,
            peer: engine.peer(),
            engine: Owned::new(&port, engine),
            closed: AtomicBool::new(false),
            sessions,
        }
    }

    /// Names it in events of its services; unique in the process.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// The close hook of the session of an [`Event::SessionClosed`](crate::Event::SessionClosed) has ended.
    pub fn session_closed(&self, session: u64) {
        self.sessions.hook_ended(self.engine.port(), session);
    }

    /// The port that it belongs to.
    pub fn port_id(&self) -> PortId {
        self.engine.port().id
    }

    /// The endpoint id of the peer.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// What the peer offers now.
    pub fn offers(&self) -> Result<Vec<Offer>, BridgeError> {
        self.check()?;
        Ok(self.engine.offers())
    }

    fn check(&self) -> Result<(), BridgeError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(BridgeError::Closed(format!("this client of {}", self.peer)));
        }
        self.engine.port().check()
    }

    /// The check of every call: whether the thread still runs is left to the queue.
    fn check_open(&self) -> Result<(), BridgeError> {
        if self.closed.load(Ordering::Relaxed) || self.engine.port().runtime.is_forked() {
            self.check()?;
        }
        Ok(())
    }

    fn check_session(&self, options: &options::Call) -> Result<(), BridgeError> {
        match &options.session {
            Some(session) if session.port != self.engine.port().id => {
                Err(BridgeError::Argument(format!(
                    "the session belongs to port {} and the client to port {}: open a session with this client",
                    session.port,
                    self.engine.port().id
                )))
            }
            _ => Ok(()),
        }
    }

    /// Fetches the contract of a service, at most once per id; completes with [`Outcome::Contract`].
    pub fn contract(
        &self,
        name: &str,
        version: Option<u32>,
        ticket: Ticket,
    ) -> Result<(), BridgeError> {
        self.check()?;
        let (engine, name) = (self.engine.clone(), name.to_owned());
        self.engine.port().start(ticket, async move {
            match engine.contract(&name, version).await {
                Ok(contract) => Outcome::Contract(contract),
                Err(failure) => Outcome::failed(Failure::of_engine(failure)),
            }
        })
    }

    /// A method of a contract, to be called with this codec; `None` if the contract has no such method.
    pub fn method(&self, contract: &Contract, name: &str, codec: Codec) -> Option<Method> {
        let reference = contract.compiled().method(name)?;
        let engine = aster::Method::new(contract, name)?
            .with_codec(codec)
            .with_checks(true);
        // As the engine says it: enough of the id to tell peers apart.
        let peer: String = self.peer.chars().take(10).collect();
        let where_ = format!("{}.{name} at {peer}", contract.name()).into();
        Some(Method {
            engine,
            contract: contract.clone(),
            reference,
            where_,
        })
    }

    /// A session with a service. It begins with its first call.
    pub fn open_session(&self, service: &str, implicit: bool) -> Result<Session, BridgeError> {
        self.check()?;
        Ok(Session {
            engine: Owned::new(
                self.engine.port(),
                self.engine.open_session(service, implicit),
            ),
        })
    }

    /// Measures one round trip; completes with [`Outcome::Duration`].
    pub fn ping(&self, timeout_ms: u64, ticket: Ticket) -> Result<(), BridgeError> {
        self.check()?;
        let engine = self.engine.clone();
        self.engine.port().start(ticket, async move {
            match engine.ping(Duration::from_millis(timeout_ms)).await {
                Ok(duration) => Outcome::Duration(duration),
                Err(failure) => Outcome::failed(Failure::of_engine(failure)),
            }
        })
    }

    /// Makes a unary call with a payload that [`Method::request`] gave; completes with [`Outcome::Answer`].
    /// [`Port::cancel`] cancels it.
    pub fn unary(
        &self,
        method: &Method,
        request: Bytes,
        options: options::Call,
        ticket: Ticket,
    ) -> Result<(), BridgeError> {
        self.check_open()?;
        self.check_session(&options)?;
        let command = UnaryCommand {
            client: self.engine.clone(),
            method: method.engine.clone(),
            request,
            options: options.into_engine(),
            port: self.engine.port().id,
            ticket,
            completer: Completer::new(self.engine.port(), ticket),
        };
        // If the thread has ended, the completer has completed the ticket on being dropped.
        let _ = self.engine.port().runtime.send(Command::Unary(command));
        Ok(())
    }

    /// Begins a call of any pattern whose messages come and go one by one.
    pub fn stream(
        &self,
        method: &Method,
        options: options::Call,
    ) -> Result<ClientCall, BridgeError> {
        self.check()?;
        self.check_session(&options)?;
        ClientCall::begin(
            self.engine.port(),
            self.engine.clone(),
            method.clone(),
            options,
        )
    }

    /// Closes the connection once what was asked for has been flushed; completes with [`Outcome::Done`]. Idempotent.
    pub fn close(&self, ticket: Ticket) -> Result<(), BridgeError> {
        self.closed.store(true, Ordering::Relaxed);
        let (engine, port, key) = (self.engine.clone(), self.engine.port().id, self.key);
        self.engine.port().start(ticket, async move {
            engine.close().await;
            runtime::unregister(port, key);
            Outcome::Done
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let (port, key) = (self.engine.port().id, self.key);
        // If the thread has ended, or is the parent's, there is nothing to close here.
        let close = move || runtime::close_in_background(runtime::close(port, key));
        let _ = self.engine.port().runtime.run_there(close);
    }
}

impl Method {
    /// Checks a request payload against the contract, and gives it in wire form. `dynamic`: refuse fields that the
    /// contract does not know.
    pub fn request(&self, payload: impl Payload, dynamic: bool) -> Result<Bytes, ValueError> {
        let mode = if dynamic { Mode::Send } else { Mode::Receive };
        fit(&self.contract, self.reference.request, payload, mode)
    }

    /// The same, for a caller whose own contract is another, compatible one: the core minds what that says of the method.
    #[must_use]
    pub fn called_with(mut self, own: &Contract) -> Self {
        self.engine = self.engine.called_with(own);
        self
    }

    /// Which method at which peer, for texts.
    pub fn place(&self) -> &str {
        &self.where_
    }
}

impl Session {
    /// The caller's number of the session; `None` before its first call and after its end.
    pub fn id(&self) -> Option<u64> {
        self.engine.id()
    }

    /// The session as an option of a call.
    pub fn for_call(&self) -> CallSession {
        CallSession {
            port: self.engine.port().id,
            engine: self.engine.clone(),
        }
    }

    /// Ends the session behind the calls already made; completes with [`Outcome::Done`]. Idempotent.
    pub fn close(&self, ticket: Ticket) -> Result<(), BridgeError> {
        let engine = self.engine.clone();
        self.engine.port().start(ticket, async move {
            engine.close();
            Outcome::Done
        })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

/// A unary call on its way to the I/O thread.
pub(crate) struct UnaryCommand {
    client: aster::Client,
    method: aster::Method,
    request: Bytes,
    options: aster::CallOptions,
    port: PortId,
    ticket: Ticket,
    completer: Completer,
}

impl UnaryCommand {
    pub(crate) fn run(self) {
        let Self {
            client,
            method,
            request,
            options,
            port,
            ticket,
            completer,
        } = self;
        runtime::begin(port, ticket, || {
            client.unary_with(&method, request, options, move |result| {
                completer.complete(match result {
                    Ok(answer) => Outcome::Answer(answer),
                    Err(failure) => Outcome::failed(Failure::of_engine(failure)),
                });
            })
        });
    }
}
