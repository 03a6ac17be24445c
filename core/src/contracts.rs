//! Contracts over RPC: every endpoint that serves has the service `AsterContracts`, which gives a contract by its id.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use aster_proto::contract::{Contract as Bare, ContractId, Manifest};
use aster_proto::status::{Code, Status};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::call::inbound::Inbound;
use crate::client::Method;
use crate::contract::Contract;
use crate::service::{Dispatch, Registry, Service};

/// The description of the service. Its id is the same on every peer, so it need not be asked for.
const DESCRIPTION: &str = r#"{
    "name": "AsterContracts", "version": 1, "scope": "shared",
    "methods": [{"name": "get", "pattern": "unary", "idempotent": true,
        "request": {"t": "ref", "tag": "AsterContracts.get"}, "response": {"t": "ref", "tag": "aster/Contract"}}],
    "types": [
        {"kind": "struct", "tag": "AsterContracts.get", "fields": [
            {"name": "id", "type": {"t": "bytes"}, "required": true}]},
        {"kind": "struct", "tag": "aster/Contract", "fields": [
            {"name": "canonical", "type": {"t": "bytes"}, "required": true},
            {"name": "manifest", "type": {"t": "bytes"}, "required": true}]}]
}"#;

/// Contracts kept per process; beyond it the cache starts afresh.
const MAX_CACHED: usize = 4_096;

static CONTRACT: LazyLock<Result<Contract, String>> =
    LazyLock::new(|| Contract::from_json(DESCRIPTION).map_err(|error| error.to_string()));
static CACHE: LazyLock<Mutex<HashMap<ContractId, Contract>>> = LazyLock::new(Mutex::default);

#[derive(Serialize, Deserialize)]
struct Request {
    #[serde(with = "bytes_field")]
    id: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Response {
    #[serde(with = "bytes_field")]
    canonical: Vec<u8>,
    #[serde(with = "bytes_field")]
    manifest: Vec<u8>,
}

/// Bytes as MessagePack bin, which serde's own `Vec<u8>` is not.
mod bytes_field {
    use serde::de::{Deserializer, Visitor};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

fn contract() -> Result<&'static Contract, Status> {
    CONTRACT.as_ref().map_err(|error| {
        Status::unsent(
            Code::INTERNAL,
            format!("the contract of AsterContracts: {error}"),
        )
    })
}

fn internal(error: impl std::fmt::Display) -> Status {
    Status::unsent(
        Code::INTERNAL,
        format!("a contract can't be encoded: {error}"),
    )
}

/// A contract that this process has seen.
pub(crate) fn cached(id: &ContractId) -> Option<Contract> {
    CACHE
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(id)
        .cloned()
}

/// The call that asks for a contract.
pub(crate) fn request(id: &ContractId) -> Result<(Method, Bytes), Status> {
    let method = Method::new(contract()?, "get").ok_or_else(|| internal("no method get"))?;
    let request = Request {
        id: id.as_bytes().to_vec(),
    };
    Ok((
        method.with_checks(true),
        rmp_serde::to_vec_named(&request).map_err(internal)?.into(),
    ))
}

/// Takes what was answered, if it is the contract that was asked for.
pub(crate) fn accept(id: &ContractId, answer: &[u8]) -> Result<Contract, Status> {
    let bad = |what: &dyn std::fmt::Display| {
        Status::client(
            Code::DATA_LOSS,
            format!("the peer sent a contract that can't be used: {what}"),
        )
    };
    let response: Response = rmp_serde::from_slice(answer).map_err(|error| bad(&error))?;
    if ContractId::of_canonical(&response.canonical) != *id {
        return Err(bad(&format_args!("its id is not {id}")));
    }
    let bare = Bare::from_canonical(&response.canonical).map_err(|error| bad(&error))?;
    let manifest: Manifest =
        rmp_serde::from_slice(&response.manifest).map_err(|error| bad(&error))?;
    let contract = Contract::from_parts(bare, manifest);
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    if cache.len() >= MAX_CACHED {
        cache.clear();
    }
    cache.insert(*id, contract.clone());
    Ok(contract)
}

/// Serves the contracts of the registry it is part of.
struct Contracts(Weak<Registry>);

impl Dispatch for Contracts {
    fn call(&self, call: Inbound) {
        let (request, _, responder) = call.into_parts();
        let answer = request
            .ok_or_else(|| internal("no request"))
            .and_then(|request| rmp_serde::from_slice::<Request>(&request).map_err(internal))
            .and_then(|request| {
                let registry = self.0.upgrade();
                let id = <[u8; 32]>::try_from(&request.id[..]).map_err(|_| {
                    Status::handler(Code::INVALID_ARGUMENT, "a contract id has 32 bytes")
                })?;
                let found = registry
                    .as_ref()
                    .and_then(|registry| registry.contract(&id));
                let contract = found.ok_or_else(|| {
                    Status::handler(Code::NOT_FOUND, "no service here has that contract")
                })?;
                let response = Response {
                    canonical: contract.compiled().canonical().to_vec(),
                    manifest: rmp_serde::to_vec_named(contract.manifest()).map_err(internal)?,
                };
                rmp_serde::to_vec_named(&response).map_err(internal)
            });
        match answer {
            Ok(answer) => responder.reply(answer.into()),
            Err(status) => responder.finish(status),
        }
    }
}

/// A registry of these services, and of the one that gives their contracts.
pub(crate) fn registry(services: Vec<Service>) -> Result<Arc<Registry>, Status> {
    let own = contract()?.clone();
    if services
        .iter()
        .any(|service| service.contract.name() == own.name())
    {
        let text = format!(
            "the name {} is Aster's own: give the service another",
            own.name()
        );
        return Err(Status::unsent(Code::INVALID_ARGUMENT, text));
    }
    let mut registry = Registry::new(services)?;
    Ok(Arc::new_cyclic(|this| {
        registry.add_internal(Service::new(own, Arc::new(Contracts(this.clone()))).checked(true));
        registry
    }))
}
