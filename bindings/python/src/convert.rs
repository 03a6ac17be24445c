//! Between Python's values and the bridge's flat records.

use std::path::PathBuf;

use aster_bridge::engine::Metadata;
use aster_bridge::{Batch, Failure, Payload, options};
use bytes::Bytes;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

use crate::client::{CallInfo, Session};

/// From this size on a payload is not copied: its object lives until the last byte is acknowledged, and its reference is
/// given back when the interpreter is next entered.
const KEPT: usize = 64 << 10;

/// A payload as Python gives it.
pub(crate) struct Given<'a, 'py>(pub(crate) &'a Bound<'py, PyBytes>);

impl AsRef<[u8]> for Given<'_, '_> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Payload for Given<'_, '_> {
    fn into_bytes(self) -> Bytes {
        if self.0.as_bytes().len() < KEPT {
            Bytes::copy_from_slice(self.0.as_bytes())
        } else {
            Bytes::from_owner(PyBackedBytes::from(self.0.clone()))
        }
    }
}

/// A dict of text to text, or to bytes where the key ends in `-bin`.
pub(crate) fn metadata_to_py<'py>(
    py: Python<'py>,
    metadata: &Metadata,
) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    for (key, value) in metadata.iter() {
        match std::str::from_utf8(value) {
            Ok(text) if !key.ends_with("-bin") => out.set_item(key, text)?,
            _ => out.set_item(key, PyBytes::new(py, value))?,
        }
    }
    Ok(out)
}

/// The inverse; `TypeError` or `ValueError` names the key.
pub(crate) fn metadata_from_py(metadata: &Bound<'_, PyAny>) -> PyResult<Metadata> {
    let metadata = metadata.cast::<PyDict>().map_err(|_| {
        PyTypeError::new_err(format!(
            "metadata is a dict of str to str or bytes, and got {}",
            type_name(metadata)
        ))
    })?;
    let mut out = Metadata::new();
    for (key, value) in metadata.iter() {
        let key = key
            .cast::<PyString>()
            .map_err(|_| {
                PyTypeError::new_err(format!(
                    "metadata keys are str, and got {}",
                    type_name(&key)
                ))
            })?
            .to_cow()?
            .into_owned();
        let binary = key.ends_with("-bin");
        let bytes = if let Ok(bytes) = value.cast::<PyBytes>()
            && binary
        {
            bytes.as_bytes().to_vec()
        } else if let Ok(text) = value.cast::<PyString>()
            && !binary
        {
            text.to_cow()?.into_owned().into_bytes()
        } else {
            let wanted = if binary {
                "bytes, since its key ends in -bin"
            } else {
                "str; end the key in -bin to send bytes"
            };
            let text = format!(
                "metadata[{key:?}] is {wanted}, and got {}",
                type_name(&value)
            );
            return Err(PyTypeError::new_err(text));
        };
        out.insert(&key, bytes)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
    }
    Ok(out)
}

fn type_name(value: &Bound<'_, PyAny>) -> String {
    value
        .get_type()
        .name()
        .map_or_else(|_| "an object".to_owned(), |name| name.to_string())
}

/// The tuple that `make_error` takes; see `Status` in `_native.pyi`.
pub(crate) fn status_to_py<'py>(
    py: Python<'py>,
    failure: &Failure,
) -> PyResult<Bound<'py, PyTuple>> {
    (
        failure.code,
        failure.message.as_str(),
        failure
            .details
            .as_ref()
            .map(|details| PyBytes::new(py, details)),
        metadata_to_py(py, &failure.metadata)?,
        metadata_to_py(py, &failure.trailing)?,
        failure.origin,
        failure.may_have_run,
        failure.retry_after_ms,
        failure.context.as_str(),
    )
        .into_pyobject(py)
}

/// One array of messages, with one copy.
pub(crate) fn batch_to_py<'py>(py: Python<'py>, batch: &Batch) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, batch.encoded_len(), |out| {
        batch.write_to(out);
        Ok(())
    })
}

fn unknown(what: &str, key: &str) -> PyErr {
    PyTypeError::new_err(format!("{key:?} is not an option of {what}"))
}

/// The value of an option, whose name is added to the error if it has a wrong type.
fn option<'py, T: FromPyObjectOwned<'py>>(
    key: &str,
    value: &Bound<'py, PyAny>,
) -> PyResult<Option<T>> {
    if value.is_none() {
        return Ok(None);
    }
    value.extract::<T>().map(Some).map_err(|error| {
        let error: PyErr = error.into();
        PyTypeError::new_err(format!("option {key}: {}", error.value(value.py())))
    })
}

/// The options of a client's or server's endpoint.
pub(crate) fn endpoint_from_py(
    what: &str,
    given: &Bound<'_, PyDict>,
) -> PyResult<options::Endpoint> {
    let mut endpoint = options::Endpoint::default();
    for (key, value) in given.iter() {
        let key = key.extract::<String>()?;
        match key.as_str() {
            "identity" => endpoint.identity = option::<PathBuf>(&key, &value)?,
            "relay" => endpoint.relay = option(&key, &value)?,
            "preset" => endpoint.preset = option(&key, &value)?,
            "keep_alive_ms" => endpoint.keep_alive_ms = option(&key, &value)?,
            "idle_timeout_ms" => endpoint.idle_timeout_ms = option(&key, &value)?,
            "max_message_bytes" => endpoint.max_message_bytes = option(&key, &value)?,
            "agent" => endpoint.agent = option(&key, &value)?,
            "connect_timeout_ms" => endpoint.connect_timeout_ms = option(&key, &value)?,
            "compress" => endpoint.compress = option(&key, &value)?,
            other => return Err(unknown(what, other)),
        }
    }
    Ok(endpoint)
}

/// The options of one call.
#[derive(Default)]
pub(crate) struct CallOptions {
    pub(crate) bridge: options::Call,
    pub(crate) info: Option<Py<CallInfo>>,
    /// Refuse fields that the contract does not know.
    pub(crate) dynamic: bool,
}

pub(crate) fn call_options_from_py(given: Option<&Bound<'_, PyDict>>) -> PyResult<CallOptions> {
    let mut options = CallOptions::default();
    let Some(given) = given else {
        return Ok(options);
    };
    let py = given.py();
    for (key, value) in given.iter() {
        // Keys written in source code are interned: their identity tells which they are, without a copy.
        let bridge = &mut options.bridge;
        if key.is(intern!(py, "dynamic")) {
            options.dynamic = option("dynamic", &value)?.unwrap_or_default();
        } else if key.is(intern!(py, "timeout_ms")) {
            bridge.timeout_ms = option("timeout_ms", &value)?;
        } else if key.is(intern!(py, "within_ms")) {
            bridge.within_ms = option("within_ms", &value)?;
        } else if key.is(intern!(py, "session")) {
            bridge.session =
                option::<PyRef<'_, Session>>("session", &value)?.map(|session| session.for_call());
        } else {
            let key = key.extract::<String>()?;
            match key.as_str() {
                "dynamic" => options.dynamic = option(&key, &value)?.unwrap_or_default(),
                "timeout_ms" => bridge.timeout_ms = option(&key, &value)?,
                "within_ms" => bridge.within_ms = option(&key, &value)?,
                "metadata" if value.is_none() => {}
                "metadata" => bridge.metadata = metadata_from_py(&value)?,
                "compress" => bridge.compress = option(&key, &value)?,
                "session" => {
                    bridge.session = option::<PyRef<'_, Session>>(&key, &value)?
                        .map(|session| session.for_call());
                }
                "info" => options.info = option(&key, &value)?,
                other => return Err(unknown("a call", other)),
            }
        }
    }
    Ok(options)
}
