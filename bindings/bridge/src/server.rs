//! Servers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::BridgeError;
use crate::event::Outcome;
use crate::options;
use crate::outcome::Failure;
use crate::owned::Owned;
use crate::port::{Port, Shared, Ticket};
use crate::runtime::{self, Key};
use crate::served::{EndedSessions, Served, dispatched};

/// A server. Closed on being dropped.
pub struct Server {
    engine: Owned<aster::Server>,
    key: Key,
    sessions: Arc<EndedSessions>,
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
        let (services, sessions) = dispatched(services, &port, key);
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
        sessions: Arc<EndedSessions>,
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
        self.sessions.hook_ended(self.engine.port(), session);
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
