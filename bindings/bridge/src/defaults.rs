//! What a language can read of the core's limits, and what holds in every language alike.

use std::time::Duration;

use crate::engine::limits;

/// Limits and defaults by the names of their constants.
pub const DEFAULTS: &[(&str, usize)] = &[
    ("MAX_MESSAGE", limits::MAX_MESSAGE),
    ("MAX_METADATA", limits::MAX_METADATA),
    ("MAX_METADATA_PAIRS", limits::MAX_METADATA_PAIRS),
    ("MAX_LANE_MESSAGE", limits::MAX_LANE_MESSAGE),
    ("MAX_IN_FLIGHT", limits::MAX_IN_FLIGHT as usize),
    ("MAX_STREAMS", limits::MAX_STREAMS as usize),
    ("MAX_SESSIONS", limits::MAX_SESSIONS as usize),
    ("MAX_CONNECTIONS_PER_PEER", limits::MAX_CONNECTIONS_PER_PEER),
    ("MAX_STATUS_MESSAGE", limits::MAX_STATUS_MESSAGE),
    ("MAX_STATUS_DETAILS", limits::MAX_STATUS_DETAILS),
    ("COMPRESS_THRESHOLD", limits::COMPRESS_THRESHOLD),
    ("INBOX_LIMIT", crate::INBOX_LIMIT),
    ("OUTBOX_LIMIT", crate::OUTBOX_LIMIT),
];

/// How long the end of a program that closed nothing may wait for its peers to be told.
pub const EXIT: Duration = Duration::from_millis(200);
