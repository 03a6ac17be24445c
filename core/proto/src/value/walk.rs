//! The one pass over MessagePack bytes that checks them against a type.

use std::ops::Range;

use super::error::{Fault, Step, cut};
use super::forms::uuid_bytes;
use super::keys::{Key, Seen};
use super::read::{Reader, Token, bounded, enter, text, timestamp};
use super::{Mode, TYPE_KEY};
use crate::contract::{Compiled, Node, Scalar, StructNode, TypeId, name};

/// What to write in place of a native form.
pub(super) enum Wire {
    /// Nanoseconds of a timestamp.
    Int(i64),
    /// The bytes of a UUID.
    Uuid([u8; 16]),
}

/// Walks one payload. `NATIVE`: accept the native forms of host encoders and note what to write in their place.
pub(super) struct Walker<'a, const NATIVE: bool> {
    types: &'a Compiled,
    reader: Reader<'a>,
    mode: Mode,
    /// Places to rewrite, in order. Stays empty, and so unallocated, without native forms.
    pub(super) rewrites: Vec<(Range<usize>, Wire)>,
}

impl<'a, const NATIVE: bool> Walker<'a, NATIVE> {
    pub(super) fn new(types: &'a Compiled, payload: &'a [u8], mode: Mode) -> Self {
        Self {
            types,
            reader: Reader::new(payload),
            mode,
            rewrites: Vec::new(),
        }
    }

    /// Checks the whole payload.
    pub(super) fn payload(&mut self, ty: TypeId) -> Result<(), Fault> {
        bounded(self.reader.left())?;
        self.value(ty, 0)?;
        match self.reader.left() {
            0 => Ok(()),
            left => Err(Fault::new(format!(
                "{left} bytes after the end of the value"
            ))),
        }
    }

    #[inline]
    fn value(&mut self, ty: TypeId, depth: usize) -> Result<(), Fault> {
        let types = self.types;
        match types.node(ty) {
            Node::Nullable(inner) => {
                if self.reader.nil() {
                    return Ok(());
                }
                self.typed(types.node(*inner), ty, depth)
            }
            node => self.typed(node, ty, depth),
        }
    }

    /// `shown` is the type that error texts name: the nullable around `node`, if there is one.
    fn typed(&mut self, node: &'a Node, shown: TypeId, depth: usize) -> Result<(), Fault> {
        match node {
            Node::Scalar(Scalar::Any) => self.any(depth),
            Node::Scalar(scalar) => self.scalar(*scalar, shown).map(drop),
            Node::Enum { tag, values } => self.enumerated(tag, values, shown).map(drop),
            Node::Struct(node) => {
                let count = self.map_head(shown, depth)?;
                self.structure(node, count, depth + 1, false)
            }
            Node::List { item, unique } => self.list(*item, *unique, shown, depth),
            Node::Map { key, value } => self.map(*key, *value, shown, depth),
            Node::Tuple(items) => self.tuple(items, shown, depth),
            Node::Union { tag, members } => {
                let count = self.map_head(shown, depth)?;
                self.union(tag, members, count, depth + 1)
            }
            // Normalisation leaves no nullable in a nullable.
            Node::Nullable(inner) => self.value(*inner, depth),
        }
    }

    /// Reads a value without parts and gives what it is equal to.
    #[inline]
    fn scalar(&mut self, scalar: Scalar, shown: TypeId) -> Result<Key<'a>, Fault> {
        let start = self.reader.at();
        let token = self.reader.token()?;
        match (scalar, token) {
            (Scalar::Bool, Token::Bool(value)) => Ok(Key::Bool(value)),
            (Scalar::String, Token::Str(bytes)) => text(bytes).map(|_| Key::Str(bytes)),
            (Scalar::Bytes, Token::Bin(bytes)) => Ok(Key::Bytes(bytes)),
            (Scalar::Null, Token::Nil) => Ok(Key::Bool(false)),
            (Scalar::Uuid, Token::Bin(bytes)) => match <[u8; 16]>::try_from(bytes) {
                Ok(uuid) => Ok(Key::Uuid(uuid)),
                Err(_) => Err(Fault::new(format!(
                    "expected uuid (16 bytes), got {} bytes",
                    bytes.len()
                ))),
            },
            (Scalar::F32 | Scalar::F64, Token::F32(value)) => {
                Ok(Key::Float(f64::from(value).to_bits()))
            }
            (Scalar::F64, Token::F64(value)) => Ok(Key::Float(value.to_bits())),
            // The cast rounds to nearest, and gives an infinity where that is beyond the largest f32.
            (Scalar::F32, Token::F64(value))
                if value.is_finite() && (value as f32).is_infinite() =>
            {
                Err(Fault::new(format!("{value} is out of range for f32")))
            }
            (Scalar::F32, Token::F64(value)) => Ok(Key::Float(value.to_bits())),
            (Scalar::F32 | Scalar::F64, Token::Uint(value)) => {
                Ok(Key::Float((value as f64).to_bits()))
            }
            (Scalar::F32 | Scalar::F64, Token::Int(value)) => {
                Ok(Key::Float((value as f64).to_bits()))
            }
            (scalar, Token::Uint(value)) => match scalar.int_range() {
                Some((_, max)) if value <= max => Ok(Key::Uint(value)),
                Some(range) => Err(out_of_range(value, scalar, range)),
                None => Err(self.mismatch(shown, &token)),
            },
            (scalar, Token::Int(value)) => match scalar.int_range() {
                Some((min, _)) if value >= min => Ok(Key::Int(value)),
                Some(range) => Err(out_of_range(value, scalar, range)),
                None => Err(self.mismatch(shown, &token)),
            },
            (Scalar::Timestamp, Token::Ext(-1, data)) if NATIVE => {
                let Some(nanos) = timestamp(-1, data) else {
                    return Err(Fault::new(
                        "timestamp extension is malformed or out of range for timestamp",
                    ));
                };
                self.rewrites
                    .push((start..self.reader.at(), Wire::Int(nanos)));
                Ok(u64::try_from(nanos).map_or(Key::Int(nanos), Key::Uint))
            }
            (Scalar::Uuid, Token::Str(bytes)) if NATIVE => match uuid_bytes(bytes) {
                Some(uuid) => {
                    self.rewrites
                        .push((start..self.reader.at(), Wire::Uuid(uuid)));
                    Ok(Key::Uuid(uuid))
                }
                None => Err(self.mismatch(shown, &token)),
            },
            (_, token) => Err(self.mismatch(shown, &token)),
        }
    }

    fn enumerated(
        &mut self,
        tag: &str,
        values: &[Box<str>],
        shown: TypeId,
    ) -> Result<Key<'a>, Fault> {
        match self.reader.token()? {
            Token::Str(bytes) => {
                if values
                    .binary_search_by(|value| value.as_bytes().cmp(bytes))
                    .is_ok()
                {
                    return Ok(Key::Str(bytes));
                }
                Err(not_a_value(text(bytes)?, tag, values))
            }
            token => Err(self.mismatch(shown, &token)),
        }
    }

    /// Reads the head of a map one level below `depth`.
    #[inline]
    fn map_head(&mut self, shown: TypeId, depth: usize) -> Result<usize, Fault> {
        match self.reader.token()? {
            Token::Map(count) => enter(depth).map(|()| count),
            token => Err(self.mismatch(shown, &token)),
        }
    }

    #[inline]
    fn array_head(&mut self, shown: TypeId, depth: usize) -> Result<usize, Fault> {
        match self.reader.token()? {
            Token::Array(count) => enter(depth).map(|()| count),
            token => Err(self.mismatch(shown, &token)),
        }
    }

    fn structure(
        &mut self,
        node: &'a StructNode,
        count: usize,
        depth: usize,
        tagged: bool,
    ) -> Result<(), Fault> {
        // The words that note which fields were seen live on the stack; most structs need one.
        match node.required.len() {
            0 | 1 => self.fields(node, count, depth, tagged, &mut [0; 1]),
            _ => self.fields(node, count, depth, tagged, &mut [0; SEEN_WORDS]),
        }
    }

    /// `tagged`: the key `$type` was read already, and is not in `count`.
    fn fields(
        &mut self,
        node: &'a StructNode,
        count: usize,
        depth: usize,
        tagged: bool,
        seen: &mut [u64],
    ) -> Result<(), Fault> {
        let mut guess = 0;
        for position in 0..count {
            let key = match self.reader.token()? {
                Token::Str(key) => key,
                token => {
                    return Err(Fault::new(format!(
                        "map key: expected string, got {}",
                        token.kind()
                    )));
                }
            };
            let Some(index) = node.find(key, guess) else {
                self.unknown_key(node, key, depth, position == 0 && !tagged)?;
                continue;
            };
            let field = &node.fields[index];
            let bit = 1 << (index % 64);
            if seen[index / 64] & bit != 0 {
                return Err(
                    Fault::new("duplicate field").within(Step::Field(field.name.to_string()))
                );
            }
            seen[index / 64] |= bit;
            guess = index + 1;
            self.value(field.ty, depth)
                .map_err(|fault| fault.within(Step::Field(field.name.to_string())))?;
        }
        match first_missing(node, seen) {
            None => Ok(()),
            Some(name) => Err(missing_field(&node.tag, name)),
        }
    }

    /// A key that is no field: `$type`, or unknown. `may_be_tag`: it is where `$type` belongs.
    #[cold]
    fn unknown_key(
        &mut self,
        node: &StructNode,
        key: &[u8],
        depth: usize,
        may_be_tag: bool,
    ) -> Result<(), Fault> {
        let key = text(key)?;
        if key == TYPE_KEY {
            return self
                .own_tag(node, may_be_tag)
                .map_err(|fault| fault.within(Step::Field(TYPE_KEY.into())));
        }
        let step = || Step::Field(key.to_owned());
        match self.mode {
            Mode::Receive => self
                .reader
                .skip(depth)
                .map_err(|fault| fault.within(step())),
            Mode::Send => Err(unknown_field(node, key)),
        }
    }

    /// Reads the value of `$type` in a struct: its own tag.
    fn own_tag(&mut self, node: &StructNode, first: bool) -> Result<(), Fault> {
        if !first {
            return Err(Fault::new(format!("{TYPE_KEY:?} must be the first key")));
        }
        match self.reader.token()? {
            Token::Str(bytes) if bytes == node.tag.as_bytes() => Ok(()),
            Token::Str(bytes) => Err(other_tag(text(bytes)?, &node.tag)),
            token => Err(Fault::new(format!("expected string, got {}", token.kind()))),
        }
    }

    fn union(
        &mut self,
        tag: &str,
        members: &[(Box<str>, TypeId)],
        count: usize,
        depth: usize,
    ) -> Result<(), Fault> {
        let first = if count == 0 {
            None
        } else {
            Some(self.reader.token()?)
        };
        match first {
            Some(Token::Str(key)) if key == TYPE_KEY.as_bytes() => {}
            _ => {
                return Err(Fault::new(format!(
                    "a value of union {tag} must have {TYPE_KEY:?} as its first key"
                )));
            }
        }
        let at_tag = |fault: Fault| fault.within(Step::Field(TYPE_KEY.into()));
        let name = match self.reader.token().map_err(at_tag)? {
            Token::Str(name) => name,
            token => {
                return Err(at_tag(Fault::new(format!(
                    "expected string, got {}",
                    token.kind()
                ))));
            }
        };
        let Ok(found) = members.binary_search_by(|(member, _)| member.as_bytes().cmp(name)) else {
            return Err(at_tag(text(name).map_or_else(
                |fault| fault,
                |name| not_a_member(name, tag, members),
            )));
        };
        match self.types.node(members[found].1) {
            Node::Struct(node) => self.structure(node, count - 1, depth, true),
            other => unreachable!("normalisation lets only structs into a union, not {other:?}"),
        }
    }

    fn list(
        &mut self,
        item: TypeId,
        unique: bool,
        shown: TypeId,
        depth: usize,
    ) -> Result<(), Fault> {
        let count = self.array_head(shown, depth)?;
        if unique {
            return self.set(item, count, depth + 1);
        }
        for index in 0..count {
            self.value(item, depth + 1)
                .map_err(|fault| fault.within(Step::Item(index)))?;
        }
        Ok(())
    }

    fn set(&mut self, item: TypeId, count: usize, depth: usize) -> Result<(), Fault> {
        let first = self.reader;
        let mut seen = Seen::new();
        for index in 0..count {
            let at = self.reader.at();
            let key = self
                .item_key(item, depth)
                .map_err(|fault| fault.within(Step::Item(index)))?;
            if !seen.add(key, at) {
                return Err(duplicate_item(index));
            }
        }
        match seen.duplicate(|at| self.key_again(Some(item), at)) {
            None => Ok(()),
            Some(place) => Err(duplicate_item(first.items_before(place))),
        }
    }

    /// Reads a set item and gives what it is equal to: its value if it has no parts, otherwise its bytes.
    fn item_key(&mut self, item: TypeId, depth: usize) -> Result<Key<'a>, Fault> {
        match self.types.node(item) {
            Node::Scalar(Scalar::Any) => {}
            Node::Scalar(scalar) => return self.scalar(*scalar, item),
            Node::Enum { tag, values } => return self.enumerated(tag, values, item),
            _ => {}
        }
        let start = self.reader.at();
        self.value(item, depth)?;
        Ok(Key::Encoded(self.reader.since(start)))
    }

    fn map(
        &mut self,
        key: TypeId,
        value: TypeId,
        shown: TypeId,
        depth: usize,
    ) -> Result<(), Fault> {
        let count = self.map_head(shown, depth)?;
        let mut seen = Seen::new();
        for _ in 0..count {
            let at = self.reader.at();
            let key = self.item_key(key, depth + 1).map_err(in_key)?;
            if !seen.add(key, at) {
                return Err(duplicate_key(&key));
            }
            self.value(value, depth + 1)
                .map_err(|fault| fault.within(Step::Key(key.text())))?;
        }
        self.no_duplicate(seen, Some(key))
    }

    /// The key at `at`, which was read before; `ty` is `None` in an `any`.
    fn key_again(&self, ty: Option<TypeId>, at: usize) -> Option<Key<'a>> {
        let mut again = Self {
            types: self.types,
            reader: self.reader.again(at),
            mode: self.mode,
            rewrites: Vec::new(),
        };
        let key = match ty {
            Some(ty) => again.item_key(ty, 0),
            None => again.any_key(),
        };
        key.ok()
    }

    /// Says which key of a map is there twice, after all were read.
    #[inline]
    fn no_duplicate(&self, seen: Seen<'a>, ty: Option<TypeId>) -> Result<(), Fault> {
        let Some(place) = seen.duplicate(|at| self.key_again(ty, at)) else {
            return Ok(());
        };
        let text = self.key_again(ty, place).map(|key| key.text());
        Err(duplicate_key_text(&text.unwrap_or_default()))
    }

    fn tuple(&mut self, items: &'a [TypeId], shown: TypeId, depth: usize) -> Result<(), Fault> {
        let count = self.array_head(shown, depth)?;
        if count != items.len() {
            return Err(Fault::new(format!(
                "expected tuple of {}, got {count} items",
                items.len()
            )));
        }
        for (index, item) in items.iter().enumerate() {
            self.value(*item, depth + 1)
                .map_err(|fault| fault.within(Step::Item(index)))?;
        }
        Ok(())
    }

    /// Reads any value that Aster knows.
    fn any(&mut self, depth: usize) -> Result<(), Fault> {
        match self.reader.token()? {
            Token::Str(bytes) => text(bytes).map(drop),
            Token::Array(count) => {
                enter(depth)?;
                for index in 0..count {
                    self.any(depth + 1)
                        .map_err(|fault| fault.within(Step::Item(index)))?;
                }
                Ok(())
            }
            Token::Map(count) => {
                enter(depth)?;
                let mut seen = Seen::new();
                for _ in 0..count {
                    let at = self.reader.at();
                    let key = self.any_key().map_err(in_key)?;
                    if !seen.add(key, at) {
                        return Err(duplicate_key(&key));
                    }
                    self.any(depth + 1)
                        .map_err(|fault| fault.within(Step::Key(key.text())))?;
                }
                self.no_duplicate(seen, None)
            }
            Token::Ext(-1, data) if matches!(data.len(), 4 | 8 | 12) => Ok(()),
            Token::Ext(code, _) => Err(Fault::new(format!("expected any, got extension {code}"))),
            _ => Ok(()),
        }
    }

    fn any_key(&mut self) -> Result<Key<'a>, Fault> {
        match self.reader.token()? {
            Token::Str(bytes) => text(bytes).map(|_| Key::Str(bytes)),
            Token::Bin(bytes) => Ok(Key::Bytes(bytes)),
            Token::Bool(value) => Ok(Key::Bool(value)),
            Token::Uint(value) => Ok(Key::Uint(value)),
            Token::Int(value) => Ok(Key::Int(value)),
            token => Err(Fault::new(format!(
                "expected string, int, bool or bytes, got {}",
                token.kind()
            ))),
        }
    }

    #[cold]
    fn mismatch(&self, expected: TypeId, got: &Token<'_>) -> Fault {
        mismatch(self.types, expected, &got.kind())
    }
}

#[cold]
pub(super) fn mismatch(types: &Compiled, expected: TypeId, got: &str) -> Fault {
    Fault::new(format!("expected {}, got {got}", types.type_text(expected)))
}

/// Words of 64 bits that cover the most fields a struct may have.
pub(super) const SEEN_WORDS: usize = crate::contract::limits::MAX_FIELDS.div_ceil(64);

/// The first required field that was not seen.
pub(super) fn first_missing<'n>(node: &'n StructNode, seen: &[u64]) -> Option<&'n str> {
    let missing =
        node.required
            .iter()
            .zip(seen)
            .enumerate()
            .find_map(|(word, (required, seen))| {
                let missing = required & !seen;
                (missing != 0).then(|| word * 64 + missing.trailing_zeros() as usize)
            });
    missing.map(|index| &*node.fields[index].name)
}

#[cold]
pub(super) fn missing_field(tag: &str, name: &str) -> Fault {
    Fault::new(format!("missing required field of {tag}")).within(Step::Field(name.to_owned()))
}

#[cold]
pub(super) fn unknown_field(node: &StructNode, key: &str) -> Fault {
    let names = || node.fields.iter().map(|field| &*field.name);
    let hint = match name::nearest(key, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if node.fields.is_empty() => "it has no fields".into(),
        None => format!("its fields are: {}", name::list(names())),
    };
    Fault::new(format!("unknown field of {}; {hint}", node.tag)).within(Step::Field(key.to_owned()))
}

#[cold]
pub(super) fn other_tag(got: &str, tag: &str) -> Fault {
    Fault::new(format!("{TYPE_KEY:?} is `{}`, expected `{tag}`", cut(got)))
}

#[cold]
pub(super) fn not_a_value(got: &str, tag: &str, values: &[Box<str>]) -> Fault {
    let values = name::list(values.iter().map(|value| &**value));
    Fault::new(format!(
        "`{}` is not a value of {tag}; its values are: {values}",
        cut(got)
    ))
}

#[cold]
pub(super) fn not_a_member(got: &str, tag: &str, members: &[(Box<str>, TypeId)]) -> Fault {
    let members = name::list(members.iter().map(|(member, _)| &**member));
    Fault::new(format!(
        "`{}` is not a member of union {tag}; its members are: {members}",
        cut(got)
    ))
}

#[cold]
pub(super) fn out_of_range(
    value: impl std::fmt::Display,
    scalar: Scalar,
    (min, max): (i64, u64),
) -> Fault {
    Fault::new(format!(
        "{value} is out of range for {} ({min} to {max})",
        scalar.name()
    ))
}

#[cold]
pub(super) fn duplicate_item(index: usize) -> Fault {
    Fault::new("duplicate item in a set").within(Step::Item(index))
}

#[cold]
fn duplicate_key(key: &Key<'_>) -> Fault {
    duplicate_key_text(&key.text())
}

#[cold]
pub(super) fn duplicate_key_text(key: &str) -> Fault {
    Fault::new(format!("duplicate map key {key}"))
}

/// A fault in a key is reported at its map.
#[cold]
pub(super) fn in_key(fault: Fault) -> Fault {
    fault.prefixed("map key: ")
}
