//! Contracts, and the check of payloads against them.

use aster_bridge::engine;
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// A contract: immutable, normalised, compiled.
#[pyclass(frozen, module = "aster._native")]
pub(crate) struct Contract(pub(crate) engine::Contract);

#[pymethods]
impl Contract {
    #[new]
    fn new(py: Python<'_>, description: &[u8]) -> PyResult<Self> {
        let contract = py.detach(|| engine::Contract::from_msgpack(description));
        contract
            .map(Self)
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    #[getter]
    fn id(&self) -> String {
        self.0.id().to_string()
    }

    #[getter]
    fn name(&self) -> &str {
        self.0.name()
    }

    #[getter]
    fn version(&self) -> u32 {
        self.0.version()
    }

    fn describe<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let description = self
            .0
            .to_msgpack()
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(PyBytes::new(py, &description))
    }

    fn compare(&self, server: &Self) -> (Vec<String>, Vec<String>) {
        let compat = self.0.compare(&server.0);
        let texts = |differences: &[engine::Difference]| {
            differences.iter().map(ToString::to_string).collect()
        };
        (texts(&compat.breaking), texts(&compat.notes))
    }

    fn __repr__(&self) -> String {
        format!(
            "<Contract {} version {} {}>",
            self.0.name(),
            self.0.version(),
            self.0.id()
        )
    }
}

/// Checks one payload of a method's "request" or "response"; `send`: as the side that sends it.
#[pyfunction]
pub(crate) fn check(
    contract: &Contract,
    method: &str,
    which: &str,
    payload: &[u8],
    send: bool,
) -> PyResult<()> {
    let response = match which {
        "request" => false,
        "response" => true,
        other => {
            return Err(PyValueError::new_err(format!(
                "which is \"request\" or \"response\", and got {other:?}"
            )));
        }
    };
    match aster_bridge::check(&contract.0, method, response, payload, send) {
        Some(result) => result.map_err(|error| PyValueError::new_err(error.to_string())),
        None => Err(PyKeyError::new_err(format!(
            "{} has no method {method:?}",
            contract.0.name()
        ))),
    }
}
