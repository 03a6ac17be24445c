//! Servers.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::contract::Contract;
use crate::port::{Kind, State};

/// One service that a server offers.
#[pyclass(frozen, module = "aster._native")]
pub(crate) struct ServedService(pub(crate) aster_bridge::Served);

#[pymethods]
impl ServedService {
    #[new]
    fn new(contract: &Contract, expose_errors: bool) -> Self {
        Self(aster_bridge::Served::new(contract.0.clone(), expose_errors))
    }
}

/// A server.
#[pyclass(frozen, module = "aster._native")]
pub(crate) struct Server {
    state: Arc<State>,
    bridge: aster_bridge::Server,
}

impl Server {
    pub(crate) fn new(state: Arc<State>, bridge: aster_bridge::Server) -> Self {
        Self { state, bridge }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.forget_server(self.bridge.key());
    }
}

#[pymethods]
impl Server {
    #[getter]
    fn address(&self) -> String {
        self.bridge.address()
    }

    #[getter]
    fn endpoint_id(&self) -> String {
        self.bridge.endpoint_id()
    }

    fn drain<'py>(slf: &Bound<'py, Self>, grace_ms: u64) -> PyResult<Bound<'py, PyAny>> {
        let this = slf.get();
        let begin = |ticket| this.bridge.drain(grace_ms, ticket);
        this.state.wait_for(
            slf.py(),
            Kind::Plain,
            false,
            Some(slf.clone().into_any().unbind()),
            begin,
        )
    }

    fn close<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let this = slf.get();
        let begin = |ticket| this.bridge.close(ticket);
        this.state.wait_for(
            slf.py(),
            Kind::Plain,
            false,
            Some(slf.clone().into_any().unbind()),
            begin,
        )
    }

    fn wait_closed<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let this = slf.get();
        let begin = |ticket| this.bridge.wait_closed(ticket);
        this.state.wait_for(
            slf.py(),
            Kind::Plain,
            true,
            Some(slf.clone().into_any().unbind()),
            begin,
        )
    }

    fn session_closed(&self, session_key: u64) {
        self.bridge.session_closed(session_key);
    }

    fn __repr__(&self) -> String {
        format!("<Server {}>", self.bridge.endpoint_id())
    }
}
