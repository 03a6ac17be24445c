//! `aster._native`: the core of Aster for Python. It converts; every decision is in `aster-bridge` or below.
//!
//! The interface is described in `python/src/aster/_native.pyi`, in the same names and order. Two rules hold throughout:
//! nothing here runs on the I/O thread, and no lock is held while Python code runs.

mod call;
mod client;
mod contract;
mod convert;
mod drain;
mod inbound;
mod logs;
mod port;
mod server;

use std::time::Duration;

use aster_bridge::engine::{Code, limits};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// How long the end of the interpreter may wait for peers to be told, in milliseconds.
const EXIT_MS: u64 = 200;

/// Closes every client and server of the process and waits at most so long; whether all was done in time.
#[pyfunction]
fn shutdown(py: Python<'_>, timeout_ms: u64) -> bool {
    py.detach(|| aster_bridge::shutdown(Duration::from_millis(timeout_ms)))
}

#[pyfunction]
fn _at_exit(py: Python<'_>) {
    shutdown(py, EXIT_MS);
}

#[pyfunction]
fn _after_fork() {
    aster_bridge::forked();
}

fn codes(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let codes = PyDict::new(py);
    for (name, code) in Code::ALL {
        codes.set_item(name, code.0)?;
    }
    Ok(codes)
}

fn defaults(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let defaults = PyDict::new(py);
    defaults.set_item("MAX_MESSAGE", limits::MAX_MESSAGE)?;
    defaults.set_item("MAX_METADATA", limits::MAX_METADATA)?;
    defaults.set_item("MAX_METADATA_PAIRS", limits::MAX_METADATA_PAIRS)?;
    defaults.set_item("MAX_LANE_MESSAGE", limits::MAX_LANE_MESSAGE)?;
    defaults.set_item("MAX_IN_FLIGHT", limits::MAX_IN_FLIGHT)?;
    defaults.set_item("MAX_STREAMS", limits::MAX_STREAMS)?;
    defaults.set_item("MAX_SESSIONS", limits::MAX_SESSIONS)?;
    defaults.set_item("MAX_CONNECTIONS_PER_PEER", limits::MAX_CONNECTIONS_PER_PEER)?;
    defaults.set_item("MAX_STATUS_MESSAGE", limits::MAX_STATUS_MESSAGE)?;
    defaults.set_item("MAX_STATUS_DETAILS", limits::MAX_STATUS_DETAILS)?;
    defaults.set_item("COMPRESS_THRESHOLD", limits::COMPRESS_THRESHOLD)?;
    defaults.set_item("INBOX_LIMIT", aster_bridge::INBOX_LIMIT)?;
    defaults.set_item("OUTBOX_LIMIT", aster_bridge::OUTBOX_LIMIT)?;
    Ok(defaults)
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("CODES", codes(py)?)?;
    module.add("DEFAULTS", defaults(py)?)?;
    module.add_class::<contract::Contract>()?;
    module.add_function(wrap_pyfunction!(contract::check, module)?)?;
    module.add_class::<port::Port>()?;
    module.add_class::<server::ServedService>()?;
    module.add_class::<server::Server>()?;
    module.add_class::<inbound::Call>()?;
    module.add_class::<client::Client>()?;
    module.add_class::<client::Method>()?;
    module.add_class::<client::Session>()?;
    module.add_class::<client::CallInfo>()?;
    module.add_class::<call::ClientCall>()?;
    module.add_function(wrap_pyfunction!(logs::logs_to, module)?)?;
    module.add_function(wrap_pyfunction!(shutdown, module)?)?;

    // Peers are told when the interpreter ends, while it can still wait. Handlers run in reverse order of their
    // registration, so the package's own, which come later, run before.
    py.import("atexit")?
        .call_method1("register", (wrap_pyfunction!(_at_exit, module)?,))?;
    let os = py.import("os")?;
    if os.hasattr("register_at_fork")? {
        let after = PyDict::new(py);
        after.set_item("after_in_child", wrap_pyfunction!(_after_fork, module)?)?;
        os.call_method("register_at_fork", (), Some(&after))?;
    }
    Ok(())
}
