//! Aster: typed RPC between programs, peer to peer over iroh QUIC.
//!
//! This crate is the engine: servers ([`Server`]), clients ([`Client`]), the four kinds of call, sessions, deadlines,
//! cancellation, reconnecting and draining. What two peers could disagree about is in `aster-proto`; here bytes move.
//!
//! Handlers and callers deal in MessagePack bytes that fit a [`Contract`]; language packages, and later the macros of the
//! Rust SDK (`#[aster::service]`), put types on top.
//!
//! ```no_run
//! use aster::{CallOptions, Client, ClientOptions, Contract, Handlers, Method, Server, ServerOptions};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let contract = Contract::from_json(r#"{
//!     "name": "Echo", "version": 1,
//!     "methods": [{"name": "say", "pattern": "unary", "request": {"t": "string"}, "response": {"t": "string"}}],
//!     "types": []
//! }"#)?;
//! let service = Handlers::new(contract.clone()).unary("say", |_context, request| async move { Ok(request) }).build()?;
//! let server = Server::start(vec![service], ServerOptions::default()).await?;
//!
//! let client = Client::connect(vec![server.address().clone()], ClientOptions::default()).await?;
//! let say = Method::new(&contract, "say").ok_or("no such method")?;
//! let answer = client.unary(&say, b"\xa5hello".as_slice().into(), CallOptions::new()).await?;
//! assert_eq!(&answer.message[..], b"\xa5hello");
//! # Ok(()) }
//! ```
//!
//! Everything runs on the tokio runtime that calls it; a runtime of one thread is the fastest for small messages
//! (`docs/decisions.md`).

#![forbid(unsafe_code)]

mod call;
mod cancel;
mod client;
mod codec;
mod compress;
mod conn;
mod contract;
mod contracts;
mod failure;
mod handlers;
mod identity;
mod net;
mod options;
mod server;
mod service;

/// The protocol crate, for those who need its parts.
pub use aster_proto as proto;
pub use aster_proto::address::{Address, AddressError};
pub use aster_proto::call::Codec;
pub use aster_proto::contract::{ContractId, Pattern, Scope};
pub use aster_proto::control::Offer;
pub use aster_proto::metadata::Metadata;
pub use aster_proto::status::{Code, Origin, Status};

pub use call::inbound::{Inbound, Responder};
pub use call::outbound::Answer;
pub use call::requests::Requests;
pub use call::session::{Session, SessionClosed, SessionEnd, SessionRef};
pub use call::streaming::{CallReceiver, CallSender};
pub use cancel::CancelCause;
pub use client::{CallHandle, CallOptions, Caller, Client, Method};
pub use contract::Contract;
pub use failure::Failure;
pub use handlers::{Context, Handlers, Outgoing};
pub use options::{ClientOptions, EndpointOptions, Network, RELAY_VARIABLES, Relay, ServerOptions};
pub use server::Server;
pub use service::{Dispatch, Service};
