//! What clients, servers and calls can be told, as flat records: durations in milliseconds, `None` for the core's default.

use std::path::PathBuf;
use std::time::Duration;

use aster::{EndpointOptions, Network, Relay};

use crate::client::CallSession;
use crate::engine::Metadata;
use crate::error::BridgeError;

/// What a client or a server can be told about its endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// A file that keeps the secret key and the UDP port.
    pub identity: Option<PathBuf>,
    /// The URL of one's own relay; empty for none.
    pub relay: Option<String>,
    /// `default`: public discovery and relays. `local`: nothing outside this machine and network.
    pub preset: Option<String>,
    /// How often a quiet connection is shown to be alive.
    pub keep_alive_ms: Option<u64>,
    /// After how long a silence a connection is given up.
    pub idle_timeout_ms: Option<u64>,
    /// The largest message taken, in bytes.
    pub max_message_bytes: Option<u64>,
    /// Name and version of the program, for the peer's logs.
    pub agent: Option<String>,
    /// How long connecting may take. Clients only.
    pub connect_timeout_ms: Option<u64>,
    /// Whether large messages are compressed unless a call says otherwise.
    pub compress: Option<bool>,
}

fn positive(name: &str, milliseconds: u64) -> Result<Duration, BridgeError> {
    if milliseconds == 0 {
        return Err(BridgeError::Argument(format!(
            "{name} is 0: give at least one millisecond"
        )));
    }
    Ok(Duration::from_millis(milliseconds))
}

impl Endpoint {
    fn endpoint(&self) -> Result<EndpointOptions, BridgeError> {
        let mut options = EndpointOptions::default();
        options.identity.clone_from(&self.identity);
        options.relay = match self.relay.as_deref() {
            None => Relay::FromEnvironment,
            Some("") => Relay::Disabled,
            Some(url) => Relay::Url(url.to_owned()),
        };
        options.network = match self.preset.as_deref() {
            None | Some("default") => Network::Public,
            Some("local") => Network::Local,
            Some(other) => {
                let text =
                    format!("preset {other:?} does not exist: there are \"default\" and \"local\"");
                return Err(BridgeError::Argument(text));
            }
        };
        if let Some(value) = self.keep_alive_ms {
            options.keep_alive = positive("keep_alive_ms", value)?;
        }
        if let Some(value) = self.idle_timeout_ms {
            options.idle_timeout = positive("idle_timeout_ms", value)?;
        }
        if let Some(value) = self.max_message_bytes {
            options.limits.message = usize::try_from(value)
                .ok()
                .filter(|bytes| *bytes > 0)
                .ok_or_else(|| {
                    BridgeError::Argument(format!(
                        "max_message_bytes is {value}: give a number of bytes from 1"
                    ))
                })?;
        }
        if let Some(agent) = &self.agent {
            options.agent.clone_from(agent);
        }
        Ok(options)
    }

    pub(crate) fn client(&self) -> Result<aster::ClientOptions, BridgeError> {
        let mut options = aster::ClientOptions::default();
        options.endpoint = self.endpoint()?;
        if let Some(value) = self.connect_timeout_ms {
            options.connect_timeout = positive("connect_timeout_ms", value)?;
        }
        if let Some(compress) = self.compress {
            options.compress = compress;
        }
        Ok(options)
    }

    pub(crate) fn server(&self) -> Result<aster::ServerOptions, BridgeError> {
        if self.connect_timeout_ms.is_some() {
            return Err(BridgeError::Argument(
                "connect_timeout_ms is an option of clients, not of servers".to_owned(),
            ));
        }
        if self.compress.is_some() {
            let text = "compress is an option of clients and calls: a server compresses what the caller asks for";
            return Err(BridgeError::Argument(text.to_owned()));
        }
        let mut options = aster::ServerOptions::default();
        options.endpoint = self.endpoint()?;
        Ok(options)
    }
}

/// What one call can be told.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// The call's deadline, from now.
    pub timeout_ms: Option<u64>,
    /// What is left to the call that is being served, on whose behalf this one is made.
    pub within_ms: Option<u64>,
    /// Request metadata.
    pub metadata: Metadata,
    /// Whether large messages of it are compressed.
    pub compress: Option<bool>,
    /// The session that it belongs to.
    pub session: Option<CallSession>,
    /// Whether it may be repeated when the connection fails; `None` as the contract says.
    pub idempotent: Option<bool>,
}

impl Call {
    pub(crate) fn into_engine(self) -> aster::CallOptions {
        let mut options = aster::CallOptions::new();
        options.timeout = self.timeout_ms.map(Duration::from_millis);
        options.within = self.within_ms.map(Duration::from_millis);
        options.metadata = self.metadata;
        options.compress = self.compress;
        options.session = self.session.map(|session| session.engine);
        options.idempotent = self.idempotent;
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(endpoint: &Endpoint) -> String {
        endpoint.client().unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_given_is_the_cores_default() {
        let client = Endpoint::default().client().unwrap();
        let default = aster::ClientOptions::default();
        assert_eq!(client.connect_timeout, default.connect_timeout);
        assert_eq!(client.endpoint.keep_alive, default.endpoint.keep_alive);
        assert_eq!(client.endpoint.relay, Relay::FromEnvironment);
    }

    #[test]
    fn every_option_arrives() {
        let endpoint = Endpoint {
            identity: Some("id.toml".into()),
            relay: Some("https://relay.example".to_owned()),
            preset: Some("local".to_owned()),
            keep_alive_ms: Some(1),
            idle_timeout_ms: Some(2),
            max_message_bytes: Some(3),
            agent: Some("me/1".to_owned()),
            connect_timeout_ms: Some(4),
            compress: Some(true),
        };
        let client = endpoint.client().unwrap();
        assert_eq!(client.connect_timeout, Duration::from_millis(4));
        assert!(client.compress);
        let options = client.endpoint;
        assert_eq!(options.identity, Some("id.toml".into()));
        assert_eq!(
            options.relay,
            Relay::Url("https://relay.example".to_owned())
        );
        assert_eq!(options.network, Network::Local);
        assert_eq!(options.keep_alive, Duration::from_millis(1));
        assert_eq!(options.idle_timeout, Duration::from_millis(2));
        assert_eq!(options.limits.message, 3);
        assert_eq!(options.agent, "me/1");
    }

    #[test]
    fn a_wrong_option_is_named() {
        assert!(
            refused(&Endpoint {
                preset: Some("n0".to_owned()),
                ..Default::default()
            })
            .contains("\"n0\"")
        );
        assert!(
            refused(&Endpoint {
                keep_alive_ms: Some(0),
                ..Default::default()
            })
            .contains("keep_alive_ms")
        );
        assert!(
            refused(&Endpoint {
                max_message_bytes: Some(0),
                ..Default::default()
            })
            .contains("max_message_bytes")
        );
        let server = Endpoint {
            connect_timeout_ms: Some(1),
            ..Default::default()
        }
        .server();
        assert!(server.unwrap_err().to_string().contains("clients"));
    }

    #[test]
    fn an_empty_relay_means_none() {
        let endpoint = Endpoint {
            relay: Some(String::new()),
            ..Default::default()
        };
        assert_eq!(endpoint.client().unwrap().endpoint.relay, Relay::Disabled);
    }
}
