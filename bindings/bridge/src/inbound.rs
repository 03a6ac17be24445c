//! Calls that come in, as a language holds them until their handler has ended.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use aster::{Responder, SessionRef};
use bytes::Bytes;
use tokio::task::AbortHandle;

use crate::client::Client;
use crate::engine::{Code, Contract, Metadata, MethodRef, Mode, Pattern, Status, ValueError};
use crate::error::{BridgeError, lock};
use crate::event::Event;
use crate::inbox::Inbox;
use crate::outbox::{Outbox, Push};
use crate::outcome::Failure;
use crate::payload::{Payload, fit};
use crate::port::{Shared, Ticket};
use crate::runtime::{self, Command, Key};

/// One call that came in.
///
/// The call is over for the engine, and the next of its session begins, when [`InboundCall::reply`],
/// [`InboundCall::finish`], [`InboundCall::fail`] or [`InboundCall::end`] is called, or when it is dropped.
pub struct InboundCall {
    port: Arc<Shared>,
    key: Key,
    service_index: usize,
    id: u64,
    peer: Arc<str>,
    caller: aster::Caller,
    session: Option<SessionRef>,
    metadata: Metadata,
    deadline: Option<Instant>,
    request: Option<Bytes>,
    contract: Contract,
    method: MethodRef,
    expose_errors: bool,
    cancelled: AtomicBool,
    inbox: Option<Arc<Inbox>>,
    answering: Mutex<Answering>,
}

#[derive(Default)]
struct Answering {
    /// Who answers, until it has gone to the I/O thread for that.
    responder: Option<Responder>,
    /// The answer's messages, once there is one.
    outbox: Option<Arc<Outbox<End>>>,
    initial: Metadata,
    trailing: Metadata,
    /// The answer has begun.
    started: bool,
    /// The language has ended the call.
    ended: bool,
    /// What moves the request messages into the inbox; it ends with the call.
    pull: Option<AbortHandle>,
}

/// How a streamed answer ends.
struct End {
    /// None: the handler went away without a word.
    status: Option<Status>,
    trailing: Metadata,
}

/// Why an answer is not taken: a mistake of the language package or of a handler.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum AnswerError {
    /// The message does not fit the contract. The call is still open.
    Value(ValueError),
    /// The call has been ended before, or its pattern has no such answer.
    Misuse(String),
    /// The handle can't be used any more.
    Bridge(BridgeError),
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnswerError::Value(error) => error.fmt(f),
            AnswerError::Misuse(text) => f.write_str(text),
            AnswerError::Bridge(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AnswerError {}

impl From<BridgeError> for AnswerError {
    fn from(error: BridgeError) -> Self {
        AnswerError::Bridge(error)
    }
}

/// What a call is made of when it arrives.
pub(crate) struct Arrived {
    pub(crate) port: Arc<Shared>,
    pub(crate) service_index: usize,
    pub(crate) peer: Arc<str>,
    pub(crate) contract: Contract,
    pub(crate) method: MethodRef,
    pub(crate) expose_errors: bool,
    pub(crate) request: Option<Bytes>,
    pub(crate) requests: Option<aster::Requests>,
    pub(crate) responder: Responder,
}

impl InboundCall {
    /// On the I/O thread: a call to hand over.
    pub(crate) fn new(arrived: Arrived) -> Arc<Self> {
        let Arrived {
            port,
            service_index,
            peer,
            contract,
            method,
            expose_errors,
            request,
            requests,
            responder,
        } = arrived;
        let inbox = requests.is_some().then(|| Inbox::new(&port));
        let pull = requests.zip(inbox.clone()).map(|(requests, inbox)| {
            tokio::spawn(pull(requests, inbox, responder.name())).abort_handle()
        });
        let call = Arc::new(Self {
            key: runtime::next_key(),
            service_index,
            id: responder.id(),
            peer,
            caller: responder.caller(),
            session: responder.session(),
            metadata: responder.metadata().clone(),
            deadline: responder.deadline(),
            request,
            contract,
            method,
            expose_errors,
            cancelled: AtomicBool::new(false),
            inbox,
            answering: Mutex::default(),
            port,
        });
        let weak = Arc::downgrade(&call);
        responder.on_cancel(Box::new(move |_| {
            if let Some(call) = weak.upgrade() {
                call.cancel();
            }
        }));
        {
            let mut answering = lock(&call.answering);
            answering.responder = Some(responder);
            answering.pull = pull;
        }
        call
    }

    /// On the I/O thread: the caller hears no answer any more.
    fn cancel(&self) {
        if !self.cancelled.swap(true, Ordering::AcqRel) {
            self.port.push(Event::Cancelled { call: self.key });
        }
    }

    // ------------------------------------------------------------ what it is

    /// Names it in [`Event::Cancelled`]; unique in the process.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// Which of the services that the server was given.
    pub fn service_index(&self) -> usize {
        self.service_index
    }

    /// Which of the contract's methods, sorted by name.
    pub fn method_index(&self) -> usize {
        self.method.index
    }

    /// How many messages go each way.
    pub fn pattern(&self) -> Pattern {
        self.method.pattern
    }

    /// The engine's number of the call, for logs.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The caller's endpoint id.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// A number of the connection that it came on, unique in the process.
    pub fn connection(&self) -> u64 {
        self.caller.connection()
    }

    /// A client of the services that the caller offers, on the connection of this call. It is good for as long as that
    /// connection is.
    pub fn caller(&self) -> Result<Client, BridgeError> {
        self.port.check()?;
        Ok(Client::of_caller(&self.port, &self.caller))
    }

    /// A number of its session that is unique in the process, and the caller's number of it.
    pub fn session(&self) -> Option<(u64, u64)> {
        self.session.map(|session| (session.key, session.id))
    }

    /// The caller's metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The single request of unary and server-streaming calls.
    pub fn request(&self) -> Option<&Bytes> {
        self.request.as_ref()
    }

    /// Milliseconds until its deadline, 0 once that has passed; `None` if it has no deadline, or has been answered: what a
    /// handler leaves running is nobody's call any more.
    pub fn time_left_ms(&self) -> Option<f64> {
        if self.port.runtime.is_forked() || lock(&self.answering).ended {
            return None;
        }
        self.deadline.map(|deadline| {
            deadline
                .saturating_duration_since(Instant::now())
                .as_secs_f64()
                * 1000.0
        })
    }

    /// Whether the caller hears no answer any more: it cancelled, its time is up, or it is gone.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// The request messages of client-streaming and bidirectional calls.
    pub fn inbox(&self) -> Option<&Arc<Inbox>> {
        self.inbox.as_ref()
    }

    /// `Service.method`.
    pub fn name(&self) -> String {
        format!(
            "{}.{}",
            self.contract.name(),
            self.contract.compiled().method_name(self.method.index)
        )
    }

    // ------------------------------------------------------------ the answer

    /// Sets the initial response metadata. Fails once the answer has begun.
    pub fn set_metadata(&self, metadata: Metadata) -> Result<(), AnswerError> {
        let mut answering = self.answering()?;
        if answering.started {
            let text = "response metadata goes before the first message, and that has been sent: use trailing metadata";
            return Err(AnswerError::Misuse(text.to_owned()));
        }
        answering.initial = metadata;
        Ok(())
    }

    /// Sets the trailing metadata. Fails once the call has ended.
    pub fn set_trailing(&self, metadata: Metadata) -> Result<(), AnswerError> {
        let mut answering = self.answering()?;
        if answering.ended {
            return Err(self.ended_before());
        }
        answering.trailing = metadata;
        Ok(())
    }

    fn answering(&self) -> Result<std::sync::MutexGuard<'_, Answering>, AnswerError> {
        if self.port.runtime.is_forked() {
            return Err(AnswerError::Bridge(BridgeError::Forked));
        }
        Ok(lock(&self.answering))
    }

    fn ended_before(&self) -> AnswerError {
        AnswerError::Misuse(format!(
            "this call of {} has been ended before: a call has one end",
            self.name()
        ))
    }

    /// The payload in wire form, or what does not fit the contract.
    fn fit(&self, payload: impl Payload) -> Result<Bytes, AnswerError> {
        fit(&self.contract, self.method.response, payload, Mode::Send).map_err(AnswerError::Value)
    }

    /// Answers a unary or client-streaming call, and ends it.
    pub fn reply(&self, payload: impl Payload) -> Result<(), AnswerError> {
        if self.method.pattern.streams_responses() {
            return Err(AnswerError::Misuse(format!(
                "{} answers with a stream: use send and finish",
                self.name()
            )));
        }
        let message = self.fit(payload)?;
        let mut answering = self.answering()?;
        if answering.ended {
            return Err(self.ended_before());
        }
        let command = answering.end(Some(Last::Message(message)));
        drop(answering);
        self.settle(command);
        Ok(())
    }

    /// Sends one message of a streamed answer.
    pub fn send(&self, payload: impl Payload) -> Result<Push, AnswerError> {
        if !self.method.pattern.streams_responses() {
            return Err(AnswerError::Misuse(format!(
                "{} has one answer: use reply",
                self.name()
            )));
        }
        let message = self.fit(payload)?;
        let mut answering = self.answering()?;
        if answering.ended {
            return Err(self.ended_before());
        }
        let outbox = match &answering.outbox {
            Some(outbox) => outbox.clone(),
            None => self.begin_stream(&mut answering)?,
        };
        drop(answering);
        Ok(outbox.push(message))
    }

    /// Has the I/O thread send what is put into the outbox returned.
    fn begin_stream(&self, answering: &mut Answering) -> Result<Arc<Outbox<End>>, AnswerError> {
        let Some(responder) = answering.responder.take() else {
            return Err(self.ended_before());
        };
        let outbox = Outbox::new(&self.port);
        answering.outbox = Some(outbox.clone());
        answering.started = true;
        let initial = mem::take(&mut answering.initial);
        let pumped = outbox.clone();
        let name = self.name();
        let start = move || {
            let described = describe(&responder, initial, Metadata::new());
            tokio::spawn(pump(responder, pumped, name, described.err()));
        };
        self.port.runtime.run_there(start)?;
        Ok(outbox)
    }

    /// Has the messages on their way that [`Push::Unflushed`] left waiting.
    pub fn flush(&self) {
        if !self.port.runtime.is_forked() {
            let outbox = lock(&self.answering).outbox.clone();
            if let Some(outbox) = outbox {
                outbox.flush();
            }
        }
    }

    /// Completes `ticket` when there is room for more messages of the answer.
    pub fn wait_for_room(&self, ticket: Ticket) -> Result<(), AnswerError> {
        let outbox = self.answering()?.outbox.clone();
        match outbox {
            Some(outbox) => outbox.wait(ticket),
            None => {
                return Err(AnswerError::Misuse(format!(
                    "nothing of the answer of {} has been sent",
                    self.name()
                )));
            }
        }
        Ok(())
    }

    /// Ends a streamed answer with OK.
    pub fn finish(&self) -> Result<(), AnswerError> {
        if !self.method.pattern.streams_responses() {
            return Err(AnswerError::Misuse(format!(
                "{} has one answer: use reply",
                self.name()
            )));
        }
        self.end_with(Status::ok())
    }

    /// Ends the call with a failure. `details` is one MessagePack value.
    pub fn fail(
        &self,
        code: u16,
        message: &str,
        details: Option<Bytes>,
        metadata: Metadata,
    ) -> Result<(), AnswerError> {
        if code == Code::OK.0 {
            return Err(AnswerError::Misuse(
                "a call can't fail with OK: finish or reply".to_owned(),
            ));
        }
        let mut status = Status::handler(Code(code), message);
        if let Some(details) = details {
            status = status
                .with_details(details)
                .map_err(|error| AnswerError::Misuse(error.to_string()))?;
        }
        self.end_with(status.with_metadata(metadata))
    }

    /// Ends the call because its handler met an error that it did not expect. The caller sees an error id and, only if
    /// the service exposes errors, `text`. Returns the id, under which the language logs what happened.
    pub fn fail_internal(&self, text: &str) -> Result<String, AnswerError> {
        let id = error_id();
        let message = if self.expose_errors {
            format!("{text} (error {id})")
        } else {
            format!(
                "the handler of {} failed: the server's log says why, under error {id}",
                self.name()
            )
        };
        self.end_with(Status::server(Code::INTERNAL, message))?;
        Ok(id)
    }

    fn end_with(&self, status: Status) -> Result<(), AnswerError> {
        let mut answering = self.answering()?;
        if answering.ended {
            return Err(self.ended_before());
        }
        let command = answering.end(Some(Last::Status(status)));
        drop(answering);
        self.settle(command);
        Ok(())
    }

    /// The handler has ended. If the call has not been answered it fails. Idempotent.
    pub fn end(&self) {
        if self.port.runtime.is_forked() {
            return;
        }
        let mut answering = lock(&self.answering);
        if answering.ended {
            return;
        }
        let command = answering.end(None);
        drop(answering);
        self.settle(command);
    }

    fn settle(&self, command: Option<ReplyCommand>) {
        if let Some(inbox) = &self.inbox {
            inbox.abandon();
        }
        if let Some(command) = command {
            // If the thread has ended, the caller has been told by the end of its connection.
            let _ = self.port.runtime.send(Command::Reply(command));
        }
    }
}

impl Answering {
    /// Notes the end, and gives what the I/O thread has to do for it, unless the stream's own task does it.
    fn end(&mut self, last: Option<Last>) -> Option<ReplyCommand> {
        self.ended = true;
        self.started = true;
        let trailing = mem::take(&mut self.trailing);
        let pull = self.pull.take();
        if let Some(outbox) = &self.outbox {
            let status = match last {
                Some(Last::Status(status)) => Some(status),
                Some(Last::Message(_)) | None => None,
            };
            outbox.end(End { status, trailing });
            if let Some(pull) = pull {
                pull.abort();
            }
            return None;
        }
        let responder = self.responder.take()?;
        Some(ReplyCommand {
            responder,
            initial: mem::take(&mut self.initial),
            trailing,
            last,
            pull,
        })
    }
}

impl Drop for InboundCall {
    fn drop(&mut self) {
        if self.port.runtime.is_forked() {
            // The parent answers.
            mem::forget(mem::take(&mut *lock(&self.answering)));
            return;
        }
        self.end();
    }
}

impl fmt::Debug for InboundCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboundCall")
            .field("name", &self.name())
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The last thing that is said to a caller.
enum Last {
    Message(Bytes),
    Status(Status),
}

/// The end of a call on its way to the I/O thread, where the engine's objects end.
pub(crate) struct ReplyCommand {
    responder: Responder,
    initial: Metadata,
    trailing: Metadata,
    last: Option<Last>,
    pull: Option<AbortHandle>,
}

impl ReplyCommand {
    pub(crate) fn run(self) {
        let Self {
            responder,
            initial,
            trailing,
            last,
            pull,
        } = self;
        if let Some(pull) = pull {
            pull.abort();
        }
        let last = match (describe(&responder, initial, trailing), last) {
            (Err(status), Some(_)) => Some(Last::Status(status)),
            (_, last) => last,
        };
        match last {
            Some(Last::Message(message)) => responder.reply(message),
            Some(Last::Status(status)) => responder.finish(status),
            // Its drop says that there was no answer.
            None => {}
        }
    }
}

/// Moves the request messages of a call into its inbox.
async fn pull(mut requests: aster::Requests, inbox: Arc<Inbox>, name: String) {
    loop {
        inbox.room().await;
        match requests.next().await {
            Ok(Some(message)) => inbox.push(message),
            Ok(None) => return inbox.end(Ok(())),
            Err(status) => return inbox.end(Err(Failure::of_status(status, name))),
        }
    }
}

/// Sets the metadata of an answer. What the caller does not take fails the call: the answer without it would be another.
fn describe(responder: &Responder, initial: Metadata, trailing: Metadata) -> Result<(), Status> {
    if !initial.is_empty() {
        responder.set_metadata(initial)?;
    }
    if !trailing.is_empty() {
        responder.set_trailing(trailing)?;
    }
    Ok(())
}

/// Moves the messages of an answer out of its outbox, until its end. An answer that has `failed` is not sent.
async fn pump(
    responder: Responder,
    outbox: Arc<Outbox<End>>,
    name: String,
    mut failed: Option<Status>,
) {
    if let Some(status) = &failed {
        outbox.fail(&Failure::of_status(status.clone(), name.as_str()));
    }
    let mut messages = VecDeque::new();
    let end = loop {
        if let Some(end) = outbox.next(&mut messages).await {
            break end;
        }
        for message in messages.drain(..) {
            if failed.is_some() {
                continue;
            }
            let length = message.len();
            match responder.send(message).await {
                Ok(()) => outbox.sent(length),
                Err(status) => {
                    outbox.fail(&Failure::of_status(status.clone(), name.as_str()));
                    failed = Some(status);
                }
            }
        }
    };
    let described = describe(&responder, Metadata::new(), end.trailing);
    // A message that could not be sent must not look like a good end.
    if let Some(status) = failed.or(described.err()).or(end.status) {
        responder.finish(status);
    }
}

/// Twelve hex digits that no other error of these days has, to find it in a log by.
fn error_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // Seeded by the system, which is all the chance that this needs.
    let number = RandomState::new().hash_one(COUNT.fetch_add(1, Ordering::Relaxed));
    format!("{:012x}", number >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_ids_differ() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| error_id()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 12));
    }
}
