//! Objects of the engine in the hands of a language.

use std::mem;
use std::ops::Deref;
use std::sync::Arc;

use crate::port::Shared;
use crate::runtime::Command;

/// An object of the engine that ends on the I/O thread, where its tasks are, whoever lets go of it and where.
pub(crate) struct Owned<T: Send + 'static> {
    port: Arc<Shared>,
    /// `None` only while it is dropped.
    value: Option<T>,
}

impl<T: Send + 'static> Owned<T> {
    pub(crate) fn new(port: &Arc<Shared>, value: T) -> Self {
        Self {
            port: port.clone(),
            value: Some(value),
        }
    }

    /// The port that it belongs to.
    pub(crate) fn port(&self) -> &Arc<Shared> {
        &self.port
    }
}

impl<T: Send + 'static> Deref for Owned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.value {
            Some(value) => value,
            None => unreachable!("it is taken by its drop only"),
        }
    }
}

impl<T: Send + 'static> Drop for Owned<T> {
    fn drop(&mut self) {
        let Some(value) = self.value.take() else {
            return;
        };
        if self.port.runtime.is_forked() {
            // It is the parent's: what is here of it stays as it is.
            mem::forget(value);
        } else {
            // If the thread has ended, all that the object stood for has too.
            let _ = self.port.runtime.send(Command::Drop(Box::new(value)));
        }
    }
}
