//! Servers.

use aster_bridge::Served;
use napi::bindgen_prelude::ClassInstance;
use napi_derive::napi;

use crate::contract::Contract;
use crate::convert::Endpoint;
use crate::fault::{Result, bridge, guard, misuse};
use crate::port::{Port, key};

/// What a server, or a client, offers.
pub(crate) fn served(
    contracts: &[ClassInstance<'_, Contract>],
    expose_errors: Vec<bool>,
) -> Result<Vec<Served>> {
    if contracts.len() != expose_errors.len() {
        return Err(misuse("services need one exposeErrors for each contract"));
    }
    let served = |(contract, expose): (&ClassInstance<'_, Contract>, bool)| {
        Served::new(contract.0.clone(), expose)
    };
    Ok(contracts.iter().zip(expose_errors).map(served).collect())
}

#[napi]
impl Port {
    /// Binds and serves; completes with the server's number, which is returned too: calls may come before that.
    #[napi]
    pub fn serve(
        &self,
        contracts: Vec<ClassInstance<'_, Contract>>,
        expose_errors: Vec<bool>,
        options: Endpoint,
        ticket: u32,
    ) -> Result<f64> {
        guard(|| {
            let services = served(&contracts, expose_errors)?;
            let server = self
                .state
                .bridge
                .serve(services, &options.into(), ticket.into());
            Ok(server.map_err(|error| bridge(&error))? as f64)
        })
    }

    /// Where it can be called.
    #[napi]
    pub fn server_address(&self, server: f64) -> Result<String> {
        guard(|| self.state.server(server, |server| Ok(server.address())))
    }

    /// Its endpoint id.
    #[napi]
    pub fn server_endpoint_id(&self, server: f64) -> Result<String> {
        guard(|| self.state.server(server, |server| Ok(server.endpoint_id())))
    }

    /// Lets running calls end for so long, and closes.
    #[napi]
    pub fn drain_server(&self, server: f64, grace_ms: f64, ticket: u32) -> Result<()> {
        guard(|| {
            self.state.server(server, |server| {
                server
                    .drain(grace_ms as u64, ticket.into())
                    .map_err(|error| bridge(&error))
            })
        })
    }

    /// Closes at once.
    #[napi]
    pub fn close_server(&self, server: f64, ticket: u32) -> Result<()> {
        guard(|| {
            self.state.server(server, |server| {
                server.close(ticket.into()).map_err(|error| bridge(&error))
            })
        })
    }

    /// Completes when it is closed.
    #[napi]
    pub fn wait_server(&self, server: f64, ticket: u32) -> Result<()> {
        guard(|| {
            self.state.server(server, |server| {
                server
                    .wait_closed(ticket.into())
                    .map_err(|error| bridge(&error))
            })
        })
    }

    /// The close hook of a session of a server, or of a client that offers services, has ended.
    #[napi]
    pub fn session_closed(&self, owner: f64, session: f64) {
        let (owner, session) = (key(owner), key(session));
        if let Some(server) = self.state.servers.borrow().get(&owner) {
            return server.session_closed(session);
        }
        let clients = self.state.clients.borrow();
        if let Some((_, client)) = clients.iter().find(|(_, client)| client.key() == owner) {
            client.session_closed(session);
        }
    }

    /// It has been closed, and its hooks have run.
    #[napi]
    pub fn forget_server(&self, server: f64) {
        let forgotten = self.state.servers.borrow_mut().remove(&key(server));
        drop(forgotten);
    }
}
