//! Messages of one stream that have come and not been taken.

use std::mem;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::batch::Batch;
use crate::engine::Metadata;
use crate::error::{BridgeError, lock};
use crate::event::Event;
use crate::outcome::Failure;
use crate::port::{Shared, Ticket};

/// The I/O thread pulls no further messages of a stream while this many bytes of it wait. One message may pass it.
pub const INBOX_LIMIT: usize = 256 * 1024;

/// A bounded buffer between the I/O thread, which fills it, and a language, which takes all that is there.
///
/// While it is full nothing is pulled, QUIC's windows fill, and the sender waits: this is the backpressure.
pub struct Inbox {
    port: Arc<Shared>,
    state: Mutex<State>,
    room: Notify,
}

#[derive(Default)]
struct State {
    batch: Batch,
    end: Option<Result<(), Failure>>,
    /// The ticket to tell when there is something.
    waiting: Option<Ticket>,
    /// The I/O thread waits for room.
    full: bool,
    /// Nobody will take any more.
    abandoned: bool,
    metadata: Metadata,
    trailing: Metadata,
}

/// What [`Inbox::take`] found.
pub enum Taken {
    /// Messages.
    Batch(Batch),
    /// Nothing yet.
    Nothing,
    /// The stream has ended and all of it has been taken.
    End,
    /// The stream has failed and all that came before has been taken.
    Failed(Failure),
}

impl Inbox {
    pub(crate) fn new(port: &Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            port: port.clone(),
            state: Mutex::default(),
            room: Notify::new(),
        })
    }

    /// Takes all that has come.
    pub fn take(&self) -> Taken {
        if self.port.runtime.is_forked() {
            return Taken::Failed(Failure::of_bridge(&BridgeError::Forked, ""));
        }
        let mut state = lock(&self.state);
        if !state.batch.is_empty() {
            let batch = mem::take(&mut state.batch);
            let full = mem::take(&mut state.full);
            drop(state);
            if full {
                self.room.notify_one();
            }
            return Taken::Batch(batch);
        }
        match &state.end {
            None => Taken::Nothing,
            Some(Ok(())) => Taken::End,
            Some(Err(failure)) => Taken::Failed(failure.clone()),
        }
    }

    /// Asks for one [`Event::Ready`] when there is something to take, at once if there is already.
    ///
    /// A stream has one reader: `false` if another ticket waits, and then nothing is asked for.
    pub fn wait(self: &Arc<Self>, ticket: Ticket) -> bool {
        if self.port.runtime.is_forked() {
            // Taking says what is wrong.
            return false;
        }
        let mut state = lock(&self.state);
        if state.waiting.is_some() {
            return false;
        }
        if state.batch.is_empty() && state.end.is_none() {
            state.waiting = Some(ticket);
            return true;
        }
        drop(state);
        self.port.push(Event::Ready {
            ticket,
            inbox: self.clone(),
        });
        true
    }

    /// Takes back a ticket that waits. `false`: it waits no more, and its event is on its way.
    pub fn stop_waiting(&self, ticket: Ticket) -> bool {
        if self.port.runtime.is_forked() {
            return false;
        }
        let mut state = lock(&self.state);
        let waits = state.waiting == Some(ticket);
        if waits {
            state.waiting = None;
        }
        waits
    }

    /// Lets go of what waits, and of what comes: whoever reads is told of the end.
    pub(crate) fn abandon(self: &Arc<Self>) {
        if self.port.runtime.is_forked() {
            return;
        }
        let (dropped, waiting) = {
            let mut state = lock(&self.state);
            state.abandoned = true;
            state.full = false;
            state.end.get_or_insert(Ok(()));
            (mem::take(&mut state.batch), state.waiting.take())
        };
        drop(dropped);
        self.room.notify_one();
        self.announce(waiting);
    }

    /// The initial metadata of the sender, empty until something of it has come.
    pub fn metadata(&self) -> Metadata {
        lock(&self.state).metadata.clone()
    }

    /// The trailing metadata of the sender, empty until the end has come.
    pub fn trailing(&self) -> Metadata {
        lock(&self.state).trailing.clone()
    }

    // ------------------------------------------------------------ the I/O thread's side

    pub(crate) fn set_metadata(&self, metadata: Metadata) {
        lock(&self.state).metadata = metadata;
    }

    pub(crate) fn set_trailing(&self, metadata: Metadata) {
        lock(&self.state).trailing = metadata;
    }

    /// Waits until less than [`INBOX_LIMIT`] is in it.
    pub(crate) async fn room(&self) {
        loop {
            {
                let mut state = lock(&self.state);
                if state.abandoned || state.batch.bytes() < INBOX_LIMIT {
                    return;
                }
                state.full = true;
            }
            self.room.notified().await;
        }
    }

    /// Puts a message in, however full it is.
    pub(crate) fn push(self: &Arc<Self>, message: Bytes) {
        let mut state = lock(&self.state);
        if state.abandoned || state.end.is_some() {
            return;
        }
        state.batch.push(message);
        self.announce(state.waiting.take());
    }

    /// Notes the end; the first one counts.
    pub(crate) fn end(self: &Arc<Self>, end: Result<(), Failure>) {
        let mut state = lock(&self.state);
        if state.end.is_some() {
            return;
        }
        state.end = Some(end);
        self.announce(state.waiting.take());
    }

    fn announce(self: &Arc<Self>, waiting: Option<Ticket>) {
        if let Some(ticket) = waiting {
            self.port.push(Event::Ready {
                ticket,
                inbox: self.clone(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Port;
    use crate::testing::{on_io, ready_ticket, wait_readable};

    fn message(length: usize) -> Bytes {
        vec![0x01; length].into()
    }

    #[test]
    fn everything_that_came_is_taken_as_one_batch() {
        let port = Port::new().unwrap();
        let inbox = Inbox::new(&port.shared);
        assert!(matches!(inbox.take(), Taken::Nothing));
        for _ in 0..3 {
            inbox.push(message(1));
        }
        inbox.end(Ok(()));
        let Taken::Batch(batch) = inbox.take() else {
            panic!("there are messages")
        };
        assert_eq!(batch.to_vec(), [0x93, 1, 1, 1]);
        assert!(matches!(inbox.take(), Taken::End));
        assert!(matches!(inbox.take(), Taken::End));
    }

    #[test]
    fn a_failure_comes_after_the_messages_before_it() {
        let port = Port::new().unwrap();
        let inbox = Inbox::new(&port.shared);
        inbox.push(message(1));
        inbox.end(Err(Failure::cancelled("A.b")));
        inbox.end(Ok(()));
        inbox.push(message(1));
        let Taken::Batch(batch) = inbox.take() else {
            panic!("there is a message")
        };
        assert_eq!(batch.count(), 1);
        let Taken::Failed(failure) = inbox.take() else {
            panic!("it failed")
        };
        assert_eq!(failure.context, "A.b");
    }

    #[test]
    fn a_waiting_ticket_is_told_once_and_takes_what_came_until_then() {
        let port = Port::new().unwrap();
        let inbox = Inbox::new(&port.shared);
        assert!(inbox.wait(7));
        assert!(!inbox.wait(8), "a stream has one reader");
        let filled = inbox.clone();
        on_io(&port, async move {
            for _ in 0..20 {
                filled.push(message(1));
            }
        });
        wait_readable(&port);
        assert_eq!(ready_ticket(&port), 7);
        let Taken::Batch(batch) = inbox.take() else {
            panic!("there are messages")
        };
        assert_eq!(batch.count(), 20);

        inbox.push(message(1));
        assert!(inbox.wait(9), "what is there is told at once");
        wait_readable(&port);
        assert_eq!(ready_ticket(&port), 9);
    }

    #[test]
    fn who_stops_waiting_leaves_the_messages_to_the_next() {
        let port = Port::new().unwrap();
        let inbox = Inbox::new(&port.shared);
        assert!(inbox.wait(7));
        assert!(inbox.stop_waiting(7));
        assert!(!inbox.stop_waiting(7));
        inbox.push(message(1));
        let mut events = Vec::new();
        port.drain_into(&mut events);
        assert!(events.is_empty());
        assert!(inbox.wait(8));
        assert_eq!(ready_ticket(&port), 8);
        assert!(!inbox.stop_waiting(8), "its event has come");
        assert!(matches!(inbox.take(), Taken::Batch(_)));
    }

    #[test]
    fn a_full_inbox_stops_the_pulling_until_it_is_taken() {
        let port = Port::new().unwrap();
        let inbox = Inbox::new(&port.shared);
        let (told, pushed) = std::sync::mpsc::channel();
        let filled = inbox.clone();
        on_io(&port, async move {
            let mut total = 0;
            while total < 4 * INBOX_LIMIT {
                filled.room().await;
                filled.push(message(64 * 1024));
                total += 64 * 1024;
                told.send(total).unwrap();
            }
        });
        let mut seen = 0;
        while seen < INBOX_LIMIT {
            seen = pushed.recv().unwrap();
        }
        // The I/O thread runs this after the pump has gone to sleep.
        let (idle, is_idle) = std::sync::mpsc::channel();
        on_io(&port, async move { idle.send(()).unwrap() });
        is_idle.recv().unwrap();
        assert!(pushed.try_recv().is_err(), "pulled over the limit");

        let mut taken = 0;
        while taken < 4 * INBOX_LIMIT {
            if let Taken::Batch(batch) = inbox.take() {
                assert!(batch.bytes() <= INBOX_LIMIT);
                taken += batch.bytes();
            } else {
                inbox.wait(1);
                wait_readable(&port);
                ready_ticket(&port);
            }
        }
    }

    #[test]
    fn abandoning_lets_the_pump_run_dry() {
        let port = Port::new().unwrap();
        let inbox = Inbox::new(&port.shared);
        inbox.push(message(INBOX_LIMIT));
        let (told, done) = std::sync::mpsc::channel();
        let filled = inbox.clone();
        on_io(&port, async move {
            filled.room().await;
            filled.push(message(1));
            told.send(()).unwrap();
        });
        inbox.abandon();
        done.recv().unwrap();
        assert!(matches!(inbox.take(), Taken::End));
    }

    #[test]
    fn abandoning_gives_back_the_ticket_that_waits() {
        let port = Port::new().unwrap();
        let inbox = Inbox::new(&port.shared);
        assert!(inbox.wait(7));
        inbox.abandon();
        wait_readable(&port);
        assert_eq!(ready_ticket(&port), 7);
        assert!(matches!(inbox.take(), Taken::End));
        assert!(inbox.wait(8), "nobody waits for ever");
        assert_eq!(ready_ticket(&port), 8);
    }
}
