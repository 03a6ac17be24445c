//! What is wrong with a contract.

use std::fmt;

/// A contract that cannot be used: the place in its description, and what is wrong there.
///
/// Shown as `methods.getStatus.request: unknown type mission/Statu; did you mean mission/Status?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContractError {
    path: String,
    message: String,
}

impl ContractError {
    pub(crate) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
        }
    }

    /// The place in the description, such as `methods.getStatus.request` or `types["mission/Log"].fields.level`; empty for the
    /// description as a whole.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong there.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for ContractError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "contract: {}", self.message)
        } else {
            write!(f, "contract: {}: {}", self.path, self.message)
        }
    }
}

impl std::error::Error for ContractError {}
