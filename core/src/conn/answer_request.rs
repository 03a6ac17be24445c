//! The request of a call that has one message, on whichever stream it comes.

use std::sync::Arc;

use aster_proto::call::{Event, RequestMachine};
use aster_proto::close;
use aster_proto::status::{Code, Status};
use bytes::Bytes;
use iroh::endpoint::{SendStream, VarInt};
use tokio::sync::{Notify, oneshot};

use super::Conn;
use super::answer::BodySlot;
use super::sink::{Sink, Written};
use super::source::Source;
use crate::call::inbound::CallState;
use crate::cancel::CancelCause;

impl Conn {
    pub(super) fn await_body(&self, id: u64) -> oneshot::Receiver<(SendStream, Source)> {
        let (give, take) = oneshot::channel();
        let mut state = self.answers.state();
        match state.bodies.remove(&id) {
            Some(BodySlot::Arrived(body)) => {
                state.bodies.insert(id, BodySlot::Taken);
                drop(state);
                // The receiver is alive: it is returned below.
                let _ = give.send(*body);
            }
            _ => {
                state.bodies.insert(id, BodySlot::Awaited(give));
            }
        }
        take
    }

    /// A lane call is over: its messages are not awaited any more, and refused if they came.
    pub(crate) fn forget_body(&self, id: u64) {
        let slot = self.answers.state().bodies.remove(&id);
        if let Some(BodySlot::Arrived(body)) = slot {
            let (mut send, mut source) = *body;
            source.stop(close::stream::CANCELLED);
            let _ = send.reset(VarInt::from_u32(close::stream::CANCELLED));
        }
    }

    pub(super) async fn run_body(
        self: Arc<Self>,
        call: Arc<CallState>,
        body: oneshot::Receiver<(SendStream, Source)>,
    ) {
        let arrived = tokio::select! {
            body = body => body.map_err(|_| CancelCause::Connection),
            cause = call.cancel.cancelled() => Err(cause),
        };
        let (mut send, mut source) = match arrived {
            Ok(body) => body,
            Err(cause) => {
                call.cancel.fire(cause);
                return call.refuse(Status::rejected(
                    Code::CANCELLED,
                    "the call was cancelled before its message came",
                ));
            }
        };
        let (sink, writer) = Sink::new(&[]);
        if !call.move_to(sink) {
            // It was answered on the lane in this moment.
            source.stop(close::stream::CANCELLED);
            let _ = send.reset(VarInt::from_u32(close::stream::CANCELLED));
            return call.refuse(Status::rejected(Code::CANCELLED, "the call is over"));
        }
        let write = watch_writer(&self, &call, writer, send);
        answer_single(&call, source, write).await;
    }
}

/// The messages of a large lane call have come on a stream of their own.
pub(super) async fn take_body(conn: &Arc<Conn>, mut send: SendStream, mut source: Source) {
    let id = match source.varint().await {
        Ok(Some(id)) => id,
        _ => {
            let _ = send.reset(VarInt::from_u32(close::stream::PROTOCOL));
            return;
        }
    };
    source.set_max_payload(conn.limits.message);
    let mut state = conn.answers.state();
    if state.lost || conn.answer_lane.has_passed(id) {
        // The call was cancelled or refused before its messages came.
        drop(state);
        source.stop(close::stream::CANCELLED);
        let _ = send.reset(VarInt::from_u32(close::stream::CANCELLED));
        return;
    }
    match state.bodies.remove(&id) {
        Some(BodySlot::Awaited(give)) => {
            state.bodies.insert(id, BodySlot::Taken);
            drop(state);
            // If nobody takes it the call is over, and dropping the streams tells the peer.
            if let Err((mut send, mut source)) = give.send((send, source)) {
                source.stop(close::stream::CANCELLED);
                let _ = send.reset(VarInt::from_u32(close::stream::CANCELLED));
            }
        }
        Some(BodySlot::Arrived(_) | BodySlot::Taken) => {
            drop(state);
            conn.violation("two body streams came for one lane call");
        }
        None => {
            state
                .bodies
                .insert(id, BodySlot::Arrived(Box::new((send, source))));
        }
    }
}

/// Runs the writer of a call's answer, and cancels the call when its caller stops listening.
pub(super) async fn watch_writer(
    conn: &Arc<Conn>,
    call: &Arc<CallState>,
    writer: super::sink::SinkWriter,
    send: SendStream,
) {
    // Until its answer has arrived, whatever became of its handler.
    conn.begin_busy();
    match writer.run(send).await {
        Written::Stopped => {
            call.cancel.fire(CancelCause::Caller);
        }
        Written::Lost => {
            call.cancel.fire(CancelCause::Connection);
        }
        Written::Finished | Written::Reset => {}
    }
    conn.answers.remove_stream(call.id);
    conn.end_busy();
}

/// Takes a call with one request message, whose answer `write` writes: its message, then what may follow it.
pub(super) async fn answer_single(
    call: &Arc<CallState>,
    mut source: Source,
    write: impl Future<Output = ()>,
) {
    let answered = Notify::new();
    let write = async {
        write.await;
        answered.notify_one();
    };
    let read = async {
        let mut machine = RequestMachine::new(call.target.method.pattern);
        let message = tokio::select! {
            biased;
            message = read_single(&mut source, &mut machine) => message,
            _ = call.cancel.cancelled() => {
                let text = "the call was cancelled before its message came";
                Err(Status::rejected(Code::CANCELLED, text))
            }
        };
        match message {
            Ok((message, compressed)) => {
                call.clone().dispatch_message(message, compressed);
                tokio::select! {
                    () = watch_rest(&mut source, &mut machine, call) => {}
                    // The caller does not say that it is done, and nothing that it could say matters any more.
                    () = answered.notified() => source.stop(close::stream::ENDED),
                }
            }
            Err(status) => {
                source.stop(close::stream::ENDED);
                call.refuse(status);
            }
        }
    };
    tokio::join!(write, read);
}

/// Reads the one request message of a call.
async fn read_single(
    source: &mut Source,
    machine: &mut RequestMachine,
) -> Result<(Bytes, bool), Status> {
    loop {
        match source.frame().await {
            Ok(Some(frame)) => match machine.frame(frame) {
                Ok(Event::Message(message, compressed)) => return Ok((message, compressed)),
                Ok(_) => {}
                Err(error) => return Err(Status::from_wire(&error, false)),
            },
            Ok(None) => match machine.end() {
                Err(error) => return Err(Status::from_wire(&error, false)),
                Ok(()) => {
                    return Err(Status::rejected(
                        Code::INTERNAL,
                        "the request ended without its message",
                    ));
                }
            },
            Err(error) => return Err(error.status(false)),
        }
    }
}

/// After its one request message: nothing more may come but the end, or the caller's cancellation.
async fn watch_rest(source: &mut Source, machine: &mut RequestMachine, call: &Arc<CallState>) {
    loop {
        match source.frame().await {
            Ok(None) => return,
            Ok(Some(frame)) => {
                if let Err(error) = machine.frame(frame) {
                    source.stop(close::stream::PROTOCOL);
                    call.answer_failed(Status::from_wire(&error, true));
                    call.cancel.fire(CancelCause::Caller);
                    return;
                }
            }
            Err(_) => {
                call.cancel.fire(CancelCause::Caller);
                return;
            }
        }
    }
}
