//! The core's log records, on their way to a language's logging.
//!
//! Records are kept, at most [`KEPT`] of them, until a port's drain takes them in one batch: nothing of the language runs
//! on the I/O thread, and a language that does not come for them costs a bounded amount of memory.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::error::lock;
use crate::port;

/// How many records wait at most; the oldest go first, and their number is told.
pub const KEPT: usize = 1_000;

/// One log record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// 1 trace, 2 debug, 3 info, 4 warning, 5 error.
    pub level: u8,
    /// The part of Aster that speaks, such as `aster::server`.
    pub target: String,
    /// The text, with its fields behind it.
    pub text: String,
}

#[derive(Default)]
struct Waiting {
    records: VecDeque<Record>,
    dropped: u64,
}

static WAITING: Mutex<Waiting> = Mutex::new(Waiting {
    records: VecDeque::new(),
    dropped: 0,
});
/// The lowest level that is kept; 6 keeps nothing.
static LEVEL: AtomicU8 = AtomicU8::new(6);

/// Starts keeping records of `level` (1 trace to 5 error, 6 for none) and above, for [`take`].
///
/// Records of other libraries inside the core are kept only where `level` is debug or lower. Returns `false` if the
/// process has given its records to another consumer already, which a program in Rust can do and a language cannot.
pub fn keep(level: u8) -> bool {
    LEVEL.store(level, Ordering::Relaxed);
    tracing::callsite::rebuild_interest_cache();
    static INSTALLED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *INSTALLED.get_or_init(|| tracing::subscriber::set_global_default(Collector).is_ok())
}

/// The records that wait.
pub fn take() -> Vec<Record> {
    let (records, dropped) = {
        let mut waiting = lock(&WAITING);
        (
            std::mem::take(&mut waiting.records),
            std::mem::take(&mut waiting.dropped),
        )
    };
    let mut records: Vec<_> = records.into();
    if dropped > 0 {
        let text = format!(
            "{dropped} log records were dropped: more than {KEPT} came before they were taken"
        );
        records.insert(
            0,
            Record {
                level: 4,
                target: "aster::bridge".to_owned(),
                text,
            },
        );
    }
    records
}

/// Whether records wait.
pub(crate) fn waiting() -> bool {
    !lock(&WAITING).records.is_empty()
}

fn add(record: Record) {
    let first = {
        let mut waiting = lock(&WAITING);
        if waiting.records.len() == KEPT {
            waiting.records.pop_front();
            waiting.dropped += 1;
        }
        waiting.records.push_back(record);
        waiting.records.len() == 1
    };
    if first {
        port::announce_logs();
    }
}

struct Collector;

fn number(level: &Level) -> u8 {
    match *level {
        Level::TRACE => 1,
        Level::DEBUG => 2,
        Level::INFO => 3,
        Level::WARN => 4,
        Level::ERROR => 5,
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let level = number(metadata.level());
        let ours = metadata.target().starts_with("aster");
        let wanted = LEVEL.load(Ordering::Relaxed);
        // The transport's own warnings (a relay or a name server that can't be reached, say) are its daily life with no
        // network, and read like faults of the program: they are for whoever asks for debugging.
        metadata.is_event() && level >= wanted && (ours || (wanted <= 2 && level >= 3))
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let metadata = event.metadata();
        add(Record {
            level: number(metadata.level()),
            target: metadata.target().to_owned(),
            text: text.message + &text.fields,
        });
    }

    // Spans are not enabled: records carry what they need themselves.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string can't fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
