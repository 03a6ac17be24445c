//! Canonical bytes: the one MessagePack form of a contract (docs/spec/contract.md, *Canonical bytes and id*).

use rmp::{decode, encode};

use super::error::ContractError;
use super::limits::{MAX_CANONICAL, MAX_TYPE_DEPTH};
use super::manifest::Manifest;
use super::model::{
    Contract, Field, Method, Pattern, Scalar, Scope, ServiceDescription, Type, TypeDef,
};

/// The version of the canonical form, its first element.
const FORMAT: u64 = 1;

const LIST: u64 = 32;
const SET: u64 = 33;
const TUPLE: u64 = 34;
const MAP: u64 = 35;
const NULLABLE: u64 = 36;
const REF: u64 = 37;

const STRUCT: u64 = 0;
const ENUM: u64 = 1;
const UNION: u64 = 2;

impl Contract {
    /// Its canonical bytes.
    pub fn canonical(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads canonical bytes, strictly: what this gives encodes to the same bytes.
    ///
    /// # Errors
    /// Bytes that are not a contract, that are a contract of a newer format, or that no conforming encoder writes.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, ContractError> {
        if bytes.len() > MAX_CANONICAL {
            let text = format!(
                "canonical bytes: {} bytes, at most {MAX_CANONICAL} are allowed",
                bytes.len()
            );
            return Err(ContractError::new("", text));
        }
        let mut input = Input {
            rest: bytes,
            total: bytes.len(),
        };
        let description = input.contract()?;
        if !input.rest.is_empty() {
            return Err(input.error("end of the contract"));
        }
        let (contract, _) = description.normalise()?;
        // Whatever is out of order, longer than need be, unreachable or said in another way comes out different here.
        if encode(&contract) != bytes {
            return Err(ContractError::new(
                "",
                "canonical bytes: valid, but not in canonical form",
            ));
        }
        Ok(contract)
    }
}

pub(super) fn encode(contract: &Contract) -> Vec<u8> {
    let mut out = Output(Vec::with_capacity(512));
    out.array(6);
    out.uint(FORMAT);
    out.str(&contract.name);
    out.uint(contract.version.into());
    out.uint(match contract.scope {
        Scope::Shared => 0,
        Scope::Session => 1,
    });
    out.array(contract.methods.len());
    for method in &contract.methods {
        out.array(5);
        out.str(&method.name);
        out.uint(match method.pattern {
            Pattern::Unary => 0,
            Pattern::ServerStream => 1,
            Pattern::ClientStream => 2,
            Pattern::BidiStream => 3,
        });
        out.ty(&method.request);
        out.ty(&method.response);
        out.bool(method.idempotent);
    }
    out.array(contract.types.len());
    for def in &contract.types {
        out.array(3);
        match def {
            TypeDef::Struct { tag, fields } => {
                out.uint(STRUCT);
                out.str(tag);
                out.array(fields.len());
                for field in fields {
                    out.array(4);
                    out.str(&field.name);
                    out.ty(&field.ty);
                    out.bool(field.required);
                    out.bool(field.nullable);
                }
            }
            TypeDef::Enum { tag, values } => {
                out.uint(ENUM);
                out.str(tag);
                out.strs(values);
            }
            TypeDef::Union { tag, members } => {
                out.uint(UNION);
                out.str(tag);
                out.strs(members);
            }
        }
    }
    out.0
}

struct Output(Vec<u8>);

/// The encoders of `rmp` fail only when the writer does, and a `Vec` never does.
impl Output {
    fn uint(&mut self, value: u64) {
        let written = encode::write_uint(&mut self.0, value);
        debug_assert!(written.is_ok());
    }

    fn bool(&mut self, value: bool) {
        let written = encode::write_bool(&mut self.0, value);
        debug_assert!(written.is_ok());
    }

    fn str(&mut self, value: &str) {
        let written = encode::write_str(&mut self.0, value);
        debug_assert!(written.is_ok());
    }

    fn array(&mut self, len: usize) {
        // Lengths are bounded by the limits of a contract, far below 2^32.
        let written = encode::write_array_len(&mut self.0, u32::try_from(len).unwrap_or(u32::MAX));
        debug_assert!(written.is_ok());
    }

    fn strs(&mut self, values: &[String]) {
        self.array(values.len());
        values.iter().for_each(|value| self.str(value));
    }

    fn ty(&mut self, ty: &Type) {
        match ty {
            Type::Scalar(scalar) => self.uint(*scalar as u64),
            Type::List { item, unique } => self.tagged(if *unique { SET } else { LIST }, item),
            Type::Nullable(item) => self.tagged(NULLABLE, item),
            Type::Tuple(items) => {
                self.array(2);
                self.uint(TUPLE);
                self.array(items.len());
                items.iter().for_each(|item| self.ty(item));
            }
            Type::Map { key, value } => {
                self.array(3);
                self.uint(MAP);
                self.ty(key);
                self.ty(value);
            }
            Type::Ref(tag) => {
                self.array(2);
                self.uint(REF);
                self.str(tag);
            }
        }
    }

    fn tagged(&mut self, code: u64, item: &Type) {
        self.array(2);
        self.uint(code);
        self.ty(item);
    }
}

/// Reads by structure only; whether it is canonical is seen by encoding it again.
///
/// Nothing is allocated by a promised length: vectors grow as their elements arrive.
struct Input<'a> {
    rest: &'a [u8],
    total: usize,
}

impl Input<'_> {
    fn error(&self, expected: &str) -> ContractError {
        let at = self.total - self.rest.len();
        ContractError::new(
            "",
            format!("canonical bytes: expected {expected} at byte {at}"),
        )
    }

    fn array(&mut self, what: &str) -> Result<usize, ContractError> {
        let at = self.error(what);
        decode::read_array_len(&mut self.rest)
            .map(|len| len as usize)
            .map_err(|_| at)
    }

    fn record(&mut self, len: usize, what: &str) -> Result<(), ContractError> {
        let at = self.error(what);
        if self.array(what)? == len {
            Ok(())
        } else {
            Err(at)
        }
    }

    fn uint(&mut self, what: &str) -> Result<u64, ContractError> {
        let at = self.error(what);
        decode::read_int(&mut self.rest).map_err(|_| at)
    }

    fn bool(&mut self, what: &str) -> Result<bool, ContractError> {
        let at = self.error(what);
        decode::read_bool(&mut self.rest).map_err(|_| at)
    }

    fn str(&mut self, what: &str) -> Result<String, ContractError> {
        let at = self.error(what);
        let (text, rest) = decode::read_str_from_slice(self.rest).map_err(|_| at)?;
        let text = text.to_owned();
        self.rest = rest;
        Ok(text)
    }

    fn list<T>(
        &mut self,
        what: &str,
        mut item: impl FnMut(&mut Self) -> Result<T, ContractError>,
    ) -> Result<Vec<T>, ContractError> {
        let len = self.array(what)?;
        let mut items = Vec::new();
        for _ in 0..len {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn contract(&mut self) -> Result<ServiceDescription, ContractError> {
        self.record(6, "a contract")?;
        let format = self.uint("the format")?;
        if format != FORMAT {
            let text = format!(
                "canonical bytes: format {format}; this version reads {FORMAT}: update Aster"
            );
            return Err(ContractError::new("", text));
        }
        let name = self.str("the service's name")?;
        let at = self.error("a version");
        let version = u32::try_from(self.uint("a version")?).map_err(|_| at)?;
        let at = self.error("a scope");
        let scope = match self.uint("a scope")? {
            0 => Scope::Shared,
            1 => Scope::Session,
            _ => return Err(at),
        };
        let methods = self.list("the methods", Self::method)?;
        let types = self.list("the types", Self::type_def)?;
        Ok(ServiceDescription {
            name,
            version,
            scope,
            methods,
            types,
            manifest: Manifest::default(),
        })
    }

    fn method(&mut self) -> Result<Method, ContractError> {
        self.record(5, "a method")?;
        let name = self.str("a method's name")?;
        let at = self.error("a pattern");
        let pattern = match self.uint("a pattern")? {
            0 => Pattern::Unary,
            1 => Pattern::ServerStream,
            2 => Pattern::ClientStream,
            3 => Pattern::BidiStream,
            _ => return Err(at),
        };
        let request = self.ty(0)?;
        let response = self.ty(0)?;
        Ok(Method {
            name,
            pattern,
            request,
            response,
            idempotent: self.bool("idempotent")?,
        })
    }

    fn type_def(&mut self) -> Result<TypeDef, ContractError> {
        self.record(3, "a type definition")?;
        let at = self.error("a kind of type");
        let kind = self.uint("a kind of type")?;
        let tag = self.str("a wire tag")?;
        match kind {
            STRUCT => Ok(TypeDef::Struct {
                tag,
                fields: self.list("fields", Self::field)?,
            }),
            ENUM => Ok(TypeDef::Enum {
                tag,
                values: self.list("values", |input| input.str("a value"))?,
            }),
            UNION => Ok(TypeDef::Union {
                tag,
                members: self.list("members", |input| input.str("a member"))?,
            }),
            _ => Err(at),
        }
    }

    fn field(&mut self) -> Result<Field, ContractError> {
        self.record(4, "a field")?;
        let name = self.str("a field's name")?;
        let ty = self.ty(0)?;
        Ok(Field {
            name,
            ty,
            required: self.bool("required")?,
            nullable: self.bool("nullable")?,
        })
    }

    fn ty(&mut self, depth: usize) -> Result<Type, ContractError> {
        let at = self.error("a type");
        if depth > MAX_TYPE_DEPTH {
            return Err(at);
        }
        // A type without parts is an integer, any other an array: the first byte tells.
        let is_scalar = self
            .rest
            .first()
            .is_some_and(|byte| !matches!(byte, 0x90..=0x9f | 0xdc | 0xdd));
        if is_scalar {
            let code = self.uint("a type")?;
            let scalar = usize::try_from(code)
                .ok()
                .and_then(|code| Scalar::ALL.get(code).copied());
            return scalar.map(Type::Scalar).ok_or(at);
        }
        let len = self.array("a type")?;
        let code = self.uint("a type")?;
        Ok(match (code, len) {
            (LIST, 2) => Type::List {
                item: Box::new(self.ty(depth + 1)?),
                unique: false,
            },
            (SET, 2) => Type::List {
                item: Box::new(self.ty(depth + 1)?),
                unique: true,
            },
            (TUPLE, 2) => {
                Type::Tuple(self.list("the items of a tuple", |input| input.ty(depth + 1))?)
            }
            (MAP, 3) => {
                let key = Box::new(self.ty(depth + 1)?);
                Type::Map {
                    key,
                    value: Box::new(self.ty(depth + 1)?),
                }
            }
            (NULLABLE, 2) => Type::Nullable(Box::new(self.ty(depth + 1)?)),
            (REF, 2) => Type::Ref(self.str("a wire tag")?),
            _ => return Err(at),
        })
    }
}
