//! Control frames of any kind with any payload, and nearly right ones.

#![no_main]

use std::sync::LazyLock;

use aster_proto::contract::Scope;
use aster_proto::control::{Control, Hello, Offer, Welcome};
use aster_proto::frame::{Decoder, Frame};
use aster_proto::limits::{self, Limits};
use aster_proto_fuzz::{bounded, damaged};
use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;

fn payload(control: &Control) -> Vec<u8> {
    let mut out = BytesMut::new();
    control.encode(&mut out);
    first(out.freeze()).payload.to_vec()
}

fn first(bytes: Bytes) -> Frame {
    let mut decoder = Decoder::new(limits::MAX_CONTROL_FRAME * 2);
    decoder.push(bytes);
    decoder
        .next_frame()
        .expect("what was written can be read")
        .expect("whole")
}

/// A Hello and a Welcome with everything in them.
static RIGHT: LazyLock<[(u8, Vec<u8>); 2]> = LazyLock::new(|| {
    let offer = Offer {
        service: "Echo".into(),
        version: 1,
        contract: [7; 32],
        scope: Scope::Session,
    };
    let mut stated = Limits::default();
    stated.in_flight = 7;
    let (agent, credential) = ("fuzz/1".to_owned(), Some(Bytes::from_static(b"credential")));
    let hello = Hello {
        features: 5,
        agent: agent.clone(),
        credential: credential.clone(),
        offers: vec![offer.clone()],
        limits: stated,
    };
    let welcome = Welcome {
        features: 5,
        agent,
        credential,
        offers: vec![offer.clone(), offer],
        limits: stated,
        capabilities: vec!["a".into(), "b".into()],
        expires_ms: Some(1_000),
    };
    [
        (1, payload(&Control::Hello(hello))),
        (2, payload(&Control::Welcome(welcome))),
    ]
});

fuzz_target!(|data: &[u8]| {
    let [choice, rest @ ..] = data else { return };
    let (byte, payload) = match choice {
        0xfe => (RIGHT[0].0, damaged(&RIGHT[0].1, rest)),
        0xff => (RIGHT[1].0, damaged(&RIGHT[1].1, rest)),
        byte => (*byte, rest.to_vec()),
    };
    let length = payload.len();
    let frame = Frame {
        byte,
        payload: payload.into(),
    };
    // An offer or a capability of a few bytes costs its entry in a list; lists are limited, and the error has a text.
    let memory = 64 * length + 4_096;
    let Ok(control) = bounded(memory, || Control::parse(&frame)) else {
        return;
    };
    if let Control::Hello(Hello { offers, agent, .. })
    | Control::Welcome(Welcome { offers, agent, .. }) = &control
    {
        assert!(offers.len() <= limits::MAX_OFFERS && agent.chars().count() <= limits::MAX_NAME);
    }
    let mut out = BytesMut::new();
    control.encode(&mut out);
    assert_eq!(Control::parse(&first(out.freeze())), Ok(control));
});
