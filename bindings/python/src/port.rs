//! The port of one event loop: the futures that wait, and what its handles share.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::{self, ThreadId};

use aster_bridge::engine::{Code, Metadata};
use aster_bridge::{BridgeError, Event, Failure, Inbox, Taken, Ticket};
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::call::ClientCall;
use crate::client::CallInfo;
use crate::convert::{batch_to_py, endpoint_from_py, status_to_py};
use crate::inbound::Call;
use crate::server::ServedService;

/// Locks. Nothing in this crate runs Python code or blocks while it holds a lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For keys that are addresses or counters: spreads them with one multiplication.
#[derive(Default)]
pub(crate) struct NumberHasher(u64);

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

pub(crate) type ByNumber<T> = HashMap<u64, T, BuildHasherDefault<NumberHasher>>;

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
    /// A server, or a client that offers services, whose callbacks are noted under this key.
    Serving(u64),
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

pub(crate) struct Waiting {
    pub(crate) future: Py<PyAny>,
    pub(crate) kind: Kind,
    /// Whether the port's watcher is among the future's callbacks.
    pub(crate) watched: bool,
    /// What must not be closed by the garbage collector before the end.
    pub(crate) owner: Option<Py<PyAny>>,
}

pub(crate) struct Callbacks {
    pub(crate) on_calls: Py<PyAny>,
    pub(crate) on_session_close: Py<PyAny>,
}

/// The state of a port, shared by the handles that belong to it.
pub(crate) struct State {
    pub(crate) bridge: aster_bridge::Port,
    pub(crate) event_loop: Py<PyAny>,
    create_future: Py<PyAny>,
    running_loop: Py<PyAny>,
    make_error: Py<PyAny>,
    pub(crate) watcher: OnceLock<Py<Watcher>>,
    flusher: OnceLock<Py<Flusher>>,
    /// By ticket, which is the address of the future: it is kept alive by this map as long as the ticket is out.
    pub(crate) waiting: Mutex<ByNumber<Waiting>>,
    /// By the key of the server, or of the client that offers services.
    pub(crate) servers: Mutex<ByNumber<Callbacks>>,
    /// What cancels the handlers of inbound calls, by the call's key.
    cancels: Mutex<ByNumber<Py<PyAny>>>,
    /// The vector that the last drain emptied.
    events: Mutex<Vec<Event>>,
    /// Calls to be flushed in the next iteration of the loop.
    unflushed: Mutex<Vec<Unflushed>>,
    thread: Mutex<ThreadId>,
    /// Its name in Python, for texts.
    thread_name: String,
}

/// What Python calls the current thread.
fn thread_name(py: Python<'_>) -> PyResult<String> {
    py.import("threading")?
        .call_method0("current_thread")?
        .getattr("name")?
        .extract()
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
        let name = |event_loop: &Bound<'_, PyAny>| -> PyResult<String> {
            // Two loops look alike but for their address.
            Ok(format!(
                "{} at {:p}",
                event_loop.repr()?,
                event_loop.as_ptr()
            ))
        };
        let here = if running.is_none() {
            "no running loop".to_owned()
        } else {
            name(running)?
        };
        let text = format!(
            "this handle belongs to the event loop {} of thread {} and is used from {here} in thread {}: make the client or \
             server in the loop that uses it, or hand the work over with asyncio.run_coroutine_threadsafe",
            name(self.event_loop.bind(py))?,
            self.thread_name,
            thread_name(py)?
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
            owner,
        };
        lock(&self.waiting).insert(ticket, waiting);
        if let Err(error) = begin(ticket) {
            let waiting = lock(&self.waiting).remove(&ticket);
            drop(waiting);
            return Err(self.bridge_error(py, &error));
        }
        Ok(future)
    }

    /// A future of something that is called back, which `begin` gives the key of.
    fn serving<'py>(
        &self,
        py: Python<'py>,
        callbacks: Callbacks,
        begin: impl FnOnce(Ticket) -> Result<u64, BridgeError>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut key = 0;
        let future = self.wait_for(py, Kind::Plain, true, None, |ticket| {
            key = begin(ticket)?;
            Ok(())
        })?;
        lock(&self.servers).insert(key, callbacks);
        if let Some(waiting) = lock(&self.waiting).get_mut(&(future.as_ptr() as Ticket)) {
            waiting.kind = Kind::Serving(key);
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

    // ------------------------------------------------------------ the drain, and the end

    /// The events that came, in the memory of those before.
    pub(crate) fn take_events(&self) -> Vec<Event> {
        let mut events = mem::take(&mut *lock(&self.events));
        *lock(&self.thread) = thread::current().id();
        self.bridge.drain_into(&mut events);
        events
    }

    pub(crate) fn give_back(&self, emptied: Vec<Event>) {
        *lock(&self.events) = emptied;
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
                let future = future.bind(py);
                let told = settle(future, Err(self.error(py, &failure)))
                    .and_then(|()| excuse_from_awaiting(future));
                if let Err(error) = told {
                    error.write_unraisable(py, Some(future));
                }
            }
        }
        drop((servers, cancels));
    }
}

/// Sets the outcome of a future, unless it was cancelled meanwhile.
pub(crate) fn settle(future: &Bound<'_, PyAny>, value: PyResult<Bound<'_, PyAny>>) -> PyResult<()> {
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

/// Has asyncio not log the failure of this future if nobody ever awaits it; whoever does is told as before.
pub(crate) fn excuse_from_awaiting(future: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = future.py();
    if !future.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
        future.call_method0(intern!(py, "exception"))?;
    }
    Ok(())
}

pub(crate) fn fill(info: Option<&Py<CallInfo>>, metadata: impl FnOnce() -> (Metadata, Metadata)) {
    if let Some(info) = info {
        let (initial, trailing) = metadata();
        info.get().fill(initial, trailing);
    }
}

/// Told by futures that they have ended.
#[pyclass(frozen, module = "aster._native")]
pub(crate) struct Watcher(Weak<State>);

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
pub(crate) struct Flusher(Weak<State>);

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
            thread_name: thread_name(py)?,
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

    fn fileno(&self) -> PyResult<i32> {
        let descriptor = self.0.bridge.descriptor();
        descriptor.ok_or_else(|| PyRuntimeError::new_err("this port has no descriptor"))
    }

    fn drain(&self, py: Python<'_>) -> PyResult<()> {
        self.0.drain(py)
    }

    fn close(&self, py: Python<'_>) {
        self.0.close(py);
    }

    #[pyo3(signature = (addresses, options, services, on_calls, on_session_close))]
    fn connect<'py>(
        &self,
        py: Python<'py>,
        addresses: Vec<String>,
        options: &Bound<'py, PyDict>,
        services: Vec<PyRef<'py, ServedService>>,
        on_calls: Py<PyAny>,
        on_session_close: Py<PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let options = endpoint_from_py("a client", options)?;
        let services = services.iter().map(|service| service.0.clone()).collect();
        let callbacks = Callbacks {
            on_calls,
            on_session_close,
        };
        let bridge = &self.0.bridge;
        self.0.serving(py, callbacks, |ticket| {
            bridge.connect_serving(&addresses, services, &options, ticket)
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
        let callbacks = Callbacks {
            on_calls,
            on_session_close,
        };
        let bridge = &self.0.bridge;
        self.0.serving(py, callbacks, |ticket| {
            bridge.serve(services, &options, ticket)
        })
    }

    fn __repr__(&self) -> String {
        format!("<Port {}>", self.0.bridge.id())
    }
}
