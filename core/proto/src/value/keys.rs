//! Finds equal map keys and set items.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::error::cut;

/// A map key or set item, comparable by value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// The keys seen so far: few on the stack, compared one by one, the rest by their places.
pub(super) struct Seen<'a> {
    few: [Key<'a>; FEW],
    count: usize,
    many: Places,
}

impl<'a> Seen<'a> {
    pub(super) fn new() -> Self {
        Self {
            few: [Key::Bool(false); FEW],
            count: 0,
            many: Places::default(),
        }
    }

    /// Adds a key that starts at `at`. False if it is known to be there already.
    #[inline]
    pub(super) fn add(&mut self, key: Key<'a>, at: usize) -> bool {
        if self.few[..self.count].contains(&key) {
            return false;
        }
        if self.count < FEW {
            self.few[self.count] = key;
            self.count += 1;
        } else {
            self.many.add(&key, at);
        }
        true
    }

    /// Where a key is that [`add`](Self::add) took though it was there already.
    #[inline]
    pub(super) fn duplicate<K: Ord>(self, key_at: impl Fn(usize) -> K) -> Option<usize> {
        self.many.duplicate(key_at)
    }
}

/// Places of keys in a buffer of less than 4 GiB, each with 32 bits of the key's hash.
///
/// Eight bytes each, since a peer can put a key into two: keeping the keys themselves would let it make us allocate many
/// times what it sent. Sorting by hash finds nearly all differences without looking at keys; keys made to have one hash cost
/// sorting those keys, never more.
#[derive(Default)]
pub(super) struct Places(Vec<u64>);

impl Places {
    pub(super) fn add<K: Hash + ?Sized>(&mut self, key: &K, at: usize) {
        // Without random keys: equal input gives equal work, and collisions are bounded below.
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        self.0
            .push((hasher.finish() & !PLACE) | (at as u64 & PLACE));
    }

    /// The later place of two equal keys. `key_at` reads the key at a place again.
    pub(super) fn duplicate<K: Ord>(mut self, key_at: impl Fn(usize) -> K) -> Option<usize> {
        self.0.sort_unstable();
        let place = |entry: u64| (entry & PLACE) as usize;
        let mut found = None;
        for same_hash in self.0.chunk_by_mut(|a, b| a & !PLACE == b & !PLACE) {
            if same_hash.len() < 2 {
                continue;
            }
            same_hash
                .sort_unstable_by(|a, b| key_at(place(*a)).cmp(&key_at(place(*b))).then(a.cmp(b)));
            let equal = |pair: &&[u64]| key_at(place(pair[0])) == key_at(place(pair[1]));
            let later = same_hash.windows(2).find(equal).map(|pair| place(pair[1]));
            // The first in the buffer, so that the error does not depend on the hash.
            found = [found, later].into_iter().flatten().min();
        }
        found
    }
}

const PLACE: u64 = u32::MAX as u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_keys_are_found_whatever_their_hashes() {
        // Every key has the same hash here, as if a peer had made them so.
        struct Same;
        impl Hash for Same {
            fn hash<H: Hasher>(&self, state: &mut H) {
                state.write_u8(0);
            }
        }
        let keys: Vec<u32> = (0..1000).map(|n| n % 997).collect();
        let mut same = Places::default();
        let mut spread = Places::default();
        for (at, key) in keys.iter().enumerate() {
            same.add(&Same, at);
            spread.add(key, at);
        }
        assert_eq!(same.duplicate(|at| keys[at]), Some(997));
        assert_eq!(spread.duplicate(|at| keys[at]), Some(997));
        let mut distinct = Places::default();
        (0..1000_u32).for_each(|key| distinct.add(&key, key as usize));
        assert_eq!(distinct.duplicate(|at| at), None);
    }

    #[test]
    fn seen_finds_keys_among_few_many_and_across() {
        for (length, again) in [(3, 1), (20, 2), (20, 15), (9, 8), (8, 7)] {
            let mut keys: Vec<u64> = (0..length).collect();
            keys.push(again);
            let mut seen = Seen::new();
            let refused = keys
                .iter()
                .enumerate()
                .find(|(at, key)| !seen.add(Key::Uint(**key), *at));
            let found = refused
                .map(|(at, _)| at)
                .or_else(|| seen.duplicate(|at| keys[at]));
            assert_eq!(found, Some(keys.len() - 1), "{length} {again}");
        }
    }
}
