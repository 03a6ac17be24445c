//! The end of the process's I/O thread. Alone in its file: the thread belongs to the whole process.

use std::time::{Duration, Instant};

use aster_bridge::{BridgeError, Port, forked, shutdown};

#[test]
fn shutdown_is_bounded_and_a_new_port_starts_again() {
    assert!(
        shutdown(Duration::from_millis(100)),
        "there is nothing to end"
    );
    let port = Port::new().unwrap();
    let start = Instant::now();
    assert!(shutdown(Duration::from_millis(100)));
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(port.check(), Err(BridgeError::Stopped));
    assert_eq!(port.cancel(1), Err(BridgeError::Stopped));
    let mut events = Vec::new();
    port.drain_into(&mut events);
    port.close();

    let again = Port::new().unwrap();
    assert_eq!(again.check(), Ok(()));

    // A fork, as far as this side of it can be seen without one.
    forked();
    assert_eq!(again.check(), Err(BridgeError::Forked));
    assert!(
        again
            .cancel(1)
            .unwrap_err()
            .to_string()
            .contains("before the process forked")
    );
    again.drain_into(&mut events);
    drop(again);
    let child = Port::new().unwrap();
    assert_eq!(child.check(), Ok(()), "what is made after the fork works");
    assert!(shutdown(Duration::from_millis(100)));
}
