//! What is wrong with bytes a peer sent.

use std::fmt;

/// A violation of the wire format.
///
/// Its text says what was read, where, and what was expected; the engine turns it into a call's status or a
/// connection's close reason, whichever is the smallest thing the error can end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireError {
    kind: WireErrorKind,
    text: String,
}

/// What sort of violation it is, for choosing a status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireErrorKind {
    /// Bytes that no version of Aster writes.
    Malformed,
    /// Well-formed, but over a limit.
    TooLarge,
    /// A critical field or frame this version does not know.
    Unsupported,
}

impl WireError {
    /// Bytes that no version of Aster writes.
    pub(crate) fn malformed(text: impl Into<String>) -> Self {
        Self {
            kind: WireErrorKind::Malformed,
            text: text.into(),
        }
    }

    /// Well-formed, but over a limit.
    pub(crate) fn too_large(text: impl Into<String>) -> Self {
        Self {
            kind: WireErrorKind::TooLarge,
            text: text.into(),
        }
    }

    /// Something this version does not know and may not ignore.
    pub(crate) fn unsupported(text: impl Into<String>) -> Self {
        Self {
            kind: WireErrorKind::Unsupported,
            text: text.into(),
        }
    }

    /// What sort of violation it is.
    pub fn kind(&self) -> WireErrorKind {
        self.kind
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for WireError {}
