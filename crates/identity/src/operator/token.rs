//! A token, and what it allows.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// What an operator with a token may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperatorRole {
    /// See how the rounds stand.
    Viewer,
    /// Also queue and cancel runs, pause and resume the rounds, and stop the coordinator.
    Operator,
    /// As a viewer, and also invite parties and begin an edition that the governance key signed.
    Registrar,
}

impl OperatorRole {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Registrar];

    /// The role's name, as files and tokens have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Registrar => "registrar",
        }
    }
}

impl fmt::Display for OperatorRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The secret of one operator: 256 random bits, written as `cloister_ROLE_` and 64 hexadecimal digits. Programs that look
/// for leaked secrets find it by its beginning.
#[derive(ZeroizeOnDrop)]
pub struct OperatorToken {
    #[zeroize(skip)]
    role: OperatorRole,
    bytes: [u8; 32],
}

impl OperatorToken {
    /// A token of these bytes, which must be random.
    pub fn new(role: OperatorRole, bytes: [u8; 32]) -> Self {
        Self { role, bytes }
    }

    /// What it allows.
    pub fn role(&self) -> OperatorRole {
        self.role
    }

    /// What the operator's program sends.
    pub fn to_text(&self) -> Zeroizing<String> {
        let digits = Zeroizing::new(hex::encode(self.bytes));
        Zeroizing::new(format!("cloister_{}_{}", self.role, *digits))
    }
}

impl fmt::Debug for OperatorToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OperatorToken(…)")
    }
}

/// What a coordinator keeps of a token. A token has so many random bits that a plain hash hides it.
pub(super) fn token_digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}
