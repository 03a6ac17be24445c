//! Services as the engine sees them: a contract, and something that takes the calls.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aster_proto::call::{Codec, Route};
use aster_proto::contract::{MethodRef, Scope};
use aster_proto::control::{Control, Hello, Offer, Welcome};
use aster_proto::limits;
use aster_proto::status::{Code, Status};

use bytes::BytesMut;

use crate::call::inbound::Inbound;
use crate::call::session::SessionClosed;
use crate::contract::Contract;
use crate::options::EndpointOptions;

/// What takes the calls of one service.
///
/// Its methods run on the I/O thread: they start the work and return. [`Handlers`](crate::Handlers) makes one from async
/// functions; a language binding makes one that queues the calls for its own loop.
pub trait Dispatch: Send + Sync + 'static {
    /// Takes a call. It is answered through [`Inbound::into_parts`]; dropping it unanswered fails it.
    fn call(&self, call: Inbound);

    /// A session has ended and none of its calls runs any more: run its close hook, then drop `closed`.
    fn session_closed(&self, closed: SessionClosed) {
        drop(closed);
    }
}

/// A service to be served.
#[derive(Clone)]
pub struct Service {
    pub(crate) contract: Contract,
    pub(crate) dispatch: Arc<dyn Dispatch>,
    pub(crate) checked: bool,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("name", &self.contract.name())
            .field("version", &self.contract.version())
            .finish()
    }
}

impl Service {
    /// A service of this contract whose calls go to `dispatch`.
    pub fn new(contract: Contract, dispatch: Arc<dyn Dispatch>) -> Self {
        Self {
            contract,
            dispatch,
            checked: false,
        }
    }

    /// Whether the engine checks request payloads against the contract before it hands them over; a payload that does
    /// not fit is answered `INVALID_ARGUMENT` with the path. Default: no, for codecs that check themselves.
    #[must_use]
    pub fn checked(mut self, checked: bool) -> Self {
        self.checked = checked;
        self
    }

    fn offer(&self) -> Offer {
        Offer {
            service: self.contract.name().to_owned(),
            version: self.contract.version(),
            contract: *self.contract.id().as_bytes(),
            scope: self.contract.compiled().contract().scope(),
        }
    }
}

/// What a call's route leads to.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) service: Arc<Service>,
    pub(crate) method: MethodRef,
    pub(crate) codec: Codec,
    /// The longest a call may take, as the service's author has set it.
    pub(crate) timeout: Option<Duration>,
}

impl Target {
    /// `Service.method`, for texts.
    pub(crate) fn name(&self) -> String {
        let compiled = self.service.contract.compiled();
        format!(
            "{}.{}",
            self.service.contract.name(),
            compiled.method_name(self.method.index)
        )
    }

    pub(crate) fn is_session(&self) -> bool {
        self.service.contract.compiled().contract().scope() == Scope::Session
    }
}

/// The services of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    services: HashMap<(String, u32), Arc<Service>>,
    offers: Vec<Offer>,
    by_id: HashMap<[u8; 32], Contract>,
}

impl Registry {
    /// Fails where two services have the same name and version.
    pub(crate) fn new(services: Vec<Service>) -> Result<Self, Status> {
        let mut registry = Self::default();
        for service in services {
            let key = (
                service.contract.name().to_owned(),
                service.contract.version(),
            );
            if registry.services.contains_key(&key) {
                return Err(Status::unsent(
                    Code::ALREADY_EXISTS,
                    format!(
                        "service {} version {} is given twice: give each name and version once",
                        key.0, key.1
                    ),
                ));
            }
            registry.offers.push(service.offer());
            registry
                .by_id
                .insert(*service.contract.id().as_bytes(), service.contract.clone());
            registry.services.insert(key, Arc::new(service));
        }
        registry.fits()?;
        registry
            .offers
            .sort_by(|a, b| (&a.service, a.version).cmp(&(&b.service, b.version)));
        Ok(registry)
    }

    /// Whether all services can be offered: they are told to a peer in one frame.
    fn fits(&self) -> Result<(), Status> {
        let mut frame = BytesMut::new();
        Control::Welcome(Welcome {
            offers: self.offers.clone(),
            ..Welcome::default()
        })
        .encode(&mut frame);
        // Some room is left for what else a Welcome says.
        if self.offers.len() > limits::MAX_OFFERS || frame.len() > limits::MAX_CONTROL_FRAME / 2 {
            let text = format!(
                "{} services are too many for one endpoint ({} at most, with names of ordinary length): use several",
                self.offers.len(),
                limits::MAX_OFFERS
            );
            return Err(Status::unsent(Code::RESOURCE_EXHAUSTED, text));
        }
        Ok(())
    }

    /// Whether all services can be offered by a side that dials.
    pub(crate) fn fits_hello(&self, options: &EndpointOptions) -> Result<(), Status> {
        let mut frame = BytesMut::new();
        Control::Hello(Hello {
            agent: options.agent.clone(),
            offers: self.offers.clone(),
            limits: options.limits,
            ..Hello::default()
        })
        .encode(&mut frame);
        if self.offers.len() <= limits::MAX_OFFERS && frame.len() <= limits::MAX_HELLO {
            return Ok(());
        }
        let text = format!(
            "what a client says of itself and its {} services has {} bytes, of {} that a server reads: offer fewer services, \
             or use a shorter agent text",
            self.offers.len(),
            frame.len(),
            limits::MAX_HELLO
        );
        Err(Status::unsent(Code::RESOURCE_EXHAUSTED, text))
    }

    pub(crate) fn offers(&self) -> &[Offer] {
        &self.offers
    }

    pub(crate) fn contract(&self, id: &[u8; 32]) -> Option<&Contract> {
        self.by_id.get(id)
    }

    pub(crate) fn add_internal(&mut self, service: Service) {
        let key = (
            service.contract.name().to_owned(),
            service.contract.version(),
        );
        self.services.insert(key, Arc::new(service));
    }

    /// What a route leads to, or why it leads nowhere.
    pub(crate) fn resolve(&self, route: &Route<'_>) -> Result<Target, Status> {
        let Some(service) = self
            .services
            .get(&(route.service.to_owned(), route.version))
        else {
            return Err(Status::rejected(
                Code::UNIMPLEMENTED,
                unknown_service(route.service, Some(route.version), &self.offers),
            ));
        };
        let compiled = service.contract.compiled();
        if let Some(contract) = &route.contract
            && contract != compiled.id().as_bytes()
        {
            return Err(Status::rejected(
                Code::CONTRACT_MISMATCH,
                format!(
                    "{} version {} has another contract here than the caller's: connect again to fetch the one served ({})",
                    route.service,
                    route.version,
                    compiled.id()
                ),
            ));
        }
        let Some(method) = compiled.method(route.method) else {
            let hint = match compiled.nearest_method(route.method) {
                Some(near) => format!("did you mean {near}?"),
                None => {
                    let names: Vec<&str> = compiled
                        .contract()
                        .methods()
                        .iter()
                        .map(|m| m.name.as_str())
                        .collect();
                    format!("it has {}", names.join(", "))
                }
            };
            return Err(Status::rejected(
                Code::UNIMPLEMENTED,
                format!(
                    "{} version {} has no method {:?}: {hint}",
                    route.service, route.version, route.method
                ),
            ));
        };
        let timeout = service
            .contract
            .manifest()
            .methods
            .get(route.method)
            .and_then(|manifest| manifest.timeout_ms)
            .map(Duration::from_millis);
        Ok(Target {
            service: service.clone(),
            method,
            codec: route.codec,
            timeout,
        })
    }
}

/// The text for a service that is not among those offered.
pub(crate) fn unknown_service(name: &str, version: Option<u32>, offers: &[Offer]) -> String {
    let versions: Vec<String> = offers
        .iter()
        .filter(|offer| offer.service == name)
        .map(|offer| offer.version.to_string())
        .collect();
    match version {
        Some(version) if !versions.is_empty() => {
            format!(
                "service {name} has no version {version} here: it has {}",
                versions.join(", ")
            )
        }
        _ if offers.is_empty() => {
            format!("there is no service {name:?} here: this peer offers none")
        }
        _ => {
            let names: Vec<String> = offers
                .iter()
                .map(|o| format!("{} v{}", o.service, o.version))
                .collect();
            format!(
                "there is no service {name:?} here: this peer offers {}",
                names.join(", ")
            )
        }
    }
}
