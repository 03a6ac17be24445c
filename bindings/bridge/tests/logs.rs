//! Log records on their way to a language. Alone in its file: they belong to the whole process.

use aster_bridge::logs::{KEPT, keep, take};
use aster_bridge::{Event, Port};

#[test]
fn records_are_kept_as_asked_up_to_the_limit_and_announced_to_a_port() {
    assert!(keep(3));
    tracing::debug!(target: "aster::server", "not kept");
    tracing::warn!(target: "iroh", "not kept");
    tracing::info!(target: "aster::server", peer = "a1", "a peer came");
    // They wait for a port, and are announced to it once.
    let port = Port::new().unwrap();
    let mut events = Vec::new();
    port.drain_into(&mut events);
    assert!(matches!(events[..], [Event::Logs]));
    let texts: Vec<_> = take()
        .into_iter()
        .map(|record| (record.level, record.target, record.text))
        .collect();
    assert_eq!(
        texts,
        [(
            3,
            "aster::server".to_owned(),
            "a peer came peer=\"a1\"".to_owned()
        )]
    );
    assert!(take().is_empty());

    for number in 0..KEPT + 5 {
        tracing::info!(target: "aster", "record {number}");
    }
    events.clear();
    port.drain_into(&mut events);
    assert!(
        matches!(events[..], [Event::Logs]),
        "one announcement for a burst"
    );
    let records = take();
    assert_eq!(records.len(), KEPT + 1);
    assert!(
        records[0].text.starts_with("5 log records were dropped"),
        "{}",
        records[0].text
    );
    assert_eq!(records[1].text, "record 5");

    keep(2);
    tracing::warn!(target: "iroh", "kept for debugging");
    assert_eq!(take().len(), 1);
    keep(6);
    tracing::error!(target: "aster", "not kept");
    assert!(take().is_empty());
}
