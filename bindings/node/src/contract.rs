//! Contracts, and the check of payloads against them.

use aster_bridge::engine;
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;

use crate::fault::{Result, guard, misuse, value};

/// A contract: immutable, normalised, compiled.
#[napi]
pub struct Contract(pub(crate) engine::Contract);

/// How a contract differs from a server's.
#[napi(object)]
pub struct Compat {
    /// What a client with this contract can't do.
    pub breaking: Vec<String>,
    /// What it should know.
    pub notes: Vec<String>,
}

#[napi]
impl Contract {
    /// From a MessagePack description.
    #[napi(constructor)]
    pub fn new(description: &[u8]) -> Result<Self> {
        guard(|| match engine::Contract::from_msgpack(description) {
            Ok(contract) => Ok(Self(contract)),
            Err(error) => Err(misuse(error.to_string())),
        })
    }

    /// 64 hex digits.
    #[napi(getter)]
    pub fn id(&self) -> String {
        self.0.id().to_string()
    }

    /// The name of the service.
    #[napi(getter)]
    pub fn name(&self) -> String {
        self.0.name().to_owned()
    }

    /// The version of the service.
    #[napi(getter)]
    pub fn version(&self) -> u32 {
        self.0.version()
    }

    /// The normalised description with the manifest, MessagePack.
    #[napi]
    pub fn describe(&self) -> Result<Uint8Array> {
        guard(|| match self.0.to_msgpack() {
            Ok(description) => Ok(description.to_vec().into()),
            Err(error) => Err(misuse(error.to_string())),
        })
    }

    /// Differences for a client that holds this contract and calls `server`.
    #[napi]
    pub fn compare(&self, server: &Contract) -> Result<Compat> {
        guard(|| {
            let compat = self.0.compare(&server.0);
            let texts = |differences: &[engine::Difference]| {
                differences.iter().map(ToString::to_string).collect()
            };
            Ok(Compat {
                breaking: texts(&compat.breaking),
                notes: texts(&compat.notes),
            })
        })
    }
}

/// Checks one payload of a method's request or response; `send`: as the side that sends it.
#[napi]
pub fn check(
    contract: &Contract,
    method: String,
    response: bool,
    payload: &[u8],
    send: bool,
) -> Result<()> {
    guard(
        || match aster_bridge::check(&contract.0, &method, response, payload, send) {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(value(&error)),
            None => Err(misuse(format!(
                "{} has no method {method:?}",
                contract.0.name()
            ))),
        },
    )
}
