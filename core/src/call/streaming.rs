//! Streaming calls that this side makes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use aster_proto::close;
use aster_proto::frame::{flag, kind};
use aster_proto::limits;
use aster_proto::metadata::Metadata;
use aster_proto::status::{Code, Status};
use bytes::Bytes;

use super::outbound::Failed;
use crate::client::Method;
use crate::codec;
use crate::compress;
use crate::conn::Conn;
use crate::conn::sink::{Sink, SinkEnd};
use crate::conn::stream::AnswerReader;
use crate::failure::Failure;

pub(crate) struct Shared {
    pub(crate) conn: Arc<Conn>,
    pub(crate) method: Method,
    pub(crate) sink: Sink,
    pub(crate) deadline: Option<Instant>,
    pub(crate) compress: bool,
    /// The answer has ended, or the call has been cancelled.
    pub(crate) over: AtomicBool,
}

impl Shared {
    fn fail(&self, failed: Failed) -> Failure {
        Failure::new(failed, self.method.name(), &self.conn.peer_id)
    }

    fn late(&self) -> Failure {
        self.sink.reset(close::stream::CANCELLED);
        self.over.store(true, Ordering::Release);
        let text = "the deadline passed before the call ended";
        self.fail(Failed::new(Status::client(Code::DEADLINE_EXCEEDED, text)))
    }

    fn ended(&self, end: &SinkEnd) -> Failure {
        let status = match end {
            SinkEnd::Lost => self.conn.lost(true),
            SinkEnd::Stopped => Status::client(
                Code::FAILED_PRECONDITION,
                "the peer takes no more messages: read the answer for the outcome",
            ),
            SinkEnd::Done => Status::client(
                Code::FAILED_PRECONDITION,
                "the call's messages have been ended on this side",
            ),
        };
        self.fail(Failed::new(status))
    }
}

/// The messages of a streaming call, going out. Dropping it before [`CallSender::finish`] cancels the call.
pub struct CallSender {
    pub(crate) shared: Arc<Shared>,
    pub(crate) finished: bool,
}

impl CallSender {
    fn to_wire(&self, message: Bytes) -> Result<Bytes, Failure> {
        let method = &self.shared.method;
        let wire = codec::to_wire(
            method.contract(),
            method.types().request,
            method.codec(),
            message,
        )
        .map_err(|status| self.shared.fail(Failed::new(status)))?;
        let max = self.shared.conn.peer_limits().message;
        if wire.len() > max {
            let text = format!(
                "the message has {} bytes: the peer takes {max} (max_message)",
                wire.len()
            );
            return Err(self
                .shared
                .fail(Failed::new(Status::client(Code::RESOURCE_EXHAUSTED, text))));
        }
        Ok(wire)
    }

    /// Sends a message if there is room: otherwise it is given back, and [`CallSender::ready`] tells when there is.
    ///
    /// A peer that needs no more messages makes this fail `FAILED_PRECONDITION`; the outcome is in the answer.
    pub fn try_send(&mut self, message: Bytes) -> Result<Option<Bytes>, Failure> {
        let wire = self.to_wire(message.clone())?;
        match self.shared.sink.try_push(kind::MESSAGE, &wire) {
            Ok(true) => Ok(None),
            Ok(false) => Ok(Some(message)),
            Err(end) => Err(self.shared.ended(&end)),
        }
    }

    /// Sends a message, waiting while the peer reads slower than this side sends.
    pub async fn send(&mut self, message: Bytes) -> Result<(), Failure> {
        let wire = self.to_wire(message)?;
        let (wire, flags) = if self.shared.compress && wire.len() >= limits::COMPRESS_THRESHOLD {
            match compress::compress(&wire).await {
                Some(small) => (small, flag::COMPRESSED),
                None => (wire, 0),
            }
        } else {
            (wire, 0)
        };
        loop {
            match self.shared.sink.try_push(kind::MESSAGE | flags, &wire) {
                Ok(true) => return Ok(()),
                Ok(false) => self.ready().await?,
                Err(end) => return Err(self.shared.ended(&end)),
            }
        }
    }

    /// Waits until there is room for a message.
    pub async fn ready(&self) -> Result<(), Failure> {
        let ready = self.shared.sink.ready();
        let ready = match self.shared.deadline {
            None => ready.await,
            Some(deadline) => match tokio::time::timeout_at(deadline.into(), ready).await {
                Ok(ready) => ready,
                Err(_) => return Err(self.shared.late()),
            },
        };
        ready.map_err(|end| self.shared.ended(&end))
    }

    /// Whether large messages are to be compressed: then [`CallSender::send`] is the way, `try_send` does not compress.
    pub fn compresses(&self) -> bool {
        self.shared.compress
    }

    /// Says that no more messages follow.
    pub fn finish(mut self) {
        self.finished = true;
        self.shared.sink.finish();
    }
}

impl Drop for CallSender {
    fn drop(&mut self) {
        if !self.finished && !self.shared.over.load(Ordering::Acquire) {
            self.shared.sink.reset(close::stream::CANCELLED);
        }
    }
}

/// The answer of a streaming call, coming in. Dropping it before the end cancels the call.
pub struct CallReceiver {
    pub(crate) shared: Arc<Shared>,
    pub(crate) reader: AnswerReader,
    /// How it ended, once it has.
    pub(crate) end: Option<Result<(), Failure>>,
}

impl CallReceiver {
    /// The next message; `None` once the call has ended OK. After a failure it gives the same failure again.
    ///
    /// Waiting can be given up and taken up again.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        if let Some(end) = &self.end {
            return end.clone().map(|()| None);
        }
        let next = self.reader.next();
        let next = match self.shared.deadline {
            None => next.await,
            Some(deadline) => match tokio::time::timeout_at(deadline.into(), next).await {
                Ok(next) => next,
                Err(_) => {
                    self.reader.stop();
                    return self.ended(Err(self.shared.late()));
                }
            },
        };
        match next {
            Ok(Some(message)) => {
                let method = &self.shared.method;
                match codec::from_wire(
                    method.contract(),
                    method.types().response,
                    method.codec(),
                    method.is_checked(),
                    message,
                ) {
                    Ok(message) => Ok(Some(message)),
                    Err(status) => {
                        let text =
                            format!("the answer does not fit the contract: {}", status.message);
                        let failed = Failed::new(Status::client(Code::INTERNAL, text));
                        self.cancel();
                        self.ended(Err(self.shared.fail(failed)))
                    }
                }
            }
            Ok(None) => self.ended(Ok(())),
            Err(mut failed) => {
                if self.reader.is_broken() {
                    self.shared.sink.reset(close::stream::PROTOCOL);
                }
                // A lost stream is a lost connection more often than not, and that says why.
                if failed.status.code == Code::UNAVAILABLE
                    && self.shared.conn.quic.close_reason().is_some()
                {
                    failed.status = self.shared.conn.lost(self.shared.sink.has_written());
                }
                self.ended(Err(self.shared.fail(failed)))
            }
        }
    }

    fn ended(&mut self, end: Result<(), Failure>) -> Result<Option<Bytes>, Failure> {
        self.shared.over.store(true, Ordering::Release);
        self.end = Some(end.clone());
        end.map(|()| None)
    }

    /// Initial response metadata; complete with the first message or the end.
    pub fn metadata(&self) -> &Metadata {
        &self.reader.metadata
    }

    /// Trailing response metadata; complete with the end.
    pub fn trailing(&self) -> &Metadata {
        &self.reader.trailing
    }

    /// Cancels the call. It is no error to cancel one that has ended.
    pub fn cancel(&mut self) {
        if !self.shared.over.swap(true, Ordering::AcqRel) {
            self.shared.sink.reset(close::stream::CANCELLED);
            self.reader.stop();
            let status = Status::client(Code::CANCELLED, "the call was cancelled on this side");
            self.end
                .get_or_insert(Err(self.shared.fail(Failed::new(status))));
        }
    }
}

impl Drop for CallReceiver {
    fn drop(&mut self) {
        self.cancel();
    }
}
