//! Messages of a stream on their way into a language, as one MessagePack array.

use std::mem;

use bytes::Bytes;

/// From this length on a message is kept as it came; shorter ones are gathered, so that a few bytes do not hold on to
/// the network buffer that they arrived in.
const KEEP_FROM: usize = 4 * 1024;

/// Messages, each one MessagePack value, that cross together as one MessagePack array.
#[derive(Debug, Default)]
pub struct Batch {
    /// What came before `tail`, in order.
    pieces: Vec<Bytes>,
    /// Short messages one after another.
    tail: Vec<u8>,
    count: usize,
    bytes: usize,
}

impl Batch {
    /// Adds a message.
    pub fn push(&mut self, message: Bytes) {
        self.count += 1;
        self.bytes += message.len();
        if message.len() < KEEP_FROM {
            self.tail.extend_from_slice(&message);
        } else {
            if !self.tail.is_empty() {
                self.pieces.push(mem::take(&mut self.tail).into());
            }
            self.pieces.push(message);
        }
    }

    /// How many messages there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The bytes of the messages, without the array's header.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there are no messages.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The bytes of the array.
    pub fn encoded_len(&self) -> usize {
        self.header().1 + self.bytes
    }

    /// Writes the array. `out` must be [`Batch::encoded_len`] long.
    pub fn write_to(&self, out: &mut [u8]) {
        let (header, length) = self.header();
        let (head, mut rest) = out.split_at_mut(length);
        head.copy_from_slice(&header[..length]);
        for piece in self
            .pieces
            .iter()
            .map(|piece| &piece[..])
            .chain([&self.tail[..]])
        {
            let (place, after) = rest.split_at_mut(piece.len());
            place.copy_from_slice(piece);
            rest = after;
        }
    }

    /// The array as a vector.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = vec![0; self.encoded_len()];
        self.write_to(&mut out);
        out
    }

    /// The shortest array header for the count, and its length.
    fn header(&self) -> ([u8; 5], usize) {
        let count = self.count;
        let mut header = [0; 5];
        if let Some(short) = u8::try_from(count).ok().filter(|short| *short < 16) {
            header[0] = 0x90 | short;
            return (header, 1);
        }
        if let Ok(count) = u16::try_from(count) {
            header[0] = 0xdc;
            header[1..3].copy_from_slice(&count.to_be_bytes());
            return (header, 3);
        }
        // The byte limit of a buffer keeps the count far below 2^32: a message has at least one byte.
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        header[0] = 0xdd;
        header[1..5].copy_from_slice(&count.to_be_bytes());
        (header, 5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MessagePack: a positive fixint.
    fn small(value: u8) -> Bytes {
        Bytes::copy_from_slice(&[value])
    }

    /// MessagePack: a bin32 of `length` bytes.
    fn large(fill: u8, length: u32) -> Bytes {
        let mut message = vec![0xc6];
        message.extend(length.to_be_bytes());
        message.extend(vec![fill; length as usize]);
        message.into()
    }

    #[test]
    fn empty_is_an_empty_array() {
        assert_eq!(Batch::default().to_vec(), [0x90]);
    }

    #[test]
    fn keeps_the_order_of_short_and_long_messages() {
        let mut batch = Batch::default();
        let messages = [
            small(1),
            large(7, 5000),
            small(2),
            small(3),
            large(8, 4096),
            small(4),
        ];
        for message in &messages {
            batch.push(message.clone());
        }
        let mut expected = vec![0x96];
        for message in &messages {
            expected.extend_from_slice(message);
        }
        assert_eq!(batch.count(), 6);
        assert_eq!(batch.encoded_len(), expected.len());
        assert_eq!(batch.to_vec(), expected);
    }

    #[test]
    fn header_grows_with_the_count() {
        for (count, header) in [
            (15, &[0x9f][..]),
            (16, &[0xdc, 0, 16]),
            (65_535, &[0xdc, 0xff, 0xff]),
            (65_536, &[0xdd, 0, 1, 0, 0]),
        ] {
            let mut batch = Batch::default();
            for _ in 0..count {
                batch.push(small(0));
            }
            let encoded = batch.to_vec();
            assert!(encoded.starts_with(header), "{count}");
            assert_eq!(encoded.len(), header.len() + count);
        }
    }
}
