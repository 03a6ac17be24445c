//! The port of one JavaScript environment, and what its numbers stand for.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aster_bridge::{Event, Failure, InboundCall, Ticket};
use napi::Env;
use napi::bindgen_prelude::Function;
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
use napi_derive::napi;
use rustc_hash::FxHashMap;
use slab::Slab;

use crate::drain::Extra;
use crate::fault::{Result, bridge, closed, guard};

/// Environments of the process that have a port: with the last of them ends the I/O thread.
static ENVIRONMENTS: AtomicUsize = AtomicUsize::new(0);

/// Where one JavaScript environment hears from the core. Clients, servers, methods, sessions and calls are numbers, which
/// JavaScript gives back when they are over.
#[napi]
pub struct Port {
    pub(crate) state: Rc<State>,
}

/// A method as a client calls it, with the client whose close ends it.
pub(crate) struct Method {
    pub(crate) client: u32,
    pub(crate) bridge: aster_bridge::Method,
}

/// A session, with the client whose close ends it.
pub(crate) struct Session {
    pub(crate) client: u32,
    pub(crate) bridge: aster_bridge::Session,
}

/// A call with streams.
pub(crate) struct Stream {
    pub(crate) bridge: aster_bridge::ClientCall,
    pub(crate) dynamic: bool,
}

/// All that belongs to a port. Its tables are never borrowed while JavaScript runs: JavaScript is not called from here.
pub(crate) struct State {
    pub(crate) bridge: aster_bridge::Port,
    pub(crate) clients: RefCell<Slab<aster_bridge::Client>>,
    pub(crate) methods: RefCell<Slab<Method>>,
    pub(crate) sessions: RefCell<Slab<Session>>,
    pub(crate) streams: RefCell<Slab<Stream>>,
    pub(crate) servers: RefCell<FxHashMap<u64, aster_bridge::Server>>,
    pub(crate) calls: RefCell<Slab<Arc<InboundCall>>>,
    /// Where in `calls` the call with a key is.
    pub(crate) by_key: RefCell<FxHashMap<u64, u32>>,
    /// The memory of the events that were drained last.
    pub(crate) events: RefCell<Vec<Event>>,
    /// Events for which there was no room in the buffer, and completions that were made here.
    pub(crate) left: RefCell<VecDeque<Event>>,
    /// What belongs to the records of the last drain and does not fit them.
    pub(crate) extras: RefCell<Vec<Option<Extra>>>,
    /// The failure that the last function spoke of.
    pub(crate) failure: RefCell<Option<Box<Failure>>>,
    /// The messages of a stream for which there was no room.
    pub(crate) batch: RefCell<FxHashMap<u64, aster_bridge::Batch>>,
    /// The peer of the call that was drained last.
    pub(crate) last_peer: RefCell<String>,
    closed: Cell<bool>,
}

#[napi]
impl Port {
    /// `wake` is called in this environment when there is something to drain.
    #[napi(constructor)]
    pub fn new(env: Env, wake: Function<'_, (), ()>) -> Result<Self> {
        // It never keeps the process alive by itself: the package does, as long as something is to come.
        let wake = wake
            .build_threadsafe_function::<()>()
            .weak::<true>()
            .callee_handled::<false>()
            .build()
            .map_err(|error| crate::fault::misuse(error.reason))?;
        let wake = move || {
            // It fails only when the environment has ended, and then there is nobody to be told.
            let _ = wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
        };
        let port = aster_bridge::Port::with_wake(wake).map_err(|error| bridge(&error))?;
        let state = Rc::new(State {
            bridge: port,
            clients: RefCell::default(),
            methods: RefCell::default(),
            sessions: RefCell::default(),
            streams: RefCell::default(),
            servers: RefCell::default(),
            calls: RefCell::default(),
            by_key: RefCell::default(),
            events: RefCell::default(),
            left: RefCell::default(),
            extras: RefCell::default(),
            failure: RefCell::default(),
            batch: RefCell::default(),
            last_peer: RefCell::default(),
            closed: Cell::new(false),
        });
        ENVIRONMENTS.fetch_add(1, Ordering::SeqCst);
        let ending = state.clone();
        env.add_env_cleanup_hook(ending, |state| {
            state.close();
            if ENVIRONMENTS.fetch_sub(1, Ordering::SeqCst) == 1 {
                aster_bridge::shutdown(aster_bridge::EXIT);
            }
        })
        .map_err(|error| crate::fault::misuse(error.reason))?;
        Ok(Self { state })
    }

    /// Cancels what a ticket waits for. Its completion still comes.
    #[napi]
    pub fn cancel(&self, ticket: u32) {
        // If the I/O thread has ended, the completion has come already.
        let _ = self.state.bridge.cancel(Ticket::from(ticket));
    }

    /// Closes all that the port has. Nothing is delivered any more.
    #[napi]
    pub fn close(&self) -> Result<()> {
        guard(|| {
            self.state.close();
            Ok(())
        })
    }
}

impl State {
    fn close(&self) {
        if self.closed.replace(true) {
            return;
        }
        self.bridge.close();
        // Each table is emptied before what was in it is dropped.
        drop(self.calls.take());
        drop(self.by_key.take());
        drop(self.streams.take());
        drop(self.sessions.take());
        drop(self.methods.take());
        drop(self.clients.take());
        drop(self.servers.take());
        drop(self.left.take());
        drop(self.extras.take());
        drop(self.batch.take());
    }

    /// What `with` makes of a client.
    pub(crate) fn client<T>(
        &self,
        client: u32,
        with: impl FnOnce(&aster_bridge::Client) -> Result<T>,
    ) -> Result<T> {
        let clients = self.clients.borrow();
        with(
            clients
                .get(client as usize)
                .ok_or_else(|| closed("this client"))?,
        )
    }

    /// What `with` makes of a server.
    pub(crate) fn server<T>(
        &self,
        server: f64,
        with: impl FnOnce(&aster_bridge::Server) -> Result<T>,
    ) -> Result<T> {
        let servers = self.servers.borrow();
        with(
            servers
                .get(&key(server))
                .ok_or_else(|| closed("this server"))?,
        )
    }

    /// What `with` makes of a call with streams.
    pub(crate) fn stream<T>(
        &self,
        stream: u32,
        with: impl FnOnce(&Stream) -> Result<T>,
    ) -> Result<T> {
        let streams = self.streams.borrow();
        with(
            streams
                .get(stream as usize)
                .ok_or_else(|| closed("this call"))?,
        )
    }

    /// A call that came in.
    pub(crate) fn call(&self, call: u32) -> Result<Arc<InboundCall>> {
        let calls = self.calls.borrow();
        calls.get(call as usize).cloned().ok_or_else(|| {
            crate::fault::misuse("this call has been ended before: a call has one end")
        })
    }
}

/// A key, which counts from 1, as JavaScript holds it.
pub(crate) fn key(number: f64) -> u64 {
    number as u64
}
