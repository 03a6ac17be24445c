//! Sessions, answering side: what the session machine says is done here, and their close hooks are run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use aster_proto::limits;
use aster_proto::status::{Code, Status};
use tokio::sync::oneshot;

use super::Conn;
use super::answer::{After, Record};
use crate::call::session::{SessionClosed, SessionEnd, SessionRef};
use crate::cancel::CancelCause;
use crate::service::{Service, Target};

impl Conn {
    /// The record of a session, made with its first call.
    pub(super) fn session_record(&self, id: u64, target: &Target) -> Result<SessionRef, Status> {
        let mut state = self.answers.state();
        if state.lost {
            // Its close hook would never run.
            return Err(self.lost(false));
        }
        let record = state.records.entry(id).or_insert_with(|| Record {
            session: SessionRef::new(id),
            service: target.service.clone(),
            running: 0,
            streams: Vec::new(),
            lost: false,
        });
        if !Arc::ptr_eq(&record.service, &target.service) {
            let text = format!(
                "session {id} belongs to {}, not to {}",
                record.service.contract.name(),
                target.name()
            );
            return Err(Status::rejected(Code::INVALID_ARGUMENT, text));
        }
        Ok(record.session)
    }

    /// A call of a session was refused before the session heard of it: a close does not wait for it.
    pub(crate) fn session_refused(self: &Arc<Self>, id: u64) {
        self.answers.state().sessions.refused(id);
        self.forget_unopened(id);
        self.session_step(id);
    }

    /// Drops the record of a session that was refused before it opened.
    pub(super) fn forget_unopened(&self, id: u64) {
        let mut state = self.answers.state();
        if !state.sessions.is_open(id)
            && state
                .records
                .get(&id)
                .is_some_and(|record| record.running == 0)
        {
            state.records.remove(&id);
        }
    }

    /// A call of a session has ended; the next may run.
    pub(crate) fn session_call_done(self: &Arc<Self>, session: SessionRef, queued_kind: bool) {
        let next = {
            let mut state = self.answers.state();
            let next = if queued_kind {
                state.sessions.unary_done(session.id)
            } else {
                state.sessions.stream_done(session.id);
                None
            };
            if let Some(record) = state.records.get_mut(&session.id)
                && next.is_none()
            {
                record.running = record.running.saturating_sub(1);
            }
            next
        };
        if let Some(ready) = next {
            // Not from here: an immediate end of one call after another would nest as deep as the queue is long.
            let conn = self.clone();
            tokio::spawn(async move { conn.run_unary(ready) });
        }
        self.session_step(session.id);
        self.session_lost_step(session.id);
    }

    /// The caller closes a session.
    pub(crate) fn session_close(self: &Arc<Self>, id: u64, calls: u64) -> Result<(), String> {
        let (step, abused) = {
            let mut state = self.answers.state();
            let step = state.sessions.close(id, calls);
            (state.after(id, step), state.sessions.is_abused())
        };
        if abused {
            return Err(
                "session ids are scattered too widely to be remembered: count them up from 1"
                    .into(),
            );
        }
        self.session_take_step(id, step);
        Ok(())
    }

    /// Sees whether a session that is closing has come further.
    pub(crate) fn session_step(self: &Arc<Self>, id: u64) {
        let step = self.answers.state().step(id);
        self.session_take_step(id, step);
    }

    pub(super) fn session_take_step(self: &Arc<Self>, id: u64, mut step: After) {
        loop {
            match step {
                After::Stay => return,
                After::AwaitCalls => {
                    let conn = self.clone();
                    tokio::spawn(async move {
                        tokio::select! {
                            () = tokio::time::sleep(Duration::from_millis(limits::SESSION_CLOSE_MS)) => {
                                let step = {
                                    let mut state = conn.answers.state();
                                    let step = state.sessions.close_timeout(id);
                                    state.after(id, step)
                                };
                                conn.session_take_step(id, step);
                            }
                            _ = conn.closed() => {}
                        }
                    });
                    return;
                }
                After::CancelStreams(streams) => {
                    for call in streams.into_iter().filter_map(|call| call.upgrade()) {
                        call.answer_failed(Status::server(
                            Code::CANCELLED,
                            "the session was closed",
                        ));
                        call.cancel.fire(CancelCause::Session);
                    }
                    step = self.answers.state().step(id);
                }
                After::End(record) => {
                    return self.run_close_hook(record.service, record.session, SessionEnd::Closed);
                }
            }
        }
    }

    fn run_close_hook(
        self: &Arc<Self>,
        service: Arc<Service>,
        session: SessionRef,
        end: SessionEnd,
    ) {
        let (done, hear) = oneshot::channel();
        // A server that shuts down waits for the hooks, so they count as work.
        self.begin_busy();
        let conn = self.clone();
        tokio::spawn(async move {
            let _ = hear.await;
            conn.end_busy();
        });
        let closed = SessionClosed {
            session,
            end,
            done: Some(done),
        };
        let hook = || service.dispatch.session_closed(closed);
        if catch_unwind(AssertUnwindSafe(hook)).is_err() {
            tracing::error!(target: "aster", "the close hook of a session of {} panicked", service.contract.name());
        }
    }

    pub(super) fn session_lost_step(self: &Arc<Self>, id: u64) {
        let over = self
            .answers
            .state()
            .records
            .get(&id)
            .is_some_and(|record| record.lost && record.running == 0);
        if over {
            self.session_end_lost(id);
        }
    }

    pub(super) fn session_end_lost(self: &Arc<Self>, id: u64) {
        let record = self.answers.state().records.remove(&id);
        if let Some(record) = record {
            let end = if self.is_draining() {
                SessionEnd::Shutdown
            } else {
                SessionEnd::Disconnected
            };
            self.run_close_hook(record.service, record.session, end);
        }
    }
}
