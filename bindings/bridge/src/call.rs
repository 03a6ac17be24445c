//! Calls that this side makes and whose messages come and go one by one.

use std::collections::VecDeque;
use std::fmt;
use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;

use crate::client::Method;
use crate::engine::{Code, Metadata, ValueError};
use crate::error::BridgeError;
use crate::inbox::{Inbox, Taken};
use crate::options;
use crate::outbox::{Outbox, Push};
use crate::outcome::Failure;
use crate::payload::Payload;
use crate::port::{Shared, Ticket};
use crate::runtime::{self, Key};

/// A call with streams. Dropped before its end, it is cancelled.
pub struct ClientCall {
    port: Arc<Shared>,
    key: Key,
    method: Method,
    inbox: Arc<Inbox>,
    outbox: Arc<Outbox<()>>,
}

impl ClientCall {
    pub(crate) fn begin(
        port: &Arc<Shared>,
        client: aster::Client,
        method: Method,
        options: options::Call,
    ) -> Result<Self, BridgeError> {
        let call = Self {
            port: port.clone(),
            key: runtime::next_key(),
            method,
            inbox: Inbox::new(port),
            outbox: Outbox::new(port),
        };
        let (id, key) = (port.id, call.key);
        let guard = Guard {
            port: port.clone(),
            key,
            inbox: call.inbox.clone(),
            outbox: call.outbox.clone(),
            place: call.method.place().to_owned(),
            ended: false,
        };
        let (method, options) = (call.method.engine.clone(), options.into_engine());
        port.runtime.run_there(move || {
            let task = tokio::spawn(run(client, method, options, guard));
            runtime::stream_began(id, key, task.abort_handle());
        })?;
        Ok(call)
    }

    /// Checks a message against the contract, and gives it in wire form.
    pub fn request(&self, payload: impl Payload, dynamic: bool) -> Result<Bytes, ValueError> {
        self.method.request(payload, dynamic)
    }

    /// Queues a message that [`ClientCall::request`] gave.
    pub fn send(&self, message: Bytes) -> Result<Push, BridgeError> {
        self.check()?;
        Ok(self.outbox.push(message))
    }

    /// Has the messages on their way that [`Push::Unflushed`] left waiting.
    pub fn flush(&self) {
        if !self.port.runtime.is_forked() {
            self.outbox.flush();
        }
    }

    /// Completes `ticket` when there is room for more messages.
    pub fn wait_for_room(&self, ticket: Ticket) -> Result<(), BridgeError> {
        self.check()?;
        self.outbox.wait(ticket);
        Ok(())
    }

    /// No more messages come. Idempotent.
    pub fn half_close(&self) -> Result<(), BridgeError> {
        self.check()?;
        self.outbox.end(());
        Ok(())
    }

    /// The answer's messages.
    pub fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// Takes what has come of the answer.
    pub fn take(&self) -> Taken {
        self.inbox.take()
    }

    /// Which method at which peer, for texts.
    pub fn place(&self) -> &str {
        self.method.place()
    }

    /// The initial metadata of the answer, there once something of it has come.
    pub fn metadata(&self) -> Metadata {
        self.inbox.metadata()
    }

    /// The trailing metadata of the answer, there once its end has come.
    pub fn trailing(&self) -> Metadata {
        self.inbox.trailing()
    }

    /// Cancels the call if it has not ended: its end is then `CANCELLED`. Idempotent.
    pub fn cancel(&self) {
        let (port, key) = (self.port.id, self.key);
        // If the thread has ended, so has the call.
        let _ = self.port.runtime.run_there(move || {
            if let Some(task) = runtime::stream_ended(port, key) {
                task.abort();
            }
        });
    }

    fn check(&self) -> Result<(), BridgeError> {
        if self.port.runtime.is_forked() {
            Err(BridgeError::Forked)
        } else {
            Ok(())
        }
    }
}

impl fmt::Debug for ClientCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCall")
            .field("place", &self.place())
            .finish_non_exhaustive()
    }
}

impl Drop for ClientCall {
    fn drop(&mut self) {
        self.inbox.abandon();
        self.cancel();
    }
}

/// Ends both buffers however the task of the call ends.
struct Guard {
    port: Arc<Shared>,
    key: Key,
    inbox: Arc<Inbox>,
    outbox: Arc<Outbox<()>>,
    place: String,
    /// The buffers have their end.
    ended: bool,
}

impl Guard {
    fn end(mut self, end: Result<(), Failure>) {
        self.ended = true;
        match &end {
            Ok(()) => self.outbox.unwanted(),
            Err(failure) => self.outbox.fail(failure),
        }
        self.inbox.end(end);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        runtime::stream_ended(self.port.id, self.key);
        if self.ended {
            return;
        }
        // The task was aborted.
        let cancelled = Failure::cancelled(self.place.as_str());
        self.outbox.fail(&cancelled);
        self.inbox.end(Err(cancelled));
    }
}

async fn run(
    client: aster::Client,
    method: aster::Method,
    options: aster::CallOptions,
    guard: Guard,
) {
    let (sender, receiver) = match client.start(&method, options).await {
        Ok(started) => started,
        Err(failure) => return guard.end(Err(Failure::of_engine(failure))),
    };
    let sending = async {
        match send(sender, &guard.outbox).await {
            Ok(()) => pending().await,
            Err(failure) => Err(failure),
        }
    };
    // One end ends both: the answer's, or a message that could not be sent.
    let end = tokio::select! {
        biased;
        end = receive(receiver, &guard.inbox) => end,
        end = sending => end,
    };
    guard.end(end);
}

/// Sends until the end. That the peer takes no more is no failure: the answer tells how the call ended.
async fn send(mut sender: aster::CallSender, outbox: &Outbox<()>) -> Result<(), Failure> {
    let mut messages = VecDeque::new();
    while outbox.next(&mut messages).await.is_none() {
        for message in messages.drain(..) {
            let length = message.len();
            match sender.send(message).await {
                Ok(()) => outbox.sent(length),
                Err(failure) if failure.code() == Code::FAILED_PRECONDITION => {
                    outbox.unwanted();
                    return Ok(());
                }
                Err(failure) => return Err(Failure::of_engine(failure)),
            }
        }
    }
    sender.finish();
    Ok(())
}

async fn receive(mut receiver: aster::CallReceiver, inbox: &Arc<Inbox>) -> Result<(), Failure> {
    let mut begun = false;
    loop {
        inbox.room().await;
        let next = receiver.next().await;
        if !begun {
            begun = true;
            inbox.set_metadata(receiver.metadata().clone());
        }
        match next {
            Ok(Some(message)) => inbox.push(message),
            Ok(None) => {
                inbox.set_trailing(receiver.trailing().clone());
                return Ok(());
            }
            Err(failure) => {
                let failure = Failure::of_engine(failure);
                inbox.set_trailing(failure.trailing.clone());
                return Err(failure);
            }
        }
    }
}
