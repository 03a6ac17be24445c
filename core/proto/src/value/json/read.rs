//! JSON to MessagePack, in one streaming pass: every value is checked against its type and written as it arrives.

use std::fmt;

use rmp::encode;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::context::Context;
use super::untyped::{Skip, Tag};
use crate::contract::{Compiled, Node, Scalar, StructNode, TypeId};
use crate::value::error::{Fault, Step, ValueError, cut};
use crate::value::keys::{Key, Places};
use crate::value::read::{Reader, Token, bounded, enter};
use crate::value::walk::{
    SEEN_WORDS, duplicate_item, duplicate_key_text, first_missing, in_key, mismatch, missing_field,
    not_a_member, not_a_value, other_tag, unknown_field,
};
use crate::value::{Mode, TYPE_KEY};

pub(super) fn payload(
    types: &Compiled,
    ty: TypeId,
    json: &[u8],
    mode: Mode,
) -> Result<Vec<u8>, ValueError> {
    bounded(json.len()).map_err(Fault::into_error)?;
    let mut context = Context {
        types,
        mode,
        out: Vec::with_capacity(json.len()),
        steps: Vec::new(),
        error: None,
    };
    let mut de = serde_json::Deserializer::from_slice(json);
    let read = Value {
        context: &mut context,
        ty,
        depth: 0,
    }
    .deserialize(&mut de)
    .and_then(|()| de.end());
    match (context.error, read) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => Err(not_json(&error).after(context.steps)),
        (None, Ok(())) => Ok(context.out),
    }
}

fn not_json(error: &serde_json::Error) -> Fault {
    Fault::new(format!("invalid JSON: {error}"))
}

/// Reads one value of a type.
struct Value<'c, 'a> {
    context: &'c mut Context<'a>,
    ty: TypeId,
    depth: usize,
}

impl<'a> Value<'_, 'a> {
    /// The type without the nullable around it.
    fn node(&self) -> &'a Node {
        let types = self.context.types;
        match types.node(self.ty) {
            Node::Nullable(inner) => types.node(*inner),
            node => node,
        }
    }

    fn got<T, E: de::Error>(self, kind: &str) -> Result<T, E> {
        let fault = mismatch(self.context.types, self.ty, kind);
        Err(self.context.fail(fault))
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context.types.type_text(self.ty))
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        let nullable = matches!(self.context.types.node(self.ty), Node::Nullable(_));
        match self.node() {
            _ if nullable => {}
            Node::Scalar(Scalar::Null | Scalar::Any) => {}
            _ => return self.got("null"),
        }
        let written = encode::write_nil(&mut self.context.out);
        debug_assert!(written.is_ok());
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        let Node::Scalar(Scalar::Bool | Scalar::Any) = self.node() else {
            return self.got("bool");
        };
        let written = encode::write_bool(&mut self.context.out, value);
        debug_assert!(written.is_ok());
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        let Node::Scalar(scalar) = self.node() else {
            return self.got("int");
        };
        let result = self.context.int(*scalar, value.into(), self.ty);
        self.context.ok(result)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        let Node::Scalar(scalar) = self.node() else {
            return self.got("int");
        };
        let result = self.context.int(*scalar, value.into(), self.ty);
        self.context.ok(result)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        let Node::Scalar(scalar) = self.node() else {
            return self.got("float");
        };
        let result = self.context.number(*scalar, value, self.ty);
        self.context.ok(result)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        let result = match self.node() {
            Node::Scalar(scalar) => self.context.string(*scalar, value, self.ty),
            Node::Enum { tag, values } => enumerated(self.context, tag, values, value),
            _ => return self.got("string"),
        };
        self.context.ok(result)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        let node = self.node();
        if !matches!(
            node,
            Node::Scalar(Scalar::Any) | Node::List { .. } | Node::Tuple(_)
        ) {
            return self.got("list");
        }
        let Self { context, ty, depth } = self;
        context.ok(enter(depth))?;
        match node {
            Node::List {
                item,
                unique: false,
            } => list(context, items, depth + 1, |_| Some(*item)).map(drop),
            Node::List { item, unique: true } => set(context, items, depth + 1, *item),
            Node::Tuple(types) => {
                let count = list(context, items, depth + 1, |index| types.get(index).copied())?;
                if count == types.len() {
                    return Ok(());
                }
                let text = format!("expected tuple of {}, got {count} items", types.len());
                Err(context.fail(Fault::new(text)))
            }
            _ => list(context, items, depth + 1, |_| Some(ty)).map(drop),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<(), A::Error> {
        let node = self.node();
        if matches!(node, Node::List { .. } | Node::Tuple(_) | Node::Enum { .. })
            || matches!(node, Node::Scalar(scalar) if *scalar != Scalar::Any)
        {
            return self.got("map");
        }
        let Self { context, ty, depth } = self;
        context.ok(enter(depth))?;
        let depth = depth + 1;
        match node {
            Node::Struct(node) => Fields::new(node, depth, None).read(context, entries),
            Node::Union { tag, members } => union(context, tag, members, depth, entries),
            Node::Map { key, value } => map(context, Some(*key), *value, depth, entries),
            // Keys and values of an `any` are `any`.
            _ => map(context, None, ty, depth, entries),
        }
    }
}

fn enumerated(
    context: &mut Context<'_>,
    tag: &str,
    values: &[Box<str>],
    value: &str,
) -> Result<(), Fault> {
    if values
        .binary_search_by(|known| (**known).cmp(value))
        .is_err()
    {
        return Err(not_a_value(value, tag, values));
    }
    context.put_str(value);
    Ok(())
}

/// Reads the items of a list; gives their number. Items without a type (too many for a tuple) are read past.
fn list<'de, A: SeqAccess<'de>>(
    context: &mut Context<'_>,
    mut items: A,
    depth: usize,
    item: impl Fn(usize) -> Option<TypeId>,
) -> Result<usize, A::Error> {
    let start = context.open();
    let mut count = 0;
    loop {
        let more = context.within(Step::Item(count), |context| match item(count) {
            Some(ty) => items.next_element_seed(Value { context, ty, depth }),
            None => items.next_element_seed(Skip { context, depth }),
        })?;
        if more.is_none() {
            break;
        }
        count += 1;
    }
    context.close_array(start, count);
    Ok(count)
}

fn set<'de, A: SeqAccess<'de>>(
    context: &mut Context<'_>,
    mut items: A,
    depth: usize,
    item: TypeId,
) -> Result<(), A::Error> {
    let start = context.open();
    let first = context.out.len();
    let mut places = Places::default();
    let mut count = 0;
    loop {
        let from = context.out.len();
        let read = |context: &mut Context<'_>| {
            items.next_element_seed(Value {
                context,
                ty: item,
                depth,
            })
        };
        if context.within(Step::Item(count), read)?.is_none() {
            break;
        }
        places.add(context.written(from), from);
        count += 1;
    }
    if let Some(place) = context.duplicate(places) {
        let index = Reader::new(&context.out).again(first).items_before(place);
        return Err(context.fail(duplicate_item(index)));
    }
    context.close_array(start, count);
    Ok(())
}

/// Reads a map; `key` is `None` in an `any`.
fn map<'de, A: MapAccess<'de>>(
    context: &mut Context<'_>,
    key: Option<TypeId>,
    value: TypeId,
    depth: usize,
    mut entries: A,
) -> Result<(), A::Error> {
    let start = context.open();
    let mut places = Places::default();
    let mut count = 0;
    while let Some(text) = entries.next_key::<String>()? {
        let from = context.out.len();
        let written = match key {
            None => {
                context.put_str(&text);
                Ok(())
            }
            Some(key) => map_key(context, key, &text).map_err(in_key),
        };
        context.ok(written)?;
        places.add(context.written(from), from);
        count += 1;
        let step = Step::Key(match key.map(|key| context.types.node(key)) {
            None | Some(Node::Scalar(Scalar::String) | Node::Enum { .. }) => {
                format!("{:?}", cut(&text))
            }
            Some(_) => cut(&text),
        });
        context.within(step, |context| {
            entries.next_value_seed(Value {
                context,
                ty: value,
                depth,
            })
        })?;
    }
    if let Some(place) = context.duplicate(places) {
        let key = key_text(context.value_at(place));
        return Err(context.fail(duplicate_key_text(&key)));
    }
    context.close_map(start, count);
    Ok(())
}

/// A key that was written, as text of a path.
#[cold]
fn key_text(written: &[u8]) -> String {
    let key = match Reader::new(written).token() {
        Ok(Token::Bool(value)) => Key::Bool(value),
        Ok(Token::Uint(value)) => Key::Uint(value),
        Ok(Token::Int(value)) => Key::Int(value),
        Ok(Token::Str(bytes)) => Key::Str(bytes),
        Ok(Token::Bin(bytes)) => bytes.try_into().map_or(Key::Bytes(bytes), Key::Uuid),
        _ => Key::Encoded(written),
    };
    key.text()
}

/// Writes a map key from its text form.
fn map_key(context: &mut Context<'_>, key: TypeId, text: &str) -> Result<(), Fault> {
    match context.types.node(key) {
        Node::Scalar(Scalar::Bool) => {
            let value = match text {
                "true" => true,
                "false" => false,
                _ => {
                    return Err(Fault::new(format!(
                        "invalid bool `{}`: expected true or false",
                        cut(text)
                    )));
                }
            };
            let written = encode::write_bool(&mut context.out, value);
            debug_assert!(written.is_ok());
            Ok(())
        }
        Node::Scalar(scalar) => context.string(*scalar, text, key),
        Node::Enum { tag, values } => enumerated(context, tag, values, text),
        other => unreachable!("normalisation lets no {other:?} be a map key"),
    }
}

/// Reads a union: its `$type` may come anywhere, so what comes before it waits as text.
fn union<'de, A: MapAccess<'de>>(
    context: &mut Context<'_>,
    tag: &str,
    members: &[(Box<str>, TypeId)],
    depth: usize,
    mut entries: A,
) -> Result<(), A::Error> {
    // Borrowed: unions in unions would otherwise copy the innermost text once per level.
    let mut waiting: Vec<(String, &'de RawValue)> = Vec::new();
    let name = loop {
        match entries.next_key::<String>()? {
            None => {
                let text = format!("a value of union {tag} must have the key {TYPE_KEY:?}");
                return Err(context.fail(Fault::new(text)));
            }
            Some(key) if key == TYPE_KEY => {
                let read = |context: &mut Context<'_>| entries.next_value_seed(Tag { context });
                break context.within(Step::Field(TYPE_KEY.into()), read)?;
            }
            Some(key) => waiting.push((key, entries.next_value()?)),
        }
    };
    let found = members.binary_search_by(|(member, _)| (**member).cmp(name.as_str()));
    let Ok(found) = found else {
        return Err(
            context.fail(not_a_member(&name, tag, members).within(Step::Field(TYPE_KEY.into())))
        );
    };
    let Node::Struct(node) = context.types.node(members[found].1) else {
        unreachable!("normalisation lets only structs into a union");
    };
    let mut fields = Fields::new(node, depth, Some(context.open()));
    context.put_str(TYPE_KEY);
    context.put_str(&name);
    for (key, value) in waiting {
        // The text was found by the same parser; a fault in it is one of the value.
        let mut de = serde_json::Deserializer::from_str(value.get());
        if let Err(error) = fields.entry(context, &key, |seed| seed.deserialize(&mut de)) {
            if context.error.is_none() {
                context.error = Some(not_json(&error).after(context.steps.clone()));
            }
            return Err(de::Error::custom(error));
        }
    }
    fields.read(context, entries)
}

/// Reads the fields of a struct, one by one.
struct Fields<'a> {
    node: &'a StructNode,
    depth: usize,
    seen: Vec<u64>,
    guess: usize,
    /// Where the head of the map is, and how many entries it has, once it is open.
    start: Option<usize>,
    count: usize,
    in_union: bool,
}

impl<'a> Fields<'a> {
    /// `tagged`: where the map was opened, with its `$type` as first entry.
    fn new(node: &'a StructNode, depth: usize, tagged: Option<usize>) -> Self {
        let words = node.required.len().min(SEEN_WORDS);
        let in_union = tagged.is_some();
        Self {
            node,
            depth,
            seen: vec![0; words],
            guess: 0,
            start: tagged,
            count: usize::from(in_union),
            in_union,
        }
    }

    fn read<'de, A: MapAccess<'de>>(
        mut self,
        context: &mut Context<'_>,
        mut entries: A,
    ) -> Result<(), A::Error> {
        let start = *self.start.get_or_insert_with(|| context.open());
        while let Some(key) = entries.next_key::<String>()? {
            self.entry(context, &key, |seed| entries.next_value_seed(seed))?;
        }
        if let Some(name) = first_missing(self.node, &self.seen) {
            return Err(context.fail(missing_field(&self.node.tag, name)));
        }
        context.close_map(start, self.count);
        Ok(())
    }

    /// Reads the value of one key by handing its seed to `read`.
    fn entry<E: de::Error>(
        &mut self,
        context: &mut Context<'_>,
        key: &str,
        read: impl FnOnce(Entry<'_, '_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let step = Step::Field(key.to_owned());
        let Some(index) = self.node.find(key.as_bytes(), self.guess) else {
            if key == TYPE_KEY {
                let tag = &*self.node.tag;
                let in_union = self.in_union;
                return context.within(step, |context| {
                    if in_union {
                        return Err(context.fail(Fault::new("duplicate field")));
                    }
                    read(Entry::Tag { context, tag })
                });
            }
            if context.mode == Mode::Send {
                return Err(context.fail(unknown_field(self.node, key)));
            }
            let depth = self.depth;
            return context.within(step, |context| {
                read(Entry::Unknown(Skip { context, depth }))
            });
        };
        let bit = 1 << (index % 64);
        if self.seen[index / 64] & bit != 0 {
            return Err(context.fail(Fault::new("duplicate field").within(step)));
        }
        self.seen[index / 64] |= bit;
        self.guess = index + 1;
        self.count += 1;
        let (ty, depth) = (self.node.fields[index].ty, self.depth);
        context.put_str(key);
        context.within(step, |context| {
            read(Entry::Field(Value { context, ty, depth }))
        })
    }
}

/// What the value of a struct's key is.
enum Entry<'c, 'a> {
    Field(Value<'c, 'a>),
    Unknown(Skip<'c, 'a>),
    /// `$type` outside a union: the struct's own tag, which is not written.
    Tag {
        context: &'c mut Context<'a>,
        tag: &'c str,
    },
}

impl<'de> DeserializeSeed<'de> for Entry<'_, '_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self {
            Self::Field(value) => value.deserialize(deserializer),
            Self::Unknown(skip) => skip.deserialize(deserializer),
            Self::Tag { context, tag } => {
                let got = Tag {
                    context: &mut *context,
                }
                .deserialize(deserializer)?;
                if got == tag {
                    Ok(())
                } else {
                    Err(context.fail(other_tag(&got, tag)))
                }
            }
        }
    }
}
