//! Plays what goes over a whole table: contracts and values.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::expect::fails;
use crate::language::Language;
use crate::play::Play;
use crate::scenario::{Call, Outcome};

impl Play<'_> {
    pub(crate) fn same_services(&self, offered: &Value) -> Result<(), String> {
        let mut problems = Vec::new();
        let offered = offered.as_array().cloned().unwrap_or_default();
        for service in &self.suite.services {
            let expected = json!([service.name, service.version, service.id, service.scope]);
            if !offered.contains(&expected) {
                let found = offered
                    .iter()
                    .find(|each| each[0] == service.name.as_str() && each[1] == service.version);
                problems.push(format!(
                    "{expected} is offered as {}",
                    found.unwrap_or(&Value::Null)
                ));
            }
        }
        if offered.len() != self.suite.services.len() {
            problems.push(format!("{} services are offered", offered.len()));
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems.join("; "))
        }
    }

    pub(crate) fn same_contracts(
        &self,
        outcomes: &Value,
        failing: &HashMap<String, String>,
    ) -> Result<(), String> {
        let mut problems = Vec::new();
        let outcomes = outcomes.as_array().cloned().unwrap_or_default();
        if outcomes.len() != self.suite.services.len() {
            problems.push(format!("the client knows {} services", outcomes.len()));
        }
        for outcome in outcomes {
            let name = outcome[0].as_str().unwrap_or_default();
            let result = outcome[2].as_str().unwrap_or_default();
            let right = match failing.get(name) {
                Some(part) => result.contains(part.as_str()),
                None => result == "ok",
            };
            if !right {
                problems.push(format!("{name}: {result}"));
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems.join("; "))
        }
    }

    pub(crate) async fn values(&mut self, group: &str) -> Result<(), String> {
        let (client, server) = (self.client()?, self.server()?);
        let method = self.suite.method("Values", None, group)?;
        let rows = self
            .suite
            .values
            .get(group)
            .ok_or_else(|| format!("the table of values has no {group}"))?;
        let mut problems = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            if row.not_in.contains(&client.peer.language) {
                continue;
            }
            let sent = crate::raw::echo::given(&self.suite.types, &method, &row.value)?;
            let call = Call {
                start: None,
                open: None,
                call: None,
                version: None,
                request: sent.clone(),
                sends: HashMap::new(),
                session: None,
                client: None,
                key: Some(format!("{group}{at}")),
                timeout_ms: None,
                compress: None,
                beforehand: false,
                outcome: Outcome::default(),
            };
            let command = self.command(&call, &format!("Values.{group}"), &method)?;
            let reply = client.peer.ask("call", command).await?;
            if let Err(problem) = fails(&reply, row.fails.as_ref()) {
                problems.push(format!("{}: {problem}", row.name));
            } else if row.fails.is_none() {
                let value = crate::raw::echo::value_of(&method, &sent);
                let key = self.key_of(call.key.as_ref());
                let command = json!({"key": key, "type": method.response});
                let seen = server.peer.must("seen", command).await?;
                let (types, ty) = (&self.suite.types, &method.response);
                let hold = |language: &Language, value: &Value| language.holds(types, ty, value);
                let expected = hold(server.language, &hold(client.language, &value));
                let both = self
                    .same(ty, &seen["value"], &expected)
                    .map_err(|problem| format!("the server: {problem}"))
                    .and_then(|()| {
                        let expected = hold(client.language, &expected);
                        self.same(ty, &reply["ok"]["response"], &expected)
                    });
                if let Err(problem) = both {
                    problems.push(format!("{}: {problem}", row.name));
                }
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems.join("\n    "))
        }
    }

    pub(crate) async fn echo(&mut self, side: &str, only: Option<&str>) -> Result<(), String> {
        let groups: Vec<&String> = self
            .suite
            .values
            .keys()
            .filter(|group| only.is_none_or(|only| only == *group))
            .collect();
        let mut problems = Vec::new();
        for group in groups {
            let outcome = if side == "server" {
                let server = self.server()?;
                let address = self.address().await?;
                crate::raw::echo::to_server(self.suite, server.language, &address, group).await
            } else {
                let client = self.client()?;
                let name = self.named(group);
                let serving =
                    crate::raw::echo::to_client(self.suite, client, &name, &self.form, group);
                serving.await
            };
            if let Err(problem) = outcome {
                problems.push(format!("{group}: {problem}"));
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems.join("\n    "))
        }
    }
}
