//! How a call ended.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::error::{WireError, WireErrorKind};
use crate::fields::{Reader, Writer};
use crate::limits;
use crate::metadata::Metadata;

/// A status code: gRPC's 0 to 16 with their meanings, and Aster's own from 101.
///
/// A code that this version has no name for is kept as its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(pub u16);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        impl Code {
            $($(#[$doc])* pub const $name: Code = Code($number);)*

            /// Every code with a name, in order of number.
            pub const ALL: &'static [(&'static str, Code)] = &[$((stringify!($name), Code($number)),)*];
        }
    };
}

codes! {
    /// The call succeeded.
    OK = 0,
    /// The caller cancelled.
    CANCELLED = 1,
    /// Something failed that has no better code, often in another system.
    UNKNOWN = 2,
    /// The request is wrong whatever the state of the server: repair it, do not retry.
    INVALID_ARGUMENT = 3,
    /// The deadline passed before the answer; the handler may have run.
    DEADLINE_EXCEEDED = 4,
    /// The thing asked for does not exist.
    NOT_FOUND = 5,
    /// The thing to create exists.
    ALREADY_EXISTS = 6,
    /// The caller is known and may not do this.
    PERMISSION_DENIED = 7,
    /// A limit was met: wait, or ask for less.
    RESOURCE_EXHAUSTED = 8,
    /// The state of the server forbids it: retrying the same call does not help until the state is changed.
    FAILED_PRECONDITION = 9,
    /// A conflict: retry at a higher level (read again, open a new session).
    ABORTED = 10,
    /// A position beyond the valid range.
    OUT_OF_RANGE = 11,
    /// The peer has no such service, version or method.
    UNIMPLEMENTED = 12,
    /// A fault of the server, described in its log under the error id.
    INTERNAL = 13,
    /// The peer can't be reached or is going away: retry if the call did not run or may run twice.
    UNAVAILABLE = 14,
    /// Data was lost beyond recovery.
    DATA_LOSS = 15,
    /// The caller is not known: present a credential.
    UNAUTHENTICATED = 16,
    /// The caller's contract is not the one served, and the handler did not run.
    CONTRACT_MISMATCH = 101,
}

impl Code {
    /// The name in capitals, or `CODE_<n>` for a number without one.
    pub fn name(self) -> std::borrow::Cow<'static, str> {
        match Self::ALL.iter().find(|(_, code)| *code == self) {
            Some((name, _)) => (*name).into(),
            None => format!("CODE_{}", self.0).into(),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// Who made a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The user's handler.
    Handler,
    /// The Aster runtime of the answering peer.
    Server,
    /// The Aster runtime of the calling peer.
    Client,
    /// The connection between them.
    Transport,
}

impl Origin {
    /// The word for it in texts and in other languages.
    pub fn name(self) -> &'static str {
        match self {
            Origin::Handler => "handler",
            Origin::Server => "server",
            Origin::Client => "client",
            Origin::Transport => "transport",
        }
    }
}

/// The end of a call: code, text, details, metadata, who says so, and whether a retry is safe.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The code.
    pub code: Code,
    /// What happened, where, and what to do. Empty for [`Code::OK`].
    pub message: String,
    /// One MessagePack value for programs to read.
    pub details: Option<Bytes>,
    /// Trailing metadata.
    pub metadata: Metadata,
    /// Who made it.
    pub origin: Origin,
    /// Whether the handler may have run. `false` only if it certainly did not, so that a retry is safe.
    pub may_have_run: bool,
    /// How long to wait before a retry, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

impl Status {
    /// Success.
    pub fn ok() -> Self {
        Self::new(Code::OK, "", Origin::Handler, true)
    }

    /// A failure that a handler reports.
    pub fn handler(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, message, Origin::Handler, true)
    }

    /// A failure that the answering runtime reports about a call whose handler did not run.
    pub fn rejected(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, message, Origin::Server, false)
    }

    /// A failure that the answering runtime reports about a call whose handler ran.
    pub fn server(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, message, Origin::Server, true)
    }

    /// A failure on the caller's side after the call was sent.
    pub fn client(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, message, Origin::Client, true)
    }

    /// A failure on the caller's side before anything was sent.
    pub fn unsent(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, message, Origin::Client, false)
    }

    /// A failure of the connection.
    pub fn transport(code: Code, message: impl Into<String>, may_have_run: bool) -> Self {
        Self::new(code, message, Origin::Transport, may_have_run)
    }

    fn new(code: Code, message: impl Into<String>, origin: Origin, may_have_run: bool) -> Self {
        Self {
            code,
            message: message.into(),
            details: None,
            metadata: Metadata::new(),
            origin,
            may_have_run,
            retry_after_ms: None,
        }
    }

    /// What bytes that break the wire format mean for the call they belong to.
    pub fn from_wire(error: &WireError, may_have_run: bool) -> Self {
        let code = match error.kind() {
            WireErrorKind::TooLarge => Code::RESOURCE_EXHAUSTED,
            WireErrorKind::Unsupported => Code::UNIMPLEMENTED,
            WireErrorKind::Malformed => Code::INVALID_ARGUMENT,
        };
        Self::new(code, error.to_string(), Origin::Transport, may_have_run)
    }

    /// Attaches details: one MessagePack value of at most [`limits::MAX_STATUS_DETAILS`] bytes.
    pub fn with_details(mut self, details: Bytes) -> Result<Self, WireError> {
        if details.len() > limits::MAX_STATUS_DETAILS {
            return Err(WireError::too_large(format!(
                "status details are {} bytes: at most {} are allowed",
                details.len(),
                limits::MAX_STATUS_DETAILS
            )));
        }
        self.details = Some(details);
        Ok(self)
    }

    /// Attaches trailing metadata.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Whether the call succeeded.
    pub fn is_ok(&self) -> bool {
        self.code == Code::OK
    }

    /// Appends the tagged fields of a status. Success with nothing to add is no bytes at all.
    pub fn encode(&self, out: &mut BytesMut) {
        let mut writer = Writer::new(out);
        if self.code != Code::OK {
            writer.varint(tag::CODE, true, u64::from(self.code.0));
        }
        if !self.message.is_empty() {
            writer.bytes(tag::MESSAGE, false, cut(&self.message).as_bytes());
        }
        if let Some(details) = &self.details {
            writer.bytes(tag::DETAILS, false, details);
        }
        if !self.metadata.is_empty() {
            writer.nested(tag::METADATA, false, |out| self.metadata.encode(out));
        }
        if self.code != Code::OK && self.origin != Origin::Handler {
            writer.varint(tag::ORIGIN, false, 1);
        }
        if self.code != Code::OK && !self.may_have_run {
            writer.varint(tag::DID_NOT_RUN, false, 1);
        }
        if let Some(wait) = self.retry_after_ms {
            writer.varint(tag::RETRY_AFTER, false, wait);
        }
    }

    /// Reads what [`Status::encode`] writes, from the peer that answered.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        Ok(Self::decode_with_initial(bytes)?.0)
    }

    /// Reads a status that may also hold initial response metadata, as in a lane reply.
    pub(crate) fn decode_with_initial(bytes: &[u8]) -> Result<(Self, Metadata), WireError> {
        if bytes.len() > limits::MAX_HEADER {
            return Err(WireError::too_large(format!(
                "a status is {} bytes: at most {} are allowed",
                bytes.len(),
                limits::MAX_HEADER
            )));
        }
        let mut status = Status::ok();
        let mut initial = Metadata::new();
        let mut reader = Reader::new(bytes, "a status");
        while let Some(field) = reader.field()? {
            match field.tag {
                tag::CODE => {
                    let code = field.as_varint("a status code")?;
                    let code = u16::try_from(code).map_err(|_| {
                        WireError::malformed(format!("status code {code} is above 65535"))
                    })?;
                    status.code = Code(code);
                }
                tag::MESSAGE => {
                    status.message = cut(field.as_str("a status message")?).into_owned()
                }
                tag::DETAILS => {
                    status = status.with_details(Bytes::copy_from_slice(field.value))?
                }
                tag::METADATA => status.metadata = Metadata::decode(field.value)?,
                tag::ORIGIN => {
                    // A newer peer may tell apart more; all that is not the handler is its runtime.
                    let handler = field.as_varint("a status origin")? == 0;
                    status.origin = if handler {
                        Origin::Handler
                    } else {
                        Origin::Server
                    };
                }
                tag::DID_NOT_RUN => {
                    status.may_have_run = field.as_varint("a did-not-run mark")? == 0
                }
                tag::RETRY_AFTER => {
                    status.retry_after_ms = Some(field.as_varint("a retry-after time")?)
                }
                tag::INITIAL_METADATA => initial = Metadata::decode(field.value)?,
                _ => field.unknown("a status")?,
            }
        }
        Ok((status, initial))
    }

    pub(crate) fn encode_initial(metadata: &Metadata, out: &mut BytesMut) {
        if !metadata.is_empty() {
            Writer::new(out).nested(tag::INITIAL_METADATA, false, |out| metadata.encode(out));
        }
    }
}

/// The field tags of a status.
mod tag {
    pub const CODE: u64 = 1;
    pub const MESSAGE: u64 = 2;
    pub const DETAILS: u64 = 3;
    pub const METADATA: u64 = 4;
    pub const ORIGIN: u64 = 5;
    pub const DID_NOT_RUN: u64 = 6;
    pub const RETRY_AFTER: u64 = 7;
    pub const INITIAL_METADATA: u64 = 8;
}

/// A message that fits [`limits::MAX_STATUS_MESSAGE`], its cut marked.
pub(crate) fn cut(message: &str) -> std::borrow::Cow<'_, str> {
    if message.len() <= limits::MAX_STATUS_MESSAGE {
        return message.into();
    }
    let mut end = limits::MAX_STATUS_MESSAGE - '…'.len_utf8();
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &message[..end]).into()
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        if !self.is_ok() && self.origin == Origin::Transport && !self.may_have_run {
            f.write_str(" (the call did not run)")?;
        }
        Ok(())
    }
}

impl std::error::Error for Status {}
