//! Calling back: the services of a peer that has dialled this side.

use std::sync::Arc;

use aster_proto::control::Offer;

use super::Client;
use crate::conn::Conn;

/// The peer that made a call, on the connection on which it came.
///
/// It is good for as long as that connection is, also when the call is over. A peer that connects again is another caller.
#[derive(Clone)]
pub struct Caller(Arc<Conn>);

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller")
            .field("connection", &self.0.number)
            .field("peer", &self.0.peer_id)
            .finish()
    }
}

impl Caller {
    pub(crate) fn new(conn: Arc<Conn>) -> Self {
        Self(conn)
    }

    /// A number of its connection that is unique in the process.
    pub fn connection(&self) -> u64 {
        self.0.number
    }

    /// Its endpoint id, 64 hex digits.
    pub fn peer(&self) -> &str {
        &self.0.peer_id
    }

    /// The services that it offers.
    pub fn offers(&self) -> Vec<Offer> {
        self.0.peer().offers
    }

    /// A client of its services ([`ClientOptions::services`](crate::ClientOptions::services) on its side).
    ///
    /// The connection is the caller's: this client does not make it again, so that calls fail `UNAVAILABLE` once it has
    /// ended, and closing or dropping the client leaves it as it is.
    pub fn client(&self) -> Client {
        Client::of_caller(self.0.clone())
    }
}
