//! What an endpoint, a client and a server can be told.

use std::path::PathBuf;
use std::time::Duration;

use aster_proto::limits::Limits;

use crate::service::Service;

/// The environment variables that name one's own relay, the first that is set winning.
pub const RELAY_VARIABLES: [&str; 2] = ["ASTER_RELAY_URL", "IROH_RELAY_URL"];

/// Through which outside services a peer finds others and is found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Network {
    /// iroh's public discovery, and its public relays unless a relay is named.
    #[default]
    Public,
    /// Nothing outside: only addresses that are dialled directly, and the relay if one is named.
    Local,
}

/// Which relay to use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Relay {
    /// The one in `ASTER_RELAY_URL` or `IROH_RELAY_URL`, else that of the [`Network`].
    #[default]
    FromEnvironment,
    /// None.
    Disabled,
    /// This one.
    Url(String),
}

/// What a server and a client have in common.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EndpointOptions {
    /// A file that keeps the secret key and the UDP port; made when missing, with mode 0600. Default: a fresh key.
    pub identity: Option<PathBuf>,
    /// Default: [`Network::Public`].
    pub network: Network,
    /// Default: [`Relay::FromEnvironment`].
    pub relay: Relay,
    /// How often a quiet connection is shown to be alive. Default: 4 s.
    pub keep_alive: Duration,
    /// After how long a silence a connection is given up. Default: 12 s.
    pub idle_timeout: Duration,
    /// Name and version of the program, told to the peer for its logs. Default: Aster's own.
    pub agent: String,
    /// What this side is willing to take.
    pub limits: Limits,
    /// Connections that one endpoint id may have open to this endpoint. Default: 16.
    pub max_connections_per_peer: usize,
    /// Bytes of large answers (messages of 16 KiB and more) that handlers may have given and one peer not taken, over all
    /// its connections. The call whose answer exceeds it fails `RESOURCE_EXHAUSTED`. Default: 256 MiB.
    pub max_unsent: usize,
    /// How long a peer may leave more than 1 MiB of its small answers unread before its connection is closed. Its
    /// further calls are not taken meanwhile. Default: 30 s.
    pub lane_stall: Duration,
}

impl Default for EndpointOptions {
    fn default() -> Self {
        Self {
            identity: None,
            network: Network::default(),
            relay: Relay::default(),
            keep_alive: Duration::from_secs(4),
            idle_timeout: Duration::from_secs(12),
            agent: concat!("aster/", env!("CARGO_PKG_VERSION")).to_owned(),
            limits: Limits::default(),
            max_connections_per_peer: aster_proto::limits::MAX_CONNECTIONS_PER_PEER,
            max_unsent: aster_proto::limits::MAX_UNSENT,
            lane_stall: Duration::from_millis(aster_proto::limits::LANE_STALL_MS),
        }
    }
}

/// What a client can be told.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClientOptions {
    /// What it has in common with a server.
    pub endpoint: EndpointOptions,
    /// How long connecting may take, over all addresses. Default: 8 s.
    pub connect_timeout: Duration,
    /// The longest that a call may take where neither the call nor its method's manifest says. Default: none.
    pub timeout: Option<Duration>,
    /// Whether messages of 4 KiB and more are compressed unless a call says otherwise. Default: no.
    pub compress: bool,
    /// How often a call that is safe to repeat is repeated after the connection failed. Default: 3.
    pub retries: u32,
    /// What the client itself serves to the server it dials, which calls it by
    /// [`Responder::caller`](crate::Responder::caller). A client that has services is kept connected. Default: nothing.
    pub services: Vec<Service>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            endpoint: EndpointOptions::default(),
            connect_timeout: Duration::from_secs(8),
            timeout: None,
            compress: false,
            retries: 3,
            services: Vec::new(),
        }
    }
}

/// What a server can be told.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ServerOptions {
    /// What it has in common with a client.
    pub endpoint: EndpointOptions,
}
