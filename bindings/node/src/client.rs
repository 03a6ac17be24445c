//! Clients and unary calls.

use std::panic::{AssertUnwindSafe, catch_unwind};

use aster_bridge::engine::{Code, Codec, ContractId, Offer, Scope};
use aster_bridge::{Event, Failure, Ticket};
use napi::bindgen_prelude::ClassInstance;
use napi_derive::napi;

use crate::contract::Contract;
use crate::convert::{Endpoint, call_options};
use crate::fault::{Result, bridge, closed, guard, misuse, panicked};
use crate::port::{Method, Port, Session, State};
use crate::records::{DYNAMIC, Options, Submit, submits};
use crate::server::served;

/// A service that a peer offers.
#[napi(object, object_from_js = false)]
pub struct Offered {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// 64 hex digits.
    pub contract_id: String,
    /// shared or session.
    pub scope: &'static str,
}

#[napi]
impl Port {
    /// Connects to the first address that answers; completes with a client. Returns the key by which the calls name it
    /// that come for the services it offers.
    #[napi]
    pub fn connect(
        &self,
        addresses: Vec<String>,
        contracts: Vec<ClassInstance<'_, Contract>>,
        expose_errors: Vec<bool>,
        options: Endpoint,
        ticket: u32,
    ) -> Result<f64> {
        guard(|| {
            let services = served(&contracts, expose_errors)?;
            let key = self.state.bridge.connect_serving(
                &addresses,
                services,
                &options.into(),
                ticket.into(),
            );
            Ok(key.map_err(|error| bridge(&error))? as f64)
        })
    }

    /// The endpoint id of the peer.
    #[napi]
    pub fn client_peer(&self, client: u32) -> Result<String> {
        guard(|| {
            self.state
                .client(client, |client| Ok(client.peer().to_owned()))
        })
    }

    /// What the peer offers now.
    #[napi]
    pub fn client_services(&self, client: u32) -> Result<Vec<Offered>> {
        let offered = |offer: Offer| Offered {
            name: offer.service,
            version: offer.version,
            contract_id: ContractId::from(offer.contract).to_string(),
            scope: match offer.scope {
                Scope::Shared => "shared",
                Scope::Session => "session",
            },
        };
        guard(|| {
            self.state.client(client, |client| match client.offers() {
                Ok(offers) => Ok(offers.into_iter().map(offered).collect()),
                Err(error) => Err(bridge(&error)),
            })
        })
    }

    /// Fetches a contract; completes with it.
    #[napi]
    pub fn client_contract(
        &self,
        client: u32,
        name: String,
        version: Option<u32>,
        ticket: u32,
    ) -> Result<()> {
        guard(|| {
            self.state.client(client, |client| {
                let begun = client.contract(&name, version, ticket.into());
                begun.map_err(|error| bridge(&error))
            })
        })
    }

    /// A method, or nothing if the contract has none of this name.
    #[napi]
    pub fn client_method(
        &self,
        client: u32,
        contract: &Contract,
        name: String,
        json: bool,
    ) -> Result<Option<u32>> {
        guard(|| {
            let codec = if json {
                Codec::Json
            } else {
                Codec::MessagePack
            };
            let method = self.state.client(client, |client| {
                Ok(client.method(&contract.0, &name, codec))
            })?;
            Ok(method.map(|bridge| {
                let mut methods = self.state.methods.borrow_mut();
                methods.insert(Method { client, bridge }) as u32
            }))
        })
    }

    /// Which method at which peer, for texts.
    #[napi]
    pub fn method_place(&self, method: u32) -> Result<String> {
        guard(|| {
            let methods = self.state.methods.borrow();
            let method = methods
                .get(method as usize)
                .ok_or_else(|| closed("this client"))?;
            Ok(method.bridge.place().to_owned())
        })
    }

    /// A session with a service.
    #[napi]
    pub fn open_session(&self, client: u32, service: String, implicit: bool) -> Result<u32> {
        guard(|| {
            let session = self.state.client(client, |client| {
                client
                    .open_session(&service, implicit)
                    .map_err(|error| bridge(&error))
            })?;
            let session = Session {
                client,
                bridge: session,
            };
            Ok(self.state.sessions.borrow_mut().insert(session) as u32)
        })
    }

    /// The caller's number of a session, 0 for none.
    #[napi]
    pub fn session_id(&self, session: u32) -> f64 {
        let sessions = self.state.sessions.borrow();
        let id = sessions
            .get(session as usize)
            .and_then(|session| session.bridge.id());
        id.unwrap_or_default() as f64
    }

    /// Ends a session behind the calls already made; its number is then free.
    #[napi]
    pub fn close_session(&self, session: u32, ticket: u32) -> Result<()> {
        guard(|| {
            let session = self
                .state
                .sessions
                .borrow_mut()
                .try_remove(session as usize);
            let Some(session) = session else {
                return Err(closed("this session"));
            };
            session
                .bridge
                .close(ticket.into())
                .map_err(|error| bridge(&error))
        })
    }

    /// Completes with the milliseconds of a round trip.
    #[napi]
    pub fn client_ping(&self, client: u32, timeout_ms: f64, ticket: u32) -> Result<()> {
        guard(|| {
            self.state.client(client, |client| {
                let begun = client.ping(timeout_ms as u64, ticket.into());
                begun.map_err(|error| bridge(&error))
            })
        })
    }

    /// Closes a client; completes when what was asked for has been flushed.
    #[napi]
    pub fn close_client(&self, client: u32, ticket: u32) -> Result<()> {
        guard(|| {
            self.state.client(client, |client| {
                client.close(ticket.into()).map_err(|error| bridge(&error))
            })
        })
    }

    /// A client has been closed: its number is free, and so are those of its methods and sessions.
    #[napi]
    pub fn forget_client(&self, client: u32) -> Result<()> {
        guard(|| {
            let state = &self.state;
            state
                .methods
                .borrow_mut()
                .retain(|_, method| method.client != client);
            state
                .sessions
                .borrow_mut()
                .retain(|_, session| session.client != client);
            let closed = state.clients.borrow_mut().try_remove(client as usize);
            drop(closed);
            Ok(())
        })
    }

    /// Makes the unary calls of the records in `buffer`. Returns whether some of them have ended here, so that there is
    /// something to drain.
    #[napi]
    pub fn submit(&self, buffer: &[u8]) -> Result<bool> {
        guard(|| {
            let mut ended = false;
            for submit in submits(buffer) {
                let ticket = Ticket::from(submit.ticket);
                let begun = catch_unwind(AssertUnwindSafe(|| self.state.begin(&submit)));
                let failure = match begun {
                    Ok(Ok(())) => continue,
                    Ok(Err(failure)) => failure,
                    Err(panic) => Box::new(Failure::here(Code::INTERNAL, panicked(&*panic), "")),
                };
                ended = true;
                self.state.left.borrow_mut().push_back(Event::Completed {
                    ticket,
                    outcome: aster_bridge::Outcome::Failed(failure),
                });
            }
            Ok(ended)
        })
    }
}

impl State {
    fn begin(&self, submit: &Submit<'_>) -> std::result::Result<(), Box<Failure>> {
        let methods = self.methods.borrow();
        let clients = self.clients.borrow();
        let gone = || {
            let closed = aster_bridge::BridgeError::Closed("this client".to_owned());
            Box::new(Failure::of_bridge(&closed, ""))
        };
        let method = methods.get(submit.method as usize).ok_or_else(gone)?;
        let client = clients.get(submit.client as usize).ok_or_else(gone)?;
        let place = method.bridge.place();
        let wrong = |text: String| Box::new(Failure::here(Code::INVALID_ARGUMENT, text, place));
        let dynamic = submit.options.flags & DYNAMIC != 0;
        let request = method
            .bridge
            .request(submit.payload, dynamic)
            .map_err(|error| wrong(error.to_string()))?;
        let options = self
            .options(&submit.options)
            .map_err(|error| wrong(error.reason))?;
        client
            .unary(&method.bridge, request, options, submit.ticket.into())
            .map_err(|error| Box::new(Failure::of_bridge(&error, place)))
    }

    /// The options of a call with its session.
    pub(crate) fn options(&self, given: &Options<'_>) -> Result<aster_bridge::options::Call> {
        let mut options = call_options(given)?;
        if let Some(session) = given.session.checked_sub(1) {
            let sessions = self.sessions.borrow();
            let session = sessions.get(session as usize);
            let session =
                session.ok_or_else(|| misuse("this session is already closed: open a new one"))?;
            options.session = Some(session.bridge.for_call());
        }
        Ok(options)
    }
}
