//! Clients and unary calls.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use aster_bridge::engine::{Codec, Metadata, Scope};
use aster_bridge::{CallSession, options};
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::call::ClientCall;
use crate::contract::Contract;
use crate::convert::{Given, call_options_from_py, metadata_to_py};
use crate::port::{Kind, State, lock};

/// A connection to a peer.
#[pyclass(frozen, module = "aster._native")]
pub(crate) struct Client {
    state: Arc<State>,
    bridge: aster_bridge::Client,
    closing: AtomicBool,
}

impl Client {
    pub(crate) fn new(state: Arc<State>, bridge: aster_bridge::Client) -> Self {
        Self {
            state,
            bridge,
            closing: AtomicBool::new(false),
        }
    }

    /// Whether this side has closed it, which ends its calls with `CANCELLED`.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // One that offers services is called back no more.
        self.state.forget_server(self.bridge.key());
    }
}

#[pymethods]
impl Client {
    #[getter]
    fn peer(&self) -> &str {
        self.bridge.peer()
    }

    fn services(&self, py: Python<'_>) -> PyResult<Vec<(String, u32, String, &'static str)>> {
        let offers = self
            .bridge
            .offers()
            .map_err(|error| self.state.bridge_error(py, &error))?;
        let tuple = |offer: aster_bridge::engine::Offer| {
            let scope = match offer.scope {
                Scope::Shared => "shared",
                Scope::Session => "session",
            };
            let id = aster_bridge::engine::ContractId::from(offer.contract).to_string();
            (offer.service, offer.version, id, scope)
        };
        Ok(offers.into_iter().map(tuple).collect())
    }

    #[pyo3(signature = (name, version))]
    fn contract<'py>(
        slf: &Bound<'py, Self>,
        name: &str,
        version: Option<u32>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let this = slf.get();
        let begin = |ticket| this.bridge.contract(name, version, ticket);
        this.state.wait_for(
            slf.py(),
            Kind::Plain,
            true,
            Some(slf.clone().into_any().unbind()),
            begin,
        )
    }

    #[pyo3(signature = (contract, name, codec = "msgpack", own = None))]
    fn method(
        &self,
        contract: &Contract,
        name: &str,
        codec: &str,
        own: Option<&Contract>,
    ) -> PyResult<Method> {
        let codec = match codec {
            "msgpack" => Codec::MessagePack,
            "json" => Codec::Json,
            other => {
                let text =
                    format!("codec {other:?} does not exist: there are \"msgpack\" and \"json\"");
                return Err(PyValueError::new_err(text));
            }
        };
        let method = self.bridge.method(&contract.0, name, codec);
        let method = method.ok_or_else(|| {
            PyKeyError::new_err(format!("{} has no method {name:?}", contract.0.name()))
        })?;
        Ok(Method(match own {
            Some(own) => method.called_with(&own.0),
            None => method,
        }))
    }

    fn open_session(&self, py: Python<'_>, service: &str, implicit: bool) -> PyResult<Session> {
        let session = self.bridge.open_session(service, implicit);
        let session = session.map_err(|error| self.state.bridge_error(py, &error))?;
        Ok(Session {
            state: self.state.clone(),
            bridge: session,
        })
    }

    fn ping<'py>(slf: &Bound<'py, Self>, timeout_ms: u64) -> PyResult<Bound<'py, PyAny>> {
        let this = slf.get();
        let begin = |ticket| this.bridge.ping(timeout_ms, ticket);
        this.state.wait_for(
            slf.py(),
            Kind::Plain,
            true,
            Some(slf.clone().into_any().unbind()),
            begin,
        )
    }

    fn close<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let this = slf.get();
        this.closing.store(true, Ordering::Relaxed);
        let begin = |ticket| this.bridge.close(ticket);
        this.state.wait_for(
            slf.py(),
            Kind::Plain,
            false,
            Some(slf.clone().into_any().unbind()),
            begin,
        )
    }

    #[pyo3(signature = (method, payload, decode, options))]
    fn unary<'py>(
        slf: &Bound<'py, Self>,
        method: &Method,
        payload: &Bound<'py, PyBytes>,
        decode: Py<PyAny>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let this = slf.get();
        let options = call_options_from_py(options)?;
        let request = method.request(payload, options.dynamic)?;
        let kind = Kind::Unary {
            decode,
            info: options.info,
        };
        let call: options::Call = options.bridge;
        this.state.wait_for(
            slf.py(),
            kind,
            true,
            Some(slf.clone().into_any().unbind()),
            |ticket| this.bridge.unary(&method.0, request, call, ticket),
        )
    }

    #[pyo3(signature = (method, options))]
    fn stream(
        slf: &Bound<'_, Self>,
        method: &Method,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<ClientCall> {
        let this = slf.get();
        let options = call_options_from_py(options)?;
        let call = this.bridge.stream(&method.0, options.bridge);
        let call = call.map_err(|error| this.state.bridge_error(slf.py(), &error))?;
        let client = slf.clone().unbind();
        Ok(ClientCall::new(
            this.state.clone(),
            call,
            options.dynamic,
            options.info,
            client,
        ))
    }

    fn session_closed(&self, session_key: u64) {
        self.bridge.session_closed(session_key);
    }

    fn __repr__(&self) -> String {
        format!("<Client of {}>", self.bridge.peer())
    }
}

/// A method as a client calls it.
#[pyclass(frozen, module = "aster._native")]
pub(crate) struct Method(aster_bridge::Method);

impl Method {
    fn request(&self, payload: &Bound<'_, PyBytes>, dynamic: bool) -> PyResult<bytes::Bytes> {
        let request = self.0.request(Given(payload), dynamic);
        request.map_err(|error| PyValueError::new_err(error.to_string()))
    }
}

#[pymethods]
impl Method {
    fn __repr__(&self) -> String {
        format!("<Method {}>", self.0.place())
    }
}

/// A session with a service.
#[pyclass(frozen, module = "aster._native")]
pub(crate) struct Session {
    state: Arc<State>,
    bridge: aster_bridge::Session,
}

impl Session {
    pub(crate) fn for_call(&self) -> CallSession {
        self.bridge.for_call()
    }
}

#[pymethods]
impl Session {
    #[getter]
    fn id(&self) -> u64 {
        self.bridge.id().unwrap_or_default()
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
}

/// What came with the answer of a call, filled when it ends.
#[pyclass(frozen, module = "aster._native")]
#[derive(Default)]
pub(crate) struct CallInfo(Mutex<(Metadata, Metadata)>);

impl CallInfo {
    pub(crate) fn fill(&self, metadata: Metadata, trailing: Metadata) {
        *lock(&self.0) = (metadata, trailing);
    }
}

#[pymethods]
impl CallInfo {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let metadata = lock(&self.0).0.clone();
        metadata_to_py(py, &metadata)
    }

    #[getter]
    fn trailing_metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let metadata = lock(&self.0).1.clone();
        metadata_to_py(py, &metadata)
    }
}
