//! Servers.

use aster_bridge::Served;
use napi::bindgen_prelude::ClassInstance;
use napi_derive::napi;

use crate::contract::Contract;
use crate::convert::Endpoint;
use crate::fault::{Result, bridge, guard, misuse};
use crate::port::{Port, key};

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
            if contracts.len() != expose_errors.len() {
                return Err(misuse("serve takes one exposeErrors for each contract"));
            }
            let services = contracts
                .iter()
                .zip(expose_errors)
                .map(|(contract, expose)| Served::new(contract.0.clone(), expose))
                .collect();
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

    /// The close hook of a session has ended.
    #[napi]
    pub fn session_closed(&self, server: f64, session: f64) {
        if let Some(server) = self.state.servers.borrow().get(&key(server)) {
            server.session_closed(key(session));
        }
    }

    /// It has been closed, and its hooks have run.
    #[napi]
    pub fn forget_server(&self, server: f64) {
        let forgotten = self.state.servers.borrow_mut().remove(&key(server));
        drop(forgotten);
    }
}
