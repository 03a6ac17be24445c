//! What the scenarios call. Handlers tell the runner when they start and end, by the key in their call's metadata.

use std::collections::{BTreeMap, HashMap};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aster::{
    Address, CallOptions, Client, ClientOptions, Code, Context, Contract, Handlers, Metadata,
    Method, Network, Service, Status,
};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::declare::{
    Declared, any, boolean, bytes, duration, f32_, f64_, field, i8_, i16_, i32_, i64_, list, map,
    null, nullable, of, optional, service, set, string, structure, timestamp, tuple, u8_, u16_,
    u32_, u64_, uuid,
};
use crate::say;
use crate::types::{
    About, Any, Blob, Codes, Fault, Item, Level, MaybeParam, Node, Number, Param, Point, Record,
    Relay, Shape, State, Stream, Talk, Text, Uuid, Words,
};

const KEY: &str = "conf-key";

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What handlers share with the runner.
#[derive(Default)]
pub(crate) struct Bench {
    gates: Mutex<HashMap<String, watch::Sender<bool>>>,
    /// What handlers of `Values` got, as they would write it.
    pub(crate) seen: Mutex<HashMap<String, Bytes>>,
    accounts: Mutex<HashMap<u64, Account>>,
}

#[derive(Default)]
struct Account {
    peer: String,
    key: String,
    count: i32,
    order: Vec<i32>,
}

impl Bench {
    pub(crate) fn release(&self, key: &str) {
        lock(&self.gates)
            .entry(key.to_owned())
            .or_default()
            .send_replace(true);
    }

    async fn released(&self, key: &str) {
        let mut gate = lock(&self.gates)
            .entry(key.to_owned())
            .or_default()
            .subscribe();
        // The senders stay in the map, so this ends with the release.
        let _ = gate.wait_for(|open| *open).await;
    }

    fn account<T>(
        &self,
        context: &Context,
        work: impl FnOnce(&mut Account) -> T,
    ) -> Result<T, Status> {
        let session = context.session().ok_or_else(|| {
            Status::handler(Code::INTERNAL, "a call of Account outside of a session")
        })?;
        let mut accounts = lock(&self.accounts);
        let account = accounts.entry(session.key).or_insert_with(|| Account {
            peer: context.call().peer().to_owned(),
            ..Account::default()
        });
        if account.key.is_empty() {
            account.key = key_of(context);
        }
        Ok(work(account))
    }
}

fn key_of(context: &Context) -> String {
    context
        .metadata()
        .get_str(KEY)
        .unwrap_or_default()
        .to_owned()
}

/// Tells that a handler has started, and when it is dropped how it ended.
struct Handling {
    key: String,
    method: String,
    how: &'static str,
}

impl Handling {
    fn new(context: &Context) -> Self {
        let (key, method) = (key_of(context), context.call().name());
        say(&json!({"event": "started", "key": key, "method": method}));
        Self {
            key,
            method,
            how: "cancelled",
        }
    }

    fn returned(mut self) {
        self.how = "returned";
    }

    fn failed(mut self) {
        self.how = "failed";
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        say(&json!({"event": "ended", "key": self.key, "method": self.method, "how": self.how}));
    }
}

pub(crate) fn read<T: DeserializeOwned>(message: &[u8]) -> Result<T, Status> {
    rmp_serde::from_slice(message)
        .map_err(|error| Status::handler(Code::INVALID_ARGUMENT, error.to_string()))
}

pub(crate) fn write<T: Serialize>(value: &T) -> Result<Bytes, Status> {
    rmp_serde::to_vec_named(value)
        .map(Bytes::from)
        .map_err(|error| Status::handler(Code::INTERNAL, error.to_string()))
}

pub(crate) fn metadata(pairs: &BTreeMap<String, String>) -> Result<Metadata, Status> {
    let mut out = Metadata::new();
    for (key, value) in pairs {
        out.insert(key, value.clone().into_bytes())
            .map_err(|error| Status::handler(Code::INTERNAL, error.to_string()))?;
    }
    Ok(out)
}

pub(crate) fn probe_contract() -> Result<Contract, String> {
    let (text, number, about) = (
        || of("conf/Text"),
        || of("conf/Number"),
        || of("conf/About"),
    );
    service("Probe")
        .unary("echo", text(), text())
        .idempotent()
        .unary("blob", of("conf/Blob"), of("conf/Blob"))
        .parameters(
            "add",
            vec![field("a", i32_()), optional("b", i32_())],
            i32_(),
        )
        .parameters("nothing", Vec::new(), null())
        .unary("fail", of("conf/Fault"), text())
        .unary("crash", text(), text())
        .unary("about", of("conf/Talk"), about())
        .unary("hang", text(), text())
        .unary("hold", text(), text())
        .unary("limited", text(), text())
        .timeout_ms(300)
        .unary("nested", of("conf/Relay"), about())
        .server_stream("count", of("conf/Stream"), of("conf/Item"))
        .client_stream("total", number(), number())
        .client_stream("first", number(), number())
        .client_stream("refuse", number(), number())
        .client_stream("weigh", of("conf/Blob"), number())
        .bidi_stream("chat", text(), text())
        .bidi_stream("greet", text(), text())
        .contract()
}

#[derive(serde::Deserialize)]
struct Add {
    a: i32,
    #[serde(default = "ten")]
    b: i32,
}

fn ten() -> i32 {
    10
}

fn about(context: &Context) -> Result<Bytes, Status> {
    let (mut texts, mut binary) = (BTreeMap::new(), BTreeMap::new());
    for (key, value) in context.metadata().iter().filter(|(key, _)| *key != KEY) {
        if key.ends_with("-bin") {
            binary.insert(key.to_owned(), value.to_vec().into());
        } else {
            texts.insert(key.to_owned(), String::from_utf8_lossy(value).into_owned());
        }
    }
    write(&About {
        peer: context.call().peer().to_owned(),
        method: context.call().name(),
        metadata: texts,
        binary,
        session: context.session().map(|session| session.id as i32),
        left_ms: context
            .call()
            .time_left()
            .map(|left| left.as_secs_f64() * 1000.0),
    })
}

pub(crate) fn probe(bench: &Arc<Bench>) -> Result<Service, String> {
    let (hold, weigh) = (bench.clone(), bench.clone());
    Handlers::new(probe_contract()?)
        .unary("echo", |_, request| async move {
            write(&read::<Text>(&request)?)
        })
        .unary("blob", |_, request| async move {
            write(&read::<Blob>(&request)?)
        })
        .unary("add", |_, request| async move {
            let Add { a, b } = read(&request)?;
            let sum = a
                .checked_add(b)
                .ok_or_else(|| Status::handler(Code::OUT_OF_RANGE, "the sum is too large"))?;
            write(&sum)
        })
        .unary("nothing", |_, _| async move { write(&()) })
        .unary("fail", |_, request| async move {
            let fault: Fault = read(&request)?;
            let code = u16::try_from(fault.code)
                .map_err(|_| Status::handler(Code::INVALID_ARGUMENT, "a code that is none"))?;
            let mut status = Status::handler(Code(code), fault.message)
                .with_metadata(metadata(&fault.metadata)?);
            if !fault.details.is_nil() {
                status = status
                    .with_details(write(&fault.details)?)
                    .map_err(|error| Status::handler(Code::INTERNAL, error.to_string()))?;
            }
            Err(status)
        })
        .unary("crash", |_, request| async move {
            let text: Text = read(&request)?;
            panic!("secret {}", text.text)
        })
        .unary("about", |context, request| async move {
            let talk: Talk = read(&request)?;
            context.call().set_metadata(metadata(&talk.initial)?)?;
            context.call().set_trailing(metadata(&talk.trailing)?)?;
            about(&context)
        })
        .unary("hang", |context, _| async move {
            let _handling = Handling::new(&context);
            pending().await
        })
        .unary("hold", move |context, request| {
            let bench = hold.clone();
            async move {
                let handling = Handling::new(&context);
                bench.released(&handling.key).await;
                handling.returned();
                Ok(request)
            }
        })
        .unary("limited", |context, _| async move {
            let _handling = Handling::new(&context);
            pending().await
        })
        .unary("nested", |context, request| async move {
            let relay: Relay = read(&request)?;
            let address: Address = relay
                .address
                .parse()
                .map_err(|error| Status::handler(Code::INVALID_ARGUMENT, format!("{error}")))?;
            let mut options = ClientOptions::default();
            options.endpoint.network = Network::Local;
            let client = Client::connect(vec![address], options).await?;
            let contract = client.contract("Probe", Some(1)).await?;
            let about = Method::new(&contract, "about")
                .ok_or_else(|| Status::handler(Code::INTERNAL, "Probe has no method about"))?;
            let mut options = CallOptions::new();
            options.timeout = context.call().time_left();
            let answer = client
                .unary(&about, write(&Talk::default())?, options)
                .await;
            client.close().await;
            Ok(answer?.message)
        })
        .server_stream("count", |context, request, out| async move {
            let stream: Stream = read(&request)?;
            let handling = Handling::new(&context);
            for n in 0..stream.n {
                let item = Item {
                    n,
                    data: vec![0; stream.size.max(0) as usize].into(),
                };
                out.send(write(&item)?).await?;
            }
            if stream.fail {
                handling.failed();
                return Err(Status::handler(Code::NOT_FOUND, "no more"));
            }
            if stream.hang {
                return pending().await;
            }
            handling.returned();
            Ok(())
        })
        .client_stream("total", |context, mut requests| async move {
            let handling = Handling::new(&context);
            let mut total = 0;
            while let Some(request) = requests.next().await? {
                total += read::<Number>(&request)?.n;
            }
            handling.returned();
            write(&Number { n: total })
        })
        .client_stream("first", |_, mut requests| async move {
            match requests.next().await? {
                Some(request) => Ok(request),
                None => write(&Number { n: -1 }),
            }
        })
        .client_stream("refuse", |_, _| async move {
            Err(Status::handler(
                Code::RESOURCE_EXHAUSTED,
                "no room for numbers",
            ))
        })
        .client_stream("weigh", move |context, mut requests| {
            let bench = weigh.clone();
            async move {
                let handling = Handling::new(&context);
                bench.released(&handling.key).await;
                let mut weight = 0;
                while let Some(request) = requests.next().await? {
                    weight += read::<Blob>(&request)?.data.len();
                }
                handling.returned();
                write(&Number { n: weight as i32 })
            }
        })
        .bidi_stream("chat", |context, mut requests, out| async move {
            let handling = Handling::new(&context);
            while let Some(request) = requests.next().await? {
                let text = format!("re: {}", read::<Text>(&request)?.text);
                out.send(write(&Text { text })?).await?;
            }
            handling.returned();
            Ok(())
        })
        .bidi_stream("greet", |_, mut requests, out| async move {
            out.send(write(&Text {
                text: "hello".to_owned(),
            })?)
            .await?;
            while let Some(request) = requests.next().await? {
                out.send(request).await?;
            }
            Ok(())
        })
        .build()
        .map(|service| service.checked(true))
        .map_err(|status| status.to_string())
}

pub(crate) fn probe2_contract() -> Result<Contract, String> {
    service("Probe")
        .version(2)
        .unary("echo", of("conf/Text"), of("conf/Text"))
        .contract()
}

pub(crate) fn probe2() -> Result<Service, String> {
    Handlers::new(probe2_contract()?)
        .unary("echo", |_, request| async move {
            let text = format!("{} of version 2", read::<Text>(&request)?.text);
            write(&Text { text })
        })
        .build()
        .map(|service| service.checked(true))
        .map_err(|status| status.to_string())
}

pub(crate) fn account_contract() -> Result<Contract, String> {
    let number = || of("conf/Number");
    service("Account")
        .sessions()
        .parameters("increment", vec![optional("by", i32_())], i32_())
        .parameters("state", Vec::new(), of("conf/State"))
        .parameters("hold", vec![field("n", i32_())], i32_())
        .unary("blob", of("conf/Blob"), i32_())
        .server_stream("upto", number(), number())
        .client_stream("gather", number(), number())
        .bidi_stream("gain", number(), number())
        .contract()
}

#[derive(serde::Deserialize)]
struct Increment {
    #[serde(default = "one")]
    by: i32,
}

fn one() -> i32 {
    1
}

#[derive(serde::Deserialize)]
struct Hold {
    n: i32,
}

pub(crate) fn account(bench: &Arc<Bench>) -> Result<Service, String> {
    let [a, b, c, d, e, f, g, h] = std::array::from_fn(|_| bench.clone());
    Handlers::new(account_contract()?)
        .unary("increment", move |context, request| {
            let bench = a.clone();
            async move {
                let by = read::<Increment>(&request)?.by;
                write(&bench.account(&context, |account| {
                    account.count += by;
                    account.count
                })?)
            }
        })
        .unary("state", move |context, _| {
            let bench = b.clone();
            async move {
                let session = context.session().map_or(0, |session| session.id as i32);
                let state = bench.account(&context, |account| State {
                    peer: account.peer.clone(),
                    context: context.call().peer().to_owned(),
                    session,
                    count: account.count,
                    order: account.order.clone(),
                })?;
                write(&state)
            }
        })
        .unary("hold", move |context, request| {
            let bench = c.clone();
            async move {
                let n = read::<Hold>(&request)?.n;
                bench.account(&context, |account| account.order.push(n))?;
                let handling = Handling::new(&context);
                bench.released(&handling.key).await;
                handling.returned();
                bench.account(&context, |account| account.order.push(n))?;
                write(&n)
            }
        })
        .unary("blob", move |context, request| {
            let bench = d.clone();
            async move {
                let length = read::<Blob>(&request)?.data.len() as i32;
                bench.account(&context, |account| account.order.push(length))?;
                write(&length)
            }
        })
        .server_stream("upto", move |context, request, out| {
            let bench = e.clone();
            async move {
                for n in 0..read::<Number>(&request)?.n {
                    bench.account(&context, |account| account.count += 1)?;
                    out.send(write(&Number { n })?).await?;
                }
                Ok(())
            }
        })
        .client_stream("gather", move |context, mut requests| {
            let bench = f.clone();
            async move {
                while let Some(request) = requests.next().await? {
                    let n = read::<Number>(&request)?.n;
                    bench.account(&context, |account| account.count += n)?;
                }
                let n = bench.account(&context, |account| account.count)?;
                write(&Number { n })
            }
        })
        .bidi_stream("gain", move |context, mut requests, out| {
            let bench = g.clone();
            async move {
                let handling = Handling::new(&context);
                bench.account(&context, |_| ())?;
                while let Some(request) = requests.next().await? {
                    let more = read::<Number>(&request)?.n;
                    let n = bench.account(&context, |account| {
                        account.count += more;
                        account.count
                    })?;
                    out.send(write(&Number { n })?).await?;
                }
                handling.returned();
                Ok(())
            }
        })
        .on_session_close(move |session| {
            if let Some(account) = lock(&h.accounts).remove(&session.key) {
                say(
                    &json!({"event": "session_closed", "key": account.key, "count": account.count}),
                );
            }
        })
        .build()
        .map(|service| service.checked(true))
        .map_err(|status| status.to_string())
}

// ---------------------------------------------------------------- values

/// One method per type: the value comes as a parameter and goes as the answer.
struct Values {
    declared: Declared,
    handlers: Vec<(&'static str, Echo)>,
}

type Echo = fn(&[u8]) -> Result<Bytes, Status>;

fn parameter<T: Serialize + DeserializeOwned>(request: &[u8]) -> Result<Bytes, Status> {
    write(&read::<Param<T>>(request)?.value)
}

fn whole<T: Serialize + DeserializeOwned>(request: &[u8]) -> Result<Bytes, Status> {
    write(&read::<T>(request)?)
}

impl Values {
    fn parameter<T: Serialize + DeserializeOwned>(mut self, name: &'static str, ty: Value) -> Self {
        self.declared = self
            .declared
            .parameters(name, vec![field("value", ty.clone())], ty);
        self.handlers.push((name, parameter::<T>));
        self
    }

    fn whole<T: Serialize + DeserializeOwned>(mut self, name: &'static str, tag: &str) -> Self {
        self.declared = self.declared.unary(name, of(tag), of(tag));
        self.handlers.push((name, whole::<T>));
        self
    }
}

fn declared_values() -> Values {
    let (level, point, shape) = (|| of("conf/Level"), "conf/Point", || of("conf/Shape"));
    let maybe: Echo = |request| write(&read::<MaybeParam>(request)?.value);
    let mut values = Values {
        declared: service("Values"),
        handlers: vec![("maybe", maybe)],
    }
    .parameter::<bool>("boolean", boolean())
    .parameter::<i8>("int8", i8_())
    .parameter::<i16>("int16", i16_())
    .parameter::<i32>("int32", i32_())
    .parameter::<i64>("int64", i64_())
    .parameter::<u8>("uint8", u8_())
    .parameter::<u16>("uint16", u16_())
    .parameter::<u32>("uint32", u32_())
    .parameter::<u64>("uint64", u64_())
    .parameter::<f32>("float32", f32_())
    .parameter::<f64>("float64", f64_())
    .parameter::<String>("text", string())
    .parameter::<serde_bytes::ByteBuf>("raw", bytes())
    .parameter::<i64>("moment", timestamp())
    .parameter::<i64>("span", duration())
    .parameter::<Uuid>("ident", uuid())
    .parameter::<Any>("free", any())
    .parameter::<Vec<String>>("words", list(string()))
    .parameter::<Vec<Vec<i32>>>("matrix", list(list(i32_())))
    .parameter::<Vec<i64>>("longs", list(i64_()))
    .parameter::<Words>("bag", set(string()))
    .parameter::<Codes>("codes", set(i32_()))
    .parameter::<(i32, String, f64)>("triple", tuple(&[i32_(), string(), f64_()]))
    .parameter::<BTreeMap<String, i32>>("scores", map(string(), i32_()))
    .parameter::<BTreeMap<i64, String>>("names", map(i64_(), string()))
    .parameter::<BTreeMap<bool, i32>>("flags", map(boolean(), i32_()))
    .parameter::<BTreeMap<Uuid, String>>("owners", map(uuid(), string()))
    .parameter::<BTreeMap<Level, i32>>("levels", map(level(), i32_()))
    .parameter::<Level>("level", level())
    .whole::<Point>("point", point)
    .whole::<Shape>("shape", "conf/Shape")
    .whole::<Node>("tree", "conf/Node")
    .whole::<Record>("record", "conf/Record")
    .parameter::<BTreeMap<String, Any>>("open", map(string(), any()))
    .parameter::<Vec<i64>>("moments", list(timestamp()))
    .parameter::<BTreeMap<String, i64>>("spans", map(string(), duration()))
    .parameter::<Vec<Shape>>("shapes", list(shape()));
    values.declared = values.declared.parameters(
        "maybe",
        vec![optional("value", nullable(i32_()))],
        nullable(i32_()),
    );
    values
}

pub(crate) fn values_contract() -> Result<Contract, String> {
    declared_values().declared.contract()
}

pub(crate) fn values(bench: &Arc<Bench>) -> Result<Service, String> {
    let values = declared_values();
    let mut handlers = Handlers::new(values.declared.contract()?);
    for (name, echo) in values.handlers {
        let bench = bench.clone();
        handlers = handlers.unary(name, move |context, request| {
            let answer = echo(&request).inspect(|answer| {
                lock(&bench.seen).insert(key_of(&context), answer.clone());
            });
            async move { answer }
        });
    }
    handlers
        .build()
        .map(|service| service.checked(true))
        .map_err(|status| status.to_string())
}

pub(crate) fn text_contract() -> Result<Contract, String> {
    service("Text")
        .unary("record", of("conf/Record"), of("conf/Record"))
        .contract()
}

pub(crate) fn text() -> Result<Service, String> {
    Handlers::new(text_contract()?)
        .unary(
            "record",
            |_, request| async move { whole::<Record>(&request) },
        )
        .build()
        .map(|service| service.checked(true))
        .map_err(|status| status.to_string())
}

// ---------------------------------------------------------------- where client and server differ

pub(crate) fn drift() -> Result<Service, String> {
    #[derive(Serialize)]
    struct Reading {
        value: f64,
        unit: String,
    }
    let reading = structure(
        "conf/Reading",
        vec![field("value", f64_()), optional("unit", string())],
    );
    let contract = service("Drift")
        .with(reading)
        .unary("read", of("conf/Number"), of("conf/Reading"))
        .parameters("reset", Vec::new(), null())
        .contract()?;
    Handlers::new(contract)
        .unary("read", |_, request| async move {
            write(&Reading {
                value: f64::from(read::<Number>(&request)?.n),
                unit: "V".to_owned(),
            })
        })
        .unary("reset", |_, _| async move { write(&()) })
        .build()
        .map(|service| service.checked(true))
        .map_err(|status| status.to_string())
}

pub(crate) fn old_drift_contract() -> Result<Contract, String> {
    service("Drift")
        .with(structure("conf/Reading", vec![field("value", f64_())]))
        .unary("read", of("conf/Number"), of("conf/Reading"))
        .contract()
}

fn clash_contract(demand: Value) -> Result<Contract, String> {
    service("Clash")
        .with(demand)
        .unary("read", of("conf/Demand"), of("conf/Number"))
        .contract()
}

pub(crate) fn clash() -> Result<Service, String> {
    let demand = structure(
        "conf/Demand",
        vec![field("n", i32_()), field("unit", string())],
    );
    Handlers::new(clash_contract(demand)?)
        .unary("read", |_, request| async move {
            write(&read::<Number>(&request)?)
        })
        .build()
        .map(|service| service.checked(true))
        .map_err(|status| status.to_string())
}

pub(crate) fn old_clash_contract() -> Result<Contract, String> {
    clash_contract(structure("conf/Demand", vec![field("n", i32_())]))
}
