//! Whether a client built with one contract may call a server that serves another.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use super::model::{Contract, Field, Method, Scalar, Scope, Type, TypeDef};
use super::name;
use super::normalise::describe;

/// What differs between a client's and a server's contract.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Compat {
    /// Differences because of which calls must not go.
    pub breaking: Vec<Difference>,
    /// Differences that are worth knowing, but harmless.
    pub notes: Vec<Difference>,
}

impl Compat {
    /// Whether calls may go.
    pub fn is_compatible(&self) -> bool {
        self.breaking.is_empty()
    }
}

/// All differences, one per line, breaking ones first.
impl fmt::Display for Compat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let breaking = self
            .breaking
            .iter()
            .map(|difference| ("breaking", difference));
        let notes = self.notes.iter().map(|difference| ("note", difference));
        for (index, (weight, difference)) in breaking.chain(notes).enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{weight}: {difference}")?;
        }
        Ok(())
    }
}

/// One difference, for people: `getStatus.response.uptime_secs: the client expects i64, the server sends string`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    path: String,
    message: String,
}

impl Difference {
    /// The place: `getStatus.request.agent_id`, with `[]` for items, `[key]` and `[value]` for those of a map, `[2]` for one of a tuple and
    /// `<tag>` for a member of a union. The service's name for what concerns the whole service.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What differs, and which side has what.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Compares the contract a client was built with and the one its server serves.
///
/// The client sends requests and the server sends responses, so the order of the arguments matters: an added optional field is compatible when
/// the server has it, and breaking when only the client does (docs/spec/contract.md, *Compatibility*). `compat(old, new)` says whether clients of
/// the old contract keep working with the new one.
pub fn compat(client: &Contract, server: &Contract) -> Compat {
    let mut comparison = Comparison {
        client,
        server,
        found: Compat::default(),
        compared: BTreeSet::new(),
        waiting: VecDeque::new(),
    };
    comparison.service();
    // A queue, not recursion: a peer's chain of types must not be able to exhaust the stack.
    while let Some((way, client, server, path)) = comparison.waiting.pop_front() {
        comparison.definitions(way, client, server, &path);
    }
    comparison.found
}

/// Which way a value goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// From the client to the server.
    Request,
    /// From the server to the client.
    Response,
}

struct Comparison<'a> {
    client: &'a Contract,
    server: &'a Contract,
    found: Compat,
    /// Named types that were compared, the client's with the server's, per way: cycles end, and one difference is told once.
    compared: BTreeSet<(Way, &'a str, &'a str)>,
    /// Named types still to compare, with the place where they were met first.
    waiting: VecDeque<(Way, &'a str, &'a str, String)>,
}

impl<'a> Comparison<'a> {
    fn breaking(&mut self, path: &str, message: impl Into<String>) {
        self.found.breaking.push(Difference {
            path: path.into(),
            message: message.into(),
        });
    }

    fn note(&mut self, path: &str, message: impl Into<String>) {
        self.found.notes.push(Difference {
            path: path.into(),
            message: message.into(),
        });
    }

    fn service(&mut self) {
        let (client, server) = (self.client, self.server);
        if client.name() != server.name() {
            let text = format!(
                "the client calls service {}, the server serves {}",
                client.name(),
                server.name()
            );
            self.breaking(client.name(), text);
        }
        if client.version() != server.version() {
            let text = format!(
                "the client has version {}, the server version {}",
                client.version(),
                server.version()
            );
            self.breaking(client.name(), text);
        }
        if client.scope() != server.scope() {
            let word = |scope| match scope {
                Scope::Shared => "shared",
                Scope::Session => "per session",
            };
            let text = format!(
                "the service is {} for the client, {} on the server",
                word(client.scope()),
                word(server.scope())
            );
            self.breaking(client.name(), text);
        }
        for method in client.methods() {
            match server.method(&method.name) {
                Some(other) => self.method(method, other),
                None => {
                    let names = server.methods().iter().map(|method| method.name.as_str());
                    let hint = match name::nearest(&method.name, names) {
                        Some(near) => format!("; it has {near}"),
                        None => String::new(),
                    };
                    self.breaking(
                        &method.name,
                        format!("the server does not have this method{hint}"),
                    );
                }
            }
        }
        for method in server
            .methods()
            .iter()
            .filter(|method| client.method(&method.name).is_none())
        {
            self.note(&method.name, "only the server has this method");
        }
    }

    fn method(&mut self, client: &'a Method, server: &'a Method) {
        let path = client.name.as_str();
        if client.pattern != server.pattern {
            let (client, server) = (client.pattern.name(), server.pattern.name());
            self.breaking(
                path,
                format!("the client calls it as {client}, the server has it as {server}"),
            );
        }
        if client.idempotent != server.idempotent {
            let side = if client.idempotent {
                "client"
            } else {
                "server"
            };
            self.note(
                path,
                format!("idempotent only for the {side}, so it is not retried"),
            );
        }
        self.ty(
            Way::Request,
            &client.request,
            &server.request,
            &format!("{path}.request"),
        );
        self.ty(
            Way::Response,
            &client.response,
            &server.response,
            &format!("{path}.response"),
        );
    }

    fn ty(&mut self, way: Way, client: &'a Type, server: &'a Type, path: &str) {
        let any = Type::Scalar(Scalar::Any);
        match (client, server) {
            (Type::Scalar(client), Type::Scalar(server)) if client == server => {}
            (client, _) if *client == any => {
                self.note(
                    path,
                    format!(
                        "any for the client, {} on the server: checked per value",
                        describe(server)
                    ),
                );
            }
            (_, server) if *server == any => {
                self.note(
                    path,
                    format!(
                        "{} for the client, any on the server: checked per value",
                        describe(client)
                    ),
                );
            }
            (Type::Nullable(client), Type::Nullable(server)) => self.ty(way, client, server, path),
            (Type::Nullable(client), server) => {
                self.nullable(way, true, path);
                self.ty(way, client, server, path);
            }
            (client, Type::Nullable(server)) => {
                self.nullable(way, false, path);
                self.ty(way, client, server, path);
            }
            (client, server) => self.parts(way, client, server, path),
        }
    }

    /// Types of the same make are compared part by part; others differ.
    fn parts(&mut self, way: Way, client: &'a Type, server: &'a Type, path: &str) {
        match (client, server) {
            (
                Type::List {
                    item: a,
                    unique: one,
                },
                Type::List {
                    item: b,
                    unique: other,
                },
            ) if one == other => {
                self.ty(way, a, b, &format!("{path}[]"));
            }
            (Type::Tuple(a), Type::Tuple(b)) if a.len() == b.len() => {
                for (index, (a, b)) in a.iter().zip(b).enumerate() {
                    self.ty(way, a, b, &format!("{path}[{index}]"));
                }
            }
            (Type::Map { key: a, value: x }, Type::Map { key: b, value: y }) => {
                self.ty(way, a, b, &format!("{path}[key]"));
                self.ty(way, x, y, &format!("{path}[value]"));
            }
            (Type::Nullable(a), Type::Nullable(b)) => self.ty(way, a, b, path),
            // The tag of a union is not on the wire, and where it is made from the members' tags it changes with them.
            (Type::Ref(a), Type::Ref(b)) if a == b || self.are_unions(a, b) => {
                self.named(way, a, b, path);
            }
            (client, server) => {
                let (client, server) = (describe(client), describe(server));
                let text = match way {
                    Way::Request => {
                        format!("the client sends {client}, the server expects {server}")
                    }
                    Way::Response => {
                        format!("the client expects {client}, the server sends {server}")
                    }
                };
                self.breaking(path, text);
            }
        }
    }

    fn nullable(&mut self, way: Way, for_client: bool, path: &str) {
        match (way, for_client) {
            (Way::Request, true) => self.breaking(
                path,
                "the client may send null, the server does not accept it",
            ),
            (Way::Response, false) => self.breaking(
                path,
                "the server may send null, the client does not accept it",
            ),
            (Way::Request, false) => {
                self.note(path, "the server accepts null, the client never sends it")
            }
            (Way::Response, true) => {
                self.note(path, "the client accepts null, the server never sends it")
            }
        }
    }

    fn are_unions(&self, client: &str, server: &str) -> bool {
        let union = |def: Option<&TypeDef>| matches!(def, Some(TypeDef::Union { .. }));
        union(self.client.type_def(client)) && union(self.server.type_def(server))
    }

    fn named(&mut self, way: Way, client: &'a str, server: &'a str, path: &str) {
        if self.compared.insert((way, client, server)) {
            self.waiting
                .push_back((way, client, server, path.to_owned()));
        }
    }

    fn definitions(&mut self, way: Way, tag: &'a str, on_server: &'a str, path: &str) {
        let tags = (tag, on_server);
        match (self.client.type_def(tag), self.server.type_def(on_server)) {
            (
                Some(TypeDef::Struct { fields: client, .. }),
                Some(TypeDef::Struct { fields: server, .. }),
            ) => {
                self.fields(way, client, server, path);
            }
            (
                Some(TypeDef::Enum { values: client, .. }),
                Some(TypeDef::Enum { values: server, .. }),
            ) => {
                self.names(way, "value", tags, client, server, path);
            }
            (
                Some(TypeDef::Union {
                    members: client, ..
                }),
                Some(TypeDef::Union {
                    members: server, ..
                }),
            ) => {
                self.names(way, "member", tags, client, server, path);
                for member in client
                    .iter()
                    .filter(|member| server.binary_search(member).is_ok())
                {
                    self.named(way, member, member, &format!("{path}<{member}>"));
                }
            }
            (Some(client), Some(server)) => {
                let (client, server) = (client.kind(), server.kind());
                self.breaking(
                    path,
                    format!("{tag} is of kind {client} for the client, {server} on the server"),
                );
            }
            // A contract holds every type it refers to.
            (client, server) => {
                unreachable!("type {tag} is missing: client {client:?}, server {server:?}")
            }
        }
    }

    fn fields(&mut self, way: Way, client: &'a [Field], server: &'a [Field], path: &str) {
        let find = |fields: &'a [Field], name: &str| {
            fields
                .binary_search_by(|field| field.name.as_str().cmp(name))
                .ok()
                .map(|index| &fields[index])
        };
        for field in client {
            let at = format!("{path}.{}", field.name);
            match find(server, &field.name) {
                Some(other) => self.field(way, field, other, &at),
                None => {
                    let near = server
                        .iter()
                        .filter(|other| find(client, &other.name).is_none());
                    let hint =
                        match name::nearest(&field.name, near.map(|field| field.name.as_str())) {
                            Some(near) => format!("; it has {near}"),
                            None => String::new(),
                        };
                    let text = match way {
                        Way::Request => format!(
                            "the client sends this field, the server does not have it{hint}"
                        ),
                        Way::Response => format!(
                            "the client expects this field, the server does not have it{hint}"
                        ),
                    };
                    self.breaking(&at, text);
                }
            }
        }
        for field in server
            .iter()
            .filter(|field| find(client, &field.name).is_none())
        {
            let at = format!("{path}.{}", field.name);
            match (way, field.required) {
                (Way::Request, true) => self.breaking(
                    &at,
                    "the server requires this field, the client does not have it",
                ),
                (Way::Request, false) => {
                    self.note(&at, "only the server has this field; it takes its default")
                }
                (Way::Response, _) => {
                    self.note(&at, "only the server has this field; the client ignores it")
                }
            }
        }
    }

    fn field(&mut self, way: Way, client: &'a Field, server: &'a Field, path: &str) {
        match (way, client.required, server.required) {
            (Way::Request, false, true) => {
                self.breaking(
                    path,
                    "the server requires this field, for the client it is optional",
                );
            }
            (Way::Response, true, false) => {
                self.breaking(
                    path,
                    "the client requires this field, on the server it is optional",
                );
            }
            (_, true, false) => self.note(path, "required for the client, optional on the server"),
            (_, false, true) => self.note(path, "optional for the client, required on the server"),
            _ => {}
        }
        // `any` holds null without a flag, so a flag on the other side says nothing.
        let any = |field: &Field| field.ty == Type::Scalar(Scalar::Any);
        if client.nullable != server.nullable && !any(client) && !any(server) {
            self.nullable(way, client.nullable, path);
        }
        self.ty(way, &client.ty, &server.ty, path);
    }

    fn names(
        &mut self,
        way: Way,
        what: &str,
        (tag, on_server): (&str, &str),
        client: &[String],
        server: &[String],
        path: &str,
    ) {
        for name in client
            .iter()
            .filter(|name| server.binary_search(name).is_err())
        {
            let text = format!("only the client has the {what} {name} of {tag}");
            match way {
                Way::Request => self.breaking(path, text),
                Way::Response => self.note(path, text),
            }
        }
        for name in server
            .iter()
            .filter(|name| client.binary_search(name).is_err())
        {
            let text = format!("only the server has the {what} {name} of {on_server}");
            match way {
                Way::Request => self.note(path, text),
                Way::Response => self.breaking(path, text),
            }
        }
    }
}
