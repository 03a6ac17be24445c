//! Calls with streams, on the caller's side; and what sending and taking have in common on both sides.

use aster_bridge::{Inbox, Push, Taken};
use napi::Env;
use napi_derive::napi;

use crate::convert::{Info, info_to_js};
use crate::fault::{Result, bridge, closed, guard, misuse, value};
use crate::port::{Port, State, Stream};
use crate::records::{DYNAMIC, Room, submits};

/// What sending did, as a number.
#[napi]
pub const SENT_ROOM: u32 = 0;
/// Flush when the burst has ended.
#[napi]
pub const SENT_UNFLUSHED: u32 = 1;
/// Wait for room.
#[napi]
pub const SENT_FULL: u32 = 2;
/// The stream has failed: ask for the failure.
#[napi]
pub const SENT_FAILED: u32 = 3;

/// What taking found, where it is no length: nothing yet.
#[napi]
pub const TAKEN_NOTHING: i32 = 0;
/// The end.
#[napi]
pub const TAKEN_END: i32 = -1;
/// The stream has failed: ask for the failure.
#[napi]
pub const TAKEN_FAILED: i32 = -2;

impl State {
    /// The number for what a push did.
    pub(crate) fn pushed(&self, push: Push, ended: &str) -> Result<u32> {
        match push {
            Push::Room => Ok(SENT_ROOM),
            Push::Unflushed => Ok(SENT_UNFLUSHED),
            Push::Full => Ok(SENT_FULL),
            Push::Ended => Err(misuse(ended)),
            Push::Failed(failure) => {
                self.failure.replace(Some(failure));
                Ok(SENT_FAILED)
            }
        }
    }

    /// Writes what has come of a stream as one array into `out`, from `at` on, and returns its length, or one of the constants above.
    /// If it has no place it is kept for the next time under `key`, and its length + 2 is returned, negative.
    pub(crate) fn taken(&self, key: u64, inbox: &Inbox, out: &mut [u8], at: u32) -> i32 {
        let kept = self.batch.borrow_mut().remove(&key);
        let taken = kept.map_or_else(|| inbox.take(), Taken::Batch);
        match taken {
            Taken::Nothing => TAKEN_NOTHING,
            Taken::Batch(batch) => {
                let length = batch.encoded_len();
                // A batch is bounded by the inbox and one message, far below 2^31.
                let number = length as i32;
                let at = at as usize;
                let Some(place) = out.get_mut(at..at + length) else {
                    self.batch.borrow_mut().insert(key, batch);
                    return -2 - number;
                };
                batch.write_to(place);
                number
            }
            Taken::End => TAKEN_END,
            Taken::Failed(failure) => {
                self.failure.replace(Some(Box::new(failure)));
                TAKEN_FAILED
            }
        }
    }

    /// Forgets messages of a stream that nobody will take.
    pub(crate) fn forget_batch(&self, key: u64) {
        let batch = self.batch.borrow_mut().remove(&key);
        drop(batch);
    }
}

/// Keys of batches: calls of this side have odd ones, calls that came in even ones.
fn batch_key(stream: u32) -> u64 {
    u64::from(stream) * 2 + 1
}

#[napi]
impl Port {
    /// Begins a call; `buffer` holds one record whose payload and ticket don't count.
    #[napi]
    pub fn stream(&self, buffer: &[u8]) -> Result<u32> {
        guard(|| {
            let state = &self.state;
            let Some(record) = submits(buffer).next() else {
                return Err(misuse("a call needs a record"));
            };
            let options = state.options(&record.options)?;
            let dynamic = record.options.flags & DYNAMIC != 0;
            let methods = state.methods.borrow();
            let method = methods
                .get(record.method as usize)
                .ok_or_else(|| closed("this client"))?;
            let call = state.client(record.client, |client| {
                client
                    .stream(&method.bridge, options)
                    .map_err(|error| bridge(&error))
            })?;
            let stream = Stream {
                bridge: call,
                dynamic,
            };
            Ok(state.streams.borrow_mut().insert(stream) as u32)
        })
    }

    /// Queues a message.
    #[napi]
    pub fn stream_send(&self, stream: u32, payload: &[u8]) -> Result<u32> {
        guard(|| {
            self.state.stream(stream, |stream| {
                let message = stream
                    .bridge
                    .request(payload, stream.dynamic)
                    .map_err(|error| value(&error))?;
                let push = stream
                    .bridge
                    .send(message)
                    .map_err(|error| bridge(&error))?;
                self.state.pushed(
                    push,
                    "the messages of this call were ended before by halfClose()",
                )
            })
        })
    }

    /// Has messages on their way that were left waiting.
    #[napi]
    pub fn stream_flush(&self, stream: u32) {
        // Unknown: it has ended meanwhile.
        if let Some(stream) = self.state.streams.borrow().get(stream as usize) {
            stream.bridge.flush();
        }
    }

    /// Completes when there is room for more messages.
    #[napi]
    pub fn stream_room(&self, stream: u32, ticket: u32) -> Result<()> {
        guard(|| {
            self.state.stream(stream, |stream| {
                stream
                    .bridge
                    .wait_for_room(ticket.into())
                    .map_err(|error| bridge(&error))
            })
        })
    }

    /// No more messages come.
    #[napi]
    pub fn stream_half_close(&self, stream: u32) -> Result<()> {
        guard(|| {
            self.state.stream(stream, |stream| {
                stream.bridge.half_close().map_err(|error| bridge(&error))
            })
        })
    }

    /// Takes what has come of the answer; see the constants.
    #[napi]
    pub fn stream_take(&self, stream: u32, out: Room<'_>, at: u32) -> Result<i32> {
        guard(|| {
            self.state.stream(stream, |found| {
                Ok(self
                    .state
                    .taken(batch_key(stream), found.bridge.inbox(), out, at))
            })
        })
    }

    /// Is told when there is something to take; `false` if another ticket waits.
    #[napi]
    pub fn stream_wait(&self, stream: u32, ticket: u32) -> Result<bool> {
        guard(|| {
            self.state.stream(stream, |stream| {
                Ok(stream.bridge.inbox().wait(ticket.into()))
            })
        })
    }

    /// Cancels a call: its end is then CANCELLED.
    #[napi]
    pub fn stream_cancel(&self, stream: u32) {
        if let Some(stream) = self.state.streams.borrow().get(stream as usize) {
            stream.bridge.cancel();
        }
    }

    /// What came with the answer so far.
    #[napi]
    pub fn stream_info<'env>(&self, env: &'env Env, stream: u32) -> Result<Info<'env>> {
        guard(|| {
            self.state.stream(stream, |stream| {
                info_to_js(env, &stream.bridge.metadata(), &stream.bridge.trailing())
            })
        })
    }

    /// The call is over for JavaScript: its number is free. A call that has not ended is cancelled.
    #[napi]
    pub fn forget_stream(&self, stream: u32) {
        let forgotten = self.state.streams.borrow_mut().try_remove(stream as usize);
        drop(forgotten);
        self.state.forget_batch(batch_key(stream));
    }
}
