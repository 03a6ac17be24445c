//! Finds equal map keys and set items.

use super::error::cut;

/// A map key or set item, comparable by value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key<'a> {
    Bool(bool),
    Uint(u64),
    Int(i64),
    /// By the bits of the 64-bit float.
    Float(u64),
    Str(&'a [u8]),
    Bytes(&'a [u8]),
    Uuid([u8; 16]),
    /// The encoded bytes of something that has no simpler form.
    Encoded(&'a [u8]),
}

impl Key<'_> {
    /// As a step of a path: `"a"`, `7`, `true`.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Uint(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(bits) => f64::from_bits(*bits).to_string(),
            Self::Str(bytes) => format!("{:?}", cut(&String::from_utf8_lossy(bytes))),
            Self::Bytes(bytes) => format!("{} bytes", bytes.len()),
            Self::Uuid(bytes) => super::forms::uuid_text(bytes),
            Self::Encoded(_) => "item".into(),
        }
    }
}

/// How many keys are compared one by one.
const FEW: usize = 8;

/// The keys seen so far. Few are kept on the stack and compared one by one; many are sorted at the end, so that no input,
/// however chosen, makes this slower than sorting.
pub(super) struct Seen<'a> {
    few: [Key<'a>; FEW],
    count: usize,
    many: Vec<Key<'a>>,
}

impl<'a> Seen<'a> {
    pub(super) fn new() -> Self {
        Self {
            few: [Key::Bool(false); FEW],
            count: 0,
            many: Vec::new(),
        }
    }

    /// Adds a key; gives it back if it is known to be there already.
    #[inline]
    pub(super) fn add(&mut self, key: Key<'a>) -> Option<Key<'a>> {
        if self.count < FEW {
            if self.few[..self.count].contains(&key) {
                return Some(key);
            }
            self.few[self.count] = key;
            self.count += 1;
        } else {
            if self.many.is_empty() {
                self.many.extend_from_slice(&self.few);
            }
            self.many.push(key);
        }
        None
    }

    /// A key that was added twice and not given back by [`add`](Self::add).
    #[inline]
    pub(super) fn duplicate(mut self) -> Option<Key<'a>> {
        self.many.sort_unstable();
        self.many
            .windows(2)
            .find(|pair| pair[0] == pair[1])
            .map(|pair| pair[0])
    }
}
