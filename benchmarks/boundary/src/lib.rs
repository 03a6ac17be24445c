//! The crossings between an I/O thread and Python, each in the ways that were candidates for the binding.
//!
//! The I/O thread here echoes at once: what is left is the price of crossing. `run.py` drives and prints.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use rustix::event::{EventfdFlags, eventfd};

/// How a completion reaches the event loop.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// A queue, a descriptor for `add_reader`, one write per burst; futures are resolved in Rust.
    Descriptor,
    /// The same; futures are resolved by Python, from a list of pairs.
    DescriptorPython,
    /// `call_soon_threadsafe` for each completion, on the I/O thread.
    SoonEach,
    /// A queue and one `call_soon_threadsafe` per burst, on the I/O thread.
    SoonBatch,
}

type Pair = (Py<PyAny>, Vec<u8>);

/// A queue with a descriptor that becomes readable when the queue does.
struct Queue {
    items: Mutex<Vec<Pair>>,
    fd: OwnedFd,
}

impl Queue {
    fn new(flags: EventfdFlags) -> PyResult<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | flags).map_err(|e| PyOSError::new_err(e.to_string()))?;
        Ok(Self { items: Mutex::new(Vec::new()), fd })
    }

    fn append(&self, batch: &mut Vec<Pair>) -> bool {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = items.is_empty();
        items.append(batch);
        was_empty
    }

    fn push(&self, pair: Pair) -> bool {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        items.push(pair);
        items.len() == 1
    }

    fn wake(&self) {
        // A full counter means that the other side has been woken already.
        let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
    }

    fn clear(&self) {
        let _ = rustix::io::read(&self.fd, &mut [0u8; 8]);
    }

    fn take(&self) -> Vec<Pair> {
        std::mem::take(&mut *self.items.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One event loop's end of the crossing, and its echoing I/O thread.
#[pyclass(frozen)]
struct Port {
    create_future: Py<PyAny>,
    commands: Arc<Queue>,
    completions: Arc<Queue>,
}

#[pymethods]
impl Port {
    #[new]
    fn new(py: Python<'_>, event_loop: Bound<'_, PyAny>, mode: &str) -> PyResult<Py<Self>> {
        let mode = match mode {
            "descriptor" => Mode::Descriptor,
            "descriptor-python" => Mode::DescriptorPython,
            "soon-each" => Mode::SoonEach,
            "soon-batch" => Mode::SoonBatch,
            other => return Err(PyValueError::new_err(format!("no mode {other:?}"))),
        };
        let commands = Arc::new(Queue::new(EventfdFlags::empty())?);
        let completions = Arc::new(Queue::new(EventfdFlags::NONBLOCK)?);
        let create_future = event_loop.getattr("create_future")?.unbind();
        let port = Py::new(py, Self { create_future, commands: commands.clone(), completions: completions.clone() })?;
        let soon = event_loop.getattr("call_soon_threadsafe")?.unbind();
        let drain = port.getattr(py, "drain")?;
        let set = wrap_pyfunction!(set_result, py)?.into_any().unbind();
        thread::spawn(move || {
            loop {
                commands.clear();
                let mut batch = commands.take();
                if batch.iter().any(|(_, payload)| payload == b"quit") {
                    return;
                }
                match mode {
                    Mode::Descriptor | Mode::DescriptorPython => {
                        if !batch.is_empty() && completions.append(&mut batch) {
                            completions.wake();
                        }
                    }
                    Mode::SoonEach => Python::attach(|py| {
                        for (future, payload) in batch {
                            let _ = soon.call1(py, (&set, future, PyBytes::new(py, &payload)));
                        }
                    }),
                    Mode::SoonBatch => {
                        if !batch.is_empty() && completions.append(&mut batch) {
                            Python::attach(|py| drop(soon.call1(py, (&drain,))));
                        }
                    }
                }
            }
        });
        Ok(port)
    }

    fn fileno(&self) -> i32 {
        self.completions.fd.as_raw_fd()
    }

    /// Copies the payload, queues it, returns the future.
    fn submit<'py>(&self, py: Python<'py>, payload: &Bound<'py, PyBytes>) -> PyResult<Bound<'py, PyAny>> {
        let future = self.create_future.bind(py).call0()?;
        if self.commands.push((future.clone().unbind(), payload.as_bytes().to_vec())) {
            self.commands.wake();
        }
        Ok(future)
    }

    /// As `submit`, with a wake-up for every command.
    fn submit_eager<'py>(&self, py: Python<'py>, payload: &Bound<'py, PyBytes>) -> PyResult<Bound<'py, PyAny>> {
        let future = self.submit(py, payload)?;
        self.commands.wake();
        Ok(future)
    }

    fn drain(&self, py: Python<'_>) -> PyResult<()> {
        self.completions.clear();
        for (future, payload) in self.completions.take() {
            set_result(future.bind(py), PyBytes::new(py, &payload).as_any())?;
        }
        Ok(())
    }

    fn drain_list<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.completions.clear();
        let pairs = self.completions.take();
        PyList::new(py, pairs.into_iter().map(|(future, payload)| (future, PyBytes::new(py, &payload))))
    }

    fn quit(&self, py: Python<'_>) {
        self.commands.push((py.None(), b"quit".to_vec()));
        self.commands.wake();
    }
}

/// Resolves a future; one that was cancelled meanwhile is left alone.
#[pyfunction]
fn set_result(future: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = future.py();
    match future.call_method1(intern!(py, "set_result"), (value,)) {
        Ok(_) => Ok(()),
        // Asking afterwards costs the cancelled ones only; asking first costs every call.
        Err(_) if future.call_method0(intern!(py, "done"))?.is_truthy()? => Ok(()),
        Err(error) => Err(error),
    }
}

/// An inbound call as a handle.
#[pyclass(frozen)]
struct Call {
    #[pyo3(get)]
    method: usize,
    request: Vec<u8>,
}

#[pymethods]
impl Call {
    #[getter]
    fn request<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.request)
    }
}

fn call(number: usize) -> Call {
    Call { method: number & 7, request: vec![7; 64] }
}

/// `count` inbound calls, one callback for each.
#[pyfunction]
fn dispatch_each(py: Python<'_>, count: usize, callback: &Bound<'_, PyAny>) -> PyResult<()> {
    for number in 0..count {
        callback.call1((Py::new(py, call(number))?,))?;
    }
    Ok(())
}

/// `count` inbound calls, one callback with a list of handles.
#[pyfunction]
fn dispatch_list(py: Python<'_>, count: usize, callback: &Bound<'_, PyAny>) -> PyResult<()> {
    let calls: Vec<_> = (0..count).map(|number| Py::new(py, call(number))).collect::<PyResult<_>>()?;
    callback.call1((PyList::new(py, calls)?,))?;
    Ok(())
}

/// `count` inbound calls, one callback with a list of tuples.
#[pyfunction]
fn dispatch_tuples(py: Python<'_>, count: usize, callback: &Bound<'_, PyAny>) -> PyResult<()> {
    let calls = (0..count).map(|number| {
        let call = call(number);
        (number, call.method, PyBytes::new(py, &call.request))
    });
    callback.call1((PyList::new(py, calls)?,))?;
    Ok(())
}

/// `count` messages as one object each.
#[pyfunction]
fn batch_objects<'py>(py: Python<'py>, message: &[u8], count: usize) -> PyResult<Bound<'py, PyList>> {
    PyList::new(py, (0..count).map(|_| PyBytes::new(py, message)))
}

/// `count` messages as one MessagePack array.
#[pyfunction]
fn batch_array<'py>(py: Python<'py>, message: &[u8], count: usize) -> PyResult<Bound<'py, PyBytes>> {
    let header = u32::try_from(count).map_err(|_| PyValueError::new_err("at most 2^32-1 messages"))?;
    PyBytes::new_with(py, 5 + message.len() * count, |out| {
        out[0] = 0xdd;
        out[1..5].copy_from_slice(&header.to_be_bytes());
        for chunk in out[5..].chunks_exact_mut(message.len()) {
            chunk.copy_from_slice(message);
        }
        Ok(())
    })
}

/// One copy in and one out, as a call makes them.
#[pyfunction]
fn copies<'py>(py: Python<'py>, payload: &Bound<'py, PyBytes>) -> Bound<'py, PyBytes> {
    let owned = std::hint::black_box(payload.as_bytes().to_vec());
    PyBytes::new(py, &owned)
}

/// Nothing: the price of the call itself.
#[pyfunction]
fn nothing(payload: &Bound<'_, PyBytes>) {
    std::hint::black_box(payload);
}

/// The payload crosses without a copy: what remains is attaching to the interpreter on another thread to let go of it.
#[pyfunction]
fn attach_elsewhere(py: Python<'_>, times: usize) -> f64 {
    py.detach(|| {
        thread::spawn(move || {
            let start = std::time::Instant::now();
            for _ in 0..times {
                Python::attach(|_| ());
            }
            start.elapsed().as_secs_f64()
        })
        .join()
        .unwrap_or(f64::NAN)
    })
}

#[pymodule]
fn aster_boundary(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Port>()?;
    module.add_class::<Call>()?;
    module.add_function(wrap_pyfunction!(set_result, module)?)?;
    module.add_function(wrap_pyfunction!(dispatch_each, module)?)?;
    module.add_function(wrap_pyfunction!(dispatch_list, module)?)?;
    module.add_function(wrap_pyfunction!(dispatch_tuples, module)?)?;
    module.add_function(wrap_pyfunction!(batch_objects, module)?)?;
    module.add_function(wrap_pyfunction!(batch_array, module)?)?;
    module.add_function(wrap_pyfunction!(copies, module)?)?;
    module.add_function(wrap_pyfunction!(nothing, module)?)?;
    module.add_function(wrap_pyfunction!(attach_elsewhere, module)?)?;
    Ok(())
}
