//! The core of Aster for Node.js and Bun. It converts; every decision is in `aster-bridge` or below.
//!
//! The TypeScript side is `typescript/src/native`, which describes this interface in `module.ts`. Three rules hold
//! throughout: nothing here runs on the I/O thread but the wake-up, JavaScript is never called from here but by it, and
//! what is frequent crosses as flat records in one buffer (`records.rs`), without an object per call.

#![expect(
    unreachable_pub,
    reason = "what JavaScript sees must be `pub`, and no crate sees this one"
)]

mod call;
mod client;
mod contract;
mod convert;
mod drain;
mod fault;
mod inbound;
mod logs;
mod port;
mod records;
mod server;

use std::collections::HashMap;

use aster_bridge::engine::Code;
use napi_derive::napi;

/// The version of the core.
#[napi]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Status codes by name.
#[napi]
pub fn codes() -> HashMap<String, u32> {
    let code = |(name, code): &(&str, Code)| ((*name).to_owned(), u32::from(code.0));
    Code::ALL.iter().map(code).collect()
}

/// Limits and defaults by the name of the core's constant.
#[napi]
pub fn defaults() -> HashMap<String, f64> {
    let limit = |(name, value): &(&str, usize)| ((*name).to_owned(), *value as f64);
    aster_bridge::DEFAULTS.iter().map(limit).collect()
}

/// At the end of the process: closes every client and server of it and waits, bounded, until their peers have been told.
#[napi]
pub fn exit() {
    aster_bridge::shutdown(aster_bridge::EXIT);
}
