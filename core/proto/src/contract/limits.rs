//! Limits of a contract. They bound what a peer can make us keep and walk; all are fixed parts of the contract format.

/// Longest name or wire tag, in bytes of UTF-8.
pub const MAX_NAME: usize = 255;
/// Most methods of a service.
pub const MAX_METHODS: usize = 1_024;
/// Most named types of a contract.
pub const MAX_TYPES: usize = 4_096;
/// Most fields of a struct, and most members of a union.
pub const MAX_FIELDS: usize = 1_024;
/// Most values of an enum.
pub const MAX_ENUM_VALUES: usize = 4_096;
/// Most items of a tuple type.
pub const MAX_TUPLE: usize = 64;
/// Deepest nesting of `list`, `tuple`, `map` and `nullable` in one type.
pub const MAX_TYPE_DEPTH: usize = 32;
/// Largest canonical form, in bytes.
pub const MAX_CANONICAL: usize = 1 << 20;
/// Deepest nesting of a serialised description, in MessagePack or JSON levels: a type's own nesting plus what is around it.
pub(crate) const MAX_DESCRIPTION_DEPTH: usize = 96;
