//! Calls that came in.

use std::sync::Arc;

use aster_bridge::{AnswerError, InboundCall, Push};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::client::Client;
use crate::convert::{Given, metadata_from_py, metadata_to_py};
use crate::port::{Kind, State, Unflushed};

/// One call that came in.
#[pyclass(frozen, module = "aster._native")]
pub(crate) struct Call {
    state: Arc<State>,
    bridge: Arc<InboundCall>,
}

impl Call {
    pub(crate) fn new(state: Arc<State>, bridge: Arc<InboundCall>) -> Self {
        Self { state, bridge }
    }

    fn error(&self, py: Python<'_>, error: &AnswerError) -> PyErr {
        match error {
            AnswerError::Value(error) => PyValueError::new_err(error.to_string()),
            AnswerError::Bridge(error) => self.state.bridge_error(py, error),
            other => PyRuntimeError::new_err(other.to_string()),
        }
    }

    pub(crate) fn flush(&self) {
        self.bridge.flush();
    }

    /// The outcome of what ends the call: on success nothing is left to be cancelled.
    fn ended<T>(&self, py: Python<'_>, result: Result<T, AnswerError>) -> PyResult<T> {
        match result {
            Ok(value) => {
                self.state.forget_call(self.bridge.key());
                Ok(value)
            }
            Err(error) => Err(self.error(py, &error)),
        }
    }

    fn inbox(&self) -> PyResult<&Arc<aster_bridge::Inbox>> {
        self.bridge.inbox().ok_or_else(|| {
            PyRuntimeError::new_err(format!(
                "{} takes one request, not a stream: see `request`",
                self.bridge.name()
            ))
        })
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.state.forget_call(self.bridge.key());
    }
}

#[pymethods]
impl Call {
    #[getter]
    fn service_index(&self) -> usize {
        self.bridge.service_index()
    }

    #[getter]
    fn method_index(&self) -> usize {
        self.bridge.method_index()
    }

    #[getter]
    fn id(&self) -> u64 {
        self.bridge.id()
    }

    #[getter]
    fn peer(&self) -> &str {
        self.bridge.peer()
    }

    #[getter]
    fn connection(&self) -> u64 {
        self.bridge.connection()
    }

    fn caller(&self, py: Python<'_>) -> PyResult<Client> {
        let caller = self.bridge.caller();
        let caller = caller.map_err(|error| self.state.bridge_error(py, &error))?;
        Ok(Client::new(self.state.clone(), caller))
    }

    #[getter]
    fn session_key(&self) -> u64 {
        self.bridge.session().map_or(0, |(key, _)| key)
    }

    #[getter]
    fn session_id(&self) -> u64 {
        self.bridge.session().map_or(0, |(_, id)| id)
    }

    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        metadata_to_py(py, self.bridge.metadata())
    }

    #[getter]
    fn request<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.bridge
            .request()
            .map(|request| PyBytes::new(py, request))
    }

    fn time_left_ms(&self) -> Option<f64> {
        self.bridge.time_left_ms()
    }

    fn set_cancel(&self, py: Python<'_>, cancel: Py<PyAny>) -> PyResult<()> {
        let key = self.bridge.key();
        self.state.on_cancel(key, cancel);
        if self.bridge.is_cancelled() {
            // The event may have been drained before: whichever finds the callback calls it.
            self.state.cancel_call(py, key)?;
        }
        Ok(())
    }

    #[getter]
    fn cancelled(&self) -> bool {
        self.bridge.is_cancelled()
    }

    fn set_response_metadata(&self, py: Python<'_>, metadata: &Bound<'_, PyAny>) -> PyResult<()> {
        let metadata = metadata_from_py(metadata)?;
        self.bridge
            .set_metadata(metadata)
            .map_err(|error| self.error(py, &error))
    }

    fn set_trailing_metadata(&self, py: Python<'_>, metadata: &Bound<'_, PyAny>) -> PyResult<()> {
        let metadata = metadata_from_py(metadata)?;
        self.bridge
            .set_trailing(metadata)
            .map_err(|error| self.error(py, &error))
    }

    fn reply(&self, py: Python<'_>, payload: &Bound<'_, PyBytes>) -> PyResult<()> {
        self.ended(py, self.bridge.reply(Given(payload)))
    }

    fn send<'py>(
        slf: &Bound<'py, Self>,
        payload: &Bound<'py, PyBytes>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = slf.py();
        let this = slf.get();
        match this
            .bridge
            .send(Given(payload))
            .map_err(|error| this.error(py, &error))?
        {
            Push::Room => Ok(None),
            Push::Unflushed => this
                .state
                .flush_soon(py, Unflushed::Answer(slf.clone().unbind()))
                .map(|()| None),
            Push::Full => {
                let begin = |ticket| {
                    this.bridge
                        .wait_for_room(ticket)
                        .map_err(|error| match error {
                            AnswerError::Bridge(error) => error,
                            other => aster_bridge::BridgeError::Argument(other.to_string()),
                        })
                };
                let owner = slf.clone().into_any().unbind();
                this.state
                    .wait_for(py, Kind::Plain, false, Some(owner), begin)
                    .map(Some)
            }
            Push::Ended => Err(PyRuntimeError::new_err(
                "the answer of this call was ended before",
            )),
            Push::Failed(failure) => Err(this.state.error(py, &failure)),
        }
    }

    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        self.ended(py, self.bridge.finish())
    }

    #[pyo3(signature = (code, message, details, metadata))]
    fn fail(
        &self,
        py: Python<'_>,
        code: u16,
        message: &str,
        details: Option<&Bound<'_, PyBytes>>,
        metadata: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let details = details.map(|details| bytes::Bytes::copy_from_slice(details.as_bytes()));
        let metadata = metadata
            .map(metadata_from_py)
            .transpose()?
            .unwrap_or_default();
        match self.bridge.fail(code, message, details, metadata) {
            Err(AnswerError::Misuse(text)) if code == 0 => Err(PyValueError::new_err(text)),
            result => self.ended(py, result),
        }
    }

    fn fail_internal(&self, py: Python<'_>, text: &str) -> PyResult<String> {
        self.ended(py, self.bridge.fail_internal(text))
    }

    /// The handler has ended, whatever was answered. Idempotent; dropping the call does the same.
    fn end(&self) {
        self.bridge.end();
        self.state.forget_call(self.bridge.key());
    }

    fn take<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        self.state.taken(py, self.inbox()?, None)
    }

    fn wait<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let this = slf.get();
        let owner = slf.clone().into_any().unbind();
        this.state
            .wait_for_messages(slf.py(), this.inbox()?, None, Some(owner))
    }

    fn __repr__(&self) -> String {
        format!(
            "<Call {} of {} from {}>",
            self.bridge.id(),
            self.bridge.name(),
            self.bridge.peer()
        )
    }
}
