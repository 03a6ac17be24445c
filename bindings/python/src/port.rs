//! The port of one event loop: futures that wait, and the drain that resolves them.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::{self, ThreadId};

use aster_bridge::engine::{Answer, Code};
use aster_bridge::{BridgeError, Event, Failure, InboundCall, Inbox, Outcome, Taken, Ticket, logs};
use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::call::ClientCall;
use crate::client::{CallInfo, Client};
use crate::contract::Contract;
use crate::convert::{batch_to_py, endpoint_from_py, status_to_py};
use crate::inbound::Call;
use crate::server::{ServedService, Server};

/// Locks. Nothing in this crate runs Python code or blocks while it holds a lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For keys that are addresses or counters: spreads them with one multiplication.
#[derive(Default)]
struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(26);
    }
}

type ByNumber<T> = HashMap<u64, T, BuildHasherDefault<NumberHasher>>;

/// What a future waits for.
pub(crate) enum Kind {
    /// Something whose completion says all.
    Plain,
    /// The answer of a unary call, for `decode`.
    Unary {
        decode: Py<PyAny>,
        info: Option<Py<CallInfo>>,
    },
    /// Messages of a stream.
    Stream {
        inbox: Arc<Inbox>,
        info: Option<Py<CallInfo>>,
    },
    /// A server whose callbacks are noted under this key.
    Server(u64),
}

/// A call with messages that the I/O thread has not been told of.
pub(crate) enum Unflushed {
    Request(Py<ClientCall>),
    Answer(Py<Call>),
}

impl Unflushed {
    fn flush(&self) {
        match self {
            Unflushed::Request(call) => call.get().flush(),
            Unflushed::Answer(call) => call.get().flush(),
        }
    }
}

struct Waiting {
    future: Py<PyAny>,
    kind: Kind,
    /// Whether the port's watcher is among the future's callbacks.
    watched: bool,
    /// What must not be closed by the garbage collector before the end.
    _owner: Option<Py<PyAny>>,
}

struct Callbacks {
    on_calls: Py<PyAny>,
    on_session_close: Py<PyAny>,
}

/// The state of a port, shared by the handles that belong to it.
pub(crate) struct State {
    pub(crate) bridge: aster_bridge::Port,
    event_loop: Py<PyAny>,
    create_future: Py<PyAny>,
    running_loop: Py<PyAny>,
    make_error: Py<PyAny>,
    watcher: OnceLock<Py<Watcher>>,
    flusher: OnceLock<Py<Flusher>>,
    /// By ticket, which is the address of the future: it is kept alive by this map as long as the ticket is out.
    waiting: Mutex<ByNumber<Waiting>>,
    servers: Mutex<ByNumber<Callbacks>>,
    /// What cancels the handlers of inbound calls, by the call's key.
    cancels: Mutex<ByNumber<Py<PyAny>>>,
    /// The vector that the last drain emptied.
    events: Mutex<Vec<Event>>,
    /// Calls to be flushed in the next iteration of the loop.
    unflushed: Mutex<Vec<Unflushed>>,
    thread: Mutex<ThreadId>,
}

impl State {
    // ------------------------------------------------------------ errors

    /// The exception for a failed outcome.
    pub(crate) fn error(&self, py: Python<'_>, failure: &Failure) -> PyErr {
        let made =
            status_to_py(py, failure).and_then(|status| self.make_error.bind(py).call1((status,)));
        match made {
            Ok(exception) => PyErr::from_value(exception),
            Err(error) => error,
        }
    }

    pub(crate) fn bridge_error(&self, py: Python<'_>, error: &BridgeError) -> PyErr {
        self.error(py, &Failure::of_bridge(error, ""))
    }

    // ------------------------------------------------------------ futures

    /// A future of this port's loop, which must be the running one.
    fn future<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let running = self.running_loop.bind(py).call0()?;
        if !running.is(&self.event_loop) {
            self.check_elsewhere(&running)?;
        }
        self.create_future.bind(py).call0()
    }

    /// Between two runs of the loop its own thread may still use it; all else is a mistake.
    fn check_elsewhere(&self, running: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = running.py();
        let own = *lock(&self.thread);
        if running.is_none() && own == thread::current().id() {
            return Ok(());
        }
        let here = if running.is_none() {
            "a thread without a running loop".to_owned()
        } else {
            running.repr()?.to_string()
        };
        let text = format!(
            "this handle belongs to the event loop {} and is used from {here}: make the client or server in the loop \
             that uses it, or hand the work over with asyncio.run_coroutine_threadsafe",
            self.event_loop.bind(py).repr()?
        );
        Err(self.error(py, &Failure::here(Code::FAILED_PRECONDITION, text, "")))
    }

    /// A future that `begin` is given the ticket of. With `watched`, cancelling the future cancels what it waits for.
    pub(crate) fn wait_for<'py>(
        &self,
        py: Python<'py>,
        kind: Kind,
        watched: bool,
        owner: Option<Py<PyAny>>,
        begin: impl FnOnce(Ticket) -> Result<(), BridgeError>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let future = self.future(py)?;
        if watched && let Some(watcher) = self.watcher.get() {
            future.call_method1(intern!(py, "add_done_callback"), (watcher,))?;
        }
        let ticket = future.as_ptr() as Ticket;
        let waiting = Waiting {
            future: future.clone().unbind(),
            kind,
            watched,
            _owner: owner,
        };
        lock(&self.waiting).insert(ticket, waiting);
        if let Err(error) = begin(ticket) {
            let waiting = lock(&self.waiting).remove(&ticket);
            drop(waiting);
            return Err(self.bridge_error(py, &error));
        }
        Ok(future)
    }

    /// A future that has its outcome.
    pub(crate) fn resolved<'py>(
        &self,
        py: Python<'py>,
        value: PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let future = self.future(py)?;
        settle(&future, value)?;
        Ok(future)
    }

    /// A future that `watcher` watches has ended: if it was cancelled, so is what it waited for.
    fn future_done(&self, future: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = future.py();
        if !future.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
            return Ok(());
        }
        let ticket = future.as_ptr() as Ticket;
        let inbox = match lock(&self.waiting).get(&ticket) {
            Some(Waiting {
                kind: Kind::Stream { inbox, .. },
                ..
            }) => Some(inbox.clone()),
            Some(_) => None,
            None => return Ok(()),
        };
        match inbox {
            Some(inbox) => {
                if inbox.stop_waiting(ticket) {
                    let waiting = lock(&self.waiting).remove(&ticket);
                    drop(waiting);
                }
            }
            None => {
                // If the I/O thread has ended, the completion has come already.
                let _ = self.bridge.cancel(ticket);
            }
        }
        Ok(())
    }

    // ------------------------------------------------------------ streams

    /// What has come of a stream: bytes of an array, empty bytes at its end, `None` if nothing has.
    pub(crate) fn taken<'py>(
        &self,
        py: Python<'py>,
        inbox: &Inbox,
        info: Option<&Py<CallInfo>>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        match inbox.take() {
            Taken::Nothing => Ok(None),
            Taken::Batch(batch) => batch_to_py(py, &batch).map(Some),
            Taken::End => {
                fill(info, || (inbox.metadata(), inbox.trailing()));
                Ok(Some(PyBytes::new(py, b"")))
            }
            Taken::Failed(failure) => {
                fill(info, || {
                    (failure.metadata.clone(), failure.trailing.clone())
                });
                Err(self.error(py, &failure))
            }
        }
    }

    /// A future of what [`State::taken`] gives.
    pub(crate) fn wait_for_messages<'py>(
        &self,
        py: Python<'py>,
        inbox: &Arc<Inbox>,
        info: Option<&Py<CallInfo>>,
        owner: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self.taken(py, inbox, info) {
            Ok(None) => {}
            Ok(Some(bytes)) => return self.resolved(py, Ok(bytes.into_any())),
            Err(error) => return self.resolved(py, Err(error)),
        }
        let kind = Kind::Stream {
            inbox: inbox.clone(),
            info: info.map(|info| info.clone_ref(py)),
        };
        self.wait_for(py, kind, true, owner, |ticket| {
            if inbox.wait(ticket) {
                Ok(())
            } else {
                Err(BridgeError::Argument(
                    "this stream is being read by another task: a stream has one reader".to_owned(),
                ))
            }
        })
    }

    /// Flushes a call once what runs now in the loop has run: messages sent in one go then travel together.
    pub(crate) fn flush_soon(self: &Arc<Self>, py: Python<'_>, call: Unflushed) -> PyResult<()> {
        if *lock(&self.thread) != thread::current().id() {
            call.flush();
            return Ok(());
        }
        let first = {
            let mut unflushed = lock(&self.unflushed);
            unflushed.push(call);
            unflushed.len() == 1
        };
        if first && let Some(flusher) = self.flusher.get() {
            self.event_loop
                .call_method1(py, intern!(py, "call_soon"), (flusher,))?;
        }
        Ok(())
    }

    fn flush(&self) {
        let unflushed = mem::take(&mut *lock(&self.unflushed));
        for call in unflushed {
            call.flush();
        }
    }

    // ------------------------------------------------------------ inbound calls

    /// Has `cancel` called from the drain when the call is cancelled.
    pub(crate) fn on_cancel(&self, call: u64, cancel: Py<PyAny>) {
        let before = lock(&self.cancels).insert(call, cancel);
        drop(before);
    }

    /// The handler has ended: nothing of it is to be cancelled.
    pub(crate) fn forget_call(&self, call: u64) {
        let cancel = lock(&self.cancels).remove(&call);
        drop(cancel);
    }

    /// Calls what is noted to cancel the handler of a call.
    pub(crate) fn cancel_call(&self, py: Python<'_>, call: u64) -> PyResult<()> {
        let cancel = lock(&self.cancels).remove(&call);
        if let Some(cancel) = cancel {
            cancel.call0(py)?;
        }
        Ok(())
    }

    /// A server is gone: its callbacks are called no more.
    pub(crate) fn forget_server(&self, server: u64) {
        let callbacks = lock(&self.servers).remove(&server);
        drop(callbacks);
    }

    // ------------------------------------------------------------ the drain

    fn drain(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let mut events = mem::take(&mut *lock(&self.events));
        *lock(&self.thread) = thread::current().id();
        self.bridge.drain_into(&mut events);
        let mut drain = Drain {
            state: self,
            py,
            calls: Vec::new(),
            server: 0,
            interrupt: None,
        };
        for event in events.drain(..) {
            drain.event(event);
        }
        drain.hand_over();
        let interrupt = drain.interrupt;
        *lock(&self.events) = events;
        interrupt.map_or(Ok(()), Err)
    }

    fn close(&self, py: Python<'_>) {
        self.flush();
        self.bridge.close();
        let waiting = mem::take(&mut *lock(&self.waiting));
        let servers = mem::take(&mut *lock(&self.servers));
        let cancels = mem::take(&mut *lock(&self.cancels));
        let loop_is_closed = self
            .event_loop
            .call_method0(py, intern!(py, "is_closed"))
            .and_then(|it| it.is_truthy(py));
        if matches!(loop_is_closed, Ok(false)) {
            let failure = Failure::here(
                Code::CANCELLED,
                "the port was closed, with its clients and servers",
                "",
            );
            for (_, Waiting { future, .. }) in waiting {
                // Nobody need be waiting any more, and then there is nobody to tell.
                if let Err(error) = settle(future.bind(py), Err(self.error(py, &failure))) {
                    error.write_unraisable(py, Some(future.bind(py)));
                }
            }
        }
        drop((servers, cancels));
    }
}

/// Sets the outcome of a future, unless it was cancelled meanwhile.
fn settle(future: &Bound<'_, PyAny>, value: PyResult<Bound<'_, PyAny>>) -> PyResult<()> {
    let py = future.py();
    let set = match value {
        Ok(value) => future.call_method1(intern!(py, "set_result"), (value,)),
        Err(error) => future.call_method1(intern!(py, "set_exception"), (error.into_value(py),)),
    };
    match set {
        Ok(_) => Ok(()),
        // Asking afterwards costs the cancelled ones only; asking first costs every call.
        Err(_) if future.call_method0(intern!(py, "done"))?.is_truthy()? => Ok(()),
        Err(error) => Err(error),
    }
}

fn fill(
    info: Option<&Py<CallInfo>>,
    metadata: impl FnOnce() -> (
        aster_bridge::engine::Metadata,
        aster_bridge::engine::Metadata,
    ),
) {
    if let Some(info) = info {
        let (initial, trailing) = metadata();
        info.get().fill(initial, trailing);
    }
}

/// One drain: the events that came, one after another.
struct Drain<'a, 'py> {
    state: &'a Arc<State>,
    py: Python<'py>,
    /// Inbound calls of one server that came together.
    calls: Vec<Py<Call>>,
    server: u64,
    /// Ctrl-C or `sys.exit` out of Python code that the drain called: raised when all events are dealt with.
    interrupt: Option<PyErr>,
}

impl<'py> Drain<'_, 'py> {
    fn event(&mut self, event: Event) {
        let result = match event {
            Event::Completed { ticket, outcome } => self.complete(ticket, outcome),
            Event::Ready { ticket, inbox } => self.ready(ticket, &inbox),
            Event::Call { server, call } => self.call(server, call),
            Event::Cancelled { call } => {
                // Its handler may be among those that have not been handed over.
                self.hand_over();
                self.state.cancel_call(self.py, call)
            }
            Event::SessionClosed {
                server,
                service_index,
                session,
                reason,
            } => {
                self.hand_over();
                self.session_closed(server, service_index, session, reason)
            }
            Event::Logs => self.logs(),
        };
        if let Err(error) = result {
            self.report(error, "a callback of Aster failed");
        }
    }

    /// An error that has no call to fail: told to the loop, as asyncio does with those of callbacks.
    fn report(&mut self, error: PyErr, message: &str) {
        let py = self.py;
        if !error.is_instance_of::<PyException>(py) {
            self.interrupt.get_or_insert(error);
            return;
        }
        let context = PyDict::new(py);
        let told = context
            .set_item("message", message)
            .and_then(|()| context.set_item("exception", error.value(py)))
            .and_then(|()| {
                self.state.event_loop.call_method1(
                    py,
                    intern!(py, "call_exception_handler"),
                    (context,),
                )
            });
        if told.is_err() {
            error.write_unraisable(py, None);
        }
    }

    fn complete(&mut self, ticket: Ticket, outcome: Outcome) -> PyResult<()> {
        let py = self.py;
        let Some(waiting) = lock(&self.state.waiting).remove(&ticket) else {
            return Ok(());
        };
        let Waiting {
            future,
            kind,
            watched,
            _owner,
        } = waiting;
        let future = future.bind(py);
        if watched && let Some(watcher) = self.state.watcher.get() {
            // Called by the loop it would cost more than all the rest of this.
            future.call_method1(intern!(py, "remove_done_callback"), (watcher,))?;
        }
        let value = self.value(kind, outcome);
        if let Err(error) = &value
            && !error.is_instance_of::<PyException>(py)
        {
            // Not for the one who awaits: a future may not hold what ends the program.
            self.interrupt.get_or_insert(error.clone_ref(py));
            future.call_method0(intern!(py, "cancel"))?;
            return Ok(());
        }
        settle(future, value)
    }

    fn value(&self, kind: Kind, outcome: Outcome) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let state = self.state;
        match outcome {
            Outcome::Answer(Answer {
                message,
                metadata,
                trailing,
                ..
            }) => {
                let payload = PyBytes::new(py, &message);
                match kind {
                    Kind::Unary { decode, info } => {
                        fill(info.as_ref(), || (metadata, trailing));
                        decode.into_bound(py).call1((payload,))
                    }
                    Kind::Plain | Kind::Stream { .. } | Kind::Server(_) => Ok(payload.into_any()),
                }
            }
            Outcome::Done => Ok(py.None().into_bound(py)),
            Outcome::Client(client) => {
                Ok(Bound::new(py, Client::new(state.clone(), client))?.into_any())
            }
            Outcome::Server(server) => {
                Ok(Bound::new(py, Server::new(state.clone(), server))?.into_any())
            }
            Outcome::Contract(contract) => Ok(Bound::new(py, Contract(contract))?.into_any()),
            Outcome::Duration(duration) => Ok((duration.as_secs_f64() * 1000.0)
                .into_pyobject(py)?
                .into_any()),
            Outcome::Failed(failure) => {
                match kind {
                    Kind::Unary { info, .. } => {
                        fill(info.as_ref(), || {
                            (failure.metadata.clone(), failure.trailing.clone())
                        });
                    }
                    Kind::Server(key) => state.forget_server(key),
                    Kind::Plain | Kind::Stream { .. } => {}
                }
                Err(state.error(py, &failure))
            }
        }
    }

    fn ready(&mut self, ticket: Ticket, inbox: &Inbox) -> PyResult<()> {
        let py = self.py;
        let Some(waiting) = lock(&self.state.waiting).remove(&ticket) else {
            return Ok(());
        };
        let future = waiting.future.bind(py);
        if let Some(watcher) = self.state.watcher.get() {
            future.call_method1(intern!(py, "remove_done_callback"), (watcher,))?;
        }
        if future.call_method0(intern!(py, "done"))?.is_truthy()? {
            // Given up: what is there stays for whoever asks next.
            return Ok(());
        }
        let info = match &waiting.kind {
            Kind::Stream { info, .. } => info.as_ref(),
            Kind::Plain | Kind::Unary { .. } | Kind::Server(_) => None,
        };
        let value = self.state.taken(py, inbox, info);
        settle(
            future,
            value.map(|bytes| {
                bytes
                    .unwrap_or_else(|| PyBytes::new(py, &[0x90]))
                    .into_any()
            }),
        )
    }

    fn call(&mut self, server: u64, call: Arc<InboundCall>) -> PyResult<()> {
        if server != self.server {
            self.hand_over();
            self.server = server;
        }
        self.calls
            .push(Py::new(self.py, Call::new(self.state.clone(), call))?);
        Ok(())
    }

    /// Gives the calls that came together to their server.
    fn hand_over(&mut self) {
        if self.calls.is_empty() {
            return;
        }
        let py = self.py;
        let calls = mem::take(&mut self.calls);
        let callback = lock(&self.state.servers)
            .get(&self.server)
            .map(|callbacks| callbacks.on_calls.clone_ref(py));
        // Without a callback the server is gone: the calls end as they are dropped.
        let Some(callback) = callback else { return };
        let handed = PyList::new(py, calls).and_then(|calls| callback.call1(py, (calls,)));
        if let Err(error) = handed {
            self.report(error, "taking calls failed");
        }
    }

    fn session_closed(
        &self,
        server: u64,
        service_index: usize,
        session: u64,
        reason: &str,
    ) -> PyResult<()> {
        let py = self.py;
        let callback = lock(&self.state.servers)
            .get(&server)
            .map(|callbacks| callbacks.on_session_close.clone_ref(py));
        if let Some(callback) = callback {
            callback.call1(py, (session, service_index, reason))?;
        }
        Ok(())
    }

    fn logs(&self) -> PyResult<()> {
        let py = self.py;
        let callback = lock(&LOGS).as_ref().map(|callback| callback.clone_ref(py));
        let Some(callback) = callback else {
            return Ok(());
        };
        let records = logs::take().into_iter().map(|record| {
            // The numbers of Python's logging; it has none for traces, which lie below debug.
            let level = if record.level <= 1 {
                5
            } else {
                u32::from(record.level - 1) * 10
            };
            (level, record.target, record.text)
        });
        callback.call1(py, (PyList::new(py, records.collect::<Vec<_>>())?,))?;
        Ok(())
    }
}

static LOGS: Mutex<Option<Py<PyAny>>> = Mutex::new(None);

/// Has the core's log records (level, target, text) handed to `callback` in batches, from the drain of some port.
/// `level`: the lowest that is kept, in the numbers of `logging`, with 5 for traces.
#[pyfunction]
#[pyo3(signature = (callback, level = 20))]
pub(crate) fn logs_to(callback: Py<PyAny>, level: u32) -> PyResult<()> {
    let before = lock(&LOGS).replace(callback);
    drop(before);
    let level = match level {
        0..=5 => 1,
        6..=10 => 2,
        11..=20 => 3,
        21..=30 => 4,
        31..=40 => 5,
        _ => 6,
    };
    if logs::keep(level) {
        Ok(())
    } else {
        Err(PyRuntimeError::new_err(
            "the core's log records go elsewhere in this process already",
        ))
    }
}

/// Told by futures that they have ended.
#[pyclass(frozen, module = "aster._native")]
struct Watcher(Weak<State>);

#[pymethods]
impl Watcher {
    fn __call__(&self, future: &Bound<'_, PyAny>) -> PyResult<()> {
        match self.0.upgrade() {
            Some(state) => state.future_done(future),
            None => Ok(()),
        }
    }
}

/// Called by the loop after what ran when messages were sent.
#[pyclass(frozen, module = "aster._native")]
struct Flusher(Weak<State>);

#[pymethods]
impl Flusher {
    fn __call__(&self) {
        if let Some(state) = self.0.upgrade() {
            state.flush();
        }
    }
}

/// Where one event loop hears from the core.
#[pyclass(frozen, module = "aster._native")]
pub(crate) struct Port(Arc<State>);

#[pymethods]
impl Port {
    #[new]
    fn new(py: Python<'_>, event_loop: Bound<'_, PyAny>, make_error: Py<PyAny>) -> PyResult<Self> {
        let bridge = py
            .detach(aster_bridge::Port::new)
            .map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        let state = Arc::new(State {
            bridge,
            create_future: event_loop.getattr("create_future")?.unbind(),
            running_loop: py.import("asyncio")?.getattr("_get_running_loop")?.unbind(),
            event_loop: event_loop.unbind(),
            make_error,
            watcher: OnceLock::new(),
            flusher: OnceLock::new(),
            waiting: Mutex::default(),
            servers: Mutex::default(),
            cancels: Mutex::default(),
            events: Mutex::default(),
            unflushed: Mutex::default(),
            thread: Mutex::new(thread::current().id()),
        });
        // They were empty: the state is new.
        let _ = state
            .watcher
            .set(Py::new(py, Watcher(Arc::downgrade(&state)))?);
        let _ = state
            .flusher
            .set(Py::new(py, Flusher(Arc::downgrade(&state)))?);
        Ok(Self(state))
    }

    fn fileno(&self) -> i32 {
        self.0.bridge.descriptor()
    }

    fn drain(&self, py: Python<'_>) -> PyResult<()> {
        self.0.drain(py)
    }

    fn close(&self, py: Python<'_>) {
        self.0.close(py);
    }

    fn connect<'py>(
        &self,
        py: Python<'py>,
        addresses: Vec<String>,
        options: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let options = endpoint_from_py("a client", options)?;
        let state = &self.0;
        state.wait_for(py, Kind::Plain, true, None, |ticket| {
            state.bridge.connect(&addresses, &options, ticket)
        })
    }

    fn serve<'py>(
        &self,
        py: Python<'py>,
        services: Vec<PyRef<'py, ServedService>>,
        on_calls: Py<PyAny>,
        on_session_close: Py<PyAny>,
        options: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let options = endpoint_from_py("a server", options)?;
        let services = services.iter().map(|service| service.0.clone()).collect();
        let state = &self.0;
        let mut key = 0;
        let future = state.wait_for(py, Kind::Plain, true, None, |ticket| {
            key = state.bridge.serve(services, &options, ticket)?;
            Ok(())
        })?;
        lock(&state.servers).insert(
            key,
            Callbacks {
                on_calls,
                on_session_close,
            },
        );
        if let Some(waiting) = lock(&state.waiting).get_mut(&(future.as_ptr() as Ticket)) {
            waiting.kind = Kind::Server(key);
        }
        Ok(future)
    }

    fn __repr__(&self) -> String {
        format!("<Port {}>", self.0.bridge.id())
    }
}
