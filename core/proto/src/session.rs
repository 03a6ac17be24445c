//! Sessions, as the answering side keeps them: which calls may run, in which order, and when a session is over.
//!
//! The machine is told what happened and answers what to do. It runs nothing and keeps no time: where a wait is
//! bounded it says so, and is told when the time is up.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::limits;
use crate::status::{Code, Status};

/// Most runs of closed ids that are remembered apart. Callers number sessions one after another, so that closed ids
/// melt into few runs; one that scatters them is cut off.
const MAX_CLOSED_RUNS: usize = 10_000;

/// What to do with a call of a session that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admit<T> {
    /// Run it now.
    Run(T),
    /// It waits its turn; the machine keeps it.
    Queued,
    /// Answer it with this status.
    Refused(T, Box<Status>),
}

/// Where a session stands after something happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing to do.
    Stay,
    /// It is closing and calls that were issued have not all arrived: come back with [`Sessions::close_timeout`] after
    /// [`limits::SESSION_CLOSE_MS`].
    AwaitCalls,
    /// All calls are in: cancel its streaming calls. Queued unary calls still run.
    CancelStreams,
    /// Nothing of it runs any more: run its close hook, once. The machine has forgotten it.
    End,
}

#[derive(Debug)]
struct Session<T> {
    /// Calls that have arrived.
    taken: u64,
    /// Unary calls that wait.
    queue: VecDeque<T>,
    /// Whether a unary call runs.
    busy: bool,
    /// Streaming calls that run.
    streams: u64,
    /// Calls to take in before the end, once the caller has closed.
    closing: Option<u64>,
    /// Whether all calls are in and streams have been told to end.
    draining: bool,
}

impl<T> Session<T> {
    fn new() -> Self {
        Self {
            taken: 0,
            queue: VecDeque::new(),
            busy: false,
            streams: 0,
            closing: None,
            draining: false,
        }
    }
}

/// The sessions of one connection, as its answering side keeps them. `T` stands for a queued call.
#[derive(Debug)]
pub struct Sessions<T> {
    open: HashMap<u64, Session<T>>,
    closed: BTreeMap<u64, u64>,
    max: u32,
}

impl<T> Sessions<T> {
    /// No sessions, and at most `max` at once.
    pub fn new(max: u32) -> Self {
        Self {
            open: HashMap::new(),
            closed: BTreeMap::new(),
            max,
        }
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether a session is open.
    pub fn is_open(&self, id: u64) -> bool {
        self.open.contains_key(&id)
    }

    fn session(&mut self, id: u64) -> Result<&mut Session<T>, Status> {
        if self.is_closed(id) {
            return Err(Status::rejected(
                Code::FAILED_PRECONDITION,
                format!("session {id} is closed: open a new session"),
            ));
        }
        if let Some(open) = self.open.get(&id)
            && open.closing.is_some_and(|calls| open.taken >= calls)
        {
            return Err(Status::rejected(
                Code::FAILED_PRECONDITION,
                format!(
                    "session {id} is closing and has taken in the calls that were issued in it: open a new session"
                ),
            ));
        }
        if !self.open.contains_key(&id) && self.open.len() >= self.max as usize {
            return Err(Status::rejected(
                Code::RESOURCE_EXHAUSTED,
                format!(
                    "this connection has {} open sessions, the most allowed (max_sessions): close one",
                    self.max
                ),
            ));
        }
        Ok(self.open.entry(id).or_insert_with(Session::new))
    }

    /// A unary call has arrived. The first call of an id creates its session.
    pub fn unary(&mut self, id: u64, call: T) -> Admit<T> {
        let session = match self.session(id) {
            Ok(session) => session,
            Err(status) => return Admit::Refused(call, Box::new(status)),
        };
        session.taken += 1;
        if !session.busy {
            session.busy = true;
            return Admit::Run(call);
        }
        if session.queue.len() >= limits::MAX_SESSION_QUEUE {
            let text = format!(
                "session {id} has {} unary calls waiting, the most allowed: await answers before sending more",
                limits::MAX_SESSION_QUEUE
            );
            return Admit::Refused(
                call,
                Box::new(Status::rejected(Code::RESOURCE_EXHAUSTED, text)),
            );
        }
        session.queue.push_back(call);
        Admit::Queued
    }

    /// A streaming call has arrived. The first call of an id creates its session.
    pub fn stream(&mut self, id: u64) -> Result<(), Status> {
        let session = self.session(id)?;
        session.taken += 1;
        session.streams += 1;
        Ok(())
    }

    /// A call of the session has arrived and was refused elsewhere: it counts among those that a close waits for.
    ///
    /// It does not create a session.
    pub fn refused(&mut self, id: u64) {
        if let Some(session) = self.open.get_mut(&id) {
            session.taken = session.taken.saturating_add(1);
        }
    }

    /// The running unary call has ended: the next one to run, if one waits.
    pub fn unary_done(&mut self, id: u64) -> Option<T> {
        let session = self.open.get_mut(&id)?;
        let next = session.queue.pop_front();
        session.busy = next.is_some();
        next
    }

    /// A streaming call has ended.
    pub fn stream_done(&mut self, id: u64) {
        if let Some(session) = self.open.get_mut(&id) {
            session.streams = session.streams.saturating_sub(1);
        }
    }

    /// Takes a waiting call out of the queue: it was cancelled or its deadline passed. `None` if it does not wait.
    pub fn cancel_queued(&mut self, id: u64, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let queue = &mut self.open.get_mut(&id)?.queue;
        let at = queue.iter().position(is_it)?;
        queue.remove(at)
    }

    /// The caller closes a session in which it issued `calls` calls.
    ///
    /// A session that no call has reached yet is closed all the same; if calls were issued in it they are waited for.
    pub fn close(&mut self, id: u64, calls: u64) -> Step {
        if self.is_closed(id) {
            return Step::Stay;
        }
        if calls == 0 && !self.open.contains_key(&id) {
            self.mark_closed(id);
            return Step::Stay;
        }
        if self.open.len() >= self.max as usize && !self.open.contains_key(&id) {
            // Its calls will all be refused; there is nothing to wait for.
            self.mark_closed(id);
            return Step::Stay;
        }
        let session = self.open.entry(id).or_insert_with(Session::new);
        if session.closing.is_some() {
            return Step::Stay;
        }
        session.closing = Some(calls);
        if session.taken < calls {
            return Step::AwaitCalls;
        }
        self.step(id)
    }

    /// The time to wait for calls is up: go on with those that came.
    pub fn close_timeout(&mut self, id: u64) -> Step {
        match self.open.get_mut(&id) {
            Some(session) if session.closing.is_some() && !session.draining => {
                session.closing = Some(0);
                self.step(id)
            }
            _ => Step::Stay,
        }
    }

    /// Where a session stands. To be asked after every call that arrived or ended, until it says [`Step::Stay`].
    pub fn step(&mut self, id: u64) -> Step {
        let Some(session) = self.open.get_mut(&id) else {
            return Step::Stay;
        };
        let Some(calls) = session.closing else {
            return Step::Stay;
        };
        if session.taken < calls {
            return Step::Stay;
        }
        if !session.busy && session.streams == 0 && session.queue.is_empty() {
            let created = session.taken > 0;
            self.open.remove(&id);
            self.mark_closed(id);
            return if created { Step::End } else { Step::Stay };
        }
        if !session.draining {
            session.draining = true;
            if session.streams > 0 {
                return Step::CancelStreams;
            }
        }
        Step::Stay
    }

    /// Ends every session at once, for a connection that is gone: their ids and the calls that waited in them.
    pub fn end_all(&mut self) -> Vec<(u64, Vec<T>)> {
        self.open
            .drain()
            .map(|(id, session)| (id, session.queue.into()))
            .collect()
    }

    fn is_closed(&self, id: u64) -> bool {
        self.closed
            .range(..=id)
            .next_back()
            .is_some_and(|(_, end)| id <= *end)
    }

    fn mark_closed(&mut self, id: u64) {
        let mut start = id;
        let mut end = id;
        if let Some((before, before_end)) = self.closed.range(..id).next_back()
            && *before_end >= id - 1
        {
            start = *before;
        }
        if let Some(after_end) = id.checked_add(1).and_then(|next| self.closed.remove(&next)) {
            end = after_end;
        }
        self.closed.insert(start, end);
    }

    /// Whether the peer scatters its session ids so widely that they can't be remembered: a reason to end the connection.
    pub fn is_abused(&self) -> bool {
        self.closed.len() > MAX_CLOSED_RUNS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x3_unary_calls_run_one_after_another_in_order_of_arrival() {
        let mut sessions = Sessions::new(10);
        assert_eq!(sessions.unary(1, 'a'), Admit::Run('a'));
        assert_eq!(sessions.unary(1, 'b'), Admit::Queued);
        assert_eq!(sessions.unary(1, 'c'), Admit::Queued);
        assert_eq!(sessions.unary(1, 'd'), Admit::Queued);
        assert_eq!(sessions.cancel_queued(1, |call| *call == 'c'), Some('c'));
        assert_eq!(
            sessions.cancel_queued(1, |call| *call == 'a'),
            None,
            "it runs already"
        );
        assert_eq!(sessions.unary_done(1), Some('b'));
        assert_eq!(sessions.unary_done(1), Some('d'));
        assert_eq!(sessions.unary_done(1), None);
        assert_eq!(sessions.unary(1, 'e'), Admit::Run('e'));
    }

    #[test]
    fn x3_a_close_never_overtakes_calls_that_were_issued_before_it() {
        let mut sessions = Sessions::new(10);
        assert_eq!(sessions.close(1, 2), Step::AwaitCalls);
        assert_eq!(sessions.unary(1, 'a'), Admit::Run('a'));
        assert_eq!(sessions.step(1), Step::Stay);
        assert_eq!(sessions.unary(1, 'b'), Admit::Queued);
        assert_eq!(sessions.step(1), Step::Stay, "both are in, none has ended");
        assert_eq!(sessions.unary_done(1), Some('b'));
        assert_eq!(sessions.step(1), Step::Stay);
        assert_eq!(sessions.unary_done(1), None);
        assert_eq!(sessions.step(1), Step::End);
        assert_eq!(sessions.step(1), Step::Stay, "the end is said once");
    }

    #[test]
    fn x3_a_closed_id_is_never_resurrected() {
        let mut sessions = Sessions::new(10);
        assert_eq!(sessions.unary(7, 'a'), Admit::Run('a'));
        assert_eq!(sessions.unary_done(7), None);
        assert_eq!(sessions.close(7, 1), Step::End);
        let Admit::Refused('b', status) = sessions.unary(7, 'b') else {
            panic!("a closed session took a call")
        };
        assert_eq!(status.code, Code::FAILED_PRECONDITION);
        assert!(!status.may_have_run);
        assert_eq!(
            sessions.stream(7).expect_err("closed").code,
            Code::FAILED_PRECONDITION
        );
        assert!(sessions.is_empty());
        assert_eq!(
            sessions.close(8, 0),
            Step::Stay,
            "closed without ever being used"
        );
        assert!(matches!(sessions.unary(8, 'c'), Admit::Refused(..)));
    }

    #[test]
    fn x3_streams_are_cancelled_once_all_calls_are_in() {
        let mut sessions = Sessions::new(10);
        assert_eq!(sessions.unary(1, 'a'), Admit::Run('a'));
        sessions.stream(1).expect("opens");
        assert_eq!(sessions.close(1, 2), Step::CancelStreams);
        assert_eq!(sessions.step(1), Step::Stay);
        sessions.stream_done(1);
        assert_eq!(
            sessions.step(1),
            Step::Stay,
            "the unary call is still running"
        );
        assert_eq!(sessions.unary_done(1), None);
        assert_eq!(sessions.step(1), Step::End);
    }

    #[test]
    fn x3_calls_that_never_arrive_hold_a_close_up_only_for_a_while() {
        let mut sessions: Sessions<char> = Sessions::new(10);
        sessions.stream(1).expect("opens");
        assert_eq!(sessions.close(1, 5), Step::AwaitCalls);
        assert_eq!(sessions.close_timeout(1), Step::CancelStreams);
        sessions.stream_done(1);
        assert_eq!(sessions.step(1), Step::End);
    }

    #[test]
    fn x3_the_cap_is_an_error_with_a_name_and_ten_thousand_closed_ids_cost_one_entry() {
        let mut sessions = Sessions::new(2);
        assert_eq!(sessions.unary(1, 'a'), Admit::Run('a'));
        assert_eq!(sessions.unary(2, 'a'), Admit::Run('a'));
        let Admit::Refused(_, status) = sessions.unary(3, 'a') else {
            panic!("over the cap")
        };
        assert_eq!(status.code, Code::RESOURCE_EXHAUSTED);
        assert!(status.message.contains("max_sessions"));
        for id in 10..10_010 {
            sessions.close(id, 0);
        }
        assert_eq!(sessions.closed.len(), 1);
        for id in (20_000..60_000).step_by(2) {
            sessions.close(id, 0);
        }
        assert!(sessions.is_abused());
    }
}
