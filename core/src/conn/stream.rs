//! Call streams: one call each, both sides.

use std::sync::Arc;
use std::time::Instant;

use aster_proto::call::{AnswerMachine, CallHeader, Event, RouteRef};
use aster_proto::close;
use aster_proto::contract::Pattern;
use aster_proto::frame::{self, Frame, StreamKind, kind};
use aster_proto::limits::{self, Limits};
use aster_proto::metadata::Metadata;
use aster_proto::status::{Code, Status};
use bytes::{BufMut, Bytes, BytesMut};
use iroh::endpoint::{RecvStream, SendStream};

use super::Conn;
use super::answer::{Request, dispatch};
use super::answer_request::{answer_single, watch_writer};
use super::sink::Sink;
use super::source::{Source, SourceError};
use crate::call::inbound::Path;
use crate::call::outbound::{Answer, Failed, check_metadata};
use crate::call::requests::Requests;
use crate::client::Method;
use crate::compress::Unfolding;

/// Time left, in whole milliseconds rounded up, so that a call with time left never says it has none.
pub(crate) fn deadline_left(deadline: Instant) -> u64 {
    let left = deadline.saturating_duration_since(Instant::now());
    u64::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// The first bytes of a call stream.
pub(crate) fn call_head(
    method: &Method,
    session: Option<u64>,
    deadline: Option<Instant>,
    compress: bool,
    metadata: &Metadata,
) -> BytesMut {
    let mut header = BytesMut::new();
    let route = RouteRef::Full {
        route: method.route(),
        define: None,
    };
    aster_proto::call::encode_header(
        &mut header,
        &route,
        session,
        deadline.map(deadline_left),
        compress,
        metadata,
    );
    let mut head = BytesMut::with_capacity(header.len() + 16);
    head.put_u8(StreamKind::Call as u8);
    frame::put(&mut head, kind::CALL, &header);
    head
}

/// How a unary answer ended.
pub(crate) enum Answered {
    Ok(Answer),
    Failed(Failed),
}

/// Reads the answering direction of a call stream.
pub(crate) struct AnswerReader {
    source: Source,
    machine: AnswerMachine,
    max_message: usize,
    max_metadata: usize,
    /// The next message, if it was compressed and is not whole yet.
    unfolding: Option<Unfolding>,
    /// How the call ended, which counts once the stream has ended too.
    status: Option<Status>,
    /// The answer broke the protocol.
    broken: bool,
    pub(crate) metadata: Metadata,
    pub(crate) trailing: Metadata,
}

impl AnswerReader {
    /// The answer on this stream, within the limits that this side has stated.
    pub(crate) fn new(mut source: Source, pattern: Pattern, limits: &Limits) -> Self {
        let max_message = limits.message;
        source.set_max_payload(max_message.max(limits::MAX_HEADER));
        let machine = AnswerMachine::new(pattern);
        Self {
            source,
            machine,
            max_message,
            max_metadata: limits.metadata,
            unfolding: None,
            status: None,
            broken: false,
            metadata: Metadata::new(),
            trailing: Metadata::new(),
        }
    }

    pub(crate) fn from_stream(conn: &Conn, recv: RecvStream, pattern: Pattern) -> Self {
        Self::new(
            Source::new(recv, limits::MAX_HEADER, conn.budget.clone()),
            pattern,
            &conn.limits,
        )
    }

    fn failed(&mut self, status: Status) -> Failed {
        self.trailing = status.metadata.clone();
        Failed {
            status,
            metadata: self.metadata.clone(),
        }
    }

    /// The answer breaks the protocol: it is read no further.
    fn broke(&mut self, status: Status) -> Failed {
        self.broken = true;
        self.source.stop(close::stream::PROTOCOL);
        self.failed(status)
    }

    /// Whether the answer broke the protocol: then the caller resets its own direction too.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// The next message; `None` after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failed> {
        loop {
            if let Some(unfolding) = &mut self.unfolding {
                let message = unfolding.wait().await;
                self.unfolding = None;
                return match message {
                    Ok(message) => Ok(Some(message)),
                    Err(mut status) => {
                        status.may_have_run = true;
                        Err(self.failed(status))
                    }
                };
            }
            let frame: Frame = match (self.source.frame().await, self.status.take()) {
                // Nothing came after the status. It is the outcome though the stream broke in the moment after.
                (Ok(None) | Err(SourceError::Reset | SourceError::Lost), Some(status)) => {
                    if !status.is_ok() {
                        return Err(self.failed(status));
                    }
                    self.trailing = status.metadata;
                    return Ok(None);
                }
                (Ok(Some(frame)), _) => frame,
                (Ok(None), None) => {
                    let text = "the peer ended the answer without a status";
                    return Err(self.failed(Status::transport(Code::INTERNAL, text, true)));
                }
                (Err(SourceError::Reset), None) => {
                    let text = "the peer broke the answer off";
                    return Err(self.failed(Status::transport(Code::UNAVAILABLE, text, true)));
                }
                (Err(error), _) => return Err(self.broke(error.status(true))),
            };
            match self.machine.frame(frame) {
                Ok(Event::Metadata(mut metadata)) => {
                    metadata.hide_reserved();
                    if let Err(over) = check_metadata("initial", &metadata, self.max_metadata) {
                        return Err(self.broke(over));
                    }
                    self.metadata = metadata;
                }
                Ok(Event::Message(message, false)) => return Ok(Some(message)),
                Ok(Event::Message(message, true)) => {
                    let budget = self.source.budget();
                    self.unfolding = Some(Unfolding::start(message, self.max_message, budget));
                }
                Ok(Event::Status(mut status)) => {
                    status.metadata.hide_reserved();
                    if let Err(over) =
                        check_metadata("trailing", &status.metadata, self.max_metadata)
                    {
                        return Err(self.broke(over));
                    }
                    self.status = Some(*status);
                }
                Ok(Event::Ignore) => {}
                Err(error) => return Err(self.broke(Status::from_wire(&error, true))),
            }
        }
    }

    /// The one answer of a unary or client-streaming call.
    pub(crate) async fn single(&mut self) -> Answered {
        let message = match self.next().await {
            Ok(Some(message)) => message,
            Ok(None) => {
                let text = "the peer ended the call OK without its answer";
                return Answered::Failed(self.failed(Status::transport(
                    Code::INTERNAL,
                    text,
                    true,
                )));
            }
            Err(failed) => return Answered::Failed(failed),
        };
        match self.next().await {
            Ok(_) => Answered::Ok(Answer {
                message,
                metadata: std::mem::take(&mut self.metadata),
                trailing: std::mem::take(&mut self.trailing),
            }),
            Err(failed) => Answered::Failed(failed),
        }
    }

    /// Tells the peer that nobody listens any more.
    pub(crate) fn stop(&mut self) {
        self.source.stop(close::stream::CANCELLED);
    }
}

/// Answers a call that came on a stream of its own.
pub(crate) async fn answer(conn: &Arc<Conn>, send: SendStream, mut source: Source) {
    source.set_max_payload(limits::MAX_HEADER);
    let (sink, writer) = Sink::new(&[]);
    let head = loop {
        break match source.frame().await {
            Ok(Some(frame)) if frame.byte == kind::CALL => Ok(frame.payload),
            Ok(Some(frame)) if frame.kind() == kind::CALL => {
                let text = format!(
                    "a call header has the flags {:#04x}, and none means anything there",
                    frame.byte & !kind::MASK
                );
                Err(Status::rejected(Code::INVALID_ARGUMENT, text))
            }
            // A newer peer may send frames that this version can do without.
            Ok(Some(frame)) if !kind::is_known(frame.kind()) => continue,
            Ok(Some(frame)) => {
                let text = format!(
                    "a call stream begins with frame kind {}, not with a call header",
                    frame.kind()
                );
                Err(Status::rejected(Code::INVALID_ARGUMENT, text))
            }
            // Given up before it said what it wanted.
            Ok(None) | Err(SourceError::Reset | SourceError::Lost) => return,
            Err(error) => Err(error.status(false)),
        };
    };
    let begun = head.and_then(|head| {
        let header = CallHeader::decode(&head).map_err(|error| Status::from_wire(&error, false))?;
        let RouteRef::Full { route, .. } = &header.route else {
            let text = "a call stream names its route by a number, which only a lane knows";
            return Err(Status::rejected(Code::INVALID_ARGUMENT, text));
        };
        let target = Arc::new(conn.resolve(route)?);
        let path = Path::Stream(sink.clone());
        let session = header.session;
        let begun = conn.begin(Request::new(target, header), path, None);
        let call = begun.inspect_err(|_| {
            if let Some(session) = session {
                conn.session_refused(session);
            }
        })?;
        match conn.admit_stream(&call) {
            Ok(()) => Ok(call),
            Err(status) => {
                call.refuse_unadmitted(status.clone());
                Err(status)
            }
        }
    });
    let call = match begun {
        Ok(call) => call,
        Err(status) => {
            source.stop(close::stream::ENDED);
            let mut out = BytesMut::new();
            status.encode(&mut out);
            let _ = sink.push(kind::STATUS, &out.freeze());
            sink.finish();
            writer.run(send).await;
            return;
        }
    };
    source.set_max_payload(conn.limits.message);
    conn.add_stream(&call);
    let write = watch_writer(conn, &call, writer, send);
    if call.target.method.pattern.streams_requests() {
        dispatch(
            call.clone(),
            None,
            Some(Requests::new(call.clone(), source)),
        );
        write.await;
        return;
    }
    answer_single(&call, source, write).await;
}
