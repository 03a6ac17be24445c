//! Methods, ready to be called.

use std::sync::Arc;
use std::time::Duration;

use aster_proto::call::{Codec, Route};
use aster_proto::contract::{ContractId, MethodRef, Pattern};

use crate::contract::Contract;

/// A method of a contract, ready to be called. Cloning is cheap; keep it, since a connection remembers it.
#[derive(Debug, Clone)]
pub struct Method(Arc<MethodInner>);

#[derive(Debug)]
struct MethodInner {
    contract: Contract,
    /// The contract that the server serves, where it is another one that this one gets on with.
    served: ContractId,
    method: MethodRef,
    name: String,
    codec: Codec,
    checked: bool,
}

impl Method {
    /// A method of `contract`; `None` if it has none of that name.
    pub fn new(contract: &Contract, name: &str) -> Option<Self> {
        let method = contract.compiled().method(name)?;
        Some(Self(Arc::new(MethodInner {
            contract: contract.clone(),
            served: contract.id(),
            method,
            name: format!("{}.{name}", contract.name()),
            codec: Codec::MessagePack,
            checked: false,
        })))
    }

    fn change(&self, change: impl FnOnce(&mut MethodInner)) -> Self {
        let inner = &self.0;
        let mut inner = MethodInner {
            contract: inner.contract.clone(),
            name: inner.name.clone(),
            ..**inner
        };
        change(&mut inner);
        Self(Arc::new(inner))
    }

    /// The same, with another codec on the wire. Messages are MessagePack for the user of the engine whichever it is.
    #[must_use]
    pub fn with_codec(&self, codec: Codec) -> Self {
        self.change(|inner| inner.codec = codec)
    }

    /// The same, with answers checked against the contract before they are handed over. Default: no.
    #[must_use]
    pub fn with_checks(&self, checked: bool) -> Self {
        self.change(|inner| inner.checked = checked)
    }

    /// The same, for a server whose contract is another one, which [`Contract::compare`] found to get on with this one.
    #[must_use]
    pub fn served_as(&self, served: &Contract) -> Self {
        self.change(|inner| inner.served = served.id())
    }

    /// `Service.method`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its contract.
    pub fn contract(&self) -> &Contract {
        &self.0.contract
    }

    /// How many messages go each way.
    pub fn pattern(&self) -> Pattern {
        self.0.method.pattern
    }

    /// Its place in its contract, and its types there.
    pub fn types(&self) -> &MethodRef {
        &self.0.method
    }

    pub(crate) fn codec(&self) -> Codec {
        self.0.codec
    }

    pub(crate) fn is_checked(&self) -> bool {
        self.0.checked
    }

    pub(crate) fn key(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    pub(crate) fn route(&self) -> Route<'_> {
        let inner = &self.0;
        Route {
            service: inner.contract.name(),
            version: inner.contract.version(),
            method: inner.contract.compiled().method_name(inner.method.index),
            contract: Some(*inner.served.as_bytes()),
            codec: inner.codec,
        }
    }

    pub(super) fn manifest_timeout(&self) -> Option<Duration> {
        let name = self.0.contract.compiled().method_name(self.0.method.index);
        self.0
            .contract
            .manifest()
            .methods
            .get(name)?
            .timeout_ms
            .map(Duration::from_millis)
    }
}
