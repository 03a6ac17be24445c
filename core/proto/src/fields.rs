//! Tagged fields: the body of every header and control frame.
//!
//! A field is `varint(tag << 1 | critical)`, `varint(length)`, then `length` bytes. A reader skips tags it does not
//! know, unless they are marked critical: then the header fails. So a newer peer may add what an older one can do
//! without, and mark what it can't.

use bytes::{BufMut, BytesMut};

use crate::error::WireError;
use crate::varint;

/// Appends fields to a buffer.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut BytesMut,
}

impl<'a> Writer<'a> {
    /// Writes to the end of `out`.
    pub fn new(out: &'a mut BytesMut) -> Self {
        Self { out }
    }

    fn head(&mut self, tag: u64, critical: bool, length: usize) {
        varint::put(self.out, tag << 1 | u64::from(critical));
        varint::put(self.out, length as u64);
    }

    /// A field of bytes.
    pub fn bytes(&mut self, tag: u64, critical: bool, value: &[u8]) {
        self.head(tag, critical, value.len());
        self.out.put_slice(value);
    }

    /// A field that holds one varint.
    pub fn varint(&mut self, tag: u64, critical: bool, value: u64) {
        self.head(tag, critical, varint::len(value));
        varint::put(self.out, value);
    }

    /// A field whose body `write` appends.
    pub fn nested(&mut self, tag: u64, critical: bool, write: impl FnOnce(&mut BytesMut)) {
        let mut body = BytesMut::new();
        write(&mut body);
        self.bytes(tag, critical, &body);
    }
}

/// One field as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The tag, without the critical bit.
    pub tag: u64,
    /// Whether a reader that does not know the tag must fail.
    pub critical: bool,
    /// The body.
    pub value: &'a [u8],
}

impl<'a> Field<'a> {
    /// The body as one varint and nothing after it.
    pub fn as_varint(&self, what: &str) -> Result<u64, WireError> {
        match varint::get(self.value) {
            Some((value, length)) if length == self.value.len() => Ok(value),
            _ => Err(WireError::malformed(format!("{what} is not one varint"))),
        }
    }

    /// The body as UTF-8.
    pub fn as_str(&self, what: &str) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.value)
            .map_err(|_| WireError::malformed(format!("{what} is not UTF-8")))
    }

    /// What to do with a tag that the reader does not know: nothing, or fail if it is critical.
    pub fn unknown(&self, what: &str) -> Result<(), WireError> {
        if self.critical {
            return Err(WireError::unsupported(format!(
                "{what} has critical field {}, which this version does not know: the peer needs a newer Aster here",
                self.tag
            )));
        }
        Ok(())
    }
}

/// Reads fields one after another.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`; `what` names the header in errors.
    pub fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    fn truncated(&self) -> WireError {
        WireError::malformed(format!("{} ends inside a field", self.what))
    }

    /// The next field, or `None` at the end.
    #[inline]
    pub fn field(&mut self) -> Result<Option<Field<'a>>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (head, used) = varint::get(self.rest).ok_or_else(|| self.truncated())?;
        let after = &self.rest[used..];
        let (length, used) = varint::get(after).ok_or_else(|| self.truncated())?;
        let after = &after[used..];
        let length = usize::try_from(length).map_err(|_| self.truncated())?;
        if length > after.len() {
            return Err(self.truncated());
        }
        let (value, rest) = after.split_at(length);
        self.rest = rest;
        Ok(Some(Field {
            tag: head >> 1,
            critical: head & 1 == 1,
            value,
        }))
    }
}
