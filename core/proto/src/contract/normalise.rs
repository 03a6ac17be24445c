//! From a description to the one contract it stands for: checks, the same shape for the same meaning, closure, order.

use std::collections::{BTreeMap, BTreeSet};

use super::canonical;
use super::error::ContractError;
use super::limits::{
    MAX_CANONICAL, MAX_ENUM_VALUES, MAX_FIELDS, MAX_METHODS, MAX_TUPLE, MAX_TYPE_DEPTH, MAX_TYPES,
};
use super::manifest::Manifest;
use super::model::{Contract, Field, Method, Scalar, ServiceDescription, Type, TypeDef};
use super::name::{identifier_fault, nearest, tag_fault};

impl ServiceDescription {
    /// Checks the description and gives the contract it stands for, with its manifest.
    ///
    /// Descriptions that differ only in the order of their parts, in types no method reaches or in ways to write the same
    /// type give equal contracts (docs/spec/contract.md, *Normalisation*).
    ///
    /// # Errors
    /// The first fault, with its place: a name that is not an identifier or not NFC, an unknown reference, two shapes under one tag,
    /// duplicate names, a type that cannot be a map key, a limit exceeded, a manifest entry for something that does not exist.
    pub fn normalise(&self) -> Result<(Contract, Manifest), ContractError> {
        check_name("name", "service", &self.name)?;
        if self.version == 0 {
            return Err(ContractError::new("version", "versions start at 1"));
        }
        let defs = Defs::collect(&self.types)?;
        let types = defs.normalised()?;
        let methods = methods(&self.methods, &defs)?;
        let (types, dropped) = close(&methods, types);
        if types.len() > MAX_TYPES {
            return Err(too_many("types", types.len(), MAX_TYPES));
        }
        let contract = Contract {
            name: self.name.clone(),
            version: self.version,
            scope: self.scope,
            methods,
            types,
        };
        let size = canonical::encode(&contract).len();
        if size > MAX_CANONICAL {
            let text =
                format!("its canonical form has {size} bytes, at most {MAX_CANONICAL} are allowed");
            return Err(ContractError::new("", text));
        }
        let dropped: Vec<&str> = dropped.iter().map(String::as_str).collect();
        let manifest = self.manifest.fitted(&contract, &dropped)?;
        Ok((contract, manifest))
    }
}

/// The definitions of a description by tag, as given.
struct Defs<'a>(BTreeMap<&'a str, Vec<&'a TypeDef>>);

impl<'a> Defs<'a> {
    fn collect(types: &'a [TypeDef]) -> Result<Self, ContractError> {
        let mut by_tag: BTreeMap<&str, Vec<&TypeDef>> = BTreeMap::new();
        for (index, def) in types.iter().enumerate() {
            if let Some(fault) = tag_fault(def.tag()) {
                return Err(ContractError::new(format!("types[{index}].tag"), fault));
            }
            by_tag.entry(def.tag()).or_default().push(def);
        }
        Ok(Self(by_tag))
    }

    /// Every definition, normalised; the same tag given again must be the same shape.
    fn normalised(&self) -> Result<BTreeMap<String, TypeDef>, ContractError> {
        let mut result = BTreeMap::new();
        for (tag, given) in &self.0 {
            let path = format!("types[{tag:?}]");
            let mut shapes = given.iter().map(|def| self.definition(def, &path));
            let Some(first) = shapes.next().transpose()? else {
                continue;
            };
            for shape in shapes {
                if let Some(difference) = shape_difference(&first, &shape?) {
                    return Err(ContractError::new(
                        path,
                        format!(
                            "two different shapes under one tag ({difference}); give one of them another tag"
                        ),
                    ));
                }
            }
            result.insert((*tag).to_owned(), first);
        }
        Ok(result)
    }

    fn definition(&self, def: &TypeDef, path: &str) -> Result<TypeDef, ContractError> {
        Ok(match def {
            TypeDef::Struct { tag, fields } => TypeDef::Struct {
                tag: tag.clone(),
                fields: self.fields(fields, path)?,
            },
            TypeDef::Enum { tag, values } => {
                let path = format!("{path}.values");
                if values.is_empty() {
                    return Err(ContractError::new(path, "an enum needs at least one value"));
                }
                if values.len() > MAX_ENUM_VALUES {
                    return Err(too_many(path, values.len(), MAX_ENUM_VALUES));
                }
                for value in values {
                    check_name(&path, "enum value", value)?;
                }
                TypeDef::Enum {
                    tag: tag.clone(),
                    values: sorted(values, "value", &path)?,
                }
            }
            TypeDef::Union { tag, members } => {
                let path = format!("{path}.members");
                if members.is_empty() {
                    return Err(ContractError::new(
                        path,
                        "a union needs at least one member",
                    ));
                }
                if members.len() > MAX_FIELDS {
                    return Err(too_many(path, members.len(), MAX_FIELDS));
                }
                for member in members {
                    let def = self.get(member, &path)?;
                    if !matches!(def, TypeDef::Struct { .. }) {
                        let text = format!(
                            "{member} is {}; members of a union are structs",
                            kind_noun(def)
                        );
                        return Err(ContractError::new(path, text));
                    }
                }
                TypeDef::Union {
                    tag: tag.clone(),
                    members: sorted(members, "member", &path)?,
                }
            }
        })
    }

    fn fields(&self, fields: &[Field], path: &str) -> Result<Vec<Field>, ContractError> {
        let path = format!("{path}.fields");
        if fields.len() > MAX_FIELDS {
            return Err(too_many(path, fields.len(), MAX_FIELDS));
        }
        let mut result = Vec::with_capacity(fields.len());
        for field in fields {
            check_name(&path, "field", &field.name)?;
            let ty = self.ty(&field.ty, &format!("{path}.{}.type", field.name), 0)?;
            let (ty, nullable) = match ty {
                Type::Nullable(item) => (*item, true),
                // These hold null already: a flag would give one field two forms.
                Type::Scalar(Scalar::Any | Scalar::Null) => (ty, false),
                ty => (ty, field.nullable),
            };
            result.push(Field {
                name: field.name.clone(),
                ty,
                required: field.required,
                nullable,
            });
        }
        result.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = result.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(ContractError::new(
                path,
                format!("two fields are named {}", pair[0].name),
            ));
        }
        Ok(result)
    }

    fn ty(&self, ty: &Type, path: &str, depth: usize) -> Result<Type, ContractError> {
        if depth > MAX_TYPE_DEPTH {
            return Err(ContractError::new(
                path,
                format!("types are nested more than {MAX_TYPE_DEPTH} deep"),
            ));
        }
        let inner = |ty: &Type, part: &str| {
            self.ty(ty, &format!("{path}.{part}"), depth + 1)
                .map(Box::new)
        };
        Ok(match ty {
            Type::Scalar(scalar) => Type::Scalar(*scalar),
            Type::List { item, unique } => Type::List {
                item: inner(item, "item")?,
                unique: *unique,
            },
            Type::Tuple(items) => {
                if items.len() > MAX_TUPLE {
                    let text = format!(
                        "a tuple of {} items, at most {MAX_TUPLE} are allowed",
                        items.len()
                    );
                    return Err(ContractError::new(path, text));
                }
                let items = items.iter().enumerate().map(|(index, item)| {
                    self.ty(item, &format!("{path}.items[{index}]"), depth + 1)
                });
                Type::Tuple(items.collect::<Result<_, _>>()?)
            }
            Type::Map { key, value } => {
                let key = inner(key, "key")?;
                self.check_key(&key, &format!("{path}.key"))?;
                Type::Map {
                    key,
                    value: inner(value, "value")?,
                }
            }
            Type::Nullable(item) => match *inner(item, "item")? {
                item @ (Type::Nullable(_) | Type::Scalar(Scalar::Any | Scalar::Null)) => item,
                item => Type::Nullable(Box::new(item)),
            },
            Type::Ref(tag) => {
                self.get(tag, path)?;
                Type::Ref(tag.clone())
            }
        })
    }

    fn check_key(&self, key: &Type, path: &str) -> Result<(), ContractError> {
        let allowed = match key {
            Type::Scalar(Scalar::String | Scalar::Bool | Scalar::Uuid) => true,
            Type::Scalar(Scalar::Timestamp | Scalar::Duration) => false,
            Type::Scalar(scalar) => scalar.int_range().is_some(),
            Type::Ref(tag) => matches!(self.get(tag, path)?, TypeDef::Enum { .. }),
            _ => false,
        };
        if allowed {
            return Ok(());
        }
        let text = format!(
            "{} cannot be a map key; string, integers, bool, uuid and enums can",
            describe(key)
        );
        Err(ContractError::new(path, text))
    }

    fn get(&self, tag: &str, path: &str) -> Result<&'a TypeDef, ContractError> {
        self.0
            .get(tag)
            .and_then(|given| given.first().copied())
            .ok_or_else(|| {
                let hint = nearest(tag, self.0.keys().copied());
                let hint = hint.map_or("; add its definition to types".into(), |near| {
                    format!("; did you mean {near}?")
                });
                ContractError::new(path, format!("unknown type {tag}{hint}"))
            })
    }
}

fn methods(given: &[Method], defs: &Defs<'_>) -> Result<Vec<Method>, ContractError> {
    if given.len() > MAX_METHODS {
        return Err(too_many("methods", given.len(), MAX_METHODS));
    }
    let mut methods = Vec::with_capacity(given.len());
    for method in given {
        check_name("methods", "method", &method.name)?;
        let path = format!("methods.{}", method.name);
        methods.push(Method {
            request: defs.ty(&method.request, &format!("{path}.request"), 0)?,
            response: defs.ty(&method.response, &format!("{path}.response"), 0)?,
            ..method.clone()
        });
    }
    methods.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = methods.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(ContractError::new(
            "methods",
            format!("two methods are named {}", pair[0].name),
        ));
    }
    Ok(methods)
}

/// The types that the methods reach, by tag, and the tags of the others.
fn close(methods: &[Method], mut types: BTreeMap<String, TypeDef>) -> (Vec<TypeDef>, Vec<String>) {
    let mut waiting = Vec::new();
    for method in methods {
        tags_of(&method.request, &mut waiting);
        tags_of(&method.response, &mut waiting);
    }
    let mut reached = BTreeSet::new();
    while let Some(tag) = waiting.pop() {
        let Some(def) = types.get(tag) else { continue };
        if !reached.insert(tag.to_owned()) {
            continue;
        }
        match def {
            TypeDef::Struct { fields, .. } => fields
                .iter()
                .for_each(|field| tags_of(&field.ty, &mut waiting)),
            TypeDef::Union { members, .. } => waiting.extend(members.iter().map(String::as_str)),
            TypeDef::Enum { .. } => {}
        }
    }
    let dropped = types
        .keys()
        .filter(|tag| !reached.contains(*tag))
        .cloned()
        .collect();
    types.retain(|tag, _| reached.contains(tag));
    (types.into_values().collect(), dropped)
}

fn tags_of<'a>(ty: &'a Type, tags: &mut Vec<&'a str>) {
    match ty {
        Type::Scalar(_) => {}
        Type::List { item, .. } | Type::Nullable(item) => tags_of(item, tags),
        Type::Tuple(items) => items.iter().for_each(|item| tags_of(item, tags)),
        Type::Map { key, value } => {
            tags_of(key, tags);
            tags_of(value, tags);
        }
        Type::Ref(tag) => tags.push(tag),
    }
}

fn check_name(path: &str, what: &str, name: &str) -> Result<(), ContractError> {
    match identifier_fault(name) {
        Some(fault) => Err(ContractError::new(path, format!("{what} name: {fault}"))),
        None => Ok(()),
    }
}

fn sorted(names: &[String], what: &str, path: &str) -> Result<Vec<String>, ContractError> {
    let mut names = names.to_vec();
    names.sort();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(ContractError::new(
            path,
            format!("the {what} {} occurs twice", pair[0]),
        ));
    }
    Ok(names)
}

fn too_many(path: impl Into<String>, count: usize, limit: usize) -> ContractError {
    ContractError::new(
        path,
        format!("there are {count}, at most {limit} are allowed"),
    )
}

/// What differs between two definitions of one tag, or `None` if they are the same shape.
fn shape_difference(first: &TypeDef, second: &TypeDef) -> Option<String> {
    if first == second {
        return None;
    }
    Some(match (first, second) {
        (TypeDef::Struct { fields: a, .. }, TypeDef::Struct { fields: b, .. }) => {
            let name = a
                .iter()
                .find(|field| !b.contains(field))
                .or_else(|| b.iter().find(|field| !a.contains(field)));
            name.map_or("the fields differ".into(), |field| {
                format!("they differ in field {}", field.name)
            })
        }
        (TypeDef::Enum { .. }, TypeDef::Enum { .. }) => "their values differ".into(),
        (TypeDef::Union { .. }, TypeDef::Union { .. }) => "their members differ".into(),
        (a, b) => format!("one is {}, the other {}", kind_noun(a), kind_noun(b)),
    })
}

fn kind_noun(def: &TypeDef) -> &'static str {
    match def {
        TypeDef::Struct { .. } => "a struct",
        TypeDef::Enum { .. } => "an enum",
        TypeDef::Union { .. } => "a union",
    }
}

/// A type in an error text: `list<i64>`, `map<string, any>`, `mission/Log or null`.
pub(crate) fn describe(ty: &Type) -> String {
    match ty {
        Type::Scalar(scalar) => scalar.name().into(),
        Type::List {
            item,
            unique: false,
        } => format!("list<{}>", describe(item)),
        Type::List { item, unique: true } => format!("set<{}>", describe(item)),
        Type::Tuple(items) => format!(
            "tuple<{}>",
            items.iter().map(describe).collect::<Vec<_>>().join(", ")
        ),
        Type::Map { key, value } => format!("map<{}, {}>", describe(key), describe(value)),
        Type::Nullable(item) => format!("{} or null", describe(item)),
        Type::Ref(tag) => tag.clone(),
    }
}
