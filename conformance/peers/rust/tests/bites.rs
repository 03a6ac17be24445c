//! Proof that the suite bites: one bit turned round between two peers makes it red, and the peer in between that could do
//! so, passing every byte on, leaves it green.
//!
//! It plays Rust against Rust, since that needs nothing but this crate; `aster-conformance --flip` does it to any pair.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use aster_conformance::proxy::Flip;
use aster_conformance::run::{Runner, Selection, Tally};

const CONTROL: u8 = 1;
const CALL: u8 = 2;
const LANE: u8 = 3;

fn play(only: &[&str], flip: Option<Flip>) -> (Tally, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let peer = Path::new(env!("CARGO_BIN_EXE_aster-conformance-peer"));
    let selection = Selection {
        only: only.iter().map(|name| (*name).to_owned()).collect(),
        pairs: vec!["rust:rust".to_owned()],
        proxy: Some(flip),
    };
    let lines = Rc::new(RefCell::new(String::new()));
    let kept = lines.clone();
    let report = Box::new(move |line: &str| {
        kept.borrow_mut().push_str(line);
        kept.borrow_mut().push('\n');
    });
    let bin = peer.parent().expect("a folder");
    let runner = Runner::new(&root, bin, selection, report).expect("the suite is read");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let tally = runtime.block_on(runner.run()).expect("it runs");
    let text = lines.borrow().clone();
    (tally, text)
}

#[test]
fn a_peer_in_between_that_passes_every_byte_on_changes_nothing() {
    let areas = ["unary/", "streaming/", "cancel/", "status/", "metadata/"];
    let (tally, lines) = play(&areas, None);
    assert_eq!(tally.failed, 0, "{lines}");
    assert!(tally.passed > 40, "{lines}");
}

/// Turns one bit round in what the client sends in a scenario that is green otherwise; what the failure says.
fn bitten(scenario: &str, kind: u8, at: usize) -> String {
    let (green, lines) = play(&[scenario], None);
    assert_eq!((green.passed, green.failed), (1, 0), "{lines}");
    let (red, lines) = play(&[scenario], Some(Flip { kind, at }));
    assert_eq!((red.passed, red.failed), (0, 1), "{lines}");
    assert!(lines.contains("what was said to the rust peer"), "{lines}");
    lines
}

#[test]
fn a_bit_of_a_request_makes_it_red() {
    // On the lane after its kind byte: 1 byte of length, kind, call id, length of the header; a header of 76 bytes; then
    // {"text": "hello"}, of which byte 85 is the second l.
    let lines = bitten("unary/echo", LANE, 85);
    assert!(lines.contains("helmo"), "{lines}");
}

#[test]
fn a_bit_of_a_contract_id_makes_it_red() {
    let lines = bitten("unary/echo", LANE, 40);
    assert!(lines.contains("CONTRACT_MISMATCH"), "{lines}");
}

#[test]
fn a_bit_of_a_streamed_message_makes_it_red() {
    let lines = bitten("streaming/bidirectional-stream", CALL, 84);
    assert!(
        lines.contains("was expected") || lines.contains("it failed"),
        "{lines}"
    );
}

#[test]
fn a_bit_of_the_handshake_makes_it_red() {
    // The kind of the first control frame: 1 is Hello, 0 is nothing.
    bitten("unary/ping", CONTROL, 1);
}
