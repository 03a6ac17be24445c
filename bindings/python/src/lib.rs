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

use aster_bridge::engine::Code;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Closes every client and server of the process and waits at most so long; whether all was done in time.
#[pyfunction]
fn shutdown(py: Python<'_>, timeout_ms: u64) -> bool {
    py.detach(|| aster_bridge::shutdown(Duration::from_millis(timeout_ms)))
}

#[pyfunction]
fn _at_exit(py: Python<'_>) {
    py.detach(|| aster_bridge::shutdown(aster_bridge::EXIT));
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
    for (name, value) in aster_bridge::DEFAULTS {
        defaults.set_item(name, value)?;
    }
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
