//! Calls: their header, the frames of the lane, and the order in which the frames of a call may come.

use bytes::{BufMut, Bytes, BytesMut};

use crate::contract::Pattern;
use crate::error::WireError;
use crate::fields::{Field, Reader, Writer};
use crate::frame::{self, Frame, flag, kind};
use crate::limits;
use crate::metadata::Metadata;
use crate::status::Status;
use crate::varint;

/// How messages are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Codec {
    /// MessagePack, the default.
    #[default]
    MessagePack,
    /// JSON, of the same data model.
    Json,
}

impl Codec {
    fn number(self) -> u64 {
        match self {
            Self::MessagePack => 0,
            Self::Json => 1,
        }
    }

    fn from_number(number: u64) -> Result<Self, WireError> {
        match number {
            0 => Ok(Self::MessagePack),
            1 => Ok(Self::Json),
            _ => Err(WireError::unsupported(format!(
                "codec {number} is not known here: use 0 (MessagePack) or 1 (JSON)"
            ))),
        }
    }
}

/// What a call is for, in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route<'a> {
    /// The name of the service.
    pub service: &'a str,
    /// Its version.
    pub version: u32,
    /// The name of the method.
    pub method: &'a str,
    /// The contract the caller holds, if it holds one.
    pub contract: Option<[u8; 32]>,
    /// How the messages of both directions are encoded.
    pub codec: Codec,
}

/// What a call is for, as its header says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteRef<'a> {
    /// In full; on a lane it may be given a number for the calls that follow.
    Full {
        /// The route.
        route: Route<'a>,
        /// The number it has on this lane from now on. Numbers count up from 0.
        define: Option<u64>,
    },
    /// By a number defined before on the same lane.
    Defined(u64),
}

/// The header of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallHeader<'a> {
    /// What it is for.
    pub route: RouteRef<'a>,
    /// The session it belongs to; ids start at 1.
    pub session: Option<u64>,
    /// Time left until its deadline, in milliseconds: `None` for no deadline, 0 for one that has passed.
    pub deadline_ms: Option<u64>,
    /// Whether the caller would like large answers compressed.
    pub compress: bool,
    /// The caller's metadata.
    pub metadata: Metadata,
}

mod tag {
    pub const SERVICE: u64 = 1;
    pub const VERSION: u64 = 2;
    pub const METHOD: u64 = 3;
    pub const CONTRACT: u64 = 4;
    pub const CODEC: u64 = 5;
    pub const DEADLINE: u64 = 6;
    pub const SESSION: u64 = 7;
    pub const METADATA: u64 = 8;
    pub const DEFINE: u64 = 9;
    pub const ROUTE: u64 = 10;
    pub const COMPRESS: u64 = 11;
}

impl<'a> CallHeader<'a> {
    /// A header with only a route.
    pub fn new(route: RouteRef<'a>) -> Self {
        Self {
            route,
            session: None,
            deadline_ms: None,
            compress: false,
            metadata: Metadata::new(),
        }
    }

    /// Appends the tagged fields.
    pub fn encode(&self, out: &mut BytesMut) {
        encode_header(
            out,
            &self.route,
            self.session,
            self.deadline_ms,
            self.compress,
            &self.metadata,
        );
    }

    /// Reads the tagged fields.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        if bytes.len() > limits::MAX_HEADER {
            return Err(WireError::too_large(format!(
                "a call header is {} bytes: at most {} are allowed",
                bytes.len(),
                limits::MAX_HEADER
            )));
        }
        let mut route = RouteFields::default();
        let (mut session, mut deadline_ms, mut compress, mut metadata) =
            (None, None, false, Metadata::new());
        let mut reader = Reader::new(bytes, "a call header");
        while let Some(field) = reader.field()? {
            if route.take(&field)? {
                continue;
            }
            match field.tag {
                tag::DEADLINE => deadline_ms = Some(field.as_varint("a deadline")?),
                tag::SESSION => match field.as_varint("a session id")? {
                    0 => return Err(WireError::malformed("session ids start at 1")),
                    id => session = Some(id),
                },
                tag::METADATA => metadata = Metadata::decode(field.value)?,
                tag::COMPRESS => compress = field.as_varint("a compression wish")? != 0,
                _ => field.unknown("a call header")?,
            }
        }
        Ok(Self {
            route: route.finish()?,
            session,
            deadline_ms,
            compress,
            metadata,
        })
    }

    /// Reads only the route of a header, whatever is wrong with the rest.
    ///
    /// A lane call whose header fails ends that call alone, and the route it defines is defined all the same:
    /// otherwise the numbers of the two sides would not agree on the calls that follow.
    pub fn decode_route(bytes: &'a [u8]) -> Result<RouteRef<'a>, WireError> {
        let mut route = RouteFields::default();
        let mut reader = Reader::new(bytes, "a call header");
        while let Some(field) = reader.field()? {
            route.take(&field)?;
        }
        route.finish()
    }
}

/// The fields of a header that make up its route.
#[derive(Default)]
struct RouteFields<'a> {
    service: Option<&'a str>,
    version: Option<u32>,
    method: Option<&'a str>,
    contract: Option<[u8; 32]>,
    codec: Option<Codec>,
    define: Option<u64>,
    defined: Option<u64>,
}

impl<'a> RouteFields<'a> {
    /// Takes a field if it is one of the route.
    #[inline]
    fn take(&mut self, field: &Field<'a>) -> Result<bool, WireError> {
        match field.tag {
            tag::SERVICE => self.service = Some(name(field.as_str("a service name")?, "service")?),
            tag::VERSION => {
                let number = field.as_varint("a service version")?;
                let version = u32::try_from(number).map_err(|_| {
                    WireError::malformed(format!("service version {number} is above {}", u32::MAX))
                })?;
                self.version = Some(version);
            }
            tag::METHOD => self.method = Some(name(field.as_str("a method name")?, "method")?),
            tag::CONTRACT => {
                let contract = <[u8; 32]>::try_from(field.value).map_err(|_| {
                    WireError::malformed(format!(
                        "a contract id is {} bytes: it has 32",
                        field.value.len()
                    ))
                })?;
                self.contract = Some(contract);
            }
            tag::CODEC => self.codec = Some(Codec::from_number(field.as_varint("a codec")?)?),
            tag::DEFINE => self.define = Some(field.as_varint("a route definition")?),
            tag::ROUTE => self.defined = Some(field.as_varint("a route number")?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(self) -> Result<RouteRef<'a>, WireError> {
        match self {
            Self {
                defined: Some(number),
                service: None,
                version: None,
                method: None,
                contract: None,
                codec: None,
                define: None,
            } => Ok(RouteRef::Defined(number)),
            Self {
                defined: None,
                service: Some(service),
                version: Some(version),
                method: Some(method),
                ..
            } => {
                let codec = self.codec.unwrap_or_default();
                let route = Route {
                    service,
                    version,
                    method,
                    contract: self.contract,
                    codec,
                };
                Ok(RouteRef::Full {
                    route,
                    define: self.define,
                })
            }
            _ => Err(WireError::malformed(
                "a call header needs service, version and method, or a route number and nothing else of a route",
            )),
        }
    }
}

/// Appends the tagged fields of a call header made of these parts, so that a sender need not own them.
pub fn encode_header(
    out: &mut BytesMut,
    route: &RouteRef<'_>,
    session: Option<u64>,
    deadline_ms: Option<u64>,
    compress: bool,
    metadata: &Metadata,
) {
    let mut writer = Writer::new(out);
    match route {
        RouteRef::Defined(number) => writer.varint(tag::ROUTE, true, *number),
        RouteRef::Full { route, define } => {
            writer.bytes(tag::SERVICE, true, route.service.as_bytes());
            writer.varint(tag::VERSION, true, u64::from(route.version));
            writer.bytes(tag::METHOD, true, route.method.as_bytes());
            if let Some(contract) = &route.contract {
                writer.bytes(tag::CONTRACT, true, contract);
            }
            if route.codec != Codec::MessagePack {
                writer.varint(tag::CODEC, true, route.codec.number());
            }
            if let Some(number) = define {
                writer.varint(tag::DEFINE, true, *number);
            }
        }
    }
    if let Some(deadline) = deadline_ms {
        writer.varint(tag::DEADLINE, false, deadline);
    }
    if let Some(session) = session {
        writer.varint(tag::SESSION, true, session);
    }
    if compress {
        writer.varint(tag::COMPRESS, false, 1);
    }
    if !metadata.is_empty() {
        writer.nested(tag::METADATA, false, |out| metadata.encode(out));
    }
}

fn name<'a>(name: &'a str, what: &str) -> Result<&'a str, WireError> {
    if name.is_empty() || name.len() > limits::MAX_NAME {
        return Err(WireError::malformed(format!(
            "a {what} name is {} bytes: it has 1 to {}",
            name.len(),
            limits::MAX_NAME
        )));
    }
    Ok(name)
}

/// Appends a `LaneCall` frame: `varint(call id)`, `varint(header length)`, the header, the message.
///
/// `flags` is any of [`flag::COMPRESSED`] and [`flag::BODY`]; with the latter there is no message.
pub fn put_lane_call(out: &mut BytesMut, id: u64, flags: u8, header: &[u8], message: &[u8]) {
    let length = varint::len(id) + varint::len(header.len() as u64) + header.len() + message.len();
    out.reserve(frame::MAX_HEADER_LEN + length);
    frame::put_header(out, kind::LANE_CALL | flags, length);
    varint::put(out, id);
    varint::put(out, header.len() as u64);
    out.put_slice(header);
    out.put_slice(message);
}

/// Appends a `LaneCancel` frame: `varint(call id)`, and tagged fields of which there are none yet.
pub fn put_lane_cancel(out: &mut BytesMut, id: u64) {
    frame::put_header(out, kind::LANE_CANCEL, varint::len(id));
    varint::put(out, id);
}

/// Appends a `LaneReply` frame: `varint(call id)`, `varint(status length)`, the status, the message.
///
/// The message is there if and only if the status is OK. `initial` is the initial response metadata.
pub fn put_lane_reply(
    out: &mut BytesMut,
    id: u64,
    flags: u8,
    initial: &Metadata,
    status: &Status,
    message: &[u8],
) {
    let mut head = BytesMut::new();
    status.encode(&mut head);
    Status::encode_initial(initial, &mut head);
    let length = varint::len(id) + varint::len(head.len() as u64) + head.len() + message.len();
    out.reserve(frame::MAX_HEADER_LEN + length);
    frame::put_header(out, kind::LANE_REPLY | flags, length);
    varint::put(out, id);
    varint::put(out, head.len() as u64);
    out.put_slice(&head);
    out.put_slice(message);
}

/// A frame of the lane, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneFrame {
    /// A call: its id, its header's bytes for [`CallHeader::decode`], its message, and whether that is compressed.
    Call {
        /// The call's id on this lane; ids count up.
        id: u64,
        /// The header's bytes.
        header: Bytes,
        /// The message, or `None` if it follows on a stream of its own.
        message: Option<Bytes>,
        /// Whether the message is compressed.
        compressed: bool,
    },
    /// The caller gives a call up.
    Cancel {
        /// The call.
        id: u64,
    },
    /// An answer.
    Reply {
        /// The call.
        id: u64,
        /// How it ended.
        status: Box<Status>,
        /// Initial response metadata.
        initial: Metadata,
        /// The answer; empty unless the status is OK.
        message: Bytes,
        /// Whether the message is compressed.
        compressed: bool,
    },
    /// A frame kind that a newer peer may send and this version ignores.
    Unknown,
}

impl LaneFrame {
    /// Takes a frame of a lane apart.
    pub fn parse(mut frame: Frame) -> Result<Self, WireError> {
        let compressed = frame.has(flag::COMPRESSED);
        match frame.kind() {
            kind::LANE_CALL => {
                // A message that is elsewhere says there whether it is compressed.
                frame.only(
                    if compressed {
                        flag::COMPRESSED
                    } else {
                        flag::BODY
                    },
                    "a lane call",
                )?;
                let id = take_varint(&mut frame.payload, "a lane call")?;
                let header = take_block(&mut frame.payload, "a lane call")?;
                let body = frame.has(flag::BODY);
                if body && !frame.payload.is_empty() {
                    return Err(WireError::malformed(
                        "a lane call holds a message and says it follows elsewhere",
                    ));
                }
                let message = (!body).then(|| frame.payload.clone());
                Ok(Self::Call {
                    id,
                    header,
                    message,
                    compressed,
                })
            }
            kind::LANE_CANCEL => {
                frame.only(0, "a lane cancel")?;
                let id = take_varint(&mut frame.payload, "a lane cancel")?;
                let mut reader = Reader::new(&frame.payload, "a lane cancel");
                while let Some(field) = reader.field()? {
                    field.unknown("a lane cancel")?;
                }
                Ok(Self::Cancel { id })
            }
            kind::LANE_REPLY => {
                frame.only(flag::COMPRESSED, "a lane reply")?;
                let id = take_varint(&mut frame.payload, "a lane reply")?;
                let head = take_block(&mut frame.payload, "a lane reply")?;
                let (status, initial) = if head.is_empty() {
                    (Status::ok(), Metadata::new())
                } else {
                    Status::decode_with_initial(&head)?
                };
                if !status.is_ok() && (compressed || !frame.payload.is_empty()) {
                    return Err(WireError::malformed(
                        "a lane reply holds both an error and a message",
                    ));
                }
                Ok(Self::Reply {
                    id,
                    status: Box::new(status),
                    initial,
                    message: frame.payload,
                    compressed,
                })
            }
            _ => Ok(Self::Unknown),
        }
    }
}

/// Takes a varint off the front.
pub fn take_varint(bytes: &mut Bytes, what: &str) -> Result<u64, WireError> {
    match varint::get(bytes) {
        Some((value, used)) => {
            bytes::Buf::advance(bytes, used);
            Ok(value)
        }
        None => Err(WireError::malformed(format!("{what} ends inside a number"))),
    }
}

fn take_block(bytes: &mut Bytes, what: &str) -> Result<Bytes, WireError> {
    let length = take_varint(bytes, what)?;
    if length > bytes.len() as u64 {
        return Err(WireError::malformed(format!(
            "{what} announces a block of {length} bytes and holds {}",
            bytes.len()
        )));
    }
    Ok(bytes.split_to(length as usize))
}

/// What the next frame of one direction of a call means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Initial response metadata.
    Metadata(Metadata),
    /// A message, and whether it is compressed.
    Message(Bytes, bool),
    /// The end of the answer.
    Status(Box<Status>),
    /// A frame of a newer peer; nothing to do.
    Ignore,
}

/// The caller's direction of a call stream, after the header: messages, then the end of the stream.
#[derive(Debug, Clone)]
pub struct RequestMachine {
    pattern: Pattern,
    messages: u64,
}

impl RequestMachine {
    /// The start of the direction, after the header.
    pub fn new(pattern: Pattern) -> Self {
        Self {
            pattern,
            messages: 0,
        }
    }

    /// What the next frame means; an error ends the call.
    pub fn frame(&mut self, frame: Frame) -> Result<Event, WireError> {
        match frame.kind() {
            kind::MESSAGE => {
                self.messages += 1;
                if !self.pattern.streams_requests() && self.messages > 1 {
                    return Err(WireError::malformed(format!(
                        "a {} call has one request message, and a second came",
                        self.pattern.name()
                    )));
                }
                frame.only(flag::COMPRESSED, "a message")?;
                let compressed = frame.has(flag::COMPRESSED);
                Ok(Event::Message(frame.payload, compressed))
            }
            kind::CALL | kind::METADATA | kind::STATUS | kind::LANE_CALL..=kind::LANE_REPLY => {
                Err(WireError::malformed(format!(
                    "frame kind {} does not belong after a call header",
                    frame.kind()
                )))
            }
            _ => Ok(Event::Ignore),
        }
    }

    /// Whether the direction may end here.
    pub fn end(&self) -> Result<(), WireError> {
        if !self.pattern.streams_requests() && self.messages == 0 {
            return Err(WireError::malformed(format!(
                "a {} call has one request message, and none came",
                self.pattern.name()
            )));
        }
        Ok(())
    }
}

/// The answering direction of a call stream: metadata at most once, messages, one status, then the end of the stream.
#[derive(Debug, Clone)]
pub struct AnswerMachine {
    pattern: Pattern,
    metadata: bool,
    messages: u64,
    ended: bool,
}

impl AnswerMachine {
    /// The start of an answer.
    pub fn new(pattern: Pattern) -> Self {
        Self {
            pattern,
            metadata: false,
            messages: 0,
            ended: false,
        }
    }

    /// What the next frame means; an error ends the call.
    pub fn frame(&mut self, frame: Frame) -> Result<Event, WireError> {
        if self.ended {
            return Err(WireError::malformed(format!(
                "frame kind {} came after the status of a call, which is its end",
                frame.kind()
            )));
        }
        match frame.kind() {
            kind::METADATA => {
                if self.metadata || self.messages > 0 {
                    return Err(WireError::malformed(
                        "response metadata came twice or after a message",
                    ));
                }
                frame.only(0, "response metadata")?;
                self.metadata = true;
                Ok(Event::Metadata(Metadata::decode(&frame.payload)?))
            }
            kind::MESSAGE => {
                self.messages += 1;
                if !self.pattern.streams_responses() && self.messages > 1 {
                    return Err(WireError::malformed(format!(
                        "a {} call has one answer, and a second came",
                        self.pattern.name()
                    )));
                }
                frame.only(flag::COMPRESSED, "a message")?;
                let compressed = frame.has(flag::COMPRESSED);
                Ok(Event::Message(frame.payload, compressed))
            }
            kind::STATUS => {
                frame.only(0, "a status")?;
                let status = Status::decode(&frame.payload)?;
                if status.is_ok() && !self.pattern.streams_responses() && self.messages == 0 {
                    return Err(WireError::malformed(format!(
                        "a {} call ended OK without its answer",
                        self.pattern.name()
                    )));
                }
                self.ended = true;
                Ok(Event::Status(Box::new(status)))
            }
            kind::CALL | kind::LANE_CALL..=kind::LANE_REPLY => Err(WireError::malformed(format!(
                "frame kind {} does not belong in an answer",
                frame.kind()
            ))),
            _ => Ok(Event::Ignore),
        }
    }

    /// Whether the status has come.
    pub fn ended(&self) -> bool {
        self.ended
    }
}
