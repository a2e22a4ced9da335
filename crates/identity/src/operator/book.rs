//! The coordinator's list of tokens, as a file. It has no token, only their digests (`CTRL-03`).

use std::time::SystemTime;

use cloister_params::consortium::PublicBytes;
use cloister_params::time::UtcTime;
use serde::{Deserialize, Serialize};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::token::{OperatorRole, token_digest};
use crate::list_file::KeptList;

/// How many tokens there may be at a time.
pub const MAX_TOKENS: usize = 64;

/// All tokens, in the order of their numbers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenBook {
    version: u32,
    /// The number of the next token. No number is given again, because logs name tokens by it.
    next: u32,
    #[serde(default, rename = "token")]
    entries: Vec<TokenEntry>,
}

/// One token.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenEntry {
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) role: OperatorRole,
    /// SHA-256 of the token's text.
    digest: PublicBytes,
    pub(super) expires: UtcTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_used: Option<UtcTime>,
}

/// A token, as the coordinator's operator sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct TokenState {
    /// Its number.
    pub number: u32,
    /// Whose it is, or what for.
    pub name: String,
    /// What it allows.
    pub role: OperatorRole,
    /// Until when it can be used.
    pub expires: UtcTime,
    /// When it was last used, to about ten minutes; `None` if never.
    pub last_used: Option<UtcTime>,
}

impl TokenState {
    /// Whether it cannot be used any more.
    pub fn has_expired(&self, now: SystemTime) -> bool {
        UtcTime::from_time(now) > self.expires
    }
}

impl Default for TokenBook {
    fn default() -> Self {
        Self { version: Self::VERSION, next: 1, entries: Vec::new() }
    }
}

impl KeptList for TokenBook {
    const VERSION: u32 = 1;
    const NAME: &'static str = "list of tokens";
    const REMOVAL: &'static str = "which revokes all tokens";
}

impl TokenBook {
    pub(super) fn states(&self) -> Vec<TokenState> {
        self.entries.iter().map(TokenEntry::state).collect()
    }

    /// Adds a token with this text, and returns its number; `None` if there are too many. Expired tokens make room.
    pub(super) fn add(
        &mut self,
        text: &str,
        name: &str,
        role: OperatorRole,
        expires: UtcTime,
        now: SystemTime,
    ) -> Option<u32> {
        if self.entries.len() >= MAX_TOKENS {
            self.entries.retain(|entry| !entry.state().has_expired(now));
        }
        if self.entries.len() >= MAX_TOKENS {
            return None;
        }
        let number = self.next;
        self.next = number.checked_add(1)?;
        let digest = PublicBytes(token_digest(text));
        self.entries.push(TokenEntry {
            number,
            name: name.to_owned(),
            role,
            digest,
            expires,
            last_used: None,
        });
        Some(number)
    }

    /// Removes a token; false if there is none with this number.
    pub(super) fn remove(&mut self, number: u32) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.number != number);
        self.entries.len() < before
    }

    /// The token with this text. The time depends on the number of tokens alone (`CTRL-03`): all digests are compared, and
    /// each of them as a whole.
    pub(super) fn find(&mut self, text: &str) -> Option<&mut TokenEntry> {
        let digest = token_digest(text);
        let mut found = u32::MAX;
        for (index, entry) in (0u32..).zip(&self.entries) {
            found.conditional_assign(&index, entry.digest.0.ct_eq(&digest));
        }
        self.entries.get_mut(found as usize)
    }
}

impl TokenEntry {
    pub(super) fn state(&self) -> TokenState {
        let Self { number, name, role, expires, last_used, .. } = self.clone();
        TokenState { number, name, role, expires, last_used }
    }
}
