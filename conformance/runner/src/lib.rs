//! Runs the conformance scenarios: every language against every other, and each against a peer made of raw bytes.
//!
//! Nothing here depends on the crates under test. Scenarios and tables are in `conformance/`, peers are programs
//! that are
//! driven by lines of JSON; `conformance/README.md` describes both.

#![forbid(unsafe_code)]

pub mod expect;
pub mod language;
pub mod peer;
pub mod play;
pub mod proxy;
pub mod raw;
pub mod run;
pub mod scenario;
mod tables;
pub mod value;
