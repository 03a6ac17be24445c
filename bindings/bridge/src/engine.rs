//! The names of the engine that bindings use, so that they need no other crate.

pub use aster::proto::contract::{
    Compat, ContractError, ContractId, Difference, MethodRef, TypeId,
};
pub use aster::proto::limits;
pub use aster::proto::value::{Mode, ValueError, normalise};
pub use aster::{Answer, Code, Codec, Contract, Metadata, Offer, Pattern, Scope, Status};
