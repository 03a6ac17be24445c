//! The flat records in which what is frequent crosses: completions and inbound calls to JavaScript, unary calls from it.
//!
//! A record begins at a multiple of 8 bytes and its length is one. Numbers are in the machine's own order, as in
//! JavaScript's typed arrays: `u32` words, and `f64` where a number may pass 32 bits. `typescript/src/native/records.ts`
//! is the other end of this file.

/// Bytes up to the next multiple of 8.
pub(crate) fn padded(length: usize) -> usize {
    length.next_multiple_of(8)
}

/// What a record for JavaScript is: its second word.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Kind {
    /// A unary call was answered. Words: ticket, length, extra + 1 or 0; payload at 24.
    Answer = 1,
    /// It is done. Words: ticket.
    Done = 2,
    /// It failed. Words: ticket, extra.
    Failed = 3,
    /// It gave an object. Words: ticket, extra.
    Object = 4,
    /// It gave a number. Words: ticket, 0; `f64` at 16.
    Number = 5,
    /// There is something to take. Words: ticket.
    Ready = 6,
    /// A call came in. See [`CALL_HEADER`].
    Call = 7,
    /// A call that came in was cancelled. Words: call.
    Cancelled = 8,
    /// A session ended. Words: service index, reason (0 closed, 1 disconnected, 2 shutdown); `f64` at 16: server, session.
    SessionClosed = 9,
    /// Log records wait.
    Logs = 10,
}

/// The length of the fixed part of a record.
pub(crate) const HEADER: usize = 16;
/// Where the payload of an answer begins.
pub(crate) const ANSWER_HEADER: usize = 24;
/// The fixed part of a call. Words: call, length of the request, service index, method index, flags, length of the
/// peer's id (0: as in the call before); `f64` at 32: server, id, session key, session id, milliseconds left or NaN. Then
/// the peer's id and the request, each padded.
pub(crate) const CALL_HEADER: usize = 72;
/// Flags of a call.
pub(crate) const HAS_REQUEST: u32 = 1;
pub(crate) const HAS_METADATA: u32 = 2;

/// Writes records one after another into a buffer.
pub(crate) struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut [u8]) -> Self {
        Self { out, at: 0 }
    }

    /// How many bytes have been written.
    pub(crate) fn written(&self) -> usize {
        self.at
    }

    /// Takes back what was written from there on.
    pub(crate) fn back_to(&mut self, written: usize) {
        self.at = written;
    }

    /// Whether a record of this length has its place.
    pub(crate) fn fits(&self, length: usize) -> bool {
        padded(length) <= self.out.len() - self.at
    }

    /// Begins a record that [`Writer::fits`].
    pub(crate) fn record(
        &mut self,
        length: usize,
        kind: Kind,
        first: u32,
        second: u32,
    ) -> Record<'_> {
        let length = padded(length);
        let (_, rest) = self.out.split_at_mut(self.at);
        let (record, _) = rest.split_at_mut(length);
        self.at += length;
        let mut record = Record(record);
        // A record is bounded by the largest message, far below 2^32.
        record.word(0, length as u32);
        record.word(1, kind as u32);
        record.word(2, first);
        record.word(3, second);
        record
    }
}

/// One record that is being written.
pub(crate) struct Record<'a>(&'a mut [u8]);

impl Record<'_> {
    pub(crate) fn word(&mut self, index: usize, value: u32) {
        self.bytes(index * 4, &value.to_ne_bytes());
    }

    pub(crate) fn number(&mut self, at: usize, value: f64) {
        self.bytes(at, &value.to_ne_bytes());
    }

    pub(crate) fn bytes(&mut self, at: usize, value: &[u8]) {
        if let Some(place) = self.0.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        } else {
            unreachable!("the record was made long enough");
        }
    }
}

/// One unary call from JavaScript. Words: length, client, method, ticket; `f64` at 16: time-out or NaN; words at 24:
/// session + 1 or 0, flags, length of the metadata, length of the payload; payload at 40, metadata behind it.
pub(crate) struct Submit<'a> {
    pub(crate) client: u32,
    pub(crate) method: u32,
    pub(crate) ticket: u32,
    pub(crate) options: Options<'a>,
    pub(crate) payload: &'a [u8],
}

/// The options of a call, as they stand in records.
pub(crate) struct Options<'a> {
    pub(crate) timeout_ms: f64,
    pub(crate) session: u32,
    pub(crate) flags: u32,
    /// For each entry: lengths of key and value as words, then both.
    pub(crate) metadata: &'a [u8],
}

/// Flags of the options of a call.
pub(crate) const DYNAMIC: u32 = 1;
pub(crate) const COMPRESS_GIVEN: u32 = 2;
pub(crate) const COMPRESS: u32 = 4;
pub(crate) const IDEMPOTENT_GIVEN: u32 = 8;
pub(crate) const IDEMPOTENT: u32 = 16;
/// The time is what is left to the call being served: a bound, not a limit of this call's own.
pub(crate) const WITHIN: u32 = 32;

const SUBMIT_HEADER: usize = 40;

/// Takes the calls out of a buffer. The buffer is our own package's: what does not fit ends the reading.
pub(crate) fn submits(mut buffer: &[u8]) -> impl Iterator<Item = Submit<'_>> {
    std::iter::from_fn(move || {
        let length = word(buffer, 0)? as usize;
        let (record, rest) = buffer.split_at_checked(length)?;
        let (metadata, payload) = (word(record, 32)? as usize, word(record, 36)? as usize);
        let (payload, behind) = record.get(SUBMIT_HEADER..)?.split_at_checked(payload)?;
        let submit = Submit {
            client: word(record, 4)?,
            method: word(record, 8)?,
            ticket: word(record, 12)?,
            options: Options {
                timeout_ms: f64::from_ne_bytes(*record.get(16..24)?.first_chunk()?),
                session: word(record, 24)?,
                flags: word(record, 28)?,
                metadata: behind.get(..metadata)?,
            },
            payload,
        };
        buffer = rest;
        Some(submit)
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..at + 4)?.first_chunk()?))
}

/// The entries of metadata as [`Options::metadata`] has them.
pub(crate) fn entries(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let (key, value) = (word(bytes, 0)? as usize, word(bytes, 4)? as usize);
        let (key, rest) = bytes.get(8..)?.split_at_checked(key)?;
        let (value, rest) = rest.split_at_checked(value)?;
        bytes = rest;
        Some((key, value))
    })
}

/// Memory of JavaScript to be written into. (Spelled out, the macro would take it for an object of ours.)
pub(crate) type Room<'a> = &'a mut [u8];
