//! What a server offers to those who dial it, and a client to the server it dials: calls of it become events.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aster::{Dispatch, Inbound, Service, SessionClosed};

use crate::engine::{Contract, MethodRef};
use crate::error::lock;
use crate::event::Event;
use crate::inbound::{Arrived, InboundCall};
use crate::port::Shared;
use crate::runtime::Key;

/// One service that a server or a client offers.
#[derive(Debug, Clone)]
pub struct Served {
    contract: Contract,
    expose_errors: bool,
}

impl Served {
    /// `expose_errors`: callers see the text of unexpected errors.
    pub fn new(contract: Contract, expose_errors: bool) -> Self {
        Self {
            contract,
            expose_errors,
        }
    }

    /// Its contract.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }
}

/// Sessions that have ended and whose close hooks run.
#[derive(Default)]
pub(crate) struct EndedSessions(Mutex<HashMap<u64, SessionClosed>>);

impl EndedSessions {
    /// The close hook of a session has ended.
    pub(crate) fn hook_ended(&self, port: &Shared, session: u64) {
        if !port.runtime.is_forked() {
            let ended = lock(&self.0).remove(&session);
            drop(ended);
        }
    }
}

/// The services as the engine takes them. Their events name `owner`, the server or client that offers them.
pub(crate) fn dispatched(
    services: Vec<Served>,
    port: &Arc<Shared>,
    owner: Key,
) -> (Vec<Service>, Arc<EndedSessions>) {
    let sessions = Arc::new(EndedSessions::default());
    let services = services.into_iter().enumerate().map(|(index, served)| {
        let contract = served.contract.clone();
        let dispatcher = Dispatcher {
            port: port.clone(),
            owner,
            index,
            served,
            sessions: sessions.clone(),
            last_peer: Mutex::new("".into()),
        };
        Service::new(contract, Arc::new(dispatcher)).checked(true)
    });
    (services.collect(), sessions)
}

struct Dispatcher {
    port: Arc<Shared>,
    owner: Key,
    index: usize,
    served: Served,
    sessions: Arc<EndedSessions>,
    /// Most calls come from the peer that called before: its id is then shared.
    last_peer: Mutex<Arc<str>>,
}

impl Dispatcher {
    fn peer(&self, peer: &str) -> Arc<str> {
        let mut last = lock(&self.last_peer);
        if **last != *peer {
            *last = peer.into();
        }
        last.clone()
    }

    fn method(&self, index: usize) -> Option<MethodRef> {
        self.served.contract.compiled().method_at(index)
    }
}

impl Dispatch for Dispatcher {
    fn call(&self, call: Inbound) {
        let Some(method) = self.method(call.method_index()) else {
            // The engine resolved it in the same contract; dropping the call answers it INTERNAL all the same.
            tracing::error!(target: "aster::bridge", "there is no method {}", call.method_index());
            return;
        };
        let (request, requests, responder) = call.into_parts();
        let arrived = Arrived {
            port: self.port.clone(),
            service_index: self.index,
            peer: self.peer(responder.peer()),
            contract: self.served.contract.clone(),
            method,
            expose_errors: self.served.expose_errors,
            request,
            requests,
            responder,
        };
        self.port.push(Event::Call {
            server: self.owner,
            call: InboundCall::new(arrived),
        });
    }

    fn session_closed(&self, closed: SessionClosed) {
        if self.port.check().is_err() {
            // Nobody is there to run a hook.
            return;
        }
        let (session, reason) = (closed.session().key, closed.end().name());
        lock(&self.sessions.0).insert(session, closed);
        let service_index = self.index;
        self.port.push(Event::SessionClosed {
            server: self.owner,
            service_index,
            session,
            reason,
        });
    }
}
