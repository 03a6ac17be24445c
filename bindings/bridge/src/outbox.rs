//! Messages of one stream that a language has sent and the engine has not taken.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::error::lock;
use crate::event::{Event, Outcome};
use crate::outcome::Failure;
use crate::port::{Shared, Ticket};

/// From this many bytes on a sender is told to wait. One message may pass it.
pub const OUTBOX_LIMIT: usize = 256 * 1024;
/// From this many bytes on the I/O thread is told at once; below, the language says when a burst of messages has ended.
/// Messages sent one after another then share packets: a packet each would cost more than all the rest, and where many
/// of them are lost the QUIC stack gives up the connection.
const WAKE_AT: usize = 16 * 1024;
/// Senders that wait go on when no more than this is left: it keeps the engine busy meanwhile.
const RESUME_AT: usize = OUTBOX_LIMIT / 2;

/// A bounded buffer between a language, which fills it, and the I/O thread, which sends.
///
/// `E` is how the stream is ended: nothing for a request, a status for an answer.
pub(crate) struct Outbox<E> {
    port: Arc<Shared>,
    state: Mutex<State<E>>,
    more: Notify,
}

struct State<E> {
    queue: VecDeque<Bytes>,
    /// Bytes in the queue, and of messages that the engine is still being given.
    bytes: usize,
    end: Option<E>,
    /// The language has ended the stream, and sends no more.
    ended: bool,
    /// The I/O thread waits for a wake-up.
    idle: bool,
    waiting: Vec<Ticket>,
    failed: Option<Failure>,
    /// The other side has ended the stream in good order and takes no more.
    unwanted: bool,
}

/// What [`Outbox::push`] did.
#[derive(Debug, PartialEq)]
pub enum Push {
    /// The message is queued, and there is room for more.
    Room,
    /// The same, and the I/O thread has not been told: `flush` when the burst of messages has ended, at the latest
    /// before waiting for something.
    Unflushed,
    /// The message is queued; wait before the next.
    Full,
    /// The stream was ended before by this side.
    Ended,
    /// The stream has failed.
    Failed(Box<Failure>),
}

impl<E> Outbox<E> {
    pub(crate) fn new(port: &Arc<Shared>) -> Arc<Self> {
        let state = State {
            queue: VecDeque::new(),
            bytes: 0,
            end: None,
            ended: false,
            idle: false,
            waiting: Vec::new(),
            failed: None,
            unwanted: false,
        };
        Arc::new(Self {
            port: port.clone(),
            state: Mutex::new(state),
            more: Notify::new(),
        })
    }

    /// Queues a message.
    pub(crate) fn push(&self, message: Bytes) -> Push {
        let mut state = lock(&self.state);
        if let Some(failure) = &state.failed {
            return Push::Failed(Box::new(failure.clone()));
        }
        if state.ended {
            return Push::Ended;
        }
        if state.unwanted {
            // No error: the call has succeeded, and whoever reads its answer learns of that. Full, so that an endless
            // source lets its loop run and find out.
            return Push::Full;
        }
        state.bytes += message.len();
        state.queue.push_back(message);
        let push = if state.bytes >= OUTBOX_LIMIT {
            Push::Full
        } else if state.idle && state.bytes < WAKE_AT {
            return Push::Unflushed;
        } else {
            Push::Room
        };
        self.wake(state);
        push
    }

    /// Has the I/O thread send what is queued, if it does not do so already.
    pub(crate) fn flush(&self) {
        let state = lock(&self.state);
        if !state.queue.is_empty() {
            self.wake(state);
        }
    }

    /// Ends the stream behind what is queued; `false` if it was ended before.
    pub(crate) fn end(&self, end: E) -> bool {
        let mut state = lock(&self.state);
        if mem::replace(&mut state.ended, true) {
            return false;
        }
        state.end = Some(end);
        self.wake(state);
        true
    }

    /// Completes `ticket` when there is room, at once if there is.
    pub(crate) fn wait(&self, ticket: Ticket) {
        let mut state = lock(&self.state);
        let outcome = match &state.failed {
            Some(failure) => Outcome::failed(failure.clone()),
            None if state.bytes <= RESUME_AT => Outcome::Done,
            None => {
                state.waiting.push(ticket);
                return;
            }
        };
        drop(state);
        self.port.push(Event::Completed { ticket, outcome });
    }

    fn wake(&self, mut state: std::sync::MutexGuard<'_, State<E>>) {
        let idle = mem::take(&mut state.idle);
        drop(state);
        if idle {
            self.more.notify_one();
        }
    }

    // ------------------------------------------------------------ the I/O thread's side

    /// Waits for messages and moves them into `out`, or for the end. The end comes behind the last message.
    pub(crate) async fn next(&self, out: &mut VecDeque<Bytes>) -> Option<E> {
        loop {
            {
                let mut state = lock(&self.state);
                if !state.queue.is_empty() {
                    mem::swap(&mut state.queue, out);
                    return None;
                }
                if let Some(end) = state.end.take() {
                    return Some(end);
                }
                state.idle = true;
            }
            self.more.notified().await;
        }
    }

    /// The engine has taken a message of this length.
    pub(crate) fn sent(&self, length: usize) {
        let waiting = {
            let mut state = lock(&self.state);
            state.bytes = state.bytes.saturating_sub(length);
            if state.waiting.is_empty() || state.bytes > RESUME_AT {
                return;
            }
            mem::take(&mut state.waiting)
        };
        for ticket in waiting {
            self.port.push(Event::Completed {
                ticket,
                outcome: Outcome::Done,
            });
        }
    }

    /// The other side has ended the stream in good order: what is and will be sent is dropped.
    pub(crate) fn unwanted(&self) {
        let (queue, waiting) = {
            let mut state = lock(&self.state);
            state.unwanted = true;
            state.bytes = 0;
            (mem::take(&mut state.queue), mem::take(&mut state.waiting))
        };
        drop(queue);
        for ticket in waiting {
            self.port.push(Event::Completed {
                ticket,
                outcome: Outcome::Done,
            });
        }
    }

    /// The stream can't be sent on: whoever waits and whoever sends is told so. The first failure counts.
    pub(crate) fn fail(&self, failure: &Failure) {
        let (queue, waiting) = {
            let mut state = lock(&self.state);
            if state.failed.is_some() {
                return;
            }
            state.failed = Some(failure.clone());
            (mem::take(&mut state.queue), mem::take(&mut state.waiting))
        };
        drop(queue);
        for ticket in waiting {
            self.port.push(Event::Completed {
                ticket,
                outcome: Outcome::failed(failure.clone()),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Port;
    use crate::testing::{completion, on_io, wait_readable};

    fn message(length: usize) -> Bytes {
        vec![0x01; length].into()
    }

    #[test]
    fn the_end_comes_behind_the_messages() {
        let port = Port::new().unwrap();
        let outbox = Outbox::new(&port.shared);
        assert_eq!(
            outbox.push(message(1)),
            Push::Room,
            "nobody sleeps who would have to be woken"
        );
        assert_eq!(outbox.push(message(2)), Push::Room);
        assert!(outbox.end("fin"));
        assert!(!outbox.end("again"));
        assert_eq!(outbox.push(message(1)), Push::Ended);
        let (told, heard) = std::sync::mpsc::channel();
        on_io(&port, async move {
            let mut messages = VecDeque::new();
            assert_eq!(outbox.next(&mut messages).await, None);
            let lengths: Vec<_> = messages.iter().map(Bytes::len).collect();
            messages.clear();
            told.send((lengths, outbox.next(&mut messages).await))
                .unwrap();
        });
        assert_eq!(heard.recv().unwrap(), (vec![1, 2], Some("fin")));
    }

    #[test]
    fn a_full_outbox_makes_the_sender_wait_until_half_is_sent() {
        let port = Port::new().unwrap();
        let outbox = Outbox::<()>::new(&port.shared);
        let part = OUTBOX_LIMIT / 4;
        for _ in 0..3 {
            assert_eq!(outbox.push(message(part)), Push::Room);
        }
        assert_eq!(outbox.push(message(part)), Push::Full);
        outbox.wait(5);
        outbox.sent(part);
        let mut events = Vec::new();
        port.drain_into(&mut events);
        assert!(events.is_empty(), "three quarters are left");
        outbox.sent(part);
        wait_readable(&port);
        let (ticket, outcome) = completion(&port);
        assert_eq!(ticket, 5);
        assert!(matches!(outcome, Outcome::Done));
        outbox.wait(6);
        assert_eq!(completion(&port).0, 6, "there is room: at once");
    }

    #[test]
    fn a_failure_reaches_who_waits_and_who_sends() {
        let port = Port::new().unwrap();
        let outbox = Outbox::<()>::new(&port.shared);
        outbox.push(message(OUTBOX_LIMIT));
        outbox.wait(1);
        outbox.fail(&Failure::cancelled("A.b"));
        let (ticket, outcome) = completion(&port);
        assert_eq!(ticket, 1);
        assert!(matches!(outcome, Outcome::Failed(failure) if failure.context == "A.b"));
        assert!(matches!(outbox.push(message(1)), Push::Failed(_)));
        outbox.wait(2);
        assert_eq!(completion(&port).0, 2);
    }

    #[test]
    fn after_the_other_sides_good_end_messages_are_dropped_without_an_error() {
        let port = Port::new().unwrap();
        let outbox = Outbox::<()>::new(&port.shared);
        outbox.push(message(OUTBOX_LIMIT));
        outbox.wait(1);
        outbox.unwanted();
        assert!(matches!(completion(&port), (1, Outcome::Done)));
        assert_eq!(
            outbox.push(message(1)),
            Push::Full,
            "an endless source must let its loop run"
        );
        outbox.wait(2);
        assert!(matches!(completion(&port), (2, Outcome::Done)));
    }

    #[test]
    fn a_sleeping_pump_is_woken() {
        let port = Port::new().unwrap();
        let outbox = Outbox::<()>::new(&port.shared);
        let (told, heard) = std::sync::mpsc::channel();
        let pumped = outbox.clone();
        on_io(&port, async move {
            let mut messages = VecDeque::new();
            let mut total = 0;
            while pumped.next(&mut messages).await.is_none() {
                for message in messages.drain(..) {
                    pumped.sent(message.len());
                    total += 1;
                    told.send(total).unwrap();
                }
            }
        });
        for number in 1..=100 {
            // Whether the pump sleeps already is up to its thread: a flush is never wrong.
            outbox.push(message(1));
            outbox.flush();
            assert_eq!(heard.recv().unwrap(), number);
        }
        while outbox.push(message(1)) != Push::Unflushed {
            assert!(heard.recv().is_ok());
        }
        let mut unflushed = 1;
        while outbox.push(message(1024)) == Push::Unflushed {
            unflushed += 1;
        }
        assert_eq!(unflushed, 16, "so many bytes wait for their like, no more");
        outbox.flush();
        outbox.end(());
        while heard.recv().is_ok() {}
    }
}
