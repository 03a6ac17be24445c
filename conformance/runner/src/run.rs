//! Runs scenarios: starts the peers, plays every scenario between everyone it is for, and prints what came of it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Instant;

use serde_json::{Value, json};

use crate::language::{Language, Languages};
use crate::peer::{Peer, Side};
use crate::play::{Party, Play};
use crate::proxy::{Flip, Proxy};
use crate::raw::bytes::Contracts;
use crate::raw::echo::contracts;
use crate::raw::play::Raw;
use crate::scenario::{Between, Scenario, Suite};

/// What is to be run.
#[derive(Debug, Default, Clone)]
pub struct Selection {
    /// Parts of names of scenarios; none: all.
    pub only: Vec<String>,
    /// Pairs `client:server`, where either may be `raw` or `*`; none: all.
    pub pairs: Vec<String>,
    /// Whether pairs talk through a peer in between, and which byte that turns round.
    pub proxy: Option<Option<Flip>>,
}

impl Selection {
    fn names(&self, scenario: &str) -> bool {
        self.only.is_empty()
            || self
                .only
                .iter()
                .any(|part| scenario.contains(part.as_str()))
    }

    fn pairs(&self, client: &str, server: &str) -> bool {
        let is = |wanted: &str, name: &str| wanted == "*" || wanted == name;
        self.pairs.is_empty()
            || self.pairs.iter().any(|pair| match pair.split_once(':') {
                Some((c, s)) => is(c, client) && is(s, server),
                None => is(pair, client) && is(pair, server),
            })
    }
}

/// How many passed and failed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Scenarios and pairs that went as they should.
    pub passed: usize,
    /// The others.
    pub failed: usize,
}

/// Everything a run needs.
pub struct Runner {
    suite: Suite,
    languages: Languages,
    contracts: Contracts,
    root: PathBuf,
    selection: Selection,
    keys: AtomicU64,
    report: Box<dyn Fn(&str)>,
}

/// The server and the client of one language, once they have been needed.
#[derive(Default)]
struct Programs(HashMap<(String, &'static str), Peer>);

impl Programs {
    fn both(&self, client: &str, server: &str) -> Result<(&Peer, &Peer), String> {
        let get = |language: &str, side: Side| self.0.get(&(language.to_owned(), side.name()));
        match (get(client, Side::Client), get(server, Side::Server)) {
            (Some(client), Some(server)) => Ok((client, server)),
            _ => Err("a program was started and is not there".to_owned()),
        }
    }
}

impl Runner {
    /// Reads the suite. `root` is the repository, `bin` the folder of the Rust programs; `report` prints a line.
    pub fn new(
        root: &Path,
        bin: &Path,
        selection: Selection,
        report: Box<dyn Fn(&str)>,
    ) -> Result<Self, String> {
        let directory = root.join("conformance");
        let suite = Suite::read(&directory)?;
        let languages = crate::language::read(&directory, bin)?;
        let contracts = contracts(&suite)?;
        Ok(Self {
            suite,
            languages,
            contracts,
            root: root.to_owned(),
            selection,
            keys: AtomicU64::new(1),
            report,
        })
    }

    /// The scenarios that are selected.
    pub fn list(&self) -> Vec<&str> {
        self.scenarios()
            .map(|scenario| scenario.name.as_str())
            .collect()
    }

    fn scenarios(&self) -> impl Iterator<Item = &Scenario> {
        self.suite
            .scenarios
            .iter()
            .filter(|scenario| self.selection.names(&scenario.name))
    }

    fn between(&self, between: Between) -> Vec<&Scenario> {
        self.scenarios()
            .filter(|scenario| scenario.between == between)
            .collect()
    }

    fn key(&self) -> String {
        format!("k{}", self.keys.fetch_add(1, Ordering::SeqCst))
    }

    fn language(&self, name: &str) -> Result<&Language, String> {
        self.languages
            .get(name)
            .ok_or_else(|| format!("peers.yaml has no language {name}"))
    }

    /// Runs everything that is selected.
    pub async fn run(&self) -> Result<Tally, String> {
        let names: Vec<String> = self.languages.keys().cloned().collect();
        for pair in &self.selection.pairs {
            for name in pair.split(':') {
                if name != "*" && name != "raw" && !names.iter().any(|each| each == name) {
                    return Err(format!(
                        "--pairs {pair}: there are {}, raw and *",
                        names.join(", ")
                    ));
                }
            }
        }
        let mut tally = Tally::default();
        let mut programs = Programs::default();
        let pairs = self.between(Between::Pair);
        for client in &names {
            for server in &names {
                if self.selection.pairs(client, server) {
                    self.pair(&mut programs, client, server, &pairs, &mut tally)
                        .await?;
                }
            }
        }
        if self.selection.proxy.is_none() {
            // These wait for time limits most of the time, so the languages go beside each other, with programs of
            // their own.
            drop(programs);
            let beside = names.iter().map(|name| self.raw_both_ways(name)).collect();
            for each in together(beside).await {
                let each = each?;
                tally.passed += each.passed;
                tally.failed += each.failed;
            }
        }
        Ok(tally)
    }

    async fn raw_both_ways(&self, name: &str) -> Result<Tally, String> {
        let mut tally = Tally::default();
        let mut programs = Programs::default();
        if self.selection.pairs("raw", name) {
            self.raw(&mut programs, name, Between::RawClient, &mut tally)
                .await?;
        }
        if self.selection.pairs(name, "raw") {
            self.raw(&mut programs, name, Between::RawServer, &mut tally)
                .await?;
        }
        Ok(tally)
    }

    async fn start(&self, language: &str, side: Side, options: &Value) -> Result<Peer, String> {
        let command = &self.language(language)?.command;
        let peer = Peer::start(language, command, side, &self.root)?;
        let begun = async {
            peer.must("types", json!({"types": self.suite.types.all()}))
                .await?;
            if side == Side::Server {
                let options = if options.is_null() {
                    json!({})
                } else {
                    options.clone()
                };
                peer.must("serve", json!({"options": options})).await?;
            }
            Ok(())
        };
        match begun.await {
            Ok(()) => Ok(peer),
            Err(error) => Err::<Peer, String>(with_transcript(error, &[&peer])),
        }
    }

    /// Has the long-lived program of a language run.
    async fn ready(
        &self,
        programs: &mut Programs,
        language: &str,
        side: Side,
    ) -> Result<(), String> {
        let key = (language.to_owned(), side.name());
        if programs.0.get(&key).is_none_or(Peer::ended) {
            let peer = self.start(language, side, &Value::Null).await?;
            programs.0.insert(key, peer);
        }
        Ok(())
    }

    async fn pair(
        &self,
        programs: &mut Programs,
        client: &str,
        server: &str,
        scenarios: &[&Scenario],
        tally: &mut Tally,
    ) -> Result<(), String> {
        for scenario in scenarios {
            let began = Instant::now();
            let outcome = if scenario.fresh || !scenario.server.is_null() {
                self.play_fresh(client, server, scenario).await
            } else {
                self.ready(programs, client, Side::Client).await?;
                self.ready(programs, server, Side::Server).await?;
                let (c, s) = programs.both(client, server)?;
                self.play_pair(c, s, scenario).await
            };
            if outcome.is_err() {
                // What a failure leaves behind must not fail others.
                programs.0.clear();
            }
            self.line(
                tally,
                &scenario.name,
                &format!("{client} → {server}"),
                began,
                outcome,
            );
        }
        Ok(())
    }

    async fn play_fresh(
        &self,
        client: &str,
        server: &str,
        scenario: &Scenario,
    ) -> Result<(), String> {
        for form in &scenario.forms {
            let c = self.start(client, Side::Client, &Value::Null).await?;
            let s = self.start(server, Side::Server, &scenario.server).await?;
            self.play_form(&c, &s, scenario, form).await?;
        }
        Ok(())
    }

    async fn play_pair(
        &self,
        client: &Peer,
        server: &Peer,
        scenario: &Scenario,
    ) -> Result<(), String> {
        for form in &scenario.forms {
            self.play_form(client, server, scenario, form).await?;
        }
        Ok(())
    }

    async fn play_form(
        &self,
        client: &Peer,
        server: &Peer,
        scenario: &Scenario,
        form: &str,
    ) -> Result<(), String> {
        let parties = (self.party(client)?, self.party(server)?);
        let key = self.key();
        let main = format!("{key}:main");
        let outcome = async {
            let address = server.must("address", json!({})).await?;
            let address = address["address"].as_str().unwrap_or_default();
            let proxy = match &self.selection.proxy {
                Some(flip) => Some(Proxy::start(address, *flip).await?),
                None => None,
            };
            let to = proxy.as_ref().map_or(address, Proxy::address);
            // A dead server is to be noticed within the time of a scenario.
            let options = json!({"keep_alive_ms": 500, "idle_timeout_ms": 2000});
            let connect = json!({"client": main, "addresses": [to], "options": options});
            client.must("connect", connect).await?;
            let mut play = Play::new(
                &self.suite,
                Some(parties.0),
                Some(parties.1),
                None,
                &main,
                form,
                key.clone(),
            );
            let played = play.all(&scenario.steps).await;
            let gone = play.client_is_gone();
            let ended = play.end().await;
            if !gone {
                client.ask("disconnect", json!({"client": main})).await?;
            }
            if let Some(proxy) = proxy {
                proxy.close().await;
            }
            played.and(ended)
        };
        outcome
            .await
            .map_err(|error| with_transcript(format!("{form}: {error}"), &[client, server]))
    }

    fn party<'a>(&'a self, peer: &'a Peer) -> Result<Party<'a>, String> {
        Ok(Party {
            peer,
            language: self.language(&peer.language)?,
        })
    }

    /// The scenarios with the raw peer: after each, a call beside it shows that nobody else suffered.
    async fn raw(
        &self,
        programs: &mut Programs,
        name: &str,
        between: Between,
        tally: &mut Tally,
    ) -> Result<(), String> {
        for scenario in self.between(between) {
            let began = Instant::now();
            let outcome = if scenario.fresh {
                let client = self.start(name, Side::Client, &Value::Null).await?;
                let server = self.start(name, Side::Server, &scenario.server).await?;
                self.play_raw(&client, &server, scenario).await
            } else {
                self.ready(programs, name, Side::Client).await?;
                self.ready(programs, name, Side::Server).await?;
                let (client, server) = programs.both(name, name)?;
                self.play_raw(client, server, scenario).await
            };
            if outcome.is_err() {
                programs.0.clear();
            }
            let pair = match between {
                Between::RawServer => format!("{name} → raw"),
                _ => format!("raw → {name}"),
            };
            self.line(tally, &scenario.name, &pair, began, outcome);
        }
        Ok(())
    }

    async fn play_raw(
        &self,
        client: &Peer,
        server: &Peer,
        scenario: &Scenario,
    ) -> Result<(), String> {
        let forms = match scenario.between {
            // A raw caller is of no kind.
            Between::RawClient => &scenario.forms[..1],
            _ => &scenario.forms[..],
        };
        let outcome = async {
            let address = server.must("address", json!({})).await?;
            let address = address["address"].as_str().unwrap_or_default();
            let beside = format!("{}:beside", self.key());
            client
                .must(
                    "connect",
                    json!({"client": beside, "addresses": [address], "options": {}}),
                )
                .await?;
            for form in forms {
                let key = self.key();
                let (called, caller) = match scenario.between {
                    Between::RawServer => (None, Some(client)),
                    _ => (Some(address.to_owned()), None),
                };
                let raw = Raw::new(called, caller, &self.contracts, key.clone()).await?;
                let mut play = Play::new(
                    &self.suite,
                    Some(self.party(client)?),
                    Some(self.party(server)?),
                    Some(raw),
                    &beside,
                    form,
                    key,
                );
                let played = play.all(&scenario.steps).await;
                play.end().await?;
                played.map_err(|error| format!("{form}: {error}"))?;
            }
            if scenario.fresh {
                // These end the server, or its connections.
                return Ok(());
            }
            let method = self.suite.method("Probe", None, "add")?;
            let call = json!({
                "client": beside, "service": "Probe", "method": "add", "form": "typed", "pattern": "unary",
                "request": {"a": "20", "b": "22"}, "type": method.request, "gives_type": method.response,
            });
            let reply = client.ask("call", call).await?;
            if reply["ok"]["response"] != "42" {
                return Err(format!("a call beside it suffered: {reply}"));
            }
            client.ask("disconnect", json!({"client": beside})).await?;
            Ok(())
        };
        outcome
            .await
            .map_err(|error| with_transcript(error, &[client, server]))
    }

    fn line(
        &self,
        tally: &mut Tally,
        scenario: &str,
        pair: &str,
        began: Instant,
        outcome: Result<(), String>,
    ) {
        let took = began.elapsed().as_millis();
        match outcome {
            Ok(()) => {
                tally.passed += 1;
                (self.report)(&format!("ok    {scenario:40} {pair:24} {took:5} ms"));
            }
            Err(error) => {
                tally.failed += 1;
                (self.report)(&format!(
                    "FAIL  {scenario:40} {pair:24} {took:5} ms\n    {error}"
                ));
            }
        }
    }
}

fn with_transcript(error: String, peers: &[&Peer]) -> String {
    let mut out = error;
    for peer in peers {
        out.push_str(&format!(
            "\n    what was said to the {} peer, last:",
            peer.language
        ));
        for line in peer.transcript() {
            out.push_str(&format!("\n      {line}"));
        }
    }
    out
}

/// Waits for all of several futures at once.
async fn together<T, F: Future<Output = T>>(futures: Vec<F>) -> Vec<T> {
    let mut waiting: Vec<_> = futures
        .into_iter()
        .map(|future| (Box::pin(future), None))
        .collect();
    std::future::poll_fn(move |context| {
        for (future, done) in &mut waiting {
            if done.is_none()
                && let Poll::Ready(value) = future.as_mut().poll(context)
            {
                *done = Some(value);
            }
        }
        match waiting.iter().all(|(_, done)| done.is_some()) {
            true => Poll::Ready(waiting.drain(..).filter_map(|(_, done)| done).collect()),
            false => Poll::Pending,
        }
    })
    .await
}
