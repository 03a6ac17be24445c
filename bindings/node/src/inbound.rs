//! Calls that came in.

use std::sync::Arc;

use aster_bridge::{AnswerError, Inbox};
use bytes::Bytes;
use napi::Env;
use napi::bindgen_prelude::Object;
use napi_derive::napi;

use crate::convert::{metadata_from, metadata_to_js};
use crate::fault::{Result, answer, guard, misuse};
use crate::port::{Port, State};
use crate::records::Room;

fn batch_key(call: u32) -> u64 {
    u64::from(call) * 2
}

impl State {
    /// The outcome of what ends a call: on success its number is free.
    fn ended<T>(&self, call: u32, result: std::result::Result<T, AnswerError>) -> Result<T> {
        match result {
            Ok(value) => {
                self.forget_call(call);
                Ok(value)
            }
            Err(error) => Err(answer(&error)),
        }
    }

    fn forget_call(&self, call: u32) {
        let forgotten = self.calls.borrow_mut().try_remove(call as usize);
        if let Some(forgotten) = forgotten {
            self.by_key.borrow_mut().remove(&forgotten.key());
            if forgotten.inbox().is_some() {
                self.forget_batch(batch_key(call));
            }
        }
    }

    fn inbox(&self, call: u32) -> Result<Arc<Inbox>> {
        let call = self.call(call)?;
        call.inbox().cloned().ok_or_else(|| {
            misuse(format!(
                "{} takes one request, not a stream: see `request`",
                call.name()
            ))
        })
    }
}

#[napi]
impl Port {
    /// The caller's metadata.
    #[napi]
    pub fn call_metadata<'env>(&self, env: &'env Env, call: u32) -> Result<Object<'env>> {
        guard(|| metadata_to_js(env, self.state.call(call)?.metadata()))
    }

    /// A client of the services that the caller offers, on the connection of this call.
    #[napi]
    pub fn call_caller(&self, call: u32) -> Result<u32> {
        guard(|| {
            let caller = self.state.call(call)?.caller();
            let caller = caller.map_err(|error| crate::fault::bridge(&error))?;
            Ok(self.state.clients.borrow_mut().insert(caller) as u32)
        })
    }

    /// `Service.method`.
    #[napi]
    pub fn call_name(&self, call: u32) -> Result<String> {
        guard(|| Ok(self.state.call(call)?.name()))
    }

    /// Sets the initial metadata of the answer, given as entries.
    #[napi]
    pub fn call_set_metadata(&self, call: u32, metadata: &[u8]) -> Result<()> {
        guard(|| {
            let set = self
                .state
                .call(call)?
                .set_metadata(metadata_from(metadata)?);
            set.map_err(|error| answer(&error))
        })
    }

    /// Sets the trailing metadata, given as entries.
    #[napi]
    pub fn call_set_trailing(&self, call: u32, metadata: &[u8]) -> Result<()> {
        guard(|| {
            let set = self
                .state
                .call(call)?
                .set_trailing(metadata_from(metadata)?);
            set.map_err(|error| answer(&error))
        })
    }

    /// Answers, and ends the call.
    #[napi]
    pub fn call_reply(&self, call: u32, payload: &[u8]) -> Result<()> {
        guard(|| {
            let replied = self.state.call(call)?.reply(payload);
            self.state.ended(call, replied)
        })
    }

    /// Queues one message of a streamed answer.
    #[napi]
    pub fn call_send(&self, call: u32, payload: &[u8]) -> Result<u32> {
        guard(|| {
            let push = self
                .state
                .call(call)?
                .send(payload)
                .map_err(|error| answer(&error))?;
            self.state
                .pushed(push, "the answer of this call was ended before")
        })
    }

    /// Has messages on their way that were left waiting.
    #[napi]
    pub fn call_flush(&self, call: u32) {
        // Unknown: it has ended meanwhile, which flushes.
        if let Ok(call) = self.state.call(call) {
            call.flush();
        }
    }

    /// Completes when there is room for more messages.
    #[napi]
    pub fn call_room(&self, call: u32, ticket: u32) -> Result<()> {
        guard(|| {
            let waiting = self.state.call(call)?.wait_for_room(ticket.into());
            waiting.map_err(|error| answer(&error))
        })
    }

    /// Ends a streamed answer.
    #[napi]
    pub fn call_finish(&self, call: u32) -> Result<()> {
        guard(|| {
            let finished = self.state.call(call)?.finish();
            self.state.ended(call, finished)
        })
    }

    /// Ends the call with a failure. `metadata`: entries.
    #[napi]
    pub fn call_fail(
        &self,
        call: u32,
        code: u16,
        message: String,
        details: Option<&[u8]>,
        metadata: Option<&[u8]>,
    ) -> Result<()> {
        guard(|| {
            let details = details.map(Bytes::copy_from_slice);
            let metadata = metadata.map(metadata_from).transpose()?.unwrap_or_default();
            let failed = self
                .state
                .call(call)?
                .fail(code, &message, details, metadata);
            self.state.ended(call, failed)
        })
    }

    /// Ends the call because of an unexpected error; returns the error id.
    #[napi]
    pub fn call_fail_internal(&self, call: u32, text: String) -> Result<String> {
        guard(|| {
            let failed = self.state.call(call)?.fail_internal(&text);
            self.state.ended(call, failed)
        })
    }

    /// The handler has ended, whatever was answered.
    #[napi]
    pub fn call_end(&self, call: u32) {
        if let Ok(found) = self.state.call(call) {
            found.end();
            self.state.forget_call(call);
        }
    }

    /// Takes what has come of the requests; as `streamTake`.
    #[napi]
    pub fn call_take(&self, call: u32, out: Room<'_>, at: u32) -> Result<i32> {
        guard(|| {
            let inbox = self.state.inbox(call)?;
            Ok(self.state.taken(batch_key(call), &inbox, out, at))
        })
    }

    /// Is told when there is something to take; `false` if another ticket waits.
    #[napi]
    pub fn call_wait(&self, call: u32, ticket: u32) -> Result<bool> {
        guard(|| Ok(self.state.inbox(call)?.wait(ticket.into())))
    }
}
