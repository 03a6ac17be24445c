//! Numbers by which a peer ends a connection or one direction of a stream, so that the other side knows why.

/// QUIC application close codes of a connection.
pub mod connection {
    /// Nothing is wrong: the program is done.
    pub const DONE: u32 = 0;
    /// The peer sent bytes that break the protocol.
    pub const PROTOCOL: u32 = 1;
    /// Admission was refused; a `Refused` frame says why.
    pub const REFUSED: u32 = 2;
    /// No complete handshake in time.
    pub const HANDSHAKE_TIMEOUT: u32 = 3;
    /// Too many connections of this peer.
    pub const TOO_MANY: u32 = 4;
    /// The server drained and is going away.
    pub const GOING_AWAY: u32 = 5;
    /// The peer left its answers on the lane unread for too long.
    pub const LANE_STALLED: u32 = 6;
    /// Too many others wait for admission: a try in a few seconds may do.
    pub const BUSY: u32 = 7;
}

/// QUIC application error codes of RESET_STREAM and STOP_SENDING.
pub mod stream {
    /// The call was cancelled, or its direction is not needed any more.
    pub const CANCELLED: u32 = 0;
    /// The stream broke the protocol.
    pub const PROTOCOL: u32 = 1;
    /// The call ended early; the answer's status says how.
    pub const ENDED: u32 = 2;
}
