//! Sessions on both sides of a connection.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use aster_proto::status::{Code, Status};
use tokio::sync::{Notify, oneshot};

use crate::conn::Conn;

static NEXT_KEY: AtomicU64 = AtomicU64::new(1);

/// A session as its service sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionRef {
    /// The number its caller gave it, unique in its connection.
    pub id: u64,
    /// A number that is unique in this process, to find the session's instance by.
    pub key: u64,
}

impl SessionRef {
    pub(crate) fn new(id: u64) -> Self {
        Self {
            id,
            key: NEXT_KEY.fetch_add(1, Ordering::Relaxed),
        }
    }
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEnd {
    /// Its caller closed it.
    Closed,
    /// Its connection ended.
    Disconnected,
    /// The server shut down.
    Shutdown,
}

impl SessionEnd {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Disconnected => "disconnected",
            Self::Shutdown => "shutdown",
        }
    }
}

/// A session that has ended. The engine waits for it to be dropped, for a bounded time, before it shuts down.
#[derive(Debug)]
pub struct SessionClosed {
    pub(crate) session: SessionRef,
    pub(crate) end: SessionEnd,
    pub(crate) done: Option<oneshot::Sender<()>>,
}

impl SessionClosed {
    /// Which session.
    pub fn session(&self) -> SessionRef {
        self.session
    }

    /// Why.
    pub fn end(&self) -> SessionEnd {
        self.end
    }
}

impl Drop for SessionClosed {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            // Nobody waits unless the endpoint is shutting down.
            let _ = done.send(());
        }
    }
}

/// A session that this side calls in.
///
/// It begins with its first call and belongs to the connection of that call. When that connection is lost the next
/// call fails `ABORTED`, without running; an explicit session then stays dead, an implicit one (a proxy's own) starts
/// afresh with the call after.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    service: String,
    implicit: bool,
    state: Mutex<State>,
    turns: Mutex<Turns>,
    /// A turn has ended.
    next: Notify,
}

/// Unary calls that could not be issued at once, by the order in which they were made.
#[derive(Default)]
struct Turns {
    made: u64,
    waiting: BTreeSet<u64>,
}

/// The place of a unary call among those of its session. Dropped when the call is issued, or given up before.
pub(crate) struct Turn {
    session: Session,
    number: u64,
}

impl Turn {
    /// Waits until every call made before has been issued or given up.
    pub(crate) async fn come(&self) {
        loop {
            let next = self.session.0.next.notified();
            if self.session.turns().waiting.first() == Some(&self.number) {
                return;
            }
            next.await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.session.turns().waiting.remove(&self.number);
        self.session.0.next.notify_waiters();
    }
}

enum State {
    Unused,
    Bound {
        conn: Weak<Conn>,
        id: u64,
        calls: u64,
    },
    Lost,
    Closed,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("service", &self.0.service)
            .field("id", &self.id())
            .finish()
    }
}

impl Session {
    pub(crate) fn new(service: &str, implicit: bool) -> Self {
        Self(Arc::new(Inner {
            service: service.to_owned(),
            implicit,
            state: Mutex::new(State::Unused),
            turns: Mutex::default(),
            next: Notify::new(),
        }))
    }

    fn turns(&self) -> std::sync::MutexGuard<'_, Turns> {
        self.0.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a unary call may be issued at once: no earlier one waits for a connection, a place or its compression.
    pub(crate) fn is_free(&self) -> bool {
        self.turns().waiting.is_empty()
    }

    /// The place of a unary call that can't be issued at once: later ones wait for it.
    pub(crate) fn turn(&self) -> Turn {
        let mut turns = self.turns();
        turns.made += 1;
        let number = turns.made;
        turns.waiting.insert(number);
        drop(turns);
        Turn {
            session: self.clone(),
            number,
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its number on its connection; `None` before its first call and after its end.
    pub fn id(&self) -> Option<u64> {
        match &*self.state() {
            State::Bound { id, .. } => Some(*id),
            _ => None,
        }
    }

    /// Counts a call that is about to be issued on `conn`: the id of the session there.
    pub(crate) fn issue(&self, conn: &Arc<Conn>) -> Result<u64, Status> {
        let mut state = self.state();
        match &mut *state {
            State::Unused => {
                let id = conn.next_session();
                *state = State::Bound {
                    conn: Arc::downgrade(conn),
                    id,
                    calls: 1,
                };
                Ok(id)
            }
            State::Bound {
                conn: bound,
                id,
                calls,
            } if std::ptr::eq(bound.as_ptr(), Arc::as_ptr(conn)) => {
                *calls += 1;
                Ok(*id)
            }
            State::Bound { .. } => Err(self.lose(&mut state)),
            State::Lost | State::Closed => Err(self.over(&state)),
        }
    }

    /// Fails a call at once that no connection could make good: the session's own is gone, or it is closed.
    pub(crate) fn check(&self) -> Result<(), Status> {
        let mut state = self.state();
        match &*state {
            State::Unused => Ok(()),
            State::Bound { conn, .. } if conn.upgrade().is_some_and(|conn| !conn.is_over()) => {
                Ok(())
            }
            State::Bound { .. } => Err(self.lose(&mut state)),
            State::Lost | State::Closed => Err(self.over(&state)),
        }
    }

    /// Its connection is gone: the status of the call that finds out.
    fn lose(&self, state: &mut State) -> Status {
        let status = self.over(&State::Lost);
        *state = if self.0.implicit {
            State::Unused
        } else {
            State::Lost
        };
        status
    }

    fn over(&self, state: &State) -> Status {
        let service = &self.0.service;
        match state {
            State::Closed => Status::unsent(
                Code::FAILED_PRECONDITION,
                format!("the session of {service} is closed: open a new session"),
            ),
            _ => Status::unsent(
                Code::ABORTED,
                format!(
                    "the session of {service} was lost with its connection, and its state with it: open a new session"
                ),
            ),
        }
    }

    /// Ends the session after the calls made before. Closing twice is no error; an implicit session may be used again.
    pub fn close(&self) {
        match tokio::runtime::Handle::try_current() {
            // A call made before still waits for its connection, its place or its compression: the close does not overtake it.
            Ok(runtime) if !self.is_free() => {
                let (session, turn) = (self.clone(), self.turn());
                runtime.spawn(async move {
                    turn.come().await;
                    session.close_now();
                });
            }
            _ => self.close_now(),
        }
    }

    fn close_now(&self) {
        let mut state = self.state();
        let after = if self.0.implicit {
            State::Unused
        } else {
            State::Closed
        };
        if let State::Bound { conn, id, calls } = std::mem::replace(&mut *state, after)
            && let Some(conn) = conn.upgrade()
        {
            conn.close_session(id, calls);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let State::Bound { conn, id, calls } = state
            && let Some(conn) = conn.upgrade()
        {
            conn.close_session(*id, *calls);
        }
    }
}
