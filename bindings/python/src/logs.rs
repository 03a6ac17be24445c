//! The core's log records, on their way to Python's logging.

use std::sync::Mutex;

use aster_bridge::logs;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::port::lock;

static LOGS: Mutex<Option<Py<PyAny>>> = Mutex::new(None);

/// Has the core's log records (level, target, text) handed to `callback` in batches, from the drain of some port.
/// `level`: the lowest that is kept, in the numbers of `logging`, with 5 for traces.
#[pyfunction]
#[pyo3(signature = (callback, level = 20))]
pub(crate) fn logs_to(callback: Py<PyAny>, level: u32) -> PyResult<()> {
    let before = lock(&LOGS).replace(callback);
    drop(before);
    let level = match level {
        0..=5 => 1,
        6..=10 => 2,
        11..=20 => 3,
        21..=30 => 4,
        31..=40 => 5,
        _ => 6,
    };
    if logs::keep(level) {
        Ok(())
    } else {
        Err(PyRuntimeError::new_err(
            "the core's log records go elsewhere in this process already",
        ))
    }
}

/// Hands over the records that wait, if somebody asked for them.
pub(crate) fn deliver(py: Python<'_>) -> PyResult<()> {
    let callback = lock(&LOGS).as_ref().map(|callback| callback.clone_ref(py));
    let Some(callback) = callback else {
        return Ok(());
    };
    let records = logs::take().into_iter().map(|record| {
        // The numbers of Python's logging; it has none for traces, which lie below debug.
        let level = if record.level <= 1 {
            5
        } else {
            u32::from(record.level - 1) * 10
        };
        (level, record.target, record.text)
    });
    callback.call1(py, (PyList::new(py, records.collect::<Vec<_>>())?,))?;
    Ok(())
}
