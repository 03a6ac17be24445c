//! The drain of a port: events that came become outcomes of futures, calls for handlers, and cancellations.

use std::mem;
use std::sync::Arc;

use aster_bridge::engine::{Answer, Code};
use aster_bridge::{Event, InboundCall, Inbox, Outcome, Ticket};
use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::client::Client;
use crate::contract::Contract;
use crate::inbound::Call;
use crate::logs;
use crate::port::{Kind, State, Waiting, excuse_from_awaiting, fill, lock, settle};
use crate::server::Server;

impl State {
    pub(crate) fn drain(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let mut events = self.take_events();
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
        self.give_back(events);
        interrupt.map_or(Ok(()), Err)
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
            owner,
        } = waiting;
        let future = future.bind(py);
        if watched && let Some(watcher) = self.state.watcher.get() {
            // Called by the loop it would cost more than all the rest of this.
            future.call_method1(intern!(py, "remove_done_callback"), (watcher,))?;
        }
        // The program that closes a client knows that its calls end.
        let closed_here = matches!(&outcome, Outcome::Failed(failure) if failure.code == Code::CANCELLED.0)
            && owner
                .as_ref()
                .and_then(|owner| owner.bind(py).cast::<Client>().ok())
                .is_some_and(|client| client.get().is_closing());
        let value = self.value(kind, outcome);
        if let Err(error) = &value
            && !error.is_instance_of::<PyException>(py)
        {
            // Not for the one who awaits: a future may not hold what ends the program.
            self.interrupt.get_or_insert(error.clone_ref(py));
            future.call_method0(intern!(py, "cancel"))?;
            return Ok(());
        }
        settle(future, value)?;
        if closed_here {
            excuse_from_awaiting(future)?;
        }
        Ok(())
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
                    Kind::Plain | Kind::Stream { .. } | Kind::Serving(_) => Ok(payload.into_any()),
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
                    Kind::Serving(key) => state.forget_server(key),
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
            Kind::Plain | Kind::Unary { .. } | Kind::Serving(_) => None,
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
        logs::deliver(self.py)
    }
}
