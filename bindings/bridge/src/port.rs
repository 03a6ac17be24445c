//! A port: the place where one event loop or JS environment hears from the I/O thread.

use std::future::Future;
use std::mem;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use crate::error::{BridgeError, lock};
use crate::event::{Event, Outcome};
use crate::logs;
use crate::outcome::Failure;
use crate::runtime::{self, Canceller, Command, Runtime};
use crate::wake::{Descriptor, Wake};

/// Names a port in the process.
pub type PortId = u64;

/// The language's own number for something that it waits for.
///
/// Each ticket that the bridge takes comes back in exactly one [`Event::Completed`] or [`Event::Ready`], whatever
/// happens to what it stands for, unless the port is closed before. A language may use it again after that. A function
/// that returns an error has not taken its ticket.
pub type Ticket = u64;

/// A queue of events whose event loop is told, once per burst, that there are any: by a descriptor that is readable then,
/// or by a function.
///
/// Every handle belongs to the port that it was made with and reports there.
pub struct Port {
    pub(crate) shared: Arc<Shared>,
}

/// The part of a port that its handles and the I/O thread share.
pub(crate) struct Shared {
    pub(crate) id: PortId,
    pub(crate) runtime: Arc<Runtime>,
    queue: Mutex<Queue>,
    wake: Wake,
}

#[derive(Default)]
struct Queue {
    events: Vec<Event>,
    /// The loop has been told and has not drained since.
    raised: bool,
    /// The I/O thread will tell it soon.
    flushing: bool,
    closed: bool,
}

/// The open ports of the process, for what belongs to no port.
static OPEN: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

impl Port {
    /// Opens a port with a descriptor, and starts the I/O thread of the process if it does not run.
    pub fn new() -> Result<Self, BridgeError> {
        let descriptor =
            Descriptor::new().map_err(|error| BridgeError::Start(error.to_string()))?;
        Self::with(Wake::Descriptor(descriptor))
    }

    /// Opens a port that calls `wake` when its loop should drain it: once per burst, and not again before a drain.
    ///
    /// It is called on any thread, with no lock held, and must not block. It may still be called while the port is
    /// being closed, and is dropped with the last handle of the port, on any thread too.
    pub fn with_wake(wake: impl Fn() + Send + Sync + 'static) -> Result<Self, BridgeError> {
        Self::with(Wake::Function(Box::new(wake)))
    }

    fn with(wake: Wake) -> Result<Self, BridgeError> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let runtime = Runtime::current()?;
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::new(Shared {
            id,
            runtime,
            queue: Mutex::default(),
            wake,
        });
        {
            let mut open = lock(&OPEN);
            open.retain(|port| port.strong_count() > 0);
            open.push(Arc::downgrade(&shared));
        }
        if logs::waiting() {
            shared.push(Event::Logs);
        }
        Ok(Self { shared })
    }

    /// Its name in the process.
    pub fn id(&self) -> PortId {
        self.shared.id
    }

    /// The descriptor to watch for reading, of a port that has one. It stays open as long as this value or a handle of
    /// the port lives.
    pub fn descriptor(&self) -> Option<RawFd> {
        match &self.shared.wake {
            Wake::Descriptor(descriptor) => Some(descriptor.number()),
            Wake::Function(_) => None,
        }
    }

    /// Fails if the port can't be used any more, saying why.
    pub fn check(&self) -> Result<(), BridgeError> {
        self.shared.check()
    }

    /// Moves the events that wait into `out`, which should be empty: its memory is used again.
    pub fn drain_into(&self, out: &mut Vec<Event>) {
        if self.shared.runtime.is_forked() {
            // The descriptor is shared with the parent, whose wake-up must not be swallowed.
            return;
        }
        // Cleared first: what comes between this line and the next raises it again or is taken.
        self.shared.wake.clear();
        let mut queue = lock(&self.shared.queue);
        queue.raised = false;
        if out.is_empty() {
            mem::swap(&mut queue.events, out);
        } else {
            out.append(&mut queue.events);
        }
    }

    /// Cancels what `ticket` waits for, if it has not ended. Its completion still comes.
    pub fn cancel(&self, ticket: Ticket) -> Result<(), BridgeError> {
        self.shared
            .runtime
            .send(Command::Cancel(self.shared.id, ticket))
    }

    /// Closes the port and, in the background, everything made with it. Nothing is delivered any more. Idempotent.
    pub fn close(&self) {
        self.shared.close();
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Shared {
    #[cfg(test)]
    pub(crate) fn descriptor(&self) -> std::os::fd::BorrowedFd<'_> {
        match &self.wake {
            Wake::Descriptor(descriptor) => descriptor.borrow(),
            Wake::Function(_) => panic!("this port has no descriptor"),
        }
    }

    pub(crate) fn check(&self) -> Result<(), BridgeError> {
        self.runtime.check()?;
        if lock(&self.queue).closed {
            return Err(BridgeError::Closed("this port".to_owned()));
        }
        Ok(())
    }

    /// Queues an event, and sees to it that the loop is told.
    pub(crate) fn push(self: &Arc<Self>, event: Event) {
        let mut queue = lock(&self.queue);
        if queue.closed {
            drop(queue);
            // Outside the lock: an event may hold handles that say good-bye.
            drop(event);
            return;
        }
        queue.events.push(event);
        if queue.raised || queue.flushing {
            return;
        }
        if runtime::on_io_thread() {
            queue.flushing = true;
            drop(queue);
            self.runtime.flush_soon(self.clone());
        } else {
            queue.raised = true;
            drop(queue);
            self.wake.raise();
        }
    }

    /// On the I/O thread: wakes the loop if there is something that it has not been told of.
    pub(crate) fn flush(&self) {
        let mut queue = lock(&self.queue);
        queue.flushing = false;
        if queue.events.is_empty() || queue.raised || queue.closed {
            return;
        }
        queue.raised = true;
        drop(queue);
        self.wake.raise();
    }

    /// Runs `work` on the I/O thread and completes `ticket` with what it gives. The ticket can be cancelled.
    ///
    /// On an error nothing was started, and no completion comes.
    pub(crate) fn start(
        self: &Arc<Self>,
        ticket: Ticket,
        work: impl Future<Output = Outcome> + Send + 'static,
    ) -> Result<(), BridgeError> {
        self.check()?;
        let completer = Completer::new(self, ticket);
        // If the thread has ended since the check, the completer has completed the ticket on being dropped.
        let _ = self.runtime.run_there(move || {
            let port = completer.port.id;
            let task = tokio::spawn(async move { completer.complete(work.await) });
            runtime::cancellable(port, ticket, Canceller::Task(task.abort_handle()));
        });
        Ok(())
    }

    fn close(&self) {
        if self.runtime.is_forked() {
            return;
        }
        let events = {
            let mut queue = lock(&self.queue);
            if mem::replace(&mut queue.closed, true) {
                return;
            }
            mem::take(&mut queue.events)
        };
        drop(events);
        lock(&OPEN).retain(|port| port.strong_count() > 0 && !std::ptr::eq(port.as_ptr(), self));
        let id = self.id;
        let closing =
            move || runtime::close_in_background(runtime::close_all(move |port| port == id));
        // If the I/O thread has ended, so has all that the port had.
        let _ = self.runtime.run_there(closing);
    }
}

/// Tells a port that log records wait; they wait for the next port if there is none.
pub(crate) fn announce_logs() {
    let port = lock(&OPEN).iter().find_map(Weak::upgrade);
    if let Some(port) = port {
        port.push(Event::Logs);
    }
}

/// The duty to complete one ticket. Dropped, it completes it with an error: no language waits for ever.
pub(crate) struct Completer {
    port: Arc<Shared>,
    ticket: Option<Ticket>,
}

impl Completer {
    pub(crate) fn new(port: &Arc<Shared>, ticket: Ticket) -> Self {
        Self {
            port: port.clone(),
            ticket: Some(ticket),
        }
    }

    pub(crate) fn complete(mut self, outcome: Outcome) {
        if let Some(ticket) = self.ticket.take() {
            runtime::ended(self.port.id, ticket);
            self.port.push(Event::Completed { ticket, outcome });
        }
    }
}

impl Drop for Completer {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let failure = match runtime::ended(self.port.id, ticket) {
                Some(Canceller::Cancelled) => Failure::cancelled(""),
                _ => Failure::lost(),
            };
            self.port.push(Event::Completed {
                ticket,
                outcome: Outcome::failed(failure),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Code;
    use crate::testing::{completion, on_io, readable_within, wait_readable};

    #[test]
    fn a_burst_raises_the_descriptor_once_and_crosses_whole() {
        let port = Port::new().unwrap();
        let shared = port.shared.clone();
        on_io(&port, async move {
            for ticket in 0..100 {
                Completer::new(&shared, ticket).complete(Outcome::Done);
            }
        });
        wait_readable(&port);
        let mut events = Vec::new();
        port.drain_into(&mut events);
        assert_eq!(events.len(), 100);
        assert!(!readable_within(&port, 0), "cleared by the drain");
    }

    #[test]
    fn a_function_is_called_once_per_burst_and_again_after_a_drain() {
        let (told, heard) = std::sync::mpsc::channel();
        let port = Port::with_wake(move || told.send(()).unwrap()).unwrap();
        assert_eq!(port.descriptor(), None);
        let mut events = Vec::new();
        for round in 0..3 {
            let shared = port.shared.clone();
            on_io(&port, async move {
                for ticket in 0..100 {
                    Completer::new(&shared, ticket).complete(Outcome::Done);
                }
            });
            heard.recv().unwrap();
            port.drain_into(&mut events);
            assert_eq!(events.len(), 100, "round {round}");
            events.clear();
            assert!(heard.try_recv().is_err(), "once per burst");
        }
        // From another thread than the I/O thread too.
        Completer::new(&port.shared, 1).complete(Outcome::Done);
        heard.recv().unwrap();
    }

    #[test]
    fn a_function_may_drain_the_port_itself() {
        // It would lock up if it were called under the lock of the queue.
        let place: Arc<std::sync::OnceLock<Port>> = Arc::default();
        let (told, heard) = std::sync::mpsc::channel();
        let inside = place.clone();
        let port = Port::with_wake(move || {
            let mut events = Vec::new();
            inside.get().unwrap().drain_into(&mut events);
            told.send(events.len()).unwrap();
        })
        .unwrap();
        let shared = port.shared.clone();
        assert!(place.set(port).is_ok());
        Completer::new(&shared, 1).complete(Outcome::Done);
        assert_eq!(heard.recv().unwrap(), 1);
        place.get().unwrap().close();
    }

    #[test]
    fn nothing_is_lost_between_drains() {
        let port = Port::new().unwrap();
        let shared = port.shared.clone();
        const COUNT: usize = 20_000;
        on_io(&port, async move {
            for ticket in 0..COUNT {
                Completer::new(&shared, ticket as Ticket).complete(Outcome::Done);
                if ticket % 7 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        });
        let mut seen = 0;
        let mut events = Vec::new();
        while seen < COUNT {
            wait_readable(&port);
            port.drain_into(&mut events);
            for event in events.drain(..) {
                assert!(
                    matches!(event, Event::Completed { ticket, .. } if ticket == seen as Ticket)
                );
                seen += 1;
            }
        }
    }

    #[test]
    fn a_ticket_that_is_let_go_of_fails() {
        let port = Port::new().unwrap();
        drop(Completer::new(&port.shared, 3));
        let (ticket, outcome) = completion(&port);
        assert_eq!(ticket, 3);
        assert!(matches!(outcome, Outcome::Failed(failure) if failure.code == Code::INTERNAL.0));
    }

    #[test]
    fn a_panicking_command_fails_its_ticket_and_nothing_else() {
        let port = Port::new().unwrap();
        let completer = Completer::new(&port.shared, 4);
        let work = move || {
            let _held = completer;
            panic!("as this test wants");
        };
        port.shared.runtime.run_there(work).unwrap();
        wait_readable(&port);
        assert!(matches!(completion(&port), (4, Outcome::Failed(_))));
        let shared = port.shared.clone();
        on_io(&port, async move {
            Completer::new(&shared, 5).complete(Outcome::Done)
        });
        wait_readable(&port);
        assert!(matches!(completion(&port), (5, Outcome::Done)));
    }

    #[test]
    fn a_cancelled_task_completes_its_ticket() {
        let port = Port::new().unwrap();
        port.shared.start(6, std::future::pending()).unwrap();
        port.cancel(6).unwrap();
        port.cancel(6).unwrap();
        wait_readable(&port);
        let (ticket, outcome) = completion(&port);
        assert_eq!(ticket, 6);
        assert!(matches!(outcome, Outcome::Failed(failure) if failure.code == Code::CANCELLED.0));
    }

    #[test]
    fn closing_closes_what_the_port_had_and_only_that() {
        let first = Port::new().unwrap();
        let second = Port::new().unwrap();
        let (told, heard) = std::sync::mpsc::channel();
        for port in [&first, &second] {
            let id = port.id();
            let told = told.clone();
            let key = runtime::next_key();
            let closer: runtime::Closer =
                Box::new(move || Box::pin(async move { told.send(id).unwrap() }));
            port.shared
                .runtime
                .run_there(move || runtime::register(id, key, closer))
                .unwrap();
        }
        first.close();
        first.close();
        assert_eq!(heard.recv().unwrap(), first.id());
        assert!(matches!(first.check(), Err(BridgeError::Closed(_))));
        assert!(second.check().is_ok());
        Completer::new(&first.shared, 1).complete(Outcome::Done);
        let mut events = Vec::new();
        first.drain_into(&mut events);
        assert!(events.is_empty(), "nothing is delivered after the close");
        drop(second);
        assert!(heard.recv().is_ok(), "dropping closes too");
    }
}
