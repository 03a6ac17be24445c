//! Frames: what every stream of `aster/1` is made of after its kind byte.
//!
//! A frame is `varint(length of payload)`, one byte of kind and flags, then the payload. A frame does not know what it
//! carries; [`crate::call`] and [`crate::control`] do.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error::WireError;
use crate::varint;

/// What a stream is for: its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum StreamKind {
    /// Bidirectional, opened by the dialler, exactly one per connection: control frames both ways.
    Control = 1,
    /// Bidirectional, opened by a caller: one call.
    Call = 2,
    /// Bidirectional, at most one opened by each side: all small unary calls which that side makes.
    Lane = 3,
    /// Unidirectional, opened by the answering side: the large answer to one lane call.
    LargeAnswer = 4,
    /// Bidirectional, opened by a caller: the messages of a lane call that are too large for the lane.
    Body = 5,
}

impl StreamKind {
    /// The kind that a first byte names.
    pub fn from_byte(byte: u8) -> Result<Self, WireError> {
        Ok(match byte {
            1 => Self::Control,
            2 => Self::Call,
            3 => Self::Lane,
            4 => Self::LargeAnswer,
            5 => Self::Body,
            _ => {
                return Err(WireError::unsupported(format!(
                    "stream kind {byte:#04x} is not of aster/1"
                )));
            }
        })
    }
}

/// Frame kinds of call streams and lanes: the low six bits of the second header part.
pub mod kind {
    /// A call header; the first frame of a call stream, sent by the caller.
    pub const CALL: u8 = 1;
    /// One message.
    pub const MESSAGE: u8 = 2;
    /// Initial response metadata; at most once, before the first message of the answer.
    pub const METADATA: u8 = 3;
    /// The end of an answer.
    pub const STATUS: u8 = 4;
    /// A small unary call on the lane.
    pub const LANE_CALL: u8 = 5;
    /// The caller gives a lane call up.
    pub const LANE_CANCEL: u8 = 6;
    /// The answer to a lane call.
    pub const LANE_REPLY: u8 = 7;

    /// The bits of the kind byte that hold the kind.
    pub const MASK: u8 = 0x3f;

    /// Whether this version knows the kind; others are ignored with their payload.
    pub fn is_known(kind: u8) -> bool {
        matches!(kind, CALL..=LANE_REPLY)
    }
}

/// Flags of call-stream and lane frames: the high two bits of the kind byte.
pub mod flag {
    /// The message in this frame is one zstd frame (RFC 8878).
    pub const COMPRESSED: u8 = 0x80;
    /// A lane call whose message follows on a [`super::StreamKind::Body`] stream.
    pub const BODY: u8 = 0x40;
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The kind byte as it stands on the wire, flags included.
    pub byte: u8,
    /// The payload.
    pub payload: Bytes,
}

impl Frame {
    /// The kind without its flags (for call streams and lanes).
    pub fn kind(&self) -> u8 {
        self.byte & kind::MASK
    }

    /// Whether a flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.byte & flag != 0
    }

    /// Fails if the kind byte has a flag that is not among `allowed`.
    ///
    /// A flag says how the payload is to be read. One that means nothing to this kind can't be ignored: a peer may only
    /// send it once both sides have announced the feature that gives it a meaning.
    pub(crate) fn only(&self, allowed: u8, what: &str) -> Result<(), WireError> {
        let flags = self.byte & !kind::MASK;
        if flags & !allowed != 0 {
            return Err(WireError::malformed(format!(
                "{what} has the flags {flags:#04x}, which it can't have together"
            )));
        }
        Ok(())
    }
}

/// The longest frame header, in bytes.
pub const MAX_HEADER_LEN: usize = varint::MAX_LEN + 1;

/// Appends a frame header; the caller appends `length` bytes of payload.
#[inline]
pub fn put_header(out: &mut impl BufMut, byte: u8, length: usize) {
    varint::put(out, length as u64);
    out.put_u8(byte);
}

/// Appends a whole frame.
pub fn put(out: &mut impl BufMut, byte: u8, payload: &[u8]) {
    put_header(out, byte, payload.len());
    out.put_slice(payload);
}

/// The length of a frame with `payload` bytes.
pub fn encoded_len(payload: usize) -> usize {
    varint::len(payload as u64) + 1 + payload
}

/// Cuts a stream of bytes into frames.
///
/// It holds at most one incomplete frame. Memory grows with the bytes received, never with the length a header
/// promises; a promised length over the limit fails before any of the payload is kept.
#[derive(Debug)]
pub struct Decoder {
    /// Received, not yet taken.
    chunk: Bytes,
    /// The start of a frame that did not end in the chunk it began in.
    partial: BytesMut,
    /// The memory of the last large frame, empty; whoever holds that frame still holds the bytes.
    emptied: Option<BytesMut>,
    max_payload: usize,
}

/// From this size on the memory of a frame is worth being used again: filling fresh pages costs as much as the copy.
const LARGE: usize = 64 << 10;

impl Decoder {
    /// A decoder for frames whose payload is at most `max_payload` bytes.
    pub fn new(max_payload: usize) -> Self {
        Self {
            chunk: Bytes::new(),
            partial: BytesMut::new(),
            emptied: None,
            max_payload,
        }
    }

    /// Changes the largest payload, from the next call of [`Decoder::next_frame`] on.
    pub fn set_max_payload(&mut self, max_payload: usize) {
        self.max_payload = max_payload;
    }

    /// Adds received bytes. Take all frames with [`Decoder::next_frame`] before adding more.
    pub fn push(&mut self, chunk: Bytes) {
        if self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            // Not the engine's way, but any caller is served: what is left joins what came.
            let mut joined = BytesMut::with_capacity(self.chunk.len() + chunk.len());
            joined.put_slice(&self.chunk);
            joined.put_slice(&chunk);
            self.chunk = joined.freeze();
        }
    }

    /// Bytes held for an incomplete frame.
    pub fn held(&self) -> usize {
        self.partial.len() + self.chunk.len()
    }

    /// Whether the stream may end here: nothing of an unfinished frame is held.
    pub fn is_empty(&self) -> bool {
        self.held() == 0
    }

    /// The size of the large frame that is being received, if what there is of it will have to move to more memory.
    pub fn outgrown(&self) -> Option<usize> {
        if self.partial.len() < LARGE {
            return None;
        }
        let (_, header, length) = self.header(&self.partial).ok()??;
        (self.partial.capacity() < header + length).then_some(header + length)
    }

    /// Gives the frame that is being received other memory, which is empty.
    pub fn lend(&mut self, mut memory: BytesMut) {
        memory.extend_from_slice(&self.partial);
        self.partial = memory;
    }

    /// The memory that the last large frame was received in. It can be filled again once nobody holds that frame
    /// any more ([`BytesMut::try_reclaim`]).
    pub fn take_emptied(&mut self) -> Option<BytesMut> {
        self.emptied.take()
    }

    fn header(&self, bytes: &[u8]) -> Result<Option<(u8, usize, usize)>, WireError> {
        let Some((length, used)) = varint::get(bytes) else {
            return Ok(None);
        };
        // A length over the limit is refused at once; waiting for the kind byte would gain nothing.
        if length > self.max_payload as u64 {
            return Err(WireError::too_large(format!(
                "a frame of {length} bytes was announced: at most {} are allowed here",
                self.max_payload
            )));
        }
        match bytes.get(used) {
            Some(byte) => Ok(Some((*byte, used + 1, length as usize))),
            None => Ok(None),
        }
    }

    /// The next whole frame, or `None` until more bytes are pushed.
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<Frame>, WireError> {
        if !self.partial.is_empty() {
            return self.next_partial();
        }
        let Some((byte, header, length)) = self.header(&self.chunk)? else {
            self.keep_rest();
            return Ok(None);
        };
        if self.chunk.len() < header + length {
            self.keep_rest();
            return Ok(None);
        }
        self.chunk.advance(header);
        Ok(Some(Frame {
            byte,
            payload: self.chunk.split_to(length),
        }))
    }

    fn keep_rest(&mut self) {
        self.partial.extend_from_slice(&self.chunk);
        self.chunk = Bytes::new();
    }

    fn next_partial(&mut self) -> Result<Option<Frame>, WireError> {
        loop {
            let Some((byte, header, length)) = self.header(&self.partial)? else {
                // Byte by byte until the header is whole: at most nine times.
                if self.chunk.is_empty() {
                    return Ok(None);
                }
                self.partial.extend_from_slice(&self.chunk.split_to(1));
                continue;
            };
            let missing = (header + length).saturating_sub(self.partial.len());
            let taken = missing.min(self.chunk.len());
            if self.partial.len() + taken > self.partial.capacity() {
                // Four times what has been received, and not beyond the frame: growing by doubling copies a large
                // message about twice, this about a third of once.
                let received = self.partial.len() + taken;
                let room = (header + length).min(received * 4);
                self.partial.reserve(room - self.partial.len());
            }
            self.partial.extend_from_slice(&self.chunk.split_to(taken));
            if taken < missing {
                return Ok(None);
            }
            self.partial.advance(header);
            let mut partial = std::mem::take(&mut self.partial);
            let payload = partial.split().freeze();
            if length >= LARGE {
                self.emptied = Some(partial);
            }
            return Ok(Some(Frame { byte, payload }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_every_split() {
        let mut bytes = BytesMut::new();
        put(&mut bytes, kind::MESSAGE, b"hello");
        put(&mut bytes, kind::STATUS, b"");
        put(&mut bytes, kind::MESSAGE | flag::COMPRESSED, &[7; 300]);
        let bytes = bytes.freeze();
        for size in 1..bytes.len() {
            let mut decoder = Decoder::new(1000);
            let mut frames = Vec::new();
            for piece in bytes.chunks(size) {
                decoder.push(Bytes::copy_from_slice(piece));
                while let Some(frame) = decoder.next_frame().expect("valid frames") {
                    frames.push(frame);
                }
            }
            assert!(decoder.is_empty());
            assert_eq!(frames.len(), 3, "split every {size} bytes");
            assert_eq!(&frames[0].payload[..], b"hello");
            assert_eq!(frames[2].payload.len(), 300);
            assert!(frames[2].has(flag::COMPRESSED));
        }
    }

    #[test]
    fn the_memory_of_a_large_frame_is_lent_to_the_next() {
        let mut bytes = BytesMut::new();
        put(&mut bytes, kind::MESSAGE, &vec![7; 3 * LARGE]);
        let bytes = bytes.freeze();
        let mut decoder = Decoder::new(1 << 20);
        let mut receive = |lent: Option<BytesMut>| {
            assert_eq!(decoder.outgrown(), None, "nothing has come");
            decoder.push(bytes.slice(..LARGE + 8));
            assert_eq!(decoder.next_frame().unwrap(), None);
            if let Some(lent) = lent {
                decoder.lend(lent);
                assert_eq!(decoder.outgrown(), None, "the lent memory is enough");
            }
            decoder.push(bytes.slice(LARGE + 8..));
            let frame = decoder.next_frame().unwrap().unwrap();
            assert_eq!(frame.payload, vec![7; 3 * LARGE]);
            (frame, decoder.take_emptied().unwrap())
        };
        let (first, mut memory) = receive(None);
        assert!(!memory.try_reclaim(bytes.len()), "the frame is still held");
        let at = first.payload.as_ptr();
        drop(first);
        assert!(memory.try_reclaim(bytes.len()));
        let (second, _) = receive(Some(memory));
        assert_eq!(second.payload.as_ptr(), at);
    }

    #[test]
    fn a_promise_over_the_limit_is_refused_before_anything_is_kept() {
        let mut decoder = Decoder::new(1000);
        let mut bytes = BytesMut::new();
        varint::put(&mut bytes, 4 << 30);
        decoder.push(bytes.freeze());
        let error = decoder.next_frame().expect_err("4 GiB is over the limit");
        assert!(error.to_string().contains("4294967296 bytes"), "{error}");
    }
}
