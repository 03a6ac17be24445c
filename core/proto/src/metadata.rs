//! Metadata: what a call carries beside its messages.

use bytes::{Bytes, BytesMut};

use crate::error::WireError;
use crate::fields::{Reader, Writer};
use crate::limits;

/// Keys that start so belong to Aster; user code may neither set nor see them.
pub const RESERVED_PREFIX: &str = "aster-";
/// Keys that end so carry bytes, all others UTF-8 text (the convention of gRPC).
pub const BINARY_SUFFIX: &str = "-bin";

/// Ordered pairs of key and value with unique keys.
///
/// Keys are 1 to 128 characters of `a-z`, `0-9`, `-`, `_` and `.`. Values are UTF-8 text, or bytes where the key ends
/// in `-bin`. All pairs together are limited to [`limits::MAX_METADATA`] bytes and [`limits::MAX_METADATA_PAIRS`] pairs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    pairs: Vec<(String, Bytes)>,
    /// Bytes of all keys and values.
    size: usize,
}

impl Metadata {
    /// No pairs.
    pub const fn new() -> Self {
        Self {
            pairs: Vec::new(),
            size: 0,
        }
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Bytes of all keys and values, which is what the limit counts.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The pairs, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Bytes> {
        self.pairs
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value)
    }

    /// The value of a text `key`.
    pub fn get_str(&self, key: &str) -> Option<&str> {
        std::str::from_utf8(self.get(key)?).ok()
    }

    /// Adds a pair.
    ///
    /// Fails on a key that is malformed, reserved (`aster-…`) or there already, on text that is not UTF-8, and over the limits.
    pub fn insert(&mut self, key: &str, value: impl Into<Bytes>) -> Result<(), WireError> {
        if key.starts_with(RESERVED_PREFIX) {
            return Err(WireError::malformed(format!(
                "metadata key {key:?}: keys that start with `aster-` are reserved"
            )));
        }
        let value = value.into();
        self.check(key, &value)?;
        self.push(key, value);
        Ok(())
    }

    /// Adds a pair that was checked.
    fn push(&mut self, key: &str, value: Bytes) {
        self.size += key.len() + value.len();
        self.pairs.push((key.to_owned(), value));
    }

    /// Whether a pair may be added. Before it is, so that a pair which is refused is neither kept nor copied.
    fn check(&self, key: &str, value: &[u8]) -> Result<(), WireError> {
        let ok =
            |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_' | b'.');
        if key.is_empty() || key.len() > 128 || !key.bytes().all(ok) {
            // Not the whole of a key that may be as long as the frame it came in.
            let key: String = key.chars().take(128).collect();
            return Err(WireError::malformed(format!(
                "metadata key {key:?}: use 1 to 128 characters of a-z, 0-9, '-', '_' and '.'"
            )));
        }
        if !key.ends_with(BINARY_SUFFIX) && std::str::from_utf8(value).is_err() {
            return Err(WireError::malformed(format!(
                "metadata value of {key:?} is not UTF-8 text: end the key in `-bin` to send bytes"
            )));
        }
        let (size, pairs) = (self.size + key.len() + value.len(), self.pairs.len() + 1);
        if size > limits::MAX_METADATA || pairs > limits::MAX_METADATA_PAIRS {
            return Err(WireError::too_large(format!(
                "metadata is {size} bytes in {pairs} pairs: at most {} bytes and {} pairs are allowed",
                limits::MAX_METADATA,
                limits::MAX_METADATA_PAIRS
            )));
        }
        // After the limits, which bound how many keys there are to compare with.
        if self.get(key).is_some() {
            return Err(WireError::malformed(format!(
                "metadata key {key:?} is there twice"
            )));
        }
        Ok(())
    }

    /// Takes out the pairs whose keys are reserved, before user code sees the rest.
    pub fn hide_reserved(&mut self) {
        if self
            .pairs
            .iter()
            .any(|(key, _)| key.starts_with(RESERVED_PREFIX))
        {
            self.pairs
                .retain(|(key, _)| !key.starts_with(RESERVED_PREFIX));
            self.size = self
                .pairs
                .iter()
                .map(|(key, value)| key.len() + value.len())
                .sum();
        }
    }

    /// Appends the pairs as tagged fields: tag 1 a key, tag 2 the value of the key before it.
    pub fn encode(&self, out: &mut BytesMut) {
        let mut writer = Writer::new(out);
        for (key, value) in &self.pairs {
            writer.bytes(1, true, key.as_bytes());
            writer.bytes(2, true, value);
        }
    }

    /// Reads what [`Metadata::encode`] writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > limits::MAX_HEADER {
            return Err(WireError::too_large(format!(
                "metadata is {} bytes as encoded: at most {} are allowed",
                bytes.len(),
                limits::MAX_HEADER
            )));
        }
        let mut metadata = Self::new();
        let mut key: Option<&str> = None;
        let mut reader = Reader::new(bytes, "metadata");
        while let Some(field) = reader.field()? {
            match (field.tag, key) {
                (1, None) => key = Some(field.as_str("a metadata key")?),
                (2, Some(name)) => {
                    metadata.check(name, field.value)?;
                    metadata.push(name, Bytes::copy_from_slice(field.value));
                    key = None;
                }
                (1 | 2, _) => {
                    return Err(WireError::malformed(
                        "metadata keys and values do not alternate",
                    ));
                }
                _ => field.unknown("metadata")?,
            }
        }
        match key {
            None => Ok(metadata),
            Some(key) => Err(WireError::malformed(format!(
                "metadata key {key:?} has no value"
            ))),
        }
    }
}
