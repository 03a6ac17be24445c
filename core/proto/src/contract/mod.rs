//! Contracts: what two peers must agree on to call a service, with one id in every language.
//!
//! A language package hands over a [`ServiceDescription`]; [`normalise`](ServiceDescription::normalise) turns it into the one
//! [`Contract`] it stands for, and [`Compiled`] makes that ready for calls. [`compat()`] compares two of them. Nothing here
//! knows frames, calls or connections. Normative text: `docs/spec/contract.md`.
//!
//! ```
//! use aster_proto::contract::{Compiled, ServiceDescription};
//!
//! let (contract, _manifest) = ServiceDescription::from_json(r#"{
//!     "name": "Adder", "version": 1,
//!     "methods": [{"name": "add", "pattern": "unary", "request": {"t": "ref", "tag": "Adder.add"}, "response": {"t": "i64"}}],
//!     "types": [{"kind": "struct", "tag": "Adder.add", "fields": [
//!         {"name": "a", "type": {"t": "i64"}, "required": true}, {"name": "b", "type": {"t": "i64"}, "required": true}]}]
//! }"#)?.normalise()?;
//! let compiled = Compiled::new(contract);
//! assert!(compiled.method("add").is_some());
//! # Ok::<(), aster_proto::contract::ContractError>(())
//! ```

mod canonical;
mod compat;
mod compiled;
mod error;
mod hash;
pub mod limits;
pub mod manifest;
pub mod model;
pub(crate) mod name;
mod normalise;

pub use compat::{Compat, Difference, compat};
pub use compiled::{Compiled, MethodRef, TypeId};
pub(crate) use compiled::{Node, StructNode};
pub use error::ContractError;
pub use hash::{CONTRACT_ID_LABEL, ContractId};
pub use manifest::Manifest;
pub use model::{
    Contract, Field, Method, Pattern, Scalar, Scope, ServiceDescription, Type, TypeDef,
};
