//! Scenarios as they are written in `conformance/scenarios`, and the tables.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::raw::step::RawStep;
use crate::value::Types;

/// One file of scenarios.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// What its scenarios have in common.
    #[serde(rename = "about")]
    _about: String,
    scenarios: Vec<Scenario>,
}

/// Between whom a scenario is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Between {
    /// A client of one language and a server of another.
    #[default]
    Pair,
    /// The raw peer calls a server.
    RawClient,
    /// A client calls the raw peer.
    RawServer,
}

/// One scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name in its file; afterwards `area/name`.
    pub name: String,
    /// Statements of the product that it holds.
    #[serde(default, rename = "covers")]
    pub _covers: Vec<String>,
    /// Between whom it is played.
    #[serde(default)]
    pub between: Between,
    /// With which kinds of client: `typed` knows the service's types, `dynamic` fetches the contract.
    #[serde(default = "both")]
    pub forms: Vec<String>,
    /// Whether it is played with processes of its own, since it ends them.
    #[serde(default)]
    pub fresh: bool,
    /// Options of the server of its own; then it is `fresh`.
    #[serde(default)]
    pub server: Value,
    /// What happens.
    pub steps: Vec<Value>,
}

fn both() -> Vec<String> {
    vec!["typed".to_owned(), "dynamic".to_owned()]
}

/// A call that a client makes; beside `call`, `start` and `open`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The name of a call that goes on while other steps are taken.
    pub start: Option<String>,
    /// The name of a stream.
    pub open: Option<String>,
    /// `Service.method`.
    pub call: Option<String>,
    /// Of the service; otherwise what the client chooses.
    pub version: Option<u32>,
    /// The request, by its type.
    #[serde(default = "empty")]
    pub request: Value,
    /// Metadata to send.
    #[serde(default)]
    pub sends: HashMap<String, Value>,
    /// A session.
    #[serde(rename = "in")]
    pub session: Option<String>,
    /// A connection other than that of the pair.
    pub client: Option<String>,
    /// What the key of its handler's events ends in.
    pub key: Option<String>,
    /// Its deadline.
    pub timeout_ms: Option<u64>,
    /// Whether large messages are compressed.
    pub compress: Option<bool>,
    /// Whether its options are set on the method before it is called, where a language has that.
    #[serde(default)]
    pub beforehand: bool,
    /// How it ends.
    #[serde(flatten)]
    pub outcome: Outcome,
}

fn empty() -> Value {
    Value::Object(serde_json::Map::new())
}

/// How something ends.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Outcome {
    /// The answer.
    pub gives: Option<Value>,
    /// The failure.
    pub fails: Option<Fails>,
    /// The caller's own cancellation ends it.
    #[serde(default)]
    pub cancelled: bool,
    /// Response metadata.
    pub metadata: Option<Value>,
    /// Trailing metadata.
    pub trailing: Option<Value>,
    /// The longest it may take.
    pub within_ms: Option<u64>,
    /// The shortest.
    pub after_ms: Option<u64>,
}

/// What is expected of a failure; what is not said may be anything.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fails {
    /// The code by its name, or one of several.
    pub code: OneOrMore,
    /// Parts of the message.
    #[serde(default)]
    pub says: OneOrMore,
    /// What the message must not say.
    #[serde(default)]
    pub hides: OneOrMore,
    /// Who made it.
    pub origin: Option<String>,
    /// Whether the handler may have run.
    pub may_have_run: Option<bool>,
    /// The details, as an `any`.
    pub details: Option<Value>,
    /// Metadata that came with it.
    pub metadata: Option<HashMap<String, Value>>,
}

/// A text or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum OneOrMore {
    /// One.
    One(String),
    /// Several.
    More(Vec<String>),
}

impl Default for OneOrMore {
    fn default() -> Self {
        Self::More(Vec::new())
    }
}

impl OneOrMore {
    /// All of them.
    pub fn all(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::More(texts) => texts,
        }
    }
}

macro_rules! steps {
    ($($(#[$about:meta])* $name:ident { $($(#[$of:meta])* $field:ident : $ty:ty),* $(,)? })*) => {
        $(
            $(#[$about])*
            #[derive(Debug, Clone, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub struct $name { $($(#[$of])* pub $field: $ty,)* }
        )*
    };
}

steps! {
    /// Connects once more, by a name of its own.
    Connect {
        /// The name.
        connect: String,
        /// `nobody`: an address at which nobody is. `typo`: the server's with a character changed. Otherwise the
        /// server's.
        address: Option<String>,
        /// Options of the client.
        #[serde(default = "empty")] options: Value,
        /// How it fails, if it is to.
        fails: Option<Fails>,
        /// The longest it may take.
        within_ms: Option<u64>,
    }
    /// Ends a connection.
    Disconnect {
        /// Its name.
        disconnect: String,
    }
    /// Asks for a sign of life.
    Ping {
        /// How long it may take, in milliseconds.
        ping: u64,
        /// How it fails, if it is to.
        fails: Option<Fails>,
    }
    /// Gives up a call or stream.
    Cancel {
        /// Its name.
        cancel: String,
    }
    /// Sends messages on a stream.
    Send {
        /// Its name.
        send: String,
        /// The message, or messages in a list under `messages`.
        message: Option<Value>,
        /// Several.
        #[serde(default)] messages: Vec<Value>,
        /// How many times.
        #[serde(default = "one")] times: usize,
        /// Whether the next steps are taken before it has been sent, since nobody takes it yet.
        #[serde(default)] ahead: bool,
        /// How it fails, if it is to.
        fails: Option<Fails>,
    }
    /// Sends no more on a stream.
    HalfClose {
        /// Its name.
        half_close: String,
    }
    /// Session of a client.
    Session {
        /// Its name.
        session: String,
        /// The service.
        service: String,
        /// A connection other than that of the pair.
        client: Option<String>,
        /// How it fails, if it is to.
        fails: Option<Fails>,
    }
    /// Ends a session.
    CloseSession {
        /// Its name.
        close_session: String,
    }
    /// Waits for what a handler tells.
    Event {
        /// `started`, `ended` or `session_closed`.
        event: String,
        /// What the key ends in.
        key: Option<String>,
        /// How a handler ended.
        #[serde(default)] how: OneOrMore,
        /// The count of a session that was closed.
        count: Option<i64>,
        /// The longest it may take.
        within_ms: Option<u64>,
    }
    /// Says that there has been no such event.
    Quiet {
        /// The event.
        quiet: String,
        /// What the key ends in.
        key: Option<String>,
    }
    /// Lets a handler that waits go on.
    Release {
        /// What its key ends in.
        release: String,
    }
    /// Many calls at once; each gets its own answer.
    Burst {
        /// How many.
        burst: u64,
    }
    /// The services of the server, with the ids of the table.
    Services {
        /// `table`.
        services: String,
    }
    /// Typed clients of all services of the table.
    Contracts {
        /// Those that fail, and what they say.
        contracts: HashMap<String, String>,
    }
    /// The values of the table.
    Values {
        /// A group, named after its method.
        values: String,
    }
    /// Ends a process.
    Exit {
        /// `client` or `server`.
        exit: String,
        /// `return` or `kill`.
        how: String,
    }
    /// The server takes no new calls.
    Drain {
        /// How long running ones may take, in milliseconds.
        drain: u64,
    }
    /// Waits until a drain that was begun has ended.
    Drained {
        /// The longest it may take, in milliseconds.
        drained: u64,
    }
}

fn one() -> usize {
    1
}

/// How a call or stream that goes on ends: `finish`, `next`, `rest` and `answer` have the name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finish {
    /// A call.
    pub finish: Option<String>,
    /// A client stream's answer.
    pub answer: Option<String>,
    /// The next messages of a stream: as many as `gives` has.
    pub next: Option<String>,
    /// All messages of a stream to its end.
    pub rest: Option<String>,
    /// How many messages, where they are not looked at.
    pub count: Option<usize>,
    /// How it ends.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What happens in a scenario.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // each is what its structure says
pub enum Step {
    Call(Call),
    Finish(Finish),
    Connect(Connect),
    Disconnect(Disconnect),
    Ping(Ping),
    Cancel(Cancel),
    Send(Send),
    HalfClose(HalfClose),
    Session(Session),
    CloseSession(CloseSession),
    Event(Event),
    Quiet(Quiet),
    Release(Release),
    Burst(Burst),
    Services(Services),
    Contracts(Contracts),
    Values(Values),
    Exit(Exit),
    Drain(Drain),
    Drained(Drained),
    Raw(RawStep),
}

fn parse<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    serde_json::from_value(value.clone()).map_err(|error| format!("{error} in step {value}"))
}

/// Reads one kind of step.
type Reader = fn(&Value) -> Result<Step, String>;

impl Step {
    /// A step, told by its first key.
    pub fn read(value: &Value) -> Result<Self, String> {
        let has = |key: &str| value.get(key).is_some();
        let kinds: [(&[&str], Reader); 19] = [
            (&["call", "start", "open"], |v| parse(v).map(Self::Call)),
            (&["finish", "answer", "next", "rest"], |v| {
                parse(v).map(Self::Finish)
            }),
            (&["connect"], |v| parse(v).map(Self::Connect)),
            (&["disconnect"], |v| parse(v).map(Self::Disconnect)),
            (&["ping"], |v| parse(v).map(Self::Ping)),
            (&["cancel"], |v| parse(v).map(Self::Cancel)),
            (&["send"], |v| parse(v).map(Self::Send)),
            (&["half_close"], |v| parse(v).map(Self::HalfClose)),
            (&["session"], |v| parse(v).map(Self::Session)),
            (&["close_session"], |v| parse(v).map(Self::CloseSession)),
            (&["event"], |v| parse(v).map(Self::Event)),
            (&["quiet"], |v| parse(v).map(Self::Quiet)),
            (&["release"], |v| parse(v).map(Self::Release)),
            (&["burst"], |v| parse(v).map(Self::Burst)),
            (&["services"], |v| parse(v).map(Self::Services)),
            (&["contracts"], |v| parse(v).map(Self::Contracts)),
            (&["values"], |v| parse(v).map(Self::Values)),
            (&["exit"], |v| parse(v).map(Self::Exit)),
            (&["drain", "drained"], |v| {
                if v.get("drain").is_some() {
                    parse(v).map(Self::Drain)
                } else {
                    parse(v).map(Self::Drained)
                }
            }),
        ];
        for (keys, read) in kinds {
            if keys.iter().any(|key| has(key)) {
                return read(value);
            }
        }
        RawStep::read(value).map(Self::Raw)
    }
}

/// A contract of the table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contract {
    #[serde(rename = "name")]
    _about: String,
    description: Value,
    id: String,
    #[serde(default)]
    role: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ContractTable {
    #[serde(rename = "about")]
    _about: String,
    contracts: Vec<Contract>,
}

/// A service as the table has it.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// The id of its contract.
    pub id: String,
    /// `shared` or `session`.
    pub scope: String,
    description: Value,
}

/// A method as the table has it.
#[derive(Debug, Clone)]
pub struct Method {
    /// Its pattern.
    pub pattern: String,
    /// The type of a request message.
    pub request: Value,
    /// The type of a response message.
    pub response: Value,
}

/// A value of the table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableValue {
    /// What is special about it.
    #[serde(rename = "is")]
    pub name: String,
    /// The value.
    pub value: Value,
    /// What comes back, by language of the receiver, where that is another.
    #[serde(default)]
    pub becomes: HashMap<String, Value>,
    /// Languages that can't write it.
    #[serde(default)]
    pub not_in: Vec<String>,
    /// How it fails, if no language may send it.
    pub fails: Option<Fails>,
}

/// Everything that is read before anything is played.
pub struct Suite {
    /// The scenarios, in order of their files.
    pub scenarios: Vec<Scenario>,
    /// The named types of the services.
    pub types: Types,
    /// The services as servers declare them.
    pub services: Vec<Service>,
    /// The values, by method of the service `Values`.
    pub values: HashMap<String, Vec<TableValue>>,
}

/// Reads a YAML file.
pub fn yaml<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_saphyr::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

impl Suite {
    /// Reads `conformance/`. Every step of every scenario is understood, or this fails.
    pub fn read(directory: &Path) -> Result<Self, String> {
        let mut files: Vec<_> = std::fs::read_dir(directory.join("scenarios"))
            .map_err(|error| format!("{}/scenarios: {error}", directory.display()))?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
            .collect();
        files.sort();
        let mut scenarios = Vec::new();
        for path in files {
            let area = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let file: File = yaml(&path)?;
            for mut scenario in file.scenarios {
                scenario.name = format!("{area}/{}", scenario.name);
                for step in &scenario.steps {
                    Step::read(step).map_err(|error| format!("{}: {error}", scenario.name))?;
                }
                scenarios.push(scenario);
            }
        }
        let path = directory.join("tables").join("contracts.json");
        let text = std::fs::read_to_string(&path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let table: ContractTable =
            serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut types = Types::default();
        let mut services = Vec::new();
        for contract in table.contracts {
            if contract.role.as_deref() == Some("client") {
                continue;
            }
            types.learn(&contract.description);
            services.push(Service {
                name: contract.description["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
                version: contract.description["version"].as_u64().unwrap_or_default(),
                scope: contract.description["scope"]
                    .as_str()
                    .unwrap_or("shared")
                    .to_owned(),
                id: contract.id,
                description: contract.description,
            });
        }
        let values = yaml(&directory.join("tables").join("values.yaml"))?;
        Ok(Self {
            scenarios,
            types,
            services,
            values,
        })
    }

    /// A service of the table.
    pub fn service(&self, name: &str, version: Option<u32>) -> Result<&Service, String> {
        let version = u64::from(version.unwrap_or(1));
        self.services
            .iter()
            .find(|service| service.name == name && service.version == version)
            .ok_or_else(|| format!("the table has no service {name} of version {version}"))
    }

    /// A method of the table.
    pub fn method(
        &self,
        service: &str,
        version: Option<u32>,
        method: &str,
    ) -> Result<Method, String> {
        let found = &self.service(service, version)?.description["methods"];
        found
            .as_array()
            .into_iter()
            .flatten()
            .find(|each| each["name"] == method)
            .map(|each| Method {
                pattern: each["pattern"].as_str().unwrap_or_default().to_owned(),
                request: each["request"].clone(),
                response: each["response"].clone(),
            })
            .ok_or_else(|| format!("{service} has no method {method} in the table"))
    }
}
