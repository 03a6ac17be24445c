//! Calls with streams, on the caller's side.

use std::sync::Arc;

use aster_bridge::Push;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::client::{CallInfo, Client};
use crate::convert::{Given, metadata_to_py};
use crate::port::{Kind, State, Unflushed};

/// A call whose messages come and go one by one. Dropped before its end, it is cancelled.
#[pyclass(frozen, module = "aster._native")]
pub(crate) struct ClientCall {
    state: Arc<State>,
    bridge: aster_bridge::ClientCall,
    dynamic: bool,
    info: Option<Py<CallInfo>>,
    /// Kept open as long as the call.
    _client: Py<Client>,
}

impl ClientCall {
    pub(crate) fn new(
        state: Arc<State>,
        bridge: aster_bridge::ClientCall,
        dynamic: bool,
        info: Option<Py<CallInfo>>,
        client: Py<Client>,
    ) -> Self {
        Self {
            state,
            bridge,
            dynamic,
            info,
            _client: client,
        }
    }
}

impl ClientCall {
    pub(crate) fn flush(&self) {
        self.bridge.flush();
    }
}

#[pymethods]
impl ClientCall {
    fn send<'py>(
        slf: &Bound<'py, Self>,
        payload: &Bound<'py, PyBytes>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = slf.py();
        let this = slf.get();
        let message = this.bridge.request(Given(payload), this.dynamic);
        let message = message.map_err(|error| PyValueError::new_err(error.to_string()))?;
        match this
            .bridge
            .send(message)
            .map_err(|error| this.state.bridge_error(py, &error))?
        {
            Push::Room => Ok(None),
            Push::Unflushed => this
                .state
                .flush_soon(py, Unflushed::Request(slf.clone().unbind()))
                .map(|()| None),
            Push::Full => {
                let begin = |ticket| this.bridge.wait_for_room(ticket);
                let owner = slf.clone().into_any().unbind();
                this.state
                    .wait_for(py, Kind::Plain, false, Some(owner), begin)
                    .map(Some)
            }
            Push::Ended => Err(PyRuntimeError::new_err(
                "the messages of this call were ended before by half_close()",
            )),
            Push::Failed(failure) => Err(this.state.error(py, &failure)),
        }
    }

    fn half_close(&self, py: Python<'_>) -> PyResult<()> {
        self.bridge
            .half_close()
            .map_err(|error| self.state.bridge_error(py, &error))
    }

    fn take<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        self.state
            .taken(py, self.bridge.inbox(), self.info.as_ref())
    }

    fn wait<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let this = slf.get();
        let owner = slf.clone().into_any().unbind();
        this.state.wait_for_messages(
            slf.py(),
            this.bridge.inbox(),
            this.info.as_ref(),
            Some(owner),
        )
    }

    fn cancel(&self) {
        self.bridge.cancel();
    }

    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        metadata_to_py(py, &self.bridge.metadata())
    }

    #[getter]
    fn trailing_metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        metadata_to_py(py, &self.bridge.trailing())
    }

    fn __repr__(&self) -> String {
        format!("<ClientCall of {}>", self.bridge.place())
    }
}
