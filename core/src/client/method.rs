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
    /// The longest that a call may take, as the contract's author says.
    timeout: Option<Duration>,
    /// Whether a call may be made again when it is not known to have run.
    idempotent: bool,
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
            timeout: manifest_timeout(contract, name),
            idempotent: method.idempotent,
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
    /// It is repeated only if both say that it is idempotent.
    #[must_use]
    pub fn served_as(&self, served: &Contract) -> Self {
        let idempotent = self.0.idempotent && self.is_idempotent_in(served);
        self.change(|inner| (inner.served, inner.idempotent) = (served.id(), idempotent))
    }

    /// The same, for a caller that was built with another contract, which [`Contract::compare`] found to get on with this
    /// one: its own time limit goes before this contract's, and it is repeated only if both say that it is idempotent.
    #[must_use]
    pub fn called_with(&self, own: &Contract) -> Self {
        let idempotent = self.0.idempotent && self.is_idempotent_in(own);
        let timeout = manifest_timeout(own, self.bare_name()).or(self.0.timeout);
        self.change(|inner| (inner.timeout, inner.idempotent) = (timeout, idempotent))
    }

    fn is_idempotent_in(&self, other: &Contract) -> bool {
        let method = other.compiled().method(self.bare_name());
        method.is_some_and(|method| method.idempotent)
    }

    fn bare_name(&self) -> &str {
        self.0.contract.compiled().method_name(self.0.method.index)
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

    /// The longest that a call may take which is given no time limit of its own: that of the manifest, if it has one.
    pub fn timeout(&self) -> Option<Duration> {
        self.0.timeout
    }

    /// Whether a call may be made again when it is not known to have run.
    pub fn is_idempotent(&self) -> bool {
        self.0.idempotent
    }
}

fn manifest_timeout(contract: &Contract, name: &str) -> Option<Duration> {
    let method = contract.manifest().methods.get(name)?;
    method.timeout_ms.map(Duration::from_millis)
}
