//! One direction of a stream, outgoing: frames are gathered and written in as few writes as the network lets them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aster_proto::frame;
use bytes::{Bytes, BytesMut};
use iroh::endpoint::{SendStream, VarInt, WriteError};
use tokio::sync::Notify;

/// Bytes that may wait to be written before a sender has to wait, the size of a few dozen packets.
const HIGH_WATER: usize = 128 << 10;
/// Payloads from this size on are handed over as they are; smaller ones are copied together.
const WHOLE: usize = 16 << 10;

/// Writes below this size leave a packet mostly empty.
const SMALL: usize = 1 << 10;
/// Small writes that go out at once within [`GATHER`]. A ping-pong makes fewer, so it never waits.
const SMALL_WRITES: u32 = 40;
/// How long more small writes are gathered. A storm of near-empty packets costs both sides more than this, and one that
/// overflows the receiver's socket leaves more gaps in its stream than the QUIC stack takes: it then gives up the whole
/// connection (docs/decisions.md).
const GATHER: Duration = Duration::from_millis(1);
/// What has gathered goes out before its time is up from this size on.
const GATHERED: usize = 16 << 10;

/// Why nothing more can be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SinkEnd {
    /// Finished or reset from this side.
    Done,
    /// The peer asked to stop.
    Stopped,
    /// The connection ended.
    Lost,
}

/// The sending end that calls hold. Clones send to the same stream.
#[derive(Clone)]
pub(crate) struct Sink(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// There is something to write, to finish or to reset.
    work: Notify,
    /// There is room again, or the end.
    room: Notify,
}

#[derive(Default)]
struct State {
    chunks: Vec<Bytes>,
    tail: BytesMut,
    queued: usize,
    finish: bool,
    reset: Option<u32>,
    end: Option<SinkEnd>,
    written: bool,
    /// The writer gathers small writes: it wants to hear of what ends that, not of each.
    gathering: bool,
}

impl State {
    fn has_gathered(&self) -> bool {
        self.gathering && self.queued >= GATHERED
    }

    fn push(&mut self, byte: u8, payload: &Bytes) {
        frame::put_header(&mut self.tail, byte, payload.len());
        if payload.len() < WHOLE {
            self.tail.extend_from_slice(payload);
        } else {
            let head = self.tail.split().freeze();
            self.chunks.push(head);
            self.chunks.push(payload.clone());
        }
        self.queued += frame::encoded_len(payload.len());
    }
}

impl Sink {
    /// A sink whose first bytes are `head`, and the task that writes it to a stream.
    pub(crate) fn new(head: &[u8]) -> (Self, SinkWriter) {
        let mut state = State::default();
        state.tail.extend_from_slice(head);
        state.queued = head.len();
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            work: Notify::new(),
            room: Notify::new(),
        });
        (Self(shared.clone()), SinkWriter(shared))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a frame whatever is queued; for small frames that end something.
    pub(crate) fn push(&self, byte: u8, payload: &Bytes) -> Result<(), SinkEnd> {
        let mut state = self.state();
        if let Some(end) = &state.end {
            return Err(end.clone());
        }
        let wake = state.queued == 0;
        state.push(byte, payload);
        let wake = wake || state.has_gathered();
        drop(state);
        if wake {
            self.0.work.notify_one();
        }
        Ok(())
    }

    /// Adds bytes that are frames already.
    pub(crate) fn push_raw(&self, frames: &[u8]) -> Result<(), SinkEnd> {
        let mut state = self.state();
        if let Some(end) = &state.end {
            return Err(end.clone());
        }
        let wake = state.queued == 0;
        state.tail.extend_from_slice(frames);
        state.queued += frames.len();
        let wake = wake || state.has_gathered();
        drop(state);
        if wake {
            self.0.work.notify_one();
        }
        Ok(())
    }

    /// Adds a frame if there is room; `false` if there is none.
    pub(crate) fn try_push(&self, byte: u8, payload: &Bytes) -> Result<bool, SinkEnd> {
        let mut state = self.state();
        if let Some(end) = &state.end {
            return Err(end.clone());
        }
        if state.queued >= HIGH_WATER {
            return Ok(false);
        }
        let wake = state.queued == 0;
        state.push(byte, payload);
        let wake = wake || state.has_gathered();
        drop(state);
        if wake {
            self.0.work.notify_one();
        }
        Ok(true)
    }

    /// Bytes that wait to be written.
    pub(crate) fn queued(&self) -> usize {
        self.state().queued
    }

    /// Waits until there is room, or the end.
    pub(crate) async fn ready(&self) -> Result<(), SinkEnd> {
        loop {
            let room = self.0.room.notified();
            {
                let state = self.state();
                if let Some(end) = &state.end {
                    return Err(end.clone());
                }
                if state.queued < HIGH_WATER {
                    return Ok(());
                }
            }
            room.await;
        }
    }

    /// Ends the stream after what is queued. Nothing can be sent afterwards.
    pub(crate) fn finish(&self) {
        let mut state = self.state();
        if state.end.is_none() {
            state.finish = true;
            state.end = Some(SinkEnd::Done);
            drop(state);
            self.0.work.notify_one();
            self.0.room.notify_waiters();
        }
    }

    /// Ends the stream at once; what is queued is dropped. Does nothing to a stream whose end has been acknowledged.
    pub(crate) fn reset(&self, code: u32) {
        let mut state = self.state();
        if state.reset.is_none() {
            state.reset = Some(code);
            state.end.get_or_insert(SinkEnd::Done);
            state.chunks = Vec::new();
            state.tail = BytesMut::new();
            drop(state);
            self.0.work.notify_one();
            self.0.room.notify_waiters();
        }
    }

    /// Whether any byte has been handed to the connection.
    pub(crate) fn has_written(&self) -> bool {
        self.state().written
    }
}

/// How a sink's stream ended, for whoever runs its writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Written {
    /// Everything was written, the stream finished, and all of it acknowledged or not wanted.
    Finished,
    /// Reset from this side.
    Reset,
    /// The peer asked to stop.
    Stopped,
    /// The connection ended.
    Lost,
}

/// The writing half of a [`Sink`], to be run as a task.
pub(crate) struct SinkWriter(Arc<Shared>);

enum Work {
    Write(Vec<Bytes>),
    Finish,
    Reset(u32),
    Wait,
}

impl SinkWriter {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Work {
        let mut state = self.state();
        if let Some(code) = state.reset {
            return Work::Reset(code);
        }
        if state.queued > 0 {
            let mut chunks = std::mem::take(&mut state.chunks);
            let tail = state.tail.split().freeze();
            if !tail.is_empty() {
                chunks.push(tail);
            }
            state.written = true;
            return Work::Write(chunks);
        }
        if state.finish {
            Work::Finish
        } else {
            Work::Wait
        }
    }

    /// Writes until the stream ends one way or another, a finished one until the peer has acknowledged all of it. The
    /// stream is never left to end by itself, which the peer would take for a proper end.
    pub(crate) async fn run(self, mut stream: SendStream) -> Written {
        let stopped = stream.stopped();
        tokio::pin!(stopped);
        let mut storm = Storm::default();
        let ended = loop {
            if storm.is_on() && self.may_gather() {
                self.gather().await;
            }
            match self.take() {
                Work::Write(mut chunks) => {
                    let size: usize = chunks.iter().map(Bytes::len).sum();
                    storm.write(size);
                    let mut rest = &mut chunks[..];
                    let mut interrupted = false;
                    while !rest.is_empty() {
                        tokio::select! {
                            biased;
                            wrote = stream.write_many_chunks(&mut rest) => match wrote {
                                Ok(_) => {}
                                Err(WriteError::Stopped(_)) => return self.end(SinkEnd::Stopped, Written::Stopped),
                                Err(_) => return self.end(SinkEnd::Lost, Written::Lost),
                            },
                            () = self.0.work.notified() => {
                                if self.state().reset.is_some() {
                                    interrupted = true;
                                    break;
                                }
                            }
                        }
                    }
                    if !interrupted {
                        let mut state = self.state();
                        state.queued = state.queued.saturating_sub(size);
                        drop(state);
                        self.0.room.notify_waiters();
                    }
                }
                Work::Finish => {
                    // An error here means that the peer stopped the stream first, which is its right.
                    let _ = stream.finish();
                    // What is not acknowledged is lost if the connection is closed, and can still be called back.
                    break loop {
                        tokio::select! {
                            biased;
                            () = self.0.work.notified() => {
                                if let Some(code) = self.state().reset {
                                    let _ = stream.reset(VarInt::from_u32(code));
                                    break Written::Reset;
                                }
                            }
                            _ = &mut stopped => break Written::Finished,
                        }
                    };
                }
                Work::Reset(code) => {
                    let _ = stream.reset(VarInt::from_u32(code));
                    break Written::Reset;
                }
                Work::Wait => {
                    tokio::select! {
                        biased;
                        () = self.0.work.notified() => {}
                        stopped = &mut stopped => {
                            let (end, written) = match stopped {
                                Ok(_) => (SinkEnd::Stopped, Written::Stopped),
                                Err(_) => (SinkEnd::Lost, Written::Lost),
                            };
                            let _ = stream.reset(VarInt::from_u32(0));
                            return self.end(end, written);
                        }
                    }
                }
            }
        };
        self.end(SinkEnd::Done, ended)
    }

    /// Whether what is queued is little and may wait for more.
    fn may_gather(&self) -> bool {
        let state = self.state();
        state.queued > 0 && state.queued < SMALL && state.reset.is_none() && !state.finish
    }

    /// Waits for more to write, for a short while.
    async fn gather(&self) {
        self.state().gathering = true;
        let end = tokio::time::Instant::now() + GATHER;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(end) => break,
                () = self.0.work.notified() => {
                    let state = self.state();
                    if state.has_gathered() || state.finish || state.reset.is_some() {
                        break;
                    }
                }
            }
        }
        self.state().gathering = false;
    }

    fn end(&self, end: SinkEnd, written: Written) -> Written {
        let mut state = self.state();
        state.end = Some(end);
        state.chunks = Vec::new();
        state.tail = BytesMut::new();
        drop(state);
        self.0.room.notify_waiters();
        written
    }
}

/// Counts small writes that follow each other closely.
#[derive(Default)]
struct Storm {
    since: Option<Instant>,
    writes: u32,
}

impl Storm {
    fn write(&mut self, size: usize) {
        if size >= SMALL {
            return;
        }
        let now = Instant::now();
        match self.since {
            Some(since) if now - since < GATHER => self.writes += 1,
            _ => {
                self.since = Some(now);
                self.writes = 1;
            }
        }
    }

    /// Whether the next small write should wait for company.
    fn is_on(&self) -> bool {
        self.writes >= SMALL_WRITES && self.since.is_some_and(|since| since.elapsed() < GATHER)
    }
}
