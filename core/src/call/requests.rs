//! The request messages of a call that this side answers.

use std::sync::Arc;

use aster_proto::call::{Event, RequestMachine};
use aster_proto::close;
use aster_proto::status::{Code, Status};
use bytes::Bytes;

use super::inbound::CallState;
use crate::cancel::CancelCause;
use crate::compress::Unfolding;
use crate::conn::source::{Source, SourceError, Unfolded};

/// The request messages of a client-streaming or bidirectional call.
pub struct Requests {
    call: Arc<CallState>,
    source: Source,
    machine: RequestMachine,
    /// The next message, if it was compressed and is not whole yet.
    unfolding: Option<Unfolding>,
    /// The last message, if it was compressed: it counts until the next one is asked for.
    unfolded: Option<Unfolded>,
    ended: bool,
}

impl Drop for Requests {
    fn drop(&mut self) {
        // A handler that ends early: the caller is to know that this is no fault.
        self.source.stop(close::stream::ENDED);
    }
}

impl Requests {
    pub(crate) fn new(call: Arc<CallState>, source: Source) -> Self {
        let machine = RequestMachine::new(call.pattern());
        Self {
            call,
            source,
            machine,
            unfolding: None,
            unfolded: None,
            ended: false,
        }
    }

    /// The next message; `None` once the caller has sent its last.
    ///
    /// An error ends the call: bytes that break the protocol or do not fit the contract, or a caller that is gone. It
    /// is for the handler to end, the caller has been answered. Waiting can be given up and taken up again.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        self.unfolded = None;
        while !self.ended {
            if let Some(unfolding) = &mut self.unfolding {
                let message = unfolding.wait().await;
                self.unfolding = None;
                let counted = message.and_then(|message| {
                    self.unfolded = Some(self.call.conn.budget.unfolded(message.len())?);
                    self.call.readable(message)
                });
                return self.take(counted);
            }
            let frame = tokio::select! {
                biased;
                frame = self.source.frame() => frame,
                cause = self.call.cancel.cancelled() => return Err(self.cancelled(cause)),
            };
            let event = match frame {
                Ok(Some(frame)) => self
                    .machine
                    .frame(frame)
                    .map_err(|error| Status::from_wire(&error, true)),
                Ok(None) => {
                    self.ended = true;
                    break;
                }
                Err(error) => {
                    let cause = match &error {
                        SourceError::Reset => Some(CancelCause::Caller),
                        SourceError::Lost => Some(CancelCause::Connection),
                        _ => None,
                    };
                    if let Some(cause) = cause {
                        self.call.cancel.fire(cause);
                        return Err(self.cancelled(cause));
                    }
                    Err(error.status(true))
                }
            };
            let message = match event {
                Ok(Event::Message(message, false)) => self.call.readable(message),
                Ok(Event::Message(message, true)) => {
                    let conn = &self.call.conn;
                    let max = conn.limits.message;
                    self.unfolding = Some(Unfolding::start(message, max, &conn.budget));
                    continue;
                }
                Ok(_) => continue,
                Err(status) => Err(status),
            };
            return self.take(message);
        }
        Ok(None)
    }

    fn take(&mut self, message: Result<Bytes, Status>) -> Result<Option<Bytes>, Status> {
        match message {
            Ok(message) => Ok(Some(message)),
            Err(mut status) => {
                status.may_have_run = true;
                self.ended = true;
                self.source.stop(close::stream::ENDED);
                self.call.answer_failed(status.clone());
                Err(status)
            }
        }
    }

    fn cancelled(&mut self, cause: CancelCause) -> Status {
        self.ended = true;
        Status::server(
            Code::CANCELLED,
            format!("the call was cancelled ({cause:?})"),
        )
    }
}
