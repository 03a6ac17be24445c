//! The control stream: the handshake, and what is said about a connection while it lives.

use bytes::{Bytes, BytesMut};

use crate::contract::Scope;
use crate::error::WireError;
use crate::fields::{Field, Reader, Writer};
use crate::frame::{self, Frame};
use crate::limits::{self, Limits};
use crate::status::cut;

/// Control frame kinds. Those below [`IGNORABLE`] must be known; those from it on are skipped by a peer that does not know them.
pub mod kind {
    /// [`super::Hello`]
    pub const HELLO: u8 = 1;
    /// [`super::Welcome`]
    pub const WELCOME: u8 = 2;
    /// [`super::Refused`]
    pub const REFUSED: u8 = 3;
    /// [`super::Goaway`]
    pub const GOAWAY: u8 = 4;
    /// [`super::CloseSession`]
    pub const CLOSE_SESSION: u8 = 5;
    /// A fresh credential. Reserved: sent only once credentials exist, so receiving one closes the connection.
    pub const RENEW: u8 = 6;
    /// A number to be sent back.
    pub const PING: u8 = 7;
    /// A number sent back.
    pub const PONG: u8 = 8;
    /// The first kind that may be ignored.
    pub const IGNORABLE: u8 = 0x40;
}

/// A control frame kind that means nothing, made from any number.
///
/// Peers send such frames at random, so that no implementation forgets to skip what it does not know (RFC 8701).
pub fn grease_kind(random: u8) -> u8 {
    kind::IGNORABLE + (random % 4) * 0x1f
}

/// A service that a peer offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its name.
    pub service: String,
    /// Its version.
    pub version: u32,
    /// The id of its contract.
    pub contract: [u8; 32],
    /// Its scope.
    pub scope: Scope,
}

/// The dialler's first frame.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hello {
    /// Feature bits.
    pub features: u64,
    /// Name and version of the software, for logs.
    pub agent: String,
    /// A credential, opaque at this layer.
    pub credential: Option<Bytes>,
    /// Services that the dialler offers to the acceptor.
    pub offers: Vec<Offer>,
    /// What the dialler is willing to take.
    pub limits: Limits,
}

/// The acceptor's answer to a caller that it admits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Welcome {
    /// Feature bits.
    pub features: u64,
    /// Name and version of the software, for logs.
    pub agent: String,
    /// The acceptor's own credential, opaque at this layer.
    pub credential: Option<Bytes>,
    /// Services that the acceptor offers to this caller.
    pub offers: Vec<Offer>,
    /// What the acceptor is willing to take.
    pub limits: Limits,
    /// Capabilities granted.
    pub capabilities: Vec<String>,
    /// Time until the admission ends, in milliseconds.
    pub expires_ms: Option<u64>,
}

/// The acceptor's answer to a caller that it does not admit; it then closes the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// A status code.
    pub code: u16,
    /// What was refused and what to do.
    pub reason: String,
}

/// The sender takes no new calls and will close once those it has are answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Goaway {
    /// Why.
    pub reason: String,
}

/// The caller is done with a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseSession {
    /// The session.
    pub session: u64,
    /// How many calls were issued in it: the answering side takes in that many before it ends the session.
    pub calls: u64,
}

/// A control frame, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// See [`Hello`].
    Hello(Hello),
    /// See [`Welcome`].
    Welcome(Welcome),
    /// See [`Refused`].
    Refused(Refused),
    /// See [`Goaway`].
    Goaway(Goaway),
    /// See [`CloseSession`].
    CloseSession(CloseSession),
    /// Answer with a [`Control::Pong`] of the same number.
    Ping(u64),
    /// The answer to a [`Control::Ping`].
    Pong(u64),
    /// A kind from [`kind::IGNORABLE`] on that this version does not know.
    Ignored(u8),
}

mod tag {
    pub const FEATURES: u64 = 1;
    pub const AGENT: u64 = 2;
    pub const CREDENTIAL: u64 = 3;
    pub const OFFER: u64 = 4;
    pub const LIMITS: u64 = 5;
    pub const CAPABILITY: u64 = 6;
    pub const EXPIRES: u64 = 7;

    pub const OFFER_SERVICE: u64 = 1;
    pub const OFFER_VERSION: u64 = 2;
    pub const OFFER_CONTRACT: u64 = 3;
    pub const OFFER_SCOPE: u64 = 4;

    pub const LIMIT_MESSAGE: u64 = 1;
    pub const LIMIT_METADATA: u64 = 2;
    pub const LIMIT_IN_FLIGHT: u64 = 3;
    pub const LIMIT_STREAMS: u64 = 4;
    pub const LIMIT_SESSIONS: u64 = 5;

    pub const REFUSED_CODE: u64 = 1;
    pub const REFUSED_REASON: u64 = 2;
    pub const GOAWAY_REASON: u64 = 1;
    pub const CLOSE_SESSION: u64 = 1;
    pub const CLOSE_CALLS: u64 = 2;
    pub const NUMBER: u64 = 1;
}

impl Control {
    /// Appends the frame.
    pub fn encode(&self, out: &mut BytesMut) {
        let mut body = BytesMut::new();
        let mut w = Writer::new(&mut body);
        let byte = match self {
            Self::Hello(hello) => {
                put_common(
                    &mut w,
                    hello.features,
                    &hello.agent,
                    &hello.credential,
                    &hello.offers,
                    &hello.limits,
                );
                kind::HELLO
            }
            Self::Welcome(welcome) => {
                let Welcome {
                    features,
                    agent,
                    credential,
                    offers,
                    limits,
                    capabilities,
                    expires_ms,
                } = welcome;
                put_common(&mut w, *features, agent, credential, offers, limits);
                for capability in capabilities {
                    w.bytes(tag::CAPABILITY, false, capability.as_bytes());
                }
                if let Some(expires) = expires_ms {
                    w.varint(tag::EXPIRES, false, *expires);
                }
                kind::WELCOME
            }
            Self::Refused(refused) => {
                w.varint(tag::REFUSED_CODE, true, u64::from(refused.code));
                if !refused.reason.is_empty() {
                    w.bytes(tag::REFUSED_REASON, false, cut(&refused.reason).as_bytes());
                }
                kind::REFUSED
            }
            Self::Goaway(goaway) => {
                if !goaway.reason.is_empty() {
                    w.bytes(tag::GOAWAY_REASON, false, cut(&goaway.reason).as_bytes());
                }
                kind::GOAWAY
            }
            Self::CloseSession(close) => {
                w.varint(tag::CLOSE_SESSION, true, close.session);
                w.varint(tag::CLOSE_CALLS, true, close.calls);
                kind::CLOSE_SESSION
            }
            Self::Ping(number) => {
                w.varint(tag::NUMBER, true, *number);
                kind::PING
            }
            Self::Pong(number) => {
                w.varint(tag::NUMBER, true, *number);
                kind::PONG
            }
            Self::Ignored(byte) => *byte,
        };
        frame::put(out, byte, &body);
    }

    /// Takes a control frame apart.
    pub fn parse(frame: &Frame) -> Result<Self, WireError> {
        let body = &frame.payload[..];
        Ok(match frame.byte {
            kind::HELLO => {
                let mut hello = Hello::default();
                each(body, "Hello", |field| {
                    let Hello {
                        features,
                        agent,
                        credential,
                        offers,
                        limits,
                    } = &mut hello;
                    take_common(field, "Hello", features, agent, credential, offers, limits)
                })?;
                Self::Hello(hello)
            }
            kind::WELCOME => {
                let mut welcome = Welcome::default();
                each(body, "Welcome", |field| match field.tag {
                    tag::CAPABILITY => {
                        if welcome.capabilities.len() == limits::MAX_CAPABILITIES {
                            return Err(WireError::too_large(format!(
                                "Welcome grants over {} capabilities",
                                limits::MAX_CAPABILITIES
                            )));
                        }
                        welcome
                            .capabilities
                            .push(field.as_str("a capability")?.to_owned());
                        Ok(())
                    }
                    tag::EXPIRES => {
                        welcome.expires_ms = Some(field.as_varint("an expiry")?);
                        Ok(())
                    }
                    _ => {
                        let Welcome {
                            features,
                            agent,
                            credential,
                            offers,
                            limits,
                            ..
                        } = &mut welcome;
                        take_common(
                            field, "Welcome", features, agent, credential, offers, limits,
                        )
                    }
                })?;
                Self::Welcome(welcome)
            }
            kind::REFUSED => {
                let mut refused = Refused {
                    code: 0,
                    reason: String::new(),
                };
                each(body, "Refused", |field| {
                    match field.tag {
                        tag::REFUSED_CODE => {
                            refused.code = u16::try_from(field.as_varint("a status code")?)
                                .map_err(|_| {
                                    WireError::malformed("the code in Refused is above 65535")
                                })?;
                        }
                        tag::REFUSED_REASON => {
                            refused.reason = cut(field.as_str("a reason")?).into_owned()
                        }
                        _ => field.unknown("Refused")?,
                    }
                    Ok(())
                })?;
                if refused.code == 0 {
                    return Err(WireError::malformed("Refused has no error code"));
                }
                Self::Refused(refused)
            }
            kind::GOAWAY => {
                let mut goaway = Goaway::default();
                each(body, "Goaway", |field| {
                    match field.tag {
                        tag::GOAWAY_REASON => {
                            goaway.reason = cut(field.as_str("a reason")?).into_owned()
                        }
                        _ => field.unknown("Goaway")?,
                    }
                    Ok(())
                })?;
                Self::Goaway(goaway)
            }
            kind::CLOSE_SESSION => {
                let (mut session, mut calls) = (0, None);
                each(body, "CloseSession", |field| {
                    match field.tag {
                        tag::CLOSE_SESSION => session = field.as_varint("a session id")?,
                        tag::CLOSE_CALLS => calls = Some(field.as_varint("a number of calls")?),
                        _ => field.unknown("CloseSession")?,
                    }
                    Ok(())
                })?;
                if session == 0 {
                    return Err(WireError::malformed("CloseSession names no session"));
                }
                // Without the number the calls that are still on their way would be cut off.
                let calls = calls
                    .ok_or_else(|| WireError::malformed("CloseSession has no number of calls"))?;
                Self::CloseSession(CloseSession { session, calls })
            }
            kind::PING => Self::Ping(number(body, "Ping")?),
            kind::PONG => Self::Pong(number(body, "Pong")?),
            byte if byte >= kind::IGNORABLE => Self::Ignored(byte),
            byte => {
                return Err(WireError::unsupported(format!(
                    "control frame {byte:#04x} is not known here: the peer needs a newer Aster on this side"
                )));
            }
        })
    }
}

fn each(
    body: &[u8],
    what: &'static str,
    mut take: impl FnMut(&Field<'_>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let mut reader = Reader::new(body, what);
    while let Some(field) = reader.field()? {
        take(&field)?;
    }
    Ok(())
}

fn number(body: &[u8], what: &'static str) -> Result<u64, WireError> {
    let mut number = None;
    each(body, what, |field| {
        match field.tag {
            tag::NUMBER => number = Some(field.as_varint(what)?),
            _ => field.unknown(what)?,
        }
        Ok(())
    })?;
    number.ok_or_else(|| WireError::malformed(format!("{what} has no number")))
}

fn put_common(
    w: &mut Writer<'_>,
    features: u64,
    agent: &str,
    credential: &Option<Bytes>,
    offers: &[Offer],
    limits: &Limits,
) {
    if features != 0 {
        w.varint(tag::FEATURES, false, features);
    }
    if !agent.is_empty() {
        w.bytes(tag::AGENT, false, agent.as_bytes());
    }
    if let Some(credential) = credential {
        w.bytes(tag::CREDENTIAL, true, credential);
    }
    for offer in offers {
        w.nested(tag::OFFER, false, |out| {
            let mut w = Writer::new(out);
            w.bytes(tag::OFFER_SERVICE, true, offer.service.as_bytes());
            w.varint(tag::OFFER_VERSION, true, u64::from(offer.version));
            w.bytes(tag::OFFER_CONTRACT, true, &offer.contract);
            if offer.scope == Scope::Session {
                w.varint(tag::OFFER_SCOPE, true, 1);
            }
        });
    }
    if *limits != Limits::default() {
        w.nested(tag::LIMITS, false, |out| {
            let mut w = Writer::new(out);
            w.varint(tag::LIMIT_MESSAGE, false, limits.message as u64);
            w.varint(tag::LIMIT_METADATA, false, limits.metadata as u64);
            w.varint(tag::LIMIT_IN_FLIGHT, false, u64::from(limits.in_flight));
            w.varint(tag::LIMIT_STREAMS, false, u64::from(limits.streams));
            w.varint(tag::LIMIT_SESSIONS, false, u64::from(limits.sessions));
        });
    }
}

fn take_common(
    field: &Field<'_>,
    what: &'static str,
    features: &mut u64,
    agent: &mut String,
    credential: &mut Option<Bytes>,
    offers: &mut Vec<Offer>,
    limits: &mut Limits,
) -> Result<(), WireError> {
    match field.tag {
        tag::FEATURES => *features = field.as_varint("feature bits")?,
        tag::AGENT => {
            // It ends up in logs and on terminals, where control characters do harm.
            let printable = field
                .as_str("an agent name")?
                .chars()
                .filter(|c| !c.is_control());
            *agent = printable.take(limits::MAX_NAME).collect();
        }
        tag::CREDENTIAL => *credential = Some(Bytes::copy_from_slice(field.value)),
        tag::OFFER => {
            if offers.len() == limits::MAX_OFFERS {
                return Err(WireError::too_large(format!(
                    "{what} offers over {} services",
                    limits::MAX_OFFERS
                )));
            }
            offers.push(take_offer(field.value)?);
        }
        tag::LIMITS => *limits = take_limits(field.value)?,
        _ => field.unknown(what)?,
    }
    Ok(())
}

fn take_offer(body: &[u8]) -> Result<Offer, WireError> {
    let (mut service, mut version, mut contract, mut scope) = (None, None, None, Scope::Shared);
    each(body, "an offer", |field| {
        match field.tag {
            tag::OFFER_SERVICE => service = Some(field.as_str("a service name")?.to_owned()),
            tag::OFFER_VERSION => version = u32::try_from(field.as_varint("a version")?).ok(),
            tag::OFFER_CONTRACT => contract = <[u8; 32]>::try_from(field.value).ok(),
            tag::OFFER_SCOPE => {
                scope = match field.as_varint("a scope")? {
                    0 => Scope::Shared,
                    1 => Scope::Session,
                    other => {
                        return Err(WireError::unsupported(format!(
                            "scope {other} of a service is not known here"
                        )));
                    }
                }
            }
            _ => field.unknown("an offer")?,
        }
        Ok(())
    })?;
    match (service, version, contract) {
        (Some(service), Some(version), Some(contract))
            if !service.is_empty() && service.len() <= limits::MAX_NAME =>
        {
            Ok(Offer {
                service,
                version,
                contract,
                scope,
            })
        }
        _ => Err(WireError::malformed(
            "an offer needs a service name, a version and a 32-byte contract id",
        )),
    }
}

fn take_limits(body: &[u8]) -> Result<Limits, WireError> {
    let mut taken = Limits::default();
    let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    each(body, "limits", |field| {
        match field.tag {
            tag::LIMIT_MESSAGE => taken.message = small(field.as_varint("a limit")?) as usize,
            tag::LIMIT_METADATA => {
                taken.metadata =
                    (small(field.as_varint("a limit")?) as usize).min(limits::MAX_METADATA);
            }
            tag::LIMIT_IN_FLIGHT => taken.in_flight = small(field.as_varint("a limit")?),
            tag::LIMIT_STREAMS => taken.streams = small(field.as_varint("a limit")?),
            tag::LIMIT_SESSIONS => taken.sessions = small(field.as_varint("a limit")?),
            _ => field.unknown("limits")?,
        }
        Ok(())
    })?;
    Ok(taken)
}
