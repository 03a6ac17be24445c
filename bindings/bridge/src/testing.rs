//! What the unit tests of this crate share.

use std::future::Future;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::event::{Event, Outcome};
use crate::port::{Port, Ticket};

/// Spawns a future on the I/O thread.
pub(crate) fn on_io(port: &Port, future: impl Future<Output = ()> + Send + 'static) {
    port.shared
        .runtime
        .run_there(move || drop(tokio::spawn(future)))
        .unwrap();
}

/// Waits until the port has something, as an event loop does.
pub(crate) fn wait_readable(port: &Port) {
    assert!(readable_within(port, 10), "the port was not told");
}

pub(crate) fn readable_within(port: &Port, seconds: i64) -> bool {
    let descriptor = port.shared.descriptor();
    let mut polled = [PollFd::new(&descriptor, PollFlags::IN)];
    poll(
        &mut polled,
        Some(&Timespec {
            tv_sec: seconds,
            tv_nsec: 0,
        }),
    )
    .unwrap();
    polled[0].revents().contains(PollFlags::IN)
}

fn one(port: &Port) -> Event {
    let mut events = Vec::new();
    port.drain_into(&mut events);
    assert_eq!(events.len(), 1);
    events.remove(0)
}

pub(crate) fn ready_ticket(port: &Port) -> Ticket {
    match one(port) {
        Event::Ready { ticket, .. } => ticket,
        _ => panic!("not a stream"),
    }
}

pub(crate) fn completion(port: &Port) -> (Ticket, Outcome) {
    match one(port) {
        Event::Completed { ticket, outcome } => (ticket, outcome),
        _ => panic!("not a completion"),
    }
}
