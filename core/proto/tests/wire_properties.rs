//! Properties of the wire format that hold for all values and all bytes.

use std::net::{IpAddr, SocketAddr};

use aster_proto::address::{Address, MAX_DIRECT, MAX_LEN, MAX_RELAY};
use aster_proto::call::{
    AnswerMachine, CallHeader, Codec, LaneFrame, RequestMachine, Route, RouteRef, put_lane_call,
    put_lane_cancel, put_lane_reply,
};
use aster_proto::contract::{Pattern, Scope};
use aster_proto::control::{
    CloseSession, Control, Goaway, Hello, Offer, Refused, Welcome, grease_kind,
};
use aster_proto::error::WireErrorKind;
use aster_proto::fields::Writer;
use aster_proto::frame::{self, Decoder, Frame, flag};
use aster_proto::limits::{self, Limits};
use aster_proto::metadata::{BINARY_SUFFIX, Metadata, RESERVED_PREFIX};
use aster_proto::status::{Code, Origin, Status};
use aster_proto::varint;
use bytes::{Bytes, BytesMut};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;

fn number() -> impl Strategy<Value = u64> {
    // Around the lengths of a varint, and anything.
    prop_oneof![
        0..=0x80u64,
        0x3ff0..=0x4010u64,
        0x3fff_fff0..=0x4000_0010u64,
        0..=varint::MAX
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z_][a-zA-Z0-9_]{0,20}",
        "\\PC{1,60}",
        Just("n".repeat(limits::MAX_NAME))
    ]
}

fn metadata() -> impl Strategy<Value = Metadata> {
    btree_map("[a-z0-9._-]{1,20}", vec(any::<u8>(), 0..30), 0..6).prop_map(|pairs| {
        let mut metadata = Metadata::new();
        for (key, value) in pairs {
            let value = if key.ends_with(BINARY_SUFFIX) {
                value
            } else {
                hex(&value).into_bytes()
            };
            if !key.starts_with(RESERVED_PREFIX) {
                metadata.insert(&key, value).expect("a valid pair");
            }
        }
        metadata
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn offer() -> impl Strategy<Value = Offer> {
    (name(), any::<u32>(), any::<[u8; 32]>(), any::<bool>()).prop_map(
        |(service, version, contract, session)| Offer {
            service,
            version,
            contract,
            scope: if session {
                Scope::Session
            } else {
                Scope::Shared
            },
        },
    )
}

fn some_limits() -> impl Strategy<Value = Limits> {
    (
        any::<u32>(),
        0..=limits::MAX_METADATA,
        any::<u32>(),
        any::<u32>(),
        any::<u32>(),
    )
        .prop_map(|(message, metadata, in_flight, streams, sessions)| {
            let mut limits = Limits::default();
            limits.message = message as usize;
            limits.metadata = metadata;
            limits.in_flight = in_flight;
            limits.streams = streams;
            limits.sessions = sessions;
            limits
        })
}

fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..most).prop_map(Bytes::from)
}

fn hello() -> impl Strategy<Value = Hello> {
    let parts = (
        number(),
        "[ -~]{0,40}",
        option::of(bytes(100)),
        vec(offer(), 0..4),
        some_limits(),
    );
    parts.prop_map(|(features, agent, credential, offers, limits)| Hello {
        features,
        agent,
        credential,
        offers,
        limits,
    })
}

fn control() -> impl Strategy<Value = Control> {
    let welcome = (hello(), vec("\\PC{0,20}", 0..5), option::of(number())).prop_map(
        |(hello, capabilities, expires_ms)| {
            let Hello {
                features,
                agent,
                credential,
                offers,
                limits,
            } = hello;
            Control::Welcome(Welcome {
                features,
                agent,
                credential,
                offers,
                limits,
                capabilities,
                expires_ms,
            })
        },
    );
    prop_oneof![
        hello().prop_map(Control::Hello),
        welcome,
        (1..=u16::MAX, "\\PC{0,60}")
            .prop_map(|(code, reason)| Control::Refused(Refused { code, reason })),
        "\\PC{0,60}".prop_map(|reason| Control::Goaway(Goaway { reason })),
        (1..=varint::MAX, number())
            .prop_map(|(session, calls)| Control::CloseSession(CloseSession { session, calls })),
        number().prop_map(Control::Ping),
        number().prop_map(Control::Pong),
        any::<u8>().prop_map(|random| Control::Ignored(grease_kind(random))),
    ]
}

/// The parts of a header, owned.
#[derive(Debug, Clone)]
struct Header {
    service: String,
    version: u32,
    method: String,
    contract: Option<[u8; 32]>,
    json: bool,
    define: Option<u64>,
    defined: Option<u64>,
    session: Option<u64>,
    deadline_ms: Option<u64>,
    compress: bool,
    metadata: Metadata,
}

impl Header {
    fn borrowed(&self) -> CallHeader<'_> {
        let route = match self.defined {
            Some(number) => RouteRef::Defined(number),
            None => RouteRef::Full {
                route: Route {
                    service: &self.service,
                    version: self.version,
                    method: &self.method,
                    contract: self.contract,
                    codec: if self.json {
                        Codec::Json
                    } else {
                        Codec::MessagePack
                    },
                },
                define: self.define,
            },
        };
        let mut header = CallHeader::new(route);
        header.session = self.session;
        header.deadline_ms = self.deadline_ms;
        header.compress = self.compress;
        header.metadata = self.metadata.clone();
        header
    }

    fn encoded(&self) -> BytesMut {
        let mut out = BytesMut::new();
        self.borrowed().encode(&mut out);
        out
    }
}

fn header() -> impl Strategy<Value = Header> {
    let route = (
        name(),
        any::<u32>(),
        name(),
        option::of(any::<[u8; 32]>()),
        any::<bool>(),
    );
    let numbers = (option::of(number()), option::of(number()));
    let rest = (
        option::of(1..=varint::MAX),
        option::of(number()),
        any::<bool>(),
        metadata(),
    );
    (route, numbers, rest).prop_map(
        |(route, (define, defined), (session, deadline_ms, compress, metadata))| {
            let (service, version, method, contract, json) = route;
            Header {
                service,
                version,
                method,
                contract,
                json,
                define,
                defined,
                session,
                deadline_ms,
                compress,
                metadata,
            }
        },
    )
}

fn status() -> impl Strategy<Value = Status> {
    let parts = (
        any::<u16>(),
        "\\PC{0,80}",
        option::of(bytes(60)),
        metadata(),
        any::<bool>(),
        any::<bool>(),
    );
    (parts, option::of(number())).prop_map(
        |((code, message, details, metadata, handler, ran), retry)| {
            // Success has no origin and did run: the wire says neither.
            let mut status = match (code, handler, ran) {
                (0, ..) => Status::ok(),
                (_, true, _) => Status::handler(Code(code), ""),
                (_, _, true) => Status::server(Code(code), ""),
                (_, _, false) => Status::rejected(Code(code), ""),
            };
            status.message = message;
            status.retry_after_ms = retry;
            let status = match details {
                Some(details) => status.with_details(details).expect("below the limit"),
                None => status,
            };
            status.with_metadata(metadata)
        },
    )
}

fn address() -> impl Strategy<Value = Address> {
    let relay = option::of("[ -~]{1,80}");
    let direct = vec(
        (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port)),
        0..8,
    );
    (any::<[u8; 32]>(), relay, direct)
        .prop_map(|(id, relay, direct)| Address::new(id, relay, direct))
}

fn lane_frame() -> impl Strategy<Value = (LaneFrame, BytesMut)> {
    let call = (number(), header(), option::of(bytes(200)), any::<bool>()).prop_map(
        |(id, header, message, compressed)| {
            let header = header.encoded().freeze();
            let compressed = compressed && message.is_some();
            let flags = match (&message, compressed) {
                (None, _) => flag::BODY,
                (_, true) => flag::COMPRESSED,
                (_, false) => 0,
            };
            let mut out = BytesMut::new();
            put_lane_call(
                &mut out,
                id,
                flags,
                &header,
                message.as_deref().unwrap_or_default(),
            );
            (
                LaneFrame::Call {
                    id,
                    header,
                    message,
                    compressed,
                },
                out,
            )
        },
    );
    let cancel = number().prop_map(|id| {
        let mut out = BytesMut::new();
        put_lane_cancel(&mut out, id);
        (LaneFrame::Cancel { id }, out)
    });
    let reply = (number(), status(), metadata(), bytes(200), any::<bool>()).prop_map(
        |(id, status, initial, message, compressed)| {
            let compressed = compressed && status.is_ok();
            let message = if status.is_ok() {
                message
            } else {
                Bytes::new()
            };
            let mut out = BytesMut::new();
            put_lane_reply(
                &mut out,
                id,
                if compressed { flag::COMPRESSED } else { 0 },
                &initial,
                &status,
                &message,
            );
            (
                LaneFrame::Reply {
                    id,
                    status: Box::new(status),
                    initial,
                    message,
                    compressed,
                },
                out,
            )
        },
    );
    prop_oneof![call, cancel, reply]
}

fn only_frame(bytes: &[u8]) -> Frame {
    let mut decoder = Decoder::new(limits::MAX_MESSAGE);
    decoder.push(Bytes::copy_from_slice(bytes));
    let frame = decoder
        .next_frame()
        .expect("a valid frame")
        .expect("a whole frame");
    assert!(decoder.is_empty());
    frame
}

/// One of the things that happen to bytes on a bad day, or are done to them.
#[derive(Debug, Clone)]
enum Damage {
    Flip(Index, u8),
    Insert(Index, u8),
    Delete(Index),
    Truncate(Index),
    Repeat(Index, Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>;
    prop_oneof![
        (at(), 1..=u8::MAX).prop_map(|(at, mask)| Damage::Flip(at, mask)),
        (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        at().prop_map(Damage::Delete),
        at().prop_map(Damage::Truncate),
        (at(), at()).prop_map(|(from, to)| Damage::Repeat(from, to)),
    ]
}

fn perturbed(bytes: &[u8], damages: &[Damage]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for damage in damages {
        if bytes.is_empty() {
            break;
        }
        let length = bytes.len();
        match damage {
            Damage::Flip(at, mask) => bytes[at.index(length)] ^= mask,
            Damage::Insert(at, byte) => bytes.insert(at.index(length), *byte),
            Damage::Delete(at) => drop(bytes.remove(at.index(length))),
            Damage::Truncate(at) => bytes.truncate(at.index(length)),
            Damage::Repeat(from, to) => {
                let (from, to) = (from.index(length), to.index(length));
                bytes.extend_from_within(from.min(to)..from.max(to));
            }
        }
    }
    bytes
}

/// Everything that reads bytes of a peer. What is read is within the limits, and is read again from what it is written as.
fn read_everything(bytes: &[u8]) {
    let mut decoder = Decoder::new(4_096);
    let mut frames = Vec::new();
    for piece in bytes.chunks(7) {
        decoder.push(Bytes::copy_from_slice(piece));
        while let Ok(Some(frame)) = decoder.next_frame() {
            assert!(frame.payload.len() <= 4_096);
            frames.push(frame);
        }
    }
    let whole = |byte| Frame {
        byte,
        payload: Bytes::copy_from_slice(bytes),
    };
    frames.extend((0..=8).chain([0x45, 0x85, 0x87, 0xc5, 0x40]).map(whole));
    let mut answer = AnswerMachine::new(Pattern::BidiStream);
    let mut request = RequestMachine::new(Pattern::Unary);
    for frame in frames {
        if let Ok(control) = Control::parse(&frame) {
            let mut out = BytesMut::new();
            control.encode(&mut out);
            assert_eq!(Control::parse(&only_frame(&out)), Ok(control));
        }
        if let Ok(LaneFrame::Call { header, .. }) = LaneFrame::parse(frame.clone()) {
            read_header(&header);
        }
        let _ = answer.frame(frame.clone());
        let _ = request.frame(frame);
    }
    read_header(bytes);
    if let Ok(status) = Status::decode(bytes) {
        assert!(status.message.len() <= limits::MAX_STATUS_MESSAGE);
        let mut out = BytesMut::new();
        status.encode(&mut out);
        let again = Status::decode(&out).expect("what was written can be read");
        assert_eq!(
            (again.code, again.message, again.details),
            (status.code, status.message, status.details)
        );
    }
    if let Ok(metadata) = Metadata::decode(bytes) {
        assert!(
            metadata.size() <= limits::MAX_METADATA && metadata.len() <= limits::MAX_METADATA_PAIRS
        );
        let mut out = BytesMut::new();
        metadata.encode(&mut out);
        assert_eq!(Metadata::decode(&out), Ok(metadata));
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = text.parse::<Address>();
    }
}

fn read_header(bytes: &[u8]) {
    let Ok(header) = CallHeader::decode(bytes) else {
        return;
    };
    assert_eq!(CallHeader::decode_route(bytes).as_ref(), Ok(&header.route));
    let mut out = BytesMut::new();
    header.encode(&mut out);
    assert_eq!(CallHeader::decode(&out).as_ref(), Ok(&header));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn varints_round_trip_in_every_length(value in 0..=varint::MAX, longer in 0..4u32) {
        let mut out = Vec::new();
        varint::put(&mut out, value);
        prop_assert_eq!(out.len(), varint::len(value));
        prop_assert_eq!(varint::get(&out), Some((value, out.len())));
        let length = 1usize << longer;
        if length >= out.len() {
            let mut padded = value.to_be_bytes()[8 - length..].to_vec();
            padded[0] |= (longer as u8) << 6;
            prop_assert_eq!(varint::get(&padded), Some((value, length)));
        }
    }

    #[test]
    fn c9_control_frames_round_trip(control in control()) {
        let mut out = BytesMut::new();
        control.encode(&mut out);
        prop_assert_eq!(Control::parse(&only_frame(&out)), Ok(control));
    }

    #[test]
    fn c9_call_headers_round_trip(header in header()) {
        let bytes = header.encoded();
        prop_assert_eq!(CallHeader::decode(&bytes), Ok(header.borrowed()));
        prop_assert_eq!(CallHeader::decode_route(&bytes), Ok(header.borrowed().route));
    }

    #[test]
    fn c6_statuses_round_trip(status in status()) {
        let mut out = BytesMut::new();
        status.encode(&mut out);
        prop_assert_eq!(Status::decode(&out), Ok(status));
    }

    #[test]
    fn c6_a_long_message_is_cut_at_a_character_and_marked(message in "\\PC{0,3000}") {
        let mut out = BytesMut::new();
        Status::handler(Code::INTERNAL, message.clone()).encode(&mut out);
        let read = Status::decode(&out).expect("fits").message;
        if message.len() <= limits::MAX_STATUS_MESSAGE {
            prop_assert_eq!(read, message);
        } else {
            prop_assert!(read.len() <= limits::MAX_STATUS_MESSAGE && read.len() > limits::MAX_STATUS_MESSAGE - 8);
            prop_assert!(message.starts_with(read.strip_suffix('…').expect("marked")));
        }
    }

    #[test]
    fn c1_metadata_round_trips_in_order(metadata in metadata()) {
        let mut out = BytesMut::new();
        metadata.encode(&mut out);
        prop_assert_eq!(metadata.size(), metadata.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>());
        prop_assert_eq!(Metadata::decode(&out), Ok(metadata));
    }

    #[test]
    fn c9_lane_frames_round_trip((frame, bytes) in lane_frame()) {
        prop_assert_eq!(LaneFrame::parse(only_frame(&bytes)), Ok(frame));
    }

    #[test]
    fn a4_addresses_round_trip_and_fit(address in address()) {
        let text = address.to_string();
        prop_assert!(text.len() <= MAX_LEN && address.direct.len() <= MAX_DIRECT);
        prop_assert!(address.relay.as_ref().is_none_or(|relay| relay.len() <= MAX_RELAY));
        prop_assert!(address.direct.is_sorted());
        prop_assert_eq!(text.parse(), Ok(address));
    }

    #[test]
    fn a4_a_wrong_character_is_always_found(address in address(), at in any::<Index>(), to in "[1-9A-HJ-NP-Za-km-z]") {
        let mut text = address.to_string();
        let at = 6 + at.index(text.len() - 6);
        prop_assume!(text[at..=at] != to);
        text.replace_range(at..=at, &to);
        prop_assert!(text.parse::<Address>().is_err(), "{text}");
    }

    #[test]
    fn frames_have_the_length_that_is_said(byte in any::<u8>(), length in 0..70_000usize) {
        let mut out = BytesMut::new();
        frame::put(&mut out, byte, &vec![0; length]);
        prop_assert_eq!(out.len(), frame::encoded_len(length));
    }

    #[test]
    fn c9_any_split_of_a_stream_gives_the_same_frames(
        frames in vec((any::<u8>(), bytes(300)), 1..8),
        cuts in vec(any::<Index>(), 0..20),
        drain_late in any::<bool>(),
    ) {
        let mut stream = BytesMut::new();
        for (byte, payload) in &frames {
            frame::put(&mut stream, *byte, payload);
        }
        let stream = stream.freeze();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let mut decoder = Decoder::new(300);
        let mut read = Vec::new();
        for pair in cuts.windows(2) {
            decoder.push(stream.slice(pair[0]..pair[1]));
            while !drain_late && let Some(frame) = decoder.next_frame().expect("valid") {
                read.push((frame.byte, frame.payload));
            }
            // At most what came and is not a whole frame yet.
            prop_assert!(drain_late || decoder.held() < 300 + frame::MAX_HEADER_LEN);
        }
        while let Some(frame) = decoder.next_frame().expect("valid") {
            read.push((frame.byte, frame.payload));
        }
        prop_assert!(decoder.is_empty());
        prop_assert_eq!(read, frames);
    }

    #[test]
    fn c9_unknown_fields_are_skipped_unless_critical(
        control in control(), header in header(), status in status(), tag in 40..=varint::MAX >> 1, value in bytes(40),
    ) {
        for critical in [false, true] {
            let unknown = |out: &mut BytesMut| Writer::new(out).bytes(tag, critical, &value);
            let kind_of = |error: aster_proto::error::WireError| error.kind();

            let mut bytes = header.encoded();
            unknown(&mut bytes);
            let expected = if critical { Err(WireErrorKind::Unsupported) } else { Ok(header.borrowed()) };
            prop_assert_eq!(CallHeader::decode(&bytes).map_err(kind_of), expected);

            let mut bytes = BytesMut::new();
            status.encode(&mut bytes);
            unknown(&mut bytes);
            let expected = if critical { Err(WireErrorKind::Unsupported) } else { Ok(status.clone()) };
            prop_assert_eq!(Status::decode(&bytes).map_err(kind_of), expected);

            let mut bytes = BytesMut::new();
            control.encode(&mut bytes);
            let frame = only_frame(&bytes);
            let mut payload = BytesMut::from(&frame.payload[..]);
            unknown(&mut payload);
            let frame = Frame { byte: frame.byte, payload: payload.freeze() };
            let ignored = matches!(control, Control::Ignored(_));
            let expected = if critical && !ignored { Err(WireErrorKind::Unsupported) } else { Ok(control.clone()) };
            prop_assert_eq!(Control::parse(&frame).map_err(kind_of), expected);
        }
    }

    #[test]
    fn c9_damaged_bytes_never_panic(
        control in control(), header in header(), status in status(), metadata in metadata(), address in address(),
        lane in lane_frame(), damages in vec(damage(), 1..6),
    ) {
        let mut encoded: Vec<Vec<u8>> = vec![header.encoded().to_vec(), address.to_string().into_bytes(), lane.1.to_vec()];
        encoded.push(only_frame(&lane.1).payload.to_vec());
        let mut out = BytesMut::new();
        control.encode(&mut out);
        encoded.push(only_frame(&out).payload.to_vec());
        encoded.push(out.split().to_vec());
        status.encode(&mut out);
        encoded.push(out.split().to_vec());
        metadata.encode(&mut out);
        encoded.push(out.split().to_vec());
        for bytes in encoded {
            read_everything(&bytes);
            read_everything(&perturbed(&bytes, &damages));
        }
    }

    #[test]
    fn c9_random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        read_everything(&bytes);
    }
}

#[test]
fn c6_every_origin_is_one_of_two_on_the_wire() {
    for (status, origin) in [
        (Status::handler(Code::ABORTED, ""), Origin::Handler),
        (Status::server(Code::ABORTED, ""), Origin::Server),
        (Status::client(Code::ABORTED, ""), Origin::Server),
        (Status::transport(Code::ABORTED, "", true), Origin::Server),
    ] {
        let mut out = BytesMut::new();
        status.encode(&mut out);
        assert_eq!(Status::decode(&out).map(|status| status.origin), Ok(origin));
    }
}
