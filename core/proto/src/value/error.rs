//! What is wrong with a value, and where.

use std::fmt;

/// A payload that is not a value of its type: the place in the value, and what is wrong there.
///
/// Shown as `` `count` at $.count: expected i64, got string``, or `value at $.tags[3]: …` where the path does not end in a
/// field. The texts are the same for every codec and language (docs/spec/values.md, *Errors*).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueError {
    path: String,
    field: Option<String>,
    message: String,
}

impl ValueError {
    /// The place in the value: `$` is the whole, `$.a[3].b` a part.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong there.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "`{field}` at {}: {}", self.path, self.message),
            None => write!(f, "value at {}: {}", self.path, self.message),
        }
    }
}

impl std::error::Error for ValueError {}

/// One step from a value into its parts.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A field of a struct.
    Field(String),
    /// An item of a list, set or tuple.
    Item(usize),
    /// The value under a key of a map, the key as text of a path.
    Key(String),
}

/// An error on its way up: the steps are added by those who took them, so that the good path keeps no path at all.
#[derive(Debug)]
pub(super) struct Fault(Box<(String, Vec<Step>)>);

impl Fault {
    #[cold]
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(Box::new((message.into(), Vec::new())))
    }

    #[cold]
    pub(super) fn within(mut self, step: Step) -> Self {
        self.0.1.push(step);
        self
    }

    /// The same fault, its message introduced.
    #[cold]
    pub(super) fn prefixed(mut self, introduction: &str) -> Self {
        self.0.0.insert_str(0, introduction);
        self
    }

    #[cold]
    pub(super) fn into_error(self) -> ValueError {
        self.after(Vec::new())
    }

    /// The error, when these steps were taken before those in the fault.
    #[cold]
    pub(super) fn after(self, mut steps: Vec<Step>) -> ValueError {
        let (message, inner) = *self.0;
        steps.extend(inner.into_iter().rev());
        at(&steps, message)
    }
}

/// The error at the end of these steps.
fn at(steps: &[Step], message: String) -> ValueError {
    let mut path = String::from("$");
    for step in steps {
        match step {
            Step::Field(name) if crate::contract::name::is_identifier(name) => {
                path.push('.');
                path.push_str(&cut(name));
            }
            Step::Field(name) => path.push_str(&format!("[{:?}]", cut(name))),
            Step::Item(index) => path.push_str(&format!("[{index}]")),
            Step::Key(key) => path.push_str(&format!("[{key}]")),
        }
    }
    let field = match steps.last() {
        Some(Step::Field(name)) => Some(cut(name)),
        _ => None,
    };
    ValueError {
        path,
        field,
        message,
    }
}

/// Text from the value itself, made fit for an error: at most 64 characters, none of them control characters.
pub(super) fn cut(text: &str) -> String {
    const SHOWN: usize = 64;
    let mut shown: String = text
        .chars()
        .take(SHOWN)
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}
