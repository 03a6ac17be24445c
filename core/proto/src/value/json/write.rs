//! MessagePack to JSON. The payload was checked before, so that this says only what JSON cannot hold.

use serde::Serialize;

use crate::contract::{Compiled, Node, Scalar, StructNode, TypeId};
use crate::value::TYPE_KEY;
use crate::value::error::{Fault, Step, ValueError};
use crate::value::forms::{
    MAX_SAFE, base64_text, duration_text, special_float, timestamp_text, uuid_text,
};
use crate::value::keys::Places;
use crate::value::read::{Reader, Token, text, timestamp};
use crate::value::walk::duplicate_key_text;

pub(super) fn payload(types: &Compiled, ty: TypeId, payload: &[u8]) -> Result<Vec<u8>, ValueError> {
    let mut writer = Writer {
        types,
        reader: Reader::new(payload),
        out: Vec::with_capacity(payload.len() * 2),
    };
    writer.value(ty).map_err(Fault::into_error)?;
    Ok(writer.out)
}

struct Writer<'a> {
    types: &'a Compiled,
    reader: Reader<'a>,
    out: Vec<u8>,
}

impl<'a> Writer<'a> {
    fn value(&mut self, ty: TypeId) -> Result<(), Fault> {
        let types = self.types;
        match types.node(ty) {
            Node::Nullable(inner) => {
                if self.reader.nil() {
                    return self.put(&());
                }
                self.value(*inner)
            }
            Node::Scalar(Scalar::Any) => self.any(),
            Node::Scalar(scalar) => self.scalar(*scalar),
            Node::Enum { .. } => self.scalar(Scalar::String),
            Node::List { item, .. } => {
                let count = self.head()?;
                self.items(count, |writer, _| writer.value(*item))
            }
            Node::Tuple(items) => {
                let count = self.head()?;
                self.items(count, |writer, index| {
                    items.get(index).map_or(Ok(()), |item| writer.value(*item))
                })
            }
            Node::Map { key, value } => {
                let count = self.head()?;
                self.entries(count, |writer| {
                    let key = writer.key(*key)?;
                    writer.name(&key)?;
                    writer
                        .value(*value)
                        .map_err(|fault| fault.within(Step::Key(format!("{key:?}"))))
                })
            }
            Node::Struct(node) => {
                let count = self.head()?;
                self.out.push(b'{');
                self.fields(node, count, true)
            }
            Node::Union { members, .. } => {
                let count = self.head()?;
                self.token()?; // $type, as the check saw
                let tag = self.text()?;
                self.out.push(b'{');
                self.name(TYPE_KEY)?;
                self.put(tag)?;
                let member = members.binary_search_by(|(member, _)| (**member).cmp(tag));
                match member.map(|found| types.node(members[found].1)) {
                    Ok(Node::Struct(node)) => self.fields(node, count - 1, false),
                    _ => Err(unexpected()),
                }
            }
        }
    }

    fn fields(&mut self, node: &StructNode, count: usize, mut first: bool) -> Result<(), Fault> {
        let mut guess = 0;
        for _ in 0..count {
            let Token::Str(key) = self.token()? else {
                return Err(unexpected());
            };
            let Some(index) = node.find(key, guess) else {
                self.reader.skip(0)?;
                continue;
            };
            guess = index + 1;
            if !std::mem::take(&mut first) {
                self.out.push(b',');
            }
            let field = &node.fields[index];
            self.name(&field.name)?;
            self.value(field.ty)
                .map_err(|fault| fault.within(Step::Field(field.name.to_string())))?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn items(
        &mut self,
        count: usize,
        mut item: impl FnMut(&mut Self, usize) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.out.push(b'[');
        for index in 0..count {
            if index > 0 {
                self.out.push(b',');
            }
            item(self, index).map_err(|fault| fault.within(Step::Item(index)))?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn entries(
        &mut self,
        count: usize,
        mut entry: impl FnMut(&mut Self) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.out.push(b'{');
        for index in 0..count {
            if index > 0 {
                self.out.push(b',');
            }
            entry(self)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn scalar(&mut self, scalar: Scalar) -> Result<(), Fault> {
        match (scalar, self.token()?) {
            (Scalar::Timestamp, token) => self.put(&timestamp_text(signed(token)?)),
            (Scalar::Duration, token) => self.put(&duration_text(signed(token)?)),
            (Scalar::Uuid, Token::Bin(bytes)) => {
                self.put(&uuid_text(&bytes.try_into().map_err(|_| unexpected())?))
            }
            (Scalar::F32, Token::F32(value)) => self.single(value),
            // Narrowed first: the digits that read back equal are then those of the 32-bit value the field holds.
            (Scalar::F32, token) => self.single(double(token)? as f32),
            (Scalar::F64, token) => self.double(double(token)?),
            (_, token) => self.by_looks(token),
        }
    }

    /// Any value, by its looks.
    fn any(&mut self) -> Result<(), Fault> {
        match self.token()? {
            Token::Array(count) => self.items(count, |writer, _| writer.any()),
            Token::Map(count) => {
                let mut keys = Places::default();
                self.entries(count, |writer| {
                    let at = writer.reader.at();
                    let key = writer.any_key()?;
                    keys.add(&key, at);
                    writer.name(&key)?;
                    let value = writer.any();
                    value.map_err(|fault| fault.within(Step::Key(format!("{key:?}"))))
                })?;
                // Keys that differ in MessagePack may be one in JSON: 1 and "1".
                let key_at = |at| key_text(self.reader.again(at).token()?);
                match keys.duplicate(|at| key_at(at).unwrap_or_default()) {
                    Some(place) => Err(duplicate_key_text(&format!("{:?}", key_at(place)?))),
                    None => Ok(()),
                }
            }
            token => self.by_looks(token),
        }
    }

    fn by_looks(&mut self, token: Token<'_>) -> Result<(), Fault> {
        match token {
            Token::Nil => self.put(&()),
            Token::Bool(value) => self.put(&value),
            Token::Uint(value) if value <= MAX_SAFE => self.put(&value),
            Token::Uint(value) => self.put(&value.to_string()),
            Token::Int(value) if value.unsigned_abs() <= MAX_SAFE => self.put(&value),
            Token::Int(value) => self.put(&value.to_string()),
            Token::F32(value) => self.double(value.into()),
            Token::F64(value) => self.double(value),
            Token::Str(bytes) => self.put(text(bytes)?),
            Token::Bin(bytes) => self.put(&base64_text(bytes)),
            Token::Ext(code, data) => match timestamp(code, data) {
                Some(nanos) => self.put(&timestamp_text(nanos)),
                None => Err(Fault::new(
                    "this timestamp has no JSON form: it is malformed or out of range",
                )),
            },
            Token::Array(_) | Token::Map(_) => Err(unexpected()),
        }
    }

    /// A map key in text form.
    fn key(&mut self, ty: TypeId) -> Result<String, Fault> {
        match (self.types.node(ty), self.token()?) {
            (Node::Scalar(Scalar::Uuid), Token::Bin(bytes)) => {
                Ok(uuid_text(&bytes.try_into().map_err(|_| unexpected())?))
            }
            (_, token) => key_text(token),
        }
    }

    fn any_key(&mut self) -> Result<String, Fault> {
        key_text(self.token()?)
    }

    fn name(&mut self, name: &str) -> Result<(), Fault> {
        self.put(name)?;
        self.out.push(b':');
        Ok(())
    }

    fn single(&mut self, value: f32) -> Result<(), Fault> {
        match special_float(value.into()) {
            Some(text) => self.put(text),
            None => self.put(&value),
        }
    }

    fn double(&mut self, value: f64) -> Result<(), Fault> {
        match special_float(value) {
            Some(text) => self.put(text),
            None => self.put(&value),
        }
    }

    fn put<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        serde_json::to_writer(&mut self.out, value)
            .map_err(|error| Fault::new(format!("invalid JSON: {error}")))
    }

    fn token(&mut self) -> Result<Token<'a>, Fault> {
        self.reader.token()
    }

    fn text(&mut self) -> Result<&'a str, Fault> {
        match self.token()? {
            Token::Str(bytes) => text(bytes),
            _ => Err(unexpected()),
        }
    }

    /// The count of an array or map.
    fn head(&mut self) -> Result<usize, Fault> {
        match self.token()? {
            Token::Array(count) | Token::Map(count) => Ok(count),
            _ => Err(unexpected()),
        }
    }
}

fn key_text(token: Token<'_>) -> Result<String, Fault> {
    match token {
        Token::Str(bytes) => text(bytes).map(str::to_owned),
        Token::Bool(value) => Ok(value.to_string()),
        Token::Uint(value) => Ok(value.to_string()),
        Token::Int(value) => Ok(value.to_string()),
        Token::Bin(bytes) => Ok(base64_text(bytes)),
        _ => Err(unexpected()),
    }
}

fn signed(token: Token<'_>) -> Result<i64, Fault> {
    match token {
        Token::Uint(value) => i64::try_from(value).map_err(|_| unexpected()),
        Token::Int(value) => Ok(value),
        _ => Err(unexpected()),
    }
}

fn double(token: Token<'_>) -> Result<f64, Fault> {
    match token {
        Token::F32(value) => Ok(value.into()),
        Token::F64(value) => Ok(value),
        Token::Uint(value) => Ok(value as f64),
        Token::Int(value) => Ok(value as f64),
        _ => Err(unexpected()),
    }
}

/// The check let something through that this module cannot write: a fault of Aster, told apart from one of the value.
#[cold]
fn unexpected() -> Fault {
    Fault::new(
        "internal error: the payload passed its check but is not of its type; please report this",
    )
}
