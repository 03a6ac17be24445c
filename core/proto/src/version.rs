//! Versions and features of the protocol.

/// The ALPN of this major version of the protocol.
pub const ALPN: &[u8] = b"aster/1";

/// Feature bits that this version offers in `Hello` and `Welcome`. A feature is used after `Welcome`, if both sides have it.
pub const FEATURES: u64 = 0;
