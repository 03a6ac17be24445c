//! A contract made ready for use: types by index, lookups without allocation.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::hash::ContractId;
use super::model::{Contract, Pattern, Scalar, Type, TypeDef};

/// A type of one [`Compiled`] contract. Means nothing in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(u32);

/// A method of a [`Compiled`] contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodRef {
    /// Its place among the methods, sorted by name.
    pub index: usize,
    /// How many messages it takes and gives.
    pub pattern: Pattern,
    /// Type of one request message.
    pub request: TypeId,
    /// Type of one response message.
    pub response: TypeId,
    /// Whether it may be called again when it is not known to have run.
    pub idempotent: bool,
}

/// A normalised contract with everything resolved. Cloning shares it.
#[derive(Clone)]
pub struct Compiled(Arc<Inner>);

struct Inner {
    contract: Contract,
    canonical: Vec<u8>,
    id: ContractId,
    methods: Vec<MethodRef>,
    nodes: Vec<Node>,
}

/// A type with its parts resolved.
#[derive(Debug)]
pub(crate) enum Node {
    Scalar(Scalar),
    Nullable(TypeId),
    List {
        item: TypeId,
        unique: bool,
    },
    Tuple(Box<[TypeId]>),
    Map {
        key: TypeId,
        value: TypeId,
    },
    Struct(StructNode),
    Enum {
        tag: Box<str>,
        values: Box<[Box<str>]>,
    },
    Union {
        tag: Box<str>,
        members: Box<[(Box<str>, TypeId)]>,
    },
}

/// A struct with its fields sorted by name.
#[derive(Debug)]
pub(crate) struct StructNode {
    pub(crate) tag: Box<str>,
    pub(crate) fields: Box<[FieldNode]>,
    /// One bit per field, in words of 64: set when it is required.
    pub(crate) required: Box<[u64]>,
}

/// A field; the type of a nullable one is a [`Node::Nullable`].
#[derive(Debug)]
pub(crate) struct FieldNode {
    pub(crate) name: Box<str>,
    pub(crate) ty: TypeId,
}

impl StructNode {
    /// The index of the field `name`, trying `guess` first: writers mostly keep an order.
    #[inline]
    pub(crate) fn find(&self, name: &[u8], guess: usize) -> Option<usize> {
        // Up to this many fields a scan that mostly compares lengths is faster than a search.
        const SCAN: usize = 16;
        if self
            .fields
            .get(guess)
            .is_some_and(|field| field.name.as_bytes() == name)
        {
            return Some(guess);
        }
        if self.fields.len() <= SCAN {
            return self
                .fields
                .iter()
                .position(|field| field.name.as_bytes() == name);
        }
        self.fields
            .binary_search_by(|field| field.name.as_bytes().cmp(name))
            .ok()
    }
}

impl Compiled {
    /// Resolves a contract. Its cost grows with the contract's size; do it once.
    pub fn new(contract: Contract) -> Self {
        let canonical = contract.canonical();
        let id = ContractId::of_canonical(&canonical);
        let mut table = Table::new(&contract);
        let methods = contract
            .methods()
            .iter()
            .enumerate()
            .map(|(index, method)| MethodRef {
                index,
                pattern: method.pattern,
                request: table.intern(&method.request),
                response: table.intern(&method.response),
                idempotent: method.idempotent,
            });
        let methods = methods.collect();
        let nodes = table.finish(&contract);
        Self(Arc::new(Inner {
            contract,
            canonical,
            id,
            methods,
            nodes,
        }))
    }

    /// The contract.
    pub fn contract(&self) -> &Contract {
        &self.0.contract
    }

    /// Its id.
    pub fn id(&self) -> ContractId {
        self.0.id
    }

    /// Its canonical bytes, as served to those who ask by id.
    pub fn canonical(&self) -> &[u8] {
        &self.0.canonical
    }

    /// The method of this name.
    pub fn method(&self, name: &str) -> Option<MethodRef> {
        let methods = self.0.contract.methods();
        let index = methods
            .binary_search_by(|method| method.name.as_str().cmp(name))
            .ok()?;
        self.0.methods.get(index).copied()
    }

    /// The method at this place among the methods, sorted by name.
    pub fn method_at(&self, index: usize) -> Option<MethodRef> {
        self.0.methods.get(index).copied()
    }

    /// The name of a method of this contract; empty for an index it does not have.
    pub fn method_name(&self, index: usize) -> &str {
        self.0
            .contract
            .methods()
            .get(index)
            .map_or("", |method| &method.name)
    }

    /// The method's name that `name` is most likely a slip of.
    pub fn nearest_method(&self, name: &str) -> Option<&str> {
        super::name::nearest(
            name,
            self.0
                .contract
                .methods()
                .iter()
                .map(|method| method.name.as_str()),
        )
    }

    /// How error texts name a type: `i64`, `struct mission/LogEntry`, `string or null`.
    pub fn type_text(&self, ty: TypeId) -> String {
        match self.node(ty) {
            Node::Scalar(scalar) => scalar.name().into(),
            Node::Nullable(inner) => format!("{} or null", self.type_text(*inner)),
            Node::List { unique: false, .. } => "list".into(),
            Node::List { unique: true, .. } => "set".into(),
            Node::Tuple(items) => format!("tuple of {}", items.len()),
            Node::Map { .. } => "map".into(),
            Node::Struct(node) => format!("struct {}", node.tag),
            Node::Enum { tag, .. } => format!("enum {tag}"),
            Node::Union { tag, .. } => format!("union {tag}"),
        }
    }

    /// # Panics
    /// With a type of another contract that has more types.
    #[inline]
    pub(crate) fn node(&self, ty: TypeId) -> &Node {
        &self.0.nodes[ty.0 as usize]
    }
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Compiled({} v{} {})",
            self.contract().name(),
            self.contract().version(),
            self.id()
        )
    }
}

/// Gives every type one id. Named types come first, in the contract's order, so that cycles have something to point at.
struct Table {
    ids: BTreeMap<Type, TypeId>,
    unnamed: Vec<Node>,
    named: u32,
}

impl Table {
    fn new(contract: &Contract) -> Self {
        let tags = contract
            .types()
            .iter()
            .map(|def| Type::Ref(def.tag().to_owned()));
        let ids: BTreeMap<Type, TypeId> = tags
            .zip(0..)
            .map(|(ty, index)| (ty, TypeId(index)))
            .collect();
        // A contract's size is bounded far below 2^32.
        let named = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        Self {
            ids,
            unnamed: Vec::new(),
            named,
        }
    }

    fn intern(&mut self, ty: &Type) -> TypeId {
        if let Some(id) = self.ids.get(ty) {
            return *id;
        }
        let node = match ty {
            Type::Scalar(scalar) => Node::Scalar(*scalar),
            Type::List { item, unique } => Node::List {
                item: self.intern(item),
                unique: *unique,
            },
            Type::Tuple(items) => Node::Tuple(items.iter().map(|item| self.intern(item)).collect()),
            Type::Map { key, value } => Node::Map {
                key: self.intern(key),
                value: self.intern(value),
            },
            Type::Nullable(item) => Node::Nullable(self.intern(item)),
            Type::Ref(tag) => {
                unreachable!("normalisation left no reference without its type, but {tag} has none")
            }
        };
        let id = TypeId(self.named + u32::try_from(self.unnamed.len()).unwrap_or(u32::MAX));
        self.unnamed.push(node);
        self.ids.insert(ty.clone(), id);
        id
    }

    fn finish(mut self, contract: &Contract) -> Vec<Node> {
        let mut nodes: Vec<Node> = contract.types().iter().map(|def| self.named(def)).collect();
        nodes.append(&mut self.unnamed);
        nodes
    }

    fn named(&mut self, def: &TypeDef) -> Node {
        match def {
            TypeDef::Struct { tag, fields } => {
                let mut required = vec![0_u64; fields.len().div_ceil(64)];
                for (index, field) in fields.iter().enumerate() {
                    required[index / 64] |= u64::from(field.required) << (index % 64);
                }
                let fields = fields.iter().map(|field| {
                    let ty = if field.nullable {
                        &Type::Nullable(Box::new(field.ty.clone()))
                    } else {
                        &field.ty
                    };
                    FieldNode {
                        name: field.name.as_str().into(),
                        ty: self.intern(ty),
                    }
                });
                Node::Struct(StructNode {
                    tag: tag.as_str().into(),
                    fields: fields.collect(),
                    required: required.into(),
                })
            }
            TypeDef::Enum { tag, values } => Node::Enum {
                tag: tag.as_str().into(),
                values: values.iter().map(|value| value.as_str().into()).collect(),
            },
            TypeDef::Union { tag, members } => Node::Union {
                tag: tag.as_str().into(),
                members: members
                    .iter()
                    .map(|member| {
                        (
                            member.as_str().into(),
                            self.intern(&Type::Ref(member.clone())),
                        )
                    })
                    .collect(),
            },
        }
    }
}
