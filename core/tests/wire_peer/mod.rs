//! A peer that speaks `aster/1` by hand: a bare QUIC endpoint whose tests write every byte themselves.
//!
//! Valid parts (a `Hello`, a call header) may come from `aster_proto`; what is hostile is written out where it is used.
#![allow(dead_code)]

use std::time::Duration;

use aster::proto::call::{self, CallHeader, Route, RouteRef};
use aster::proto::control::{Control, Hello, Welcome};
use aster::proto::frame::{self, Decoder, kind};
use aster::{Address, Code, Codec, Contract, Metadata, Server, Status};
use bytes::{BufMut, Bytes, BytesMut};
use iroh::endpoint::{Connection, ConnectionError, RecvStream, SendStream, VarInt, presets};
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMode, TransportAddr};

pub(crate) const ALPN: &[u8] = b"aster/1";

/// The kind bytes of streams.
pub(crate) const CONTROL: u8 = 1;
pub(crate) const CALL: u8 = 2;
pub(crate) const LANE: u8 = 3;
pub(crate) const LARGE_ANSWER: u8 = 4;
pub(crate) const BODY: u8 = 5;

/// No test waits longer than that for anything that is to happen at once.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Waits, but not for ever: a hang is a failure with a name.
pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(SOON, work).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {SOON:?}"),
    }
}

pub(crate) async fn endpoint() -> Endpoint {
    Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .alpns(vec![ALPN.to_vec()])
        .bind()
        .await
        .expect("an endpoint")
}

pub(crate) fn target(address: &Address) -> EndpointAddr {
    let id = EndpointId::from_bytes(&address.endpoint_id).expect("an id");
    EndpointAddr::from_parts(id, address.direct.iter().copied().map(TransportAddr::Ip))
}

/// One frame, from its parts.
pub(crate) fn frame(byte: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    frame::put(&mut out, byte, payload);
    out.to_vec()
}

pub(crate) fn control(frame: &Control) -> Vec<u8> {
    let mut out = BytesMut::new();
    frame.encode(&mut out);
    out.to_vec()
}

/// A header of a call to `Probe.<method>`, to be changed before it is encoded.
pub(crate) fn header(method: &str) -> CallHeader<'_> {
    CallHeader::new(RouteRef::Full {
        route: Route {
            service: "Probe",
            version: 1,
            method,
            contract: None,
            codec: Codec::MessagePack,
        },
        define: None,
    })
}

pub(crate) fn encoded(header: &CallHeader<'_>) -> Vec<u8> {
    let mut out = BytesMut::new();
    header.encode(&mut out);
    out.to_vec()
}

/// A whole call frame for `Probe.<method>`.
pub(crate) fn call_frame(method: &str) -> Vec<u8> {
    frame(kind::CALL, &encoded(&header(method)))
}

pub(crate) fn lane_call(id: u64, flags: u8, header: &[u8], message: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    call::put_lane_call(&mut out, id, flags, header, message);
    out.to_vec()
}

pub(crate) fn lane_cancel(id: u64) -> Vec<u8> {
    let mut out = BytesMut::new();
    call::put_lane_cancel(&mut out, id);
    out.to_vec()
}

pub(crate) fn lane_reply(id: u64, status: &Status, message: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    call::put_lane_reply(&mut out, id, 0, &Metadata::new(), status, message);
    out.to_vec()
}

/// A tagged field: `varint(tag * 2 + critical)`, `varint(length)`, value.
pub(crate) fn field(tag: u64, critical: bool, value: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    aster::proto::varint::put(&mut out, tag << 1 | u64::from(critical));
    aster::proto::varint::put(&mut out, value.len() as u64);
    out.put_slice(value);
    out.to_vec()
}

/// One stream, raw.
pub(crate) struct Raw {
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
    decoder: Decoder,
}

impl Raw {
    pub(crate) fn new(send: SendStream, recv: RecvStream) -> Self {
        let decoder = Decoder::new(1 << 30);
        Self {
            send,
            recv,
            decoder,
        }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        soon("a write", self.send.write_all(bytes))
            .await
            .expect("written");
    }

    /// Writes to a peer that may have ended the stream or the connection by now.
    pub(crate) async fn try_write(&mut self, bytes: &[u8]) -> bool {
        soon("a write", self.send.write_all(bytes)).await.is_ok()
    }

    pub(crate) fn fin(&mut self) {
        self.send.finish().expect("not finished before");
    }

    pub(crate) fn reset(&mut self, code: u32) {
        self.send
            .reset(VarInt::from_u32(code))
            .expect("not finished before");
    }

    /// The next frame that comes; `None` at the end of the stream, however it ends.
    pub(crate) async fn frame(&mut self) -> Option<(u8, Bytes)> {
        soon("a frame", async {
            loop {
                if let Some(frame) = self.decoder.next_frame().expect("whole frames") {
                    return Some((frame.byte, frame.payload));
                }
                match self.recv.read_chunk(64 << 10).await {
                    Ok(Some(chunk)) => self.decoder.push(chunk),
                    Ok(None) | Err(_) => return None,
                }
            }
        })
        .await
    }

    /// The status that ends an answer, whatever comes before it.
    pub(crate) async fn status(&mut self) -> Status {
        loop {
            match self.frame().await {
                Some((kind::STATUS, payload)) => {
                    return Status::decode(&payload).expect("a status");
                }
                Some(_) => {}
                None => panic!("the answer ended without a status"),
            }
        }
    }

    /// The answer to lane call `id`; others are passed over.
    pub(crate) async fn reply(&mut self, id: u64) -> (Status, Bytes) {
        loop {
            let (byte, payload) = self.frame().await.expect("a reply before the lane ends");
            let frame = aster::proto::frame::Frame { byte, payload };
            if let call::LaneFrame::Reply {
                id: of,
                status,
                message,
                ..
            } = call::LaneFrame::parse(frame).expect("a lane frame")
                && of == id
            {
                return (*status, message);
            }
        }
    }

    /// The code with which the peer resets what it sends.
    pub(crate) async fn reset_code(&mut self) -> u64 {
        match soon("a reset", self.recv.received_reset()).await {
            Ok(Some(code)) => code.into(),
            other => panic!("no reset but {other:?}"),
        }
    }

    /// The code with which the peer asks this side to stop.
    pub(crate) async fn stop_code(&mut self) -> u64 {
        match soon("a stop", self.send.stopped()).await {
            Ok(Some(code)) => code.into(),
            other => panic!("no stop but {other:?}"),
        }
    }
}

/// Waits for the end of a connection: the code and the reason that the other side gave.
pub(crate) async fn closed(connection: &Connection) -> (u64, String) {
    match soon("the end of the connection", connection.closed()).await {
        ConnectionError::ApplicationClosed(closed) => (
            closed.error_code.into(),
            String::from_utf8_lossy(&closed.reason).into_owned(),
        ),
        other => panic!("the connection ended otherwise: {other}"),
    }
}

/// A hostile dialler.
pub(crate) struct Dialler {
    pub(crate) endpoint: Endpoint,
    pub(crate) quic: Connection,
    /// The control stream, once there is one.
    pub(crate) control: Option<Raw>,
}

impl Dialler {
    /// Connected, and nothing said.
    pub(crate) async fn silent(server: &Server) -> Self {
        let endpoint = endpoint().await;
        let quic = soon(
            "a connection",
            endpoint.connect(target(server.address()), ALPN),
        )
        .await
        .expect("connects");
        Self {
            endpoint,
            quic,
            control: None,
        }
    }

    /// Connected and welcome.
    pub(crate) async fn admitted(server: &Server) -> Self {
        Self::with_hello(server, Hello::default()).await
    }

    pub(crate) async fn with_hello(server: &Server, hello: Hello) -> Self {
        let mut peer = Self::silent(server).await;
        let mut control = peer.open(CONTROL).await;
        control.write(&self::control(&Control::Hello(hello))).await;
        let (byte, _) = control.frame().await.expect("an answer to Hello");
        assert_eq!(byte, 2, "Welcome");
        peer.control = Some(control);
        peer
    }

    /// A bidirectional stream of this kind.
    pub(crate) async fn open(&self, kind: u8) -> Raw {
        let (send, recv) = soon("a stream", self.quic.open_bi()).await.expect("opens");
        let mut raw = Raw::new(send, recv);
        raw.write(&[kind]).await;
        raw
    }

    pub(crate) async fn open_with(&self, kind: u8, bytes: &[u8]) -> Raw {
        let mut raw = self.open(kind).await;
        raw.write(bytes).await;
        raw
    }

    pub(crate) fn control(&mut self) -> &mut Raw {
        self.control.as_mut().expect("admitted")
    }
}

/// A hostile acceptor: an address to call, and the connection of who calls.
pub(crate) struct Acceptor {
    pub(crate) endpoint: Endpoint,
}

impl Acceptor {
    pub(crate) async fn bind() -> Self {
        Self {
            endpoint: endpoint().await,
        }
    }

    pub(crate) fn address(&self) -> Address {
        let port = self
            .endpoint
            .bound_sockets()
            .iter()
            .find(|at| at.is_ipv4())
            .expect("an IPv4 socket")
            .port();
        Address::new(
            *self.endpoint.id().as_bytes(),
            None,
            [std::net::SocketAddr::from(([127, 0, 0, 1], port))],
        )
    }

    /// The next connection, and nothing said on it.
    pub(crate) async fn silent(&self) -> Connection {
        let incoming = soon("a caller", self.endpoint.accept())
            .await
            .expect("a caller");
        soon("a connection", incoming.accept().expect("accepted"))
            .await
            .expect("connects")
    }

    /// The next connection with its control stream, whose `Hello` has been read and not answered.
    pub(crate) async fn greeted(&self) -> (Connection, Raw) {
        let quic = self.silent().await;
        let mut raw = accept(&quic, CONTROL).await;
        let (byte, _) = raw.frame().await.expect("Hello");
        assert_eq!(byte, 1, "Hello");
        (quic, raw)
    }

    /// The next connection, welcomed.
    pub(crate) async fn welcoming(&self, welcome: Welcome) -> (Connection, Raw) {
        let (quic, mut raw) = self.greeted().await;
        raw.write(&control(&Control::Welcome(welcome))).await;
        (quic, raw)
    }
}

/// The next stream that the other side opens, which is to be of this kind.
pub(crate) async fn accept(quic: &Connection, kind: u8) -> Raw {
    let (send, mut recv) = soon("a stream", quic.accept_bi()).await.expect("a stream");
    let mut byte = [0];
    soon("a kind byte", recv.read_exact(&mut byte))
        .await
        .expect("a kind byte");
    assert_eq!(byte[0], kind, "the kind of the stream");
    Raw::new(send, recv)
}

/// A welcome that offers the service of this contract.
pub(crate) fn welcome(contract: &Contract) -> Welcome {
    Welcome {
        offers: vec![aster::Offer {
            service: contract.name().to_owned(),
            version: contract.version(),
            contract: *contract.id().as_bytes(),
            scope: contract.compiled().contract().scope(),
        }],
        ..Welcome::default()
    }
}

/// Asserts a failure's code, that its text says all of `parts`, and that the handler did not run.
#[track_caller]
pub(crate) fn refused(status: &Status, code: Code, parts: &[&str]) {
    says(status, code, parts);
    assert!(!status.may_have_run, "{status} did not run");
}

/// Asserts a failure's code, and that its text says all of `parts`.
#[track_caller]
pub(crate) fn says(status: &Status, code: Code, parts: &[&str]) {
    assert_eq!(status.code, code, "{status}");
    for part in parts {
        assert!(
            status.message.contains(part),
            "{:?} does not say {part:?}",
            status.message
        );
    }
}
