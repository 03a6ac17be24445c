//! Deadlines of the calls of one connection: one ordered map and one task, however many calls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::Notify;

/// What has a deadline.
pub(crate) trait Timed: Send + Sync + 'static {
    /// The deadline has passed.
    fn expired(self: Arc<Self>);
}

/// Names one deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerKey(Instant, u64);

/// The deadlines of one connection.
#[derive(Default)]
pub(crate) struct Timers {
    state: Mutex<State>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<TimerKey, Weak<dyn Timed>>,
    next: u64,
    started: bool,
}

impl Timers {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a deadline. The task that watches them starts with the first.
    pub(crate) fn add(self: &Arc<Self>, deadline: Instant, what: Weak<dyn Timed>) -> TimerKey {
        let mut state = self.state();
        let key = TimerKey(deadline, state.next);
        state.next += 1;
        state.waiting.insert(key, what);
        let first = state
            .waiting
            .first_key_value()
            .is_some_and(|(first, _)| *first == key);
        let start = !std::mem::replace(&mut state.started, true);
        drop(state);
        if start {
            tokio::spawn(drive(Arc::downgrade(self), self.changed.clone()));
        } else if first {
            self.changed.notify_one();
        }
        key
    }

    /// Takes a deadline away; one that has passed is no error.
    pub(crate) fn remove(&self, key: TimerKey) {
        self.state().waiting.remove(&key);
    }

    fn take_due(&self, now: Instant) -> (Vec<Weak<dyn Timed>>, Option<Instant>) {
        let mut state = self.state();
        let mut due = Vec::new();
        while let Some(first) = state.waiting.first_entry() {
            if first.key().0 > now {
                return (due, Some(first.key().0));
            }
            due.push(first.remove());
        }
        (due, None)
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        self.changed.notify_one();
    }
}

async fn drive(timers: Weak<Timers>, changed: Arc<Notify>) {
    loop {
        let (due, next) = match timers.upgrade() {
            Some(timers) => timers.take_due(Instant::now()),
            None => return,
        };
        for what in due.into_iter().filter_map(|what| what.upgrade()) {
            what.expired();
        }
        match next {
            None => changed.notified().await,
            Some(next) => {
                tokio::select! {
                    () = tokio::time::sleep_until(next.into()) => {}
                    () = changed.notified() => {}
                }
            }
        }
    }
}
