//! Call headers, lane frames, and whole directions of a call.

#![no_main]

use std::sync::LazyLock;

use aster_proto::call::{
    AnswerMachine, CallHeader, Codec, Event, LaneFrame, RequestMachine, Route, RouteRef,
    put_lane_call, put_lane_cancel, put_lane_reply,
};
use aster_proto::contract::Pattern;
use aster_proto::frame::{Decoder, Frame, flag};
use aster_proto::limits;
use aster_proto::metadata::Metadata;
use aster_proto::status::{Code, Status};
use aster_proto_fuzz::{bounded, damaged};
use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;

fn metadata() -> Metadata {
    let mut metadata = Metadata::new();
    metadata.insert("trace", "0af7651916cd43dd").expect("valid");
    metadata
        .insert("token-bin", &b"\x00\xff"[..])
        .expect("valid");
    metadata
}

static HEADER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let route = Route {
        service: "Echo",
        version: 1,
        method: "say",
        contract: Some([7; 32]),
        codec: Codec::Json,
    };
    let mut header = CallHeader::new(RouteRef::Full {
        route,
        define: Some(0),
    });
    header.session = Some(3);
    header.deadline_ms = Some(30_000);
    header.compress = true;
    header.metadata = metadata();
    let mut out = BytesMut::new();
    header.encode(&mut out);
    out.to_vec()
});

static REPLY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut status =
        Status::rejected(Code::RESOURCE_EXHAUSTED, "too many calls").with_metadata(metadata());
    status.retry_after_ms = Some(500);
    let status = status
        .with_details(Bytes::from_static(b"\xa1x"))
        .expect("small");
    let mut out = BytesMut::new();
    put_lane_reply(&mut out, 9, 0, &metadata(), &status, &[]);
    first(out.freeze()).payload.to_vec()
});

fn first(bytes: Bytes) -> Frame {
    let mut decoder = Decoder::new(limits::MAX_MESSAGE);
    decoder.push(bytes);
    decoder
        .next_frame()
        .expect("what was written can be read")
        .expect("whole")
}

fn header(bytes: &[u8]) {
    let Ok(header) = bounded(16 * bytes.len() + 4_096, || CallHeader::decode(bytes)) else {
        return;
    };
    assert!(bytes.len() <= limits::MAX_HEADER && header.metadata.size() <= limits::MAX_METADATA);
    assert_eq!(CallHeader::decode_route(bytes).as_ref(), Ok(&header.route));
    let mut out = BytesMut::new();
    header.encode(&mut out);
    assert_eq!(CallHeader::decode(&out).as_ref(), Ok(&header));
}

fn lane(frame: Frame) {
    let length = frame.payload.len();
    let Ok(lane) = bounded(24 * length + 4_096, || LaneFrame::parse(frame)) else {
        return;
    };
    let packed = |compressed: bool| if compressed { flag::COMPRESSED } else { 0 };
    let mut out = BytesMut::new();
    match &lane {
        LaneFrame::Call {
            id,
            header: bytes,
            message,
            compressed,
        } => {
            header(bytes);
            let body = if message.is_none() { flag::BODY } else { 0 };
            let flags = packed(*compressed) | body;
            put_lane_call(
                &mut out,
                *id,
                flags,
                bytes,
                message.as_deref().unwrap_or_default(),
            );
        }
        LaneFrame::Cancel { id } => put_lane_cancel(&mut out, *id),
        LaneFrame::Reply {
            id,
            status,
            initial,
            message,
            compressed,
        } => {
            assert!(status.message.len() <= limits::MAX_STATUS_MESSAGE);
            // Success says neither who made it nor whether it ran.
            let canonical =
                !status.is_ok() || (status.may_have_run && status.origin == Status::ok().origin);
            put_lane_reply(&mut out, *id, packed(*compressed), initial, status, message);
            if !canonical {
                return;
            }
        }
        LaneFrame::Unknown => return,
    }
    assert_eq!(LaneFrame::parse(first(out.freeze())), Ok(lane));
}

/// The frames of one direction: a machine never lets more through than its pattern has, and nothing after the end.
fn direction(pattern: Pattern, bytes: &[u8]) {
    let mut decoder = Decoder::new(limits::MAX_HEADER);
    decoder.push(Bytes::copy_from_slice(bytes));
    let (mut answer, mut request) = (AnswerMachine::new(pattern), RequestMachine::new(pattern));
    let (mut answers, mut requests, mut broken) = (0, 0, false);
    while let Ok(Some(frame)) = decoder.next_frame() {
        let ended = answer.ended();
        match answer.frame(frame.clone()) {
            Ok(event) => {
                assert!(!ended, "something came after the status");
                answers += u32::from(matches!(event, Event::Message(..)));
            }
            Err(_) => broken = true,
        }
        requests += u32::from(matches!(request.frame(frame), Ok(Event::Message(..))));
    }
    assert!(pattern.streams_responses() || answers <= 1);
    assert!(pattern.streams_requests() || requests <= 1);
    assert!(pattern.streams_requests() || request.end().is_err() || requests == 1 || broken);
}

fuzz_target!(|data: &[u8]| {
    let [choice, rest @ ..] = data else { return };
    let frame = |byte, payload: Vec<u8>| Frame {
        byte,
        payload: payload.into(),
    };
    match choice {
        0 => header(rest),
        1 => header(&damaged(&HEADER, rest)),
        2 => lane(frame(7, damaged(&REPLY, rest))),
        3 => direction(Pattern::Unary, rest),
        4 => direction(Pattern::ServerStream, rest),
        5 => direction(Pattern::ClientStream, rest),
        6 => direction(Pattern::BidiStream, rest),
        byte => lane(frame(*byte, rest.to_vec())),
    }
});
