//! One direction of a stream, incoming: bytes become frames, within the limits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aster_proto::error::WireError;
use aster_proto::frame::{Decoder, Frame, MAX_HEADER_LEN};
use aster_proto::limits;
use aster_proto::status::{Code, Status};
use aster_proto::varint;
use bytes::{Buf, Bytes};
use iroh::endpoint::{ReadError, RecvStream, VarInt};
use tokio::sync::Semaphore;

use super::memory;

/// Chunks taken from the connection at once.
const CHUNKS: usize = 32;
/// Incomplete messages below this size are not counted: over as many streams as a peer may have they are 32 MiB.
const UNCOUNTED: usize = 8 << 10;
/// Messages of one peer that are decompressed at the same time.
const UNFOLDING: usize = 4;

/// What one peer takes up: over all its streams, and on a server over all its connections.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Bytes of partly received messages.
    partial: AtomicUsize,
    /// Bytes of requests that were sent compressed.
    unfolded: AtomicUsize,
    /// Bytes of large answers that the peer has not taken, and how many there may be.
    pub(super) unsent: AtomicUsize,
    pub(super) max_unsent: usize,
    /// Places for messages that are being decompressed.
    pub(crate) unfolding: Semaphore,
}

impl Budget {
    /// A budget with this many bytes of large answers.
    pub(crate) fn new(max_unsent: usize) -> Arc<Self> {
        Arc::new(Self {
            partial: AtomicUsize::new(0),
            unfolded: AtomicUsize::new(0),
            unsent: AtomicUsize::new(0),
            max_unsent,
            unfolding: Semaphore::new(UNFOLDING),
        })
    }
}

/// The bytes of a request that was sent compressed, for as long as it is counted.
#[derive(Debug)]
pub(crate) struct Unfolded(Arc<Budget>, usize);

impl Drop for Unfolded {
    fn drop(&mut self) {
        self.0.unfolded.fetch_sub(self.1, Ordering::Relaxed);
    }
}

impl Budget {
    /// Counts a request that was sent compressed: a few kilobytes may unfold to megabytes.
    pub(crate) fn unfolded(self: &Arc<Self>, size: usize) -> Result<Unfolded, Status> {
        let total = self.unfolded.fetch_add(size, Ordering::Relaxed) + size;
        let counted = Unfolded(self.clone(), size);
        if total > limits::MAX_UNFOLDED {
            let text = format!(
                "compressed requests of this peer that are being answered hold over {} MiB: await answers, or send \
                 fewer of them at once",
                limits::MAX_UNFOLDED >> 20
            );
            return Err(Status::rejected(Code::RESOURCE_EXHAUSTED, text));
        }
        Ok(counted)
    }

    fn change(&self, from: usize, to: usize) -> Result<(), SourceError> {
        if to <= from {
            self.partial.fetch_sub(from - to, Ordering::Relaxed);
            return Ok(());
        }
        let total = self.partial.fetch_add(to - from, Ordering::Relaxed) + (to - from);
        if total > limits::MAX_PARTIAL {
            return Err(SourceError::Budget);
        }
        Ok(())
    }
}

/// Why no frame came.
#[derive(Debug)]
pub(crate) enum SourceError {
    /// The bytes break the protocol.
    Wire(WireError),
    /// The stream ended inside a frame.
    Truncated,
    /// The partly received messages of this peer are over their budget.
    Budget,
    /// The peer reset the stream.
    Reset,
    /// The connection ended.
    Lost,
}

impl SourceError {
    /// What it means for the call that the stream belongs to; `whose` is the sender.
    pub(crate) fn status(&self, may_have_run: bool) -> Status {
        let mut status = match self {
            Self::Wire(error) => Status::from_wire(error, may_have_run),
            Self::Truncated => Status::transport(
                Code::INVALID_ARGUMENT,
                "the stream ended inside a frame",
                may_have_run,
            ),
            Self::Budget => Status::transport(
                Code::RESOURCE_EXHAUSTED,
                format!(
                    "this peer has over {} MiB of partly received messages: send fewer large messages at once",
                    limits::MAX_PARTIAL >> 20
                ),
                may_have_run,
            ),
            Self::Reset => Status::transport(
                Code::CANCELLED,
                "the peer ended the call's stream",
                may_have_run,
            ),
            Self::Lost => {
                Status::transport(Code::UNAVAILABLE, "the connection ended", may_have_run)
            }
        };
        status.may_have_run = may_have_run;
        status
    }
}

/// The frames of one incoming direction.
pub(crate) struct Source {
    stream: RecvStream,
    chunks: VecDeque<Bytes>,
    decoder: Decoder,
    budget: Arc<Budget>,
    counted: usize,
    ended: bool,
}

impl Source {
    /// Frames of at most `max_payload` bytes.
    pub(crate) fn new(stream: RecvStream, max_payload: usize, budget: Arc<Budget>) -> Self {
        Self {
            stream,
            chunks: VecDeque::new(),
            decoder: Decoder::new(max_payload),
            budget,
            counted: 0,
            ended: false,
        }
    }

    /// The largest frame from now on.
    pub(crate) fn set_max_payload(&mut self, max_payload: usize) {
        self.decoder.set_max_payload(max_payload);
    }

    async fn read(&mut self) -> Result<bool, SourceError> {
        if self.ended {
            return Ok(false);
        }
        let mut chunks: [Bytes; CHUNKS] = Default::default();
        match self.stream.read_many_chunks(&mut chunks).await {
            Ok(Some(count)) => {
                self.chunks.extend(chunks.into_iter().take(count));
                Ok(true)
            }
            Ok(None) => {
                self.ended = true;
                Ok(false)
            }
            Err(ReadError::Reset(_)) => Err(SourceError::Reset),
            Err(_) => Err(SourceError::Lost),
        }
    }

    /// The stream's first byte; `None` if it ended before.
    pub(crate) async fn byte(&mut self) -> Result<Option<u8>, SourceError> {
        loop {
            if let Some(chunk) = self.chunks.front_mut() {
                if chunk.has_remaining() {
                    return Ok(Some(chunk.get_u8()));
                }
                self.chunks.pop_front();
            } else if !self.read().await? {
                return Ok(None);
            }
        }
    }

    /// A number before the frames.
    pub(crate) async fn varint(&mut self) -> Result<Option<u64>, SourceError> {
        let mut bytes = Vec::with_capacity(varint::MAX_LEN);
        loop {
            match self.byte().await? {
                Some(byte) => bytes.push(byte),
                None if bytes.is_empty() => return Ok(None),
                None => return Err(SourceError::Truncated),
            }
            if let Some((value, _)) = varint::get(&bytes) {
                return Ok(Some(value));
            }
        }
    }

    /// A frame that is already here.
    #[inline]
    pub(crate) fn ready(&mut self) -> Result<Option<Frame>, SourceError> {
        loop {
            if let Some(frame) = self.decoder.next_frame().map_err(SourceError::Wire)? {
                if self.counted > 0 {
                    self.count(0)?;
                }
                if let Some(memory) = self.decoder.take_emptied() {
                    memory::keep(memory, frame.payload.len());
                }
                return Ok(Some(frame));
            }
            match self.chunks.pop_front() {
                Some(chunk) => self.decoder.push(chunk),
                None => return Ok(None),
            }
        }
    }

    /// The next frame; `None` at the proper end of the stream.
    pub(crate) async fn frame(&mut self) -> Result<Option<Frame>, SourceError> {
        loop {
            if let Some(frame) = self.ready()? {
                return Ok(Some(frame));
            }
            if let Some(size) = self.decoder.outgrown()
                && let Some(memory) = memory::take(size)
            {
                self.decoder.lend(memory);
            }
            let held = self.decoder.held();
            if held > UNCOUNTED + MAX_HEADER_LEN || self.counted > 0 {
                self.count(held)?;
            }
            if !self.read().await? {
                return if self.decoder.is_empty() {
                    Ok(None)
                } else {
                    Err(SourceError::Truncated)
                };
            }
        }
    }

    fn count(&mut self, held: usize) -> Result<(), SourceError> {
        let before = std::mem::replace(&mut self.counted, held);
        self.budget.change(before, held)
    }

    /// What the peer takes up.
    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Asks the peer to stop sending.
    pub(crate) fn stop(&mut self, code: u32) {
        // It fails only if the stream has ended, which is as good.
        let _ = self.stream.stop(VarInt::from_u32(code));
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // Giving back never fails.
        let _ = self.budget.change(self.counted, 0);
    }
}
