//! What the fuzz targets share: a bound on memory, and damage to bytes that are nearly right.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts what is allocated, so that a target can tell how much one input made the code allocate.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; counting touches only atomics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `read` and fails if it ever held more than `limit` bytes beyond what was allocated before.
pub fn bounded<T>(limit: usize, read: impl FnOnce() -> T) -> T {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = read();
    let peak = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    assert!(
        peak <= limit,
        "{peak} bytes were allocated, at most {limit} are allowed for this input"
    );
    result
}

/// Bytes that are right, with the damage that `edits` describes: three bytes each, of which two are a place.
///
/// Random bytes alone rarely get past the first check of a format; nearly right ones do.
pub fn damaged(right: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut bytes = right.to_vec();
    for edit in edits.chunks_exact(3).take(64) {
        if bytes.is_empty() {
            break;
        }
        let at = usize::from(u16::from_be_bytes([edit[0] & 0x3f, edit[1]])) % bytes.len();
        match edit[0] >> 6 {
            0 => bytes[at] ^= edit[2],
            1 => bytes.insert(at, edit[2]),
            2 => drop(bytes.remove(at)),
            _ => {
                let end = (at + usize::from(edit[2])).min(bytes.len());
                bytes.extend_from_within(at..end);
            }
        }
    }
    bytes
}
