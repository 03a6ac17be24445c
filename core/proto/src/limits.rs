//! Every limit of the protocol: one named constant each, with its unit and what happens beyond it.
//!
//! [`Limits`] holds those a peer may be configured with; the constants are their defaults. The rest are fixed.

/// Largest message, in bytes after decompression. Beyond it the call fails `RESOURCE_EXHAUSTED`.
pub const MAX_MESSAGE: usize = 16 << 20;
/// Largest metadata of one direction of a call: keys plus values, in bytes. Beyond it the call fails
/// `RESOURCE_EXHAUSTED`. A peer may take less, never more: the header around it is limited too.
pub const MAX_METADATA: usize = 8 << 10;
/// Most metadata pairs of one direction of a call.
pub const MAX_METADATA_PAIRS: usize = 128;
/// Largest call header, status or encoded metadata, in bytes. Beyond it the call fails `RESOURCE_EXHAUSTED`.
pub const MAX_HEADER: usize = 32 << 10;
/// Largest status message, in bytes of UTF-8; a sender cuts at a character boundary and marks the cut with `…`.
pub const MAX_STATUS_MESSAGE: usize = 4 << 10;
/// Largest status details, in bytes of MessagePack. Larger ones are refused where they are attached.
pub const MAX_STATUS_DETAILS: usize = 8 << 10;
/// Longest name of a service or method, in bytes.
pub const MAX_NAME: usize = 255;
/// Largest control frame after admission, in bytes. A larger one closes the connection.
pub const MAX_CONTROL_FRAME: usize = 256 << 10;
/// Largest `Hello`, in bytes. A larger one is refused and the connection closed.
pub const MAX_HELLO: usize = 16 << 10;
/// Bidirectional streams a peer may have open before it is admitted.
pub const PRE_ADMISSION_STREAMS: u32 = 8;
/// Connection window before admission, in bytes.
pub const PRE_ADMISSION_WINDOW: u32 = 64 << 10;
/// Time from connecting to a complete `Hello`, and from `Hello` to its answer, in milliseconds. Then the connection is closed.
pub const HANDSHAKE_MS: u64 = 5_000;
/// Connections that may be waiting for admission at once, over all peers. Beyond it new ones are closed, with a reason.
pub const MAX_UNADMITTED: usize = 256;
/// Connections that are being told at once that they are one too many. Beyond it new ones are refused without a reason,
/// which costs no handshake.
pub const MAX_TURNED_AWAY: usize = 32;
/// Connection window after admission, in bytes.
pub const CONNECTION_WINDOW: u32 = 16 << 20;
/// Window of one stream, in bytes. More than 2 MB lets packet loss kill the connection (docs/decisions.md).
pub const STREAM_WINDOW: u32 = 1_250_000;
/// Bidirectional streams a peer may have open once admitted: its concurrent streaming and large calls.
pub const MAX_STREAMS: u32 = 4_096;
/// Unidirectional streams a peer may have open once admitted: large answers to lane calls.
pub const MAX_UNI_STREAMS: u32 = 1_024;
/// Unary calls a peer may have in flight on its lane. A caller waits for a free place; one that does not is answered
/// `RESOURCE_EXHAUSTED`.
pub const MAX_IN_FLIGHT: u32 = 1_000;
/// Largest encoded message that travels on the lane, in bytes. Larger ones get a stream of their own.
pub const MAX_LANE_MESSAGE: usize = 8 << 10;
/// Answers a peer may leave unread on the lane, in bytes, before the lane stops being read.
pub const MAX_LANE_BACKLOG: usize = 1 << 20;
/// How long a peer may leave its lane answers unread before the connection is closed, in milliseconds.
pub const LANE_STALL_MS: u64 = 30_000;
/// Routes a caller may define on its lane.
pub const MAX_ROUTES: u64 = 1_024;
/// Open sessions of one connection. Beyond it the call that would create one fails `RESOURCE_EXHAUSTED`.
pub const MAX_SESSIONS: u32 = 10_000;
/// Unary calls that may wait in one session's queue. Beyond it a call fails `RESOURCE_EXHAUSTED`.
pub const MAX_SESSION_QUEUE: usize = 1_000;
/// How long closing a session waits for calls that were issued but have not arrived, in milliseconds.
pub const SESSION_CLOSE_MS: u64 = 5_000;
/// Bytes of partly received messages per peer. The call that exceeds it fails `RESOURCE_EXHAUSTED`.
pub const MAX_PARTIAL: usize = 64 << 20;
/// Bytes of decompressed requests of one peer that are being answered. The call that exceeds it fails
/// `RESOURCE_EXHAUSTED`.
pub const MAX_UNFOLDED: usize = 256 << 20;
/// Bytes of large answers (messages of [`COUNTED_ANSWER`] and more) that handlers have given and one peer has not taken.
/// The call whose answer exceeds it fails `RESOURCE_EXHAUSTED`.
pub const MAX_UNSENT: usize = 256 << 20;
/// Messages of an answer that count as large for [`MAX_UNSENT`], in bytes. Smaller ones are bounded by their number.
pub const COUNTED_ANSWER: usize = 16 << 10;
/// How many calls of one connection may not have ended, those that their caller has given up included, as a multiple of
/// the calls it may have in flight (`streams` and `in_flight` together): a cancelled call gives its place back at once,
/// while its handler may take its time. Beyond it a call fails `RESOURCE_EXHAUSTED`.
pub const MAX_RUNNING_FACTOR: usize = 8;
/// Bytes of answers to pings that a peer may leave unread. Beyond it the connection is closed.
pub const MAX_UNREAD_PONGS: usize = 64 << 10;
/// Connections of one endpoint id. Beyond it a new one is refused.
pub const MAX_CONNECTIONS_PER_PEER: usize = 16;
/// Largest frame of the lane, in bytes: a header or status, a message, and the numbers around them. A larger one closes
/// the connection.
pub const MAX_LANE_FRAME: usize = MAX_HEADER + MAX_LANE_MESSAGE + 64;
/// Most capabilities in one `Welcome`.
pub const MAX_CAPABILITIES: usize = 1_024;
/// Services one peer may offer in `Hello` or `Welcome`.
pub const MAX_OFFERS: usize = 1_024;
/// Smallest message that is compressed when compression is asked for, in bytes.
pub const COMPRESS_THRESHOLD: usize = 4 << 10;

/// The limits a peer states in `Hello` and `Welcome`: what it is willing to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// See [`MAX_MESSAGE`].
    pub message: usize,
    /// See [`MAX_METADATA`].
    pub metadata: usize,
    /// See [`MAX_IN_FLIGHT`].
    pub in_flight: u32,
    /// See [`MAX_STREAMS`].
    pub streams: u32,
    /// See [`MAX_SESSIONS`].
    pub sessions: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message: MAX_MESSAGE,
            metadata: MAX_METADATA,
            in_flight: MAX_IN_FLIGHT,
            streams: MAX_STREAMS,
            sessions: MAX_SESSIONS,
        }
    }
}
