//! A contract with everything that is said about it, ready for calls.

use std::sync::Arc;

use aster_proto::contract::{
    self, Compiled, ContractError, ContractId, Manifest, ServiceDescription,
};
use aster_proto::value::ValueError;
use bytes::Bytes;

/// A service's contract and manifest. Immutable and shared.
#[derive(Debug, Clone)]
pub struct Contract(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    compiled: Compiled,
    manifest: Manifest,
}

impl Contract {
    /// The contract that a description stands for.
    pub fn new(description: &ServiceDescription) -> Result<Self, ContractError> {
        let (contract, manifest) = description.normalise()?;
        Ok(Self(Arc::new(Inner {
            compiled: Compiled::new(contract),
            manifest,
        })))
    }

    /// A contract that is normal already.
    pub(crate) fn from_parts(contract: contract::Contract, manifest: Manifest) -> Self {
        Self(Arc::new(Inner {
            compiled: Compiled::new(contract),
            manifest,
        }))
    }

    /// The contract that a description in MessagePack stands for.
    pub fn from_msgpack(description: &[u8]) -> Result<Self, ContractError> {
        Self::new(&ServiceDescription::from_msgpack(description)?)
    }

    /// The contract that a description in JSON stands for.
    pub fn from_json(description: &str) -> Result<Self, ContractError> {
        Self::new(&ServiceDescription::from_json(description)?)
    }

    /// The description in MessagePack: types sorted, methods sorted by name, manifest included.
    pub fn to_msgpack(&self) -> Result<Vec<u8>, ContractError> {
        ServiceDescription::of(self.compiled().contract(), &self.0.manifest).to_msgpack()
    }

    /// Its id.
    pub fn id(&self) -> ContractId {
        self.compiled().id()
    }

    /// The name of the service.
    pub fn name(&self) -> &str {
        self.compiled().contract().name()
    }

    /// The version of the service.
    pub fn version(&self) -> u32 {
        self.compiled().contract().version()
    }

    /// The types and methods, ready for checks.
    pub fn compiled(&self) -> &Compiled {
        &self.0.compiled
    }

    /// What is said about the contract and not hashed.
    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    /// How a client that holds this contract gets on with a server that holds `server`.
    pub fn compare(&self, server: &Self) -> contract::Compat {
        contract::compat(self.compiled().contract(), server.compiled().contract())
    }

    /// Checks a payload that came from a peer.
    pub(crate) fn check(&self, ty: contract::TypeId, payload: &Bytes) -> Result<(), ValueError> {
        self.compiled()
            .check(ty, payload, aster_proto::value::Mode::Receive)
    }
}
