//! The contract id.

use std::fmt;
use std::str::FromStr;

use super::canonical;
use super::error::ContractError;
use super::model::Contract;

/// What the hash of a contract starts with, so that no other hash of Aster can be taken for a contract id.
pub const CONTRACT_ID_LABEL: &[u8] = b"aster/1 contract\0";

/// The name of a contract: equal services have equal ids in every language.
///
/// Shown and read as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContractId([u8; 32]);

impl ContractId {
    /// The id of these canonical bytes, whether or not they are a valid contract.
    pub fn of_canonical(bytes: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(CONTRACT_ID_LABEL).update(bytes);
        Self(*hasher.finalize().as_bytes())
    }

    /// Its 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for ContractId {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for ContractId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContractId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContractId({self})")
    }
}

impl FromStr for ContractId {
    type Err = ContractError;

    fn from_str(text: &str) -> Result<Self, ContractError> {
        let invalid = || {
            ContractError::new(
                "id",
                format!("{text:?} is not a contract id: expected 64 hex digits"),
            )
        };
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(invalid());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |c: u8| {
                char::from(c)
                    .to_digit(16)
                    .and_then(|value| u8::try_from(value).ok())
            };
            *byte = digit(pair[0])
                .zip(digit(pair[1]))
                .map(|(high, low)| high << 4 | low)
                .ok_or_else(invalid)?;
        }
        Ok(Self(bytes))
    }
}

impl Contract {
    /// Its id: BLAKE3 over [`CONTRACT_ID_LABEL`] and the canonical bytes.
    pub fn id(&self) -> ContractId {
        ContractId::of_canonical(&canonical::encode(self))
    }
}
