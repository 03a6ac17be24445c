//! Calling back: the services of a peer that has dialled this side.

use std::sync::{Arc, Weak};

use aster_proto::control::Offer;
use aster_proto::status::{Code, Status};

use super::Client;
use crate::conn::Conn;

/// The peer that made a call, on the connection on which it came.
///
/// It is good for as long as that connection is, also when the call is over. A peer that connects again is another caller.
#[derive(Clone)]
pub struct Caller {
    number: u64,
    peer: Arc<str>,
    /// Weak: a caller that is kept must not keep its connection, and with it the socket of a server that has closed.
    conn: Weak<Conn>,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller")
            .field("connection", &self.number)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl Caller {
    pub(crate) fn new(conn: &Arc<Conn>) -> Self {
        Self {
            number: conn.number,
            peer: conn.peer_id.clone(),
            conn: Arc::downgrade(conn),
        }
    }

    /// A number of its connection that is unique in the process.
    pub fn connection(&self) -> u64 {
        self.number
    }

    /// Its endpoint id, 64 hex digits.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// The services that it offers; none once its connection has ended.
    pub fn offers(&self) -> Vec<Offer> {
        let conn = self.conn.upgrade();
        conn.map(|conn| conn.peer().offers).unwrap_or_default()
    }

    /// A client of its services ([`ClientOptions::services`](crate::ClientOptions::services) on its side).
    ///
    /// The connection is the caller's: this client does not make it again, so that calls fail `UNAVAILABLE` once it has
    /// ended, and closing or dropping the client leaves it as it is.
    pub fn client(&self) -> Client {
        Client::of_caller(self.clone())
    }

    /// Its connection, if that takes calls.
    pub(super) fn usable(&self) -> Option<Arc<Conn>> {
        self.conn.upgrade().filter(|conn| conn.is_usable())
    }

    /// Why it can't be called any more.
    pub(super) fn gone(&self) -> Status {
        let why = match self.conn.upgrade() {
            Some(conn) if conn.is_over() => conn.lost(false).message,
            Some(_) => "it takes no new calls on this connection".to_owned(),
            None => "its connection has ended".to_owned(),
        };
        let text =
            format!("the caller is gone ({why}): it is reached by the connection of its next call");
        Status::unsent(Code::UNAVAILABLE, text)
    }
}
