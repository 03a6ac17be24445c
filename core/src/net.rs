//! The QUIC endpoint under servers and clients: binding, addresses, dialling.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aster_proto::address::{Address, MAX_RELAY};
use aster_proto::limits;
use aster_proto::status::{Code, Status};
use aster_proto::version::ALPN;
use iroh::endpoint::{
    AckFrequencyConfig, BindOpts, ConnectOptions, Connection, IdleTimeout, QuicTransportConfig,
    VarInt, presets,
};
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMap, RelayMode, RelayUrl, TransportAddr};

use crate::identity::Identity;
use crate::options::{EndpointOptions, Network, RELAY_VARIABLES, Relay};

/// How long a start waits for the port that its identity keeps.
const PORT_WAIT: Duration = Duration::from_millis(800);

/// A bound endpoint and what it was bound with.
pub(crate) struct Net {
    /// Taken out by [`Net::close`]: the sockets are closed once nobody holds the endpoint any more.
    endpoint: Mutex<Option<Endpoint>>,
    id: EndpointId,
    address: Address,
    admitted: QuicTransportConfig,
}

fn fail(text: impl Into<String>) -> Status {
    Status::unsent(Code::FAILED_PRECONDITION, text)
}

/// The relay to use, and where its name came from.
fn relay_url(options: &EndpointOptions) -> Result<Option<RelayUrl>, Status> {
    let (text, origin) = match &options.relay {
        Relay::Disabled => return Ok(None),
        Relay::Url(url) => (url.clone(), "relay"),
        Relay::FromEnvironment => {
            let set = |name: &&str| std::env::var(name).ok().filter(|value| !value.is_empty());
            match RELAY_VARIABLES
                .iter()
                .find_map(|name| set(name).map(|value| (value, *name)))
            {
                Some(found) => found,
                None => return Ok(None),
            }
        }
    };
    if text.len() > MAX_RELAY {
        let text = format!(
            "{origin} is {} characters long: a relay's URL has at most {MAX_RELAY}",
            text.len()
        );
        return Err(fail(text));
    }
    match text.parse() {
        Ok(url) => Ok(Some(url)),
        Err(error) => Err(fail(format!(
            "{origin} is {text:?}, which is not a URL ({error}): write https://relay.example.com"
        ))),
    }
}

/// How often this side asks the peer to acknowledge.
///
/// By default QUIC acknowledges every second packet at once, which in a ping-pong is a datagram of its own just before
/// the answer that would have carried it, and in bulk one for two. Ten is what Chromium and others ask for
/// (draft-ietf-quic-ack-frequency); a gap is still told at once.
fn ack_frequency() -> AckFrequencyConfig {
    let mut config = AckFrequencyConfig::default();
    config.ack_eliciting_threshold(VarInt::from_u32(10));
    config
}

/// Whether the relay can be asked for this side's public address, which plain HTTP development relays can't.
fn relay_config(url: &RelayUrl) -> iroh::RelayConfig {
    if url.scheme() == "http" {
        iroh::RelayConfig::new(url.clone(), None)
    } else {
        url.clone().into()
    }
}

fn transport(options: &EndpointOptions, admitted: bool) -> Result<QuicTransportConfig, Status> {
    let idle = IdleTimeout::try_from(options.idle_timeout).map_err(|_| {
        fail(format!(
            "idle_timeout of {:?} is too long",
            options.idle_timeout
        ))
    })?;
    let (streams, uni, window) = if admitted {
        (
            options.limits.streams,
            limits::MAX_UNI_STREAMS,
            limits::CONNECTION_WINDOW,
        )
    } else {
        (
            limits::PRE_ADMISSION_STREAMS,
            0,
            limits::PRE_ADMISSION_WINDOW,
        )
    };
    Ok(QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(VarInt::from_u32(streams))
        .max_concurrent_uni_streams(VarInt::from_u32(uni))
        .receive_window(VarInt::from_u32(window))
        .stream_receive_window(VarInt::from_u32(limits::STREAM_WINDOW))
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(options.keep_alive)
        .default_path_max_idle_timeout(options.idle_timeout)
        .default_path_keep_alive_interval(options.keep_alive)
        .ack_frequency_config(Some(ack_frequency()))
        // Datagrams are not part of the protocol.
        .datagram_receive_buffer_size(None)
        .build())
}

impl Net {
    /// Binds an endpoint. Nothing outside this machine is waited for.
    pub(crate) async fn bind(options: &EndpointOptions, serving: bool) -> Result<Self, Status> {
        if options.keep_alive >= options.idle_timeout {
            return Err(fail(format!(
                "keep_alive ({:?}) must be shorter than idle_timeout ({:?}), or quiet connections are given up",
                options.keep_alive, options.idle_timeout
            )));
        }
        let relay = relay_url(options)?;
        let mut identity = options
            .identity
            .as_deref()
            .map(Identity::open)
            .transpose()?;
        let mut builder = Endpoint::builder(presets::Minimal);
        let public = options.network == Network::Public;
        if public {
            builder = builder.address_lookup(iroh::address_lookup::PkarrResolver::n0_dns());
            builder = builder.address_lookup(iroh::address_lookup::DnsAddressLookup::n0_dns());
            if serving {
                builder = builder.address_lookup(iroh::address_lookup::PkarrPublisher::n0_dns());
            }
        }
        builder = builder.relay_mode(match &relay {
            Some(url) => RelayMode::Custom(RelayMap::from_iter([relay_config(url)])),
            None if public && options.relay != Relay::Disabled => RelayMode::Default,
            None => RelayMode::Disabled,
        });
        builder = builder.transport_config(transport(options, false)?);
        if serving {
            builder = builder.alpns(vec![ALPN.to_vec()]);
        }
        if let Some(identity) = &identity {
            builder = builder.secret_key(identity.key.clone());
        }
        let port = identity
            .as_ref()
            .and_then(|identity| identity.port)
            .filter(|_| serving);
        if let Some(port) = port {
            // iroh would fall back to another port; an address that is kept must not.
            if let Err(error) = wait_for_port(port).await {
                let path = options
                    .identity
                    .as_deref()
                    .unwrap_or(std::path::Path::new(""))
                    .display();
                return Err(Status::unsent(
                    Code::ALREADY_EXISTS,
                    format!(
                        "UDP port {port}, which {path} keeps for this server, can't be bound ({error}): another server with \
                         this identity is probably running; stop it, or give this one an identity of its own"
                    ),
                ));
            }
            let bad = |error: &dyn std::fmt::Display| {
                fail(format!("UDP port {port} can't be bound: {error}"))
            };
            builder = builder.clear_ip_transports();
            builder = builder
                .bind_addr((Ipv4Addr::UNSPECIFIED, port))
                .map_err(|error| bad(&error))?;
            let optional = BindOpts::default().set_is_required(false);
            builder = builder
                .bind_addr_with_opts((Ipv6Addr::UNSPECIFIED, port), optional)
                .map_err(|error| bad(&error))?;
        }
        let endpoint = builder
            .bind()
            .await
            .map_err(|error| fail(format!("no UDP socket could be bound: {error}")))?;
        if let Some(identity) = identity.as_mut().filter(|_| serving)
            && let Some(bound) = endpoint
                .bound_sockets()
                .iter()
                .find(|socket| socket.is_ipv4())
        {
            identity.keep_port(bound.port())?;
        }
        let address = address_of(&endpoint, relay.as_ref());
        let id = endpoint.id();
        Ok(Self {
            endpoint: Mutex::new(Some(endpoint)),
            id,
            address,
            admitted: transport(options, true)?,
        })
    }

    /// The endpoint, until it is closed.
    pub(crate) fn endpoint(&self) -> Option<Endpoint> {
        self.endpoint
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Its endpoint id.
    pub(crate) fn id(&self) -> EndpointId {
        self.id
    }

    /// Where this endpoint can be reached, as far as it was known at the start.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Dials an address, for at most `wait`.
    pub(crate) async fn dial(
        &self,
        address: &Address,
        wait: Duration,
    ) -> Result<Connection, Status> {
        let id = EndpointId::from_bytes(&address.endpoint_id).map_err(|_| {
            fail("the address holds an endpoint id that is no public key: copy it again")
        })?;
        let unavailable = |text: String| Status::transport(Code::UNAVAILABLE, text, false);
        if id == self.id {
            return Err(fail(
                "the address is this endpoint's own: a client needs an identity other than its server's",
            ));
        }
        let Some(endpoint) = self.endpoint() else {
            return Err(fail("the endpoint is closed: make a new client"));
        };
        let mut ways: Vec<TransportAddr> = address
            .direct
            .iter()
            .copied()
            .map(TransportAddr::Ip)
            .collect();
        if let Some(relay) = &address.relay {
            match relay.parse::<RelayUrl>() {
                Ok(url) => {
                    // A relay that is only in the address is not yet one of ours.
                    endpoint
                        .insert_relay(url.clone(), relay_config(&url).into())
                        .await;
                    ways.push(TransportAddr::Relay(url));
                }
                Err(error) => {
                    tracing::warn!(target: "aster", "the relay {relay:?} of the address is not a URL: {error}")
                }
            }
        }
        let tried = describe(address);
        let target = EndpointAddr::from_parts(id, ways);
        let options = ConnectOptions::new().with_transport_config(self.admitted.clone());
        let dialling = async {
            let connecting = endpoint
                .connect_with_opts(target, ALPN, options)
                .await
                .map_err(|error| short(&error.to_string()))?;
            connecting.await.map_err(|error| short(&error.to_string()))
        };
        match tokio::time::timeout(wait, dialling).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) if error.contains("any known protocol") => Err(unavailable(format!(
                "{tried} does not speak aster/1: it is another program, or a version of Aster that this one can't talk to"
            ))),
            Ok(Err(error)) if error.contains("refused to accept") => Err(unavailable(format!(
                "{tried} takes no new connections at the moment: it is shutting down, or too many others wait for \
                 admission; try again in a few seconds"
            ))),
            Ok(Err(error)) => Err(unavailable(format!(
                "can't reach {tried}: {error}; check that the server runs and that the address is its current one"
            ))),
            Err(_) => Err(unavailable(format!(
                "no answer from {tried} within {:.1} s: the server is not running, the address is an old one, or a firewall is in between",
                wait.as_secs_f64()
            ))),
        }
    }

    /// Closes the endpoint; peers are told.
    pub(crate) async fn close(&self) {
        let endpoint = self
            .endpoint
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(endpoint) = endpoint {
            endpoint.close().await;
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let endpoint = self
            .endpoint
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(endpoint) = endpoint
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { endpoint.close().await });
        }
    }
}

/// Where an endpoint can be reached: what is known now, without asking anybody.
fn address_of(endpoint: &Endpoint, relay: Option<&RelayUrl>) -> Address {
    let mut direct: Vec<SocketAddr> = endpoint
        .addr()
        .ip_addrs()
        .copied()
        .filter(|a| is_lasting(a.ip()))
        .collect();
    if let Some(bound) = endpoint
        .bound_sockets()
        .iter()
        .find(|socket| socket.is_ipv4())
    {
        // iroh leaves loopback out where there is another interface; programs on one machine need it.
        direct.insert(0, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), bound.port()));
    }
    Address::new(
        *endpoint.id().as_bytes(),
        relay.map(ToString::to_string),
        direct,
    )
}

/// Waits until a port is free, for a short while: a server that is closing gives its port up a moment later.
async fn wait_for_port(port: u16) -> std::io::Result<()> {
    let end = tokio::time::Instant::now() + PORT_WAIT;
    loop {
        match std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)) {
            Ok(_) => return Ok(()),
            Err(error) if tokio::time::Instant::now() >= end => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Whether an address is worth giving to others: not link-local, and not one that will be gone soon.
fn is_lasting(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_link_local() && !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_unicast_link_local() && !ip.is_unspecified() && !ip.is_loopback(),
    }
}

fn describe(address: &Address) -> String {
    let id: String = address
        .endpoint_id
        .iter()
        .take(5)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut ways: Vec<String> = address.direct.iter().map(ToString::to_string).collect();
    ways.extend(address.relay.iter().map(|relay| format!("relay {relay}")));
    if ways.is_empty() {
        format!("{id} (by discovery)")
    } else {
        format!("{id} ({})", ways.join(", "))
    }
}

/// The first line of an error that may have many.
fn short(text: &str) -> String {
    text.lines()
        .next()
        .unwrap_or("unknown reason")
        .trim()
        .to_owned()
}
