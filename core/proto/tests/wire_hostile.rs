//! Bytes and orders of events that a careful peer never sends, each of which once did harm or could have.

use aster_proto::address::Address;
use aster_proto::call::{AnswerMachine, CallHeader, Event, LaneFrame, RouteRef, put_lane_call};
use aster_proto::contract::Pattern;
use aster_proto::control::{CloseSession, Control};
use aster_proto::error::WireErrorKind;
use aster_proto::fields::Writer;
use aster_proto::frame::{self, Decoder, Frame, flag, kind};
use aster_proto::limits::{self, Limits};
use aster_proto::metadata::Metadata;
use aster_proto::session::{Admit, Sessions, Step};
use aster_proto::status::{Code, Origin, Status};
use bytes::{Bytes, BytesMut};

fn frame(byte: u8, payload: &[u8]) -> Frame {
    Frame {
        byte,
        payload: Bytes::copy_from_slice(payload),
    }
}

fn fields(write: impl FnOnce(&mut Writer<'_>)) -> Bytes {
    let mut out = BytesMut::new();
    write(&mut Writer::new(&mut out));
    out.freeze()
}

/// The OK status of a streaming call is the empty frame `00 04`. Split between two packets it was held back until more
/// bytes came, and after the last frame of a stream none do.
#[test]
fn c9_an_empty_frame_in_two_pieces_is_there_with_its_last_byte() {
    let mut decoder = Decoder::new(100);
    decoder.push(Bytes::from_static(&[0]));
    assert_eq!(decoder.next_frame(), Ok(None));
    decoder.push(Bytes::from_static(&[kind::STATUS]));
    assert_eq!(decoder.next_frame(), Ok(Some(frame(kind::STATUS, b""))));
    assert!(decoder.is_empty());
}

#[test]
fn c9_a_promise_of_a_huge_frame_in_pieces_is_refused_with_its_last_byte() {
    let mut decoder = Decoder::new(1_000);
    // 2^62 - 1 bytes are promised.
    for _ in 0..7 {
        decoder.push(Bytes::from_static(&[0xff]));
        assert_eq!(decoder.next_frame(), Ok(None));
    }
    decoder.push(Bytes::from_static(&[0xff]));
    let error = decoder.next_frame().expect_err("over the limit");
    assert_eq!(error.kind(), WireErrorKind::TooLarge);
    assert!(decoder.held() <= 8);
}

#[test]
fn c9_metadata_that_is_refused_leaves_nothing_behind() {
    let mut metadata = Metadata::new();
    metadata
        .insert("a", "x".repeat(limits::MAX_METADATA - 1))
        .expect("just fits");
    let error = metadata.insert("b", "x").expect_err("over the limit");
    assert_eq!(error.kind(), WireErrorKind::TooLarge);
    assert_eq!((metadata.len(), metadata.size()), (1, limits::MAX_METADATA));
    let mut many = Metadata::new();
    for number in 0..limits::MAX_METADATA_PAIRS {
        many.insert(&format!("k{number}"), "")
            .expect("within the limit");
    }
    many.insert("one-more", "").expect_err("over the limit");
    assert_eq!(many.len(), limits::MAX_METADATA_PAIRS);
}

#[test]
fn c9_a_status_or_metadata_block_as_large_as_a_message_is_refused_unread() {
    let huge = vec![0x1f; limits::MAX_HEADER + 1];
    assert_eq!(
        Status::decode(&huge).map_err(|e| e.kind()),
        Err(WireErrorKind::TooLarge)
    );
    assert_eq!(
        Metadata::decode(&huge).map_err(|e| e.kind()),
        Err(WireErrorKind::TooLarge)
    );
    assert_eq!(
        CallHeader::decode(&huge).map_err(|e| e.kind()),
        Err(WireErrorKind::TooLarge)
    );
}

#[test]
fn c9_a_route_number_beside_parts_of_a_route_is_refused_and_not_ignored() {
    for (tag, value) in [(4, &[7; 32][..]), (5, &[1]), (9, &[3])] {
        let header = fields(|w| {
            w.varint(10, true, 0);
            w.bytes(tag, true, value);
        });
        let Err(error) = CallHeader::decode(&header) else {
            panic!("tag {tag} was ignored")
        };
        assert!(
            error.to_string().contains("nothing else of a route"),
            "{error}"
        );
    }
}

/// Otherwise the next call by that number would end the connection.
#[test]
fn c9_a_header_that_fails_still_tells_the_route_it_defines() {
    let header = fields(|w| {
        w.bytes(1, true, b"S");
        w.varint(2, true, 1);
        w.bytes(3, true, b"m");
        w.varint(9, true, 5);
        w.varint(99, true, 1);
    });
    let error = CallHeader::decode(&header).expect_err("field 99 is critical");
    assert_eq!(error.kind(), WireErrorKind::Unsupported);
    let Ok(RouteRef::Full {
        route,
        define: Some(5),
    }) = CallHeader::decode_route(&header)
    else {
        panic!("the route is whole")
    };
    assert_eq!((route.service, route.method), ("S", "m"));
}

#[test]
fn c9_flags_that_mean_nothing_are_refused() {
    let lane = |byte, payload: &[u8]| {
        LaneFrame::parse(frame(byte, payload))
            .expect_err("refused")
            .to_string()
    };
    assert!(lane(kind::LANE_CALL | flag::BODY | flag::COMPRESSED, &[0, 0]).contains("flags 0xc0"));
    assert!(lane(kind::LANE_CANCEL | flag::BODY, &[0]).contains("flags"));
    assert!(lane(kind::LANE_REPLY | flag::BODY, &[0, 0]).contains("flags"));
    let mut machine = AnswerMachine::new(Pattern::Unary);
    assert!(
        machine
            .frame(frame(kind::MESSAGE | flag::BODY, b""))
            .is_err()
    );
    assert!(
        machine
            .frame(frame(kind::STATUS | flag::COMPRESSED, b""))
            .is_err()
    );
}

#[test]
fn c9_an_error_on_the_lane_carries_no_message() {
    let mut status = BytesMut::new();
    Status::handler(Code::NOT_FOUND, "gone").encode(&mut status);
    let mut payload = vec![9, status.len() as u8];
    payload.extend_from_slice(&status);
    assert!(LaneFrame::parse(frame(kind::LANE_REPLY, &payload)).is_ok());
    payload.push(0);
    let error =
        LaneFrame::parse(frame(kind::LANE_REPLY, &payload)).expect_err("a message beside an error");
    assert!(error.to_string().contains("both an error and a message"));
}

#[test]
fn c9_a_lane_cancel_may_grow_fields_and_holds_nothing_else() {
    assert_eq!(
        LaneFrame::parse(frame(kind::LANE_CANCEL, &[4])),
        Ok(LaneFrame::Cancel { id: 4 })
    );
    // Tag 1, not critical, two bytes: skipped.
    assert_eq!(
        LaneFrame::parse(frame(kind::LANE_CANCEL, &[4, 2, 2, 0, 0])),
        Ok(LaneFrame::Cancel { id: 4 })
    );
    assert!(
        LaneFrame::parse(frame(kind::LANE_CANCEL, &[4, 3, 0])).is_err(),
        "tag 1 is critical"
    );
    assert!(
        LaneFrame::parse(frame(kind::LANE_CANCEL, &[4, 2])).is_err(),
        "cut off"
    );
}

#[test]
fn c9_a_close_without_its_number_of_calls_and_a_refusal_without_a_code_are_refused() {
    let close = fields(|w| w.varint(1, true, 3));
    assert!(Control::parse(&frame(5, &close)).is_err());
    let refused = fields(|w| w.bytes(2, false, b"no"));
    assert!(Control::parse(&frame(3, &refused)).is_err());
}

#[test]
fn c9_what_a_peer_says_of_itself_is_bounded_and_printable() {
    let hello = fields(|w| {
        w.bytes(
            2,
            false,
            format!("evil\u{1b}[2J\n{}", "x".repeat(9_000)).as_bytes(),
        )
    });
    let Ok(Control::Hello(hello)) = Control::parse(&frame(1, &hello)) else {
        panic!("a Hello")
    };
    assert!(hello.agent.starts_with("evil[2J"), "{}", hello.agent);
    assert_eq!(hello.agent.chars().count(), limits::MAX_NAME);

    let goaway = fields(|w| w.bytes(1, false, "y".repeat(100_000).as_bytes()));
    let Ok(Control::Goaway(goaway)) = Control::parse(&frame(4, &goaway)) else {
        panic!("a Goaway")
    };
    assert!(goaway.reason.len() <= limits::MAX_STATUS_MESSAGE);

    let welcome = fields(|w| (0..=limits::MAX_CAPABILITIES).for_each(|_| w.bytes(6, false, b"")));
    let error = Control::parse(&frame(2, &welcome))
        .expect_err("two bytes each cost the reader a string each");
    assert_eq!(error.kind(), WireErrorKind::TooLarge);

    let hello = fields(|w| {
        w.nested(5, false, |out| {
            let mut w = Writer::new(out);
            w.varint(1, false, u64::from(u32::MAX) + 7);
            w.varint(2, false, 1 << 30);
            w.varint(3, false, 1 << 60);
        });
    });
    let Ok(Control::Hello(hello)) = Control::parse(&frame(1, &hello)) else {
        panic!("a Hello")
    };
    let Limits {
        message,
        metadata,
        in_flight,
        streams,
        ..
    } = hello.limits;
    assert_eq!(
        (message, metadata, in_flight),
        (u32::MAX as usize, limits::MAX_METADATA, u32::MAX)
    );
    assert_eq!(
        streams,
        limits::MAX_STREAMS,
        "what is not said is the default"
    );
}

#[test]
fn c6_origin_zero_is_the_handler_and_any_other_the_runtime() {
    for (number, origin) in [
        (0, Origin::Handler),
        (1, Origin::Server),
        (7, Origin::Server),
    ] {
        let bytes = fields(|w| {
            w.varint(1, true, 13);
            w.varint(5, false, number);
        });
        assert_eq!(
            Status::decode(&bytes).map(|status| status.origin),
            Ok(origin)
        );
    }
}

#[test]
fn c9_a_call_stream_that_floods_with_unknown_frames_changes_nothing() {
    let mut machine = AnswerMachine::new(Pattern::Unary);
    for byte in (8..0x40).chain([0, 0xff]) {
        assert_eq!(
            machine.frame(frame(byte, b"anything")),
            Ok(Event::Ignore),
            "{byte}"
        );
    }
    assert_eq!(
        machine.frame(frame(kind::MESSAGE, b"x")),
        Ok(Event::Message(Bytes::from_static(b"x"), false))
    );
}

#[test]
fn x3_a_session_that_is_closing_takes_the_calls_that_were_issued_and_no_more() {
    let mut sessions = Sessions::new(10);
    assert_eq!(sessions.unary(1, 'a'), Admit::Run('a'));
    sessions.stream(1).expect("opens");
    assert_eq!(sessions.close(1, 2), Step::CancelStreams);
    // Streams have been told to end: one that came now would never be.
    assert_eq!(
        sessions.stream(1).expect_err("all calls are in").code,
        Code::FAILED_PRECONDITION
    );
    assert!(matches!(sessions.unary(1, 'b'), Admit::Refused('b', _)));
    sessions.stream_done(1);
    assert_eq!(sessions.unary_done(1), None);
    assert_eq!(sessions.step(1), Step::End);
}

#[test]
fn x3_a_close_waits_only_for_calls_that_have_not_arrived() {
    let mut sessions = Sessions::new(10);
    assert_eq!(sessions.unary(1, 'a'), Admit::Run('a'));
    assert_eq!(
        sessions.close(1, 1),
        Step::Stay,
        "the call is in, nothing is to be timed"
    );
    assert_eq!(sessions.unary_done(1), None);
    assert_eq!(sessions.step(1), Step::End);

    assert_eq!(sessions.unary(2, 'a'), Admit::Run('a'));
    assert_eq!(sessions.close(2, 2), Step::AwaitCalls);
    sessions.refused(2);
    assert_eq!(sessions.step(2), Step::Stay);
    assert_eq!(sessions.unary_done(2), None);
    assert_eq!(
        sessions.step(2),
        Step::End,
        "a call that was refused elsewhere counts as arrived"
    );
    sessions.refused(3);
    assert!(!sessions.is_open(3), "and creates nothing");
}

#[test]
fn a4_scopes_of_one_machine_are_not_part_of_an_address() {
    let scoped = std::net::SocketAddrV6::new("fe80::1".parse().expect("an address"), 7, 5, 9);
    let address = Address::new([1; 32], None, [scoped.into()]);
    assert_eq!(address.to_string().parse(), Ok(address));
}

#[test]
fn c9_a_lane_call_of_the_largest_header_and_message_fits_its_limit() {
    let mut out = BytesMut::new();
    let (header, message) = (
        vec![0; limits::MAX_HEADER],
        vec![0; limits::MAX_LANE_MESSAGE],
    );
    put_lane_call(&mut out, aster_proto::varint::MAX, 0, &header, &message);
    let mut decoder = Decoder::new(limits::MAX_LANE_FRAME);
    decoder.push(out.freeze());
    assert!(matches!(decoder.next_frame(), Ok(Some(_))));
}

#[test]
fn x3_a_close_travels_with_both_numbers() {
    let mut out = BytesMut::new();
    Control::CloseSession(CloseSession {
        session: 1,
        calls: 0,
    })
    .encode(&mut out);
    assert_eq!(out.len(), frame::encoded_len(6));
}
