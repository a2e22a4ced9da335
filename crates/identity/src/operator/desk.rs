//! What a coordinator keeps of tokens, in its data folder.

use std::path::Path;
use std::time::{Duration, SystemTime};

use cloister_params::time::UtcTime;
use thiserror::Error;

use super::book::{MAX_TOKENS, TokenBook, TokenState};
use super::token::{OperatorRole, OperatorToken};
use crate::list_file::{ListFile, ListFileError};

/// The file of tokens in a coordinator's data folder.
pub const TOKENS: &str = "operator-tokens.toml";
/// The longest name of a token, in characters.
const MAX_NAME: usize = 60;
/// How old a noted use may be before a later one is written. A watcher that asks each second wears no disk.
const NOTE_AGAIN_AFTER: Duration = Duration::from_mins(10);

/// The tokens of one coordinator.
#[derive(Debug)]
pub struct TokenDesk {
    book: ListFile<TokenBook>,
}

/// Why the list of tokens was not read or changed.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The file was not read or written.
    #[error(transparent)]
    File(#[from] ListFileError),
    /// There are too many tokens.
    #[error(
        "there are {MAX_TOKENS} tokens, and no more are kept; revoke some with `cloister run token revoke`"
    )]
    TooMany,
    /// A name that a log line could not show as it is.
    #[error(
        "the name of a token has 1 to {MAX_NAME} characters and no control characters; give another name"
    )]
    Name,
    /// No token has the number.
    #[error("there is no token {number}; `cloister run token list` lists all")]
    NoSuch {
        /// The number that was given.
        number: u32,
    },
}

/// Whose token came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenUse {
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// What it allows.
    pub role: OperatorRole,
}

/// Why a token is not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum TokenRefusal {
    /// It never was a token of this coordinator, or was revoked.
    #[error(
        "this token is not known here, or was revoked; ask the coordinator's operator for one (`cloister run token add`)"
    )]
    Unknown,
    /// Its time is over.
    #[error(
        "this token has expired; ask the coordinator's operator for another one (`cloister run token add`)"
    )]
    Expired,
}

impl TokenDesk {
    /// Opens the desk in a coordinator's data folder. Nothing is written.
    ///
    /// # Errors
    /// [`TokenError::File`].
    pub fn open(folder: &Path) -> Result<Self, TokenError> {
        Ok(Self { book: ListFile::open(folder.join(TOKENS))? })
    }

    /// Adds a token, and returns its number.
    ///
    /// # Errors
    /// [`TokenError::Name`], [`TokenError::TooMany`], or [`TokenError::File`], after which there is no new token.
    pub fn add(
        &self,
        token: &OperatorToken,
        name: &str,
        expires: SystemTime,
        now: SystemTime,
    ) -> Result<u32, TokenError> {
        if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(TokenError::Name);
        }
        self.book.change(|book| {
            let number = book.add(&token.to_text(), name, token.role(), UtcTime::from_time(expires), now);
            number.ok_or(TokenError::TooMany)
        })
    }

    /// All tokens.
    pub fn tokens(&self) -> Vec<TokenState> {
        self.book.lock().states()
    }

    /// Revokes a token. It is unknown from now on.
    ///
    /// # Errors
    /// [`TokenError::NoSuch`] or [`TokenError::File`].
    pub fn revoke(&self, number: u32) -> Result<(), TokenError> {
        self.book.change(|book| book.remove(number).then_some(()).ok_or(TokenError::NoSuch { number }))
    }

    /// Whose token this text is (`CTRL-03`).
    ///
    /// # Errors
    /// See [`TokenRefusal`].
    pub fn check(&self, text: &str, now: SystemTime) -> Result<TokenUse, TokenRefusal> {
        let mut book = self.book.lock();
        let entry = book.find(text).ok_or(TokenRefusal::Unknown)?;
        if entry.state().has_expired(now) {
            return Err(TokenRefusal::Expired);
        }
        let token = TokenUse { number: entry.number, name: entry.name.clone(), role: entry.role };
        let is_noted = entry
            .last_used
            .is_some_and(|noted| now.duration_since(noted.to_time()).is_ok_and(|age| age < NOTE_AGAIN_AFTER));
        if !is_noted {
            entry.last_used = Some(UtcTime::from_time(now));
            // For people alone: what the disk does not take stays in memory until the next use.
            let _ = self.book.write(&book);
        }
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::time::UNIX_EPOCH;

    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("cloister-tokens-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        folder
    }

    /// CTRL-02, CTRL-03
    #[test]
    fn a_token_is_known_until_it_expires_or_is_revoked_and_the_file_does_not_have_it() {
        let folder = scratch("life");
        let now = UNIX_EPOCH + DAY * 20_000;
        let desk = TokenDesk::open(&folder).expect("a new folder");
        let texts: Vec<_> = (1u8..)
            .zip(OperatorRole::ALL)
            .map(|(byte, role)| {
                let token = OperatorToken::new(role, [byte; 32]);
                let number = desk.add(&token, role.name(), now + DAY * byte.into(), now).expect("room");
                assert_eq!(number, u32::from(byte));
                token.to_text()
            })
            .collect();
        assert_eq!(*texts[1], format!("cloister_operator_{}", "02".repeat(32)));
        for (text, role) in texts.iter().zip(OperatorRole::ALL) {
            let token = desk.check(text, now).expect("known");
            assert_eq!((token.role, token.name.as_str()), (role, role.name()));
        }
        for wrong in [&texts[0][..texts[0].len() - 1], "", "cloister_viewer_", &texts[0].replace("01", "0l")]
        {
            assert_eq!(desk.check(wrong, now), Err(TokenRefusal::Unknown), "{wrong}");
        }
        // Another role in front of the digits is another token: the role is the list's.
        let renamed = texts[0].replace("viewer", "operator");
        assert_eq!(desk.check(&renamed, now), Err(TokenRefusal::Unknown));
        assert!(desk.check(&texts[0], now + DAY).is_ok(), "to the second");
        assert_eq!(desk.check(&texts[0], now + DAY + Duration::from_secs(1)), Err(TokenRefusal::Expired));

        let file = std::fs::read_to_string(folder.join(TOKENS)).expect("written");
        assert!(!file.contains(&"02".repeat(8)), "{file}");
        let mode = std::fs::metadata(folder.join(TOKENS)).expect("written").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let desk = TokenDesk::open(&folder).expect("its own file");
        desk.revoke(2).expect("there");
        assert_eq!(desk.check(&texts[1], now), Err(TokenRefusal::Unknown));
        assert!(matches!(desk.revoke(2), Err(TokenError::NoSuch { number: 2 })));
        let again = TokenDesk::open(&folder).expect("its own file");
        assert_eq!(again.check(&texts[1], now), Err(TokenRefusal::Unknown), "over a restart");
        assert!(again.check(&texts[2], now).is_ok(), "control");
        std::fs::remove_dir_all(folder).expect("there");
    }

    #[test]
    fn uses_are_noted_and_not_written_each_time() {
        let folder = scratch("uses");
        let now = UNIX_EPOCH + DAY * 20_000;
        let desk = TokenDesk::open(&folder).expect("a new folder");
        let token = OperatorToken::new(OperatorRole::Viewer, [1; 32]);
        desk.add(&token, "wall", now + DAY, now).expect("room");
        let written = || TokenDesk::open(&folder).expect("its own file").tokens()[0].last_used;
        assert_eq!(written(), None);
        for (minutes, noted) in [(1, 1), (9, 1), (11, 11), (12, 11)] {
            let then = |minutes| now + Duration::from_mins(minutes);
            desk.check(&token.to_text(), then(minutes)).expect("known");
            assert_eq!(written(), Some(UtcTime::from_time(then(noted))), "{minutes}");
        }
        std::fs::remove_dir_all(folder).expect("there");
    }

    /// FILE-01
    #[test]
    fn tokens_are_few_their_names_short_and_a_later_versions_list_is_left_alone() {
        let folder = scratch("bounds");
        let now = UNIX_EPOCH + DAY * 20_000;
        let desk = TokenDesk::open(&folder).expect("a new folder");
        let add = |name: &str, expires: SystemTime, now: SystemTime| {
            desk.add(&OperatorToken::new(OperatorRole::Viewer, [1; 32]), name, expires, now)
        };
        for name in ["", "two\nlines", &"x".repeat(61)] {
            assert!(matches!(add(name, now + DAY, now), Err(TokenError::Name)), "{name:?}");
        }
        for _ in 0..MAX_TOKENS {
            add("wall", now + DAY, now).expect("room");
        }
        assert!(matches!(add("wall", now + DAY, now), Err(TokenError::TooMany)));
        assert!(add("wall", now + DAY * 3, now + DAY * 2).is_ok(), "expired ones make room");
        let text = "version = 2\nmore = 1\n";
        std::fs::write(folder.join(TOKENS), text).expect("writable");
        let refused = TokenDesk::open(&folder).expect_err("a later version's").to_string();
        assert!(
            refused.contains("a later version of the program wrote it; install that version"),
            "{refused}"
        );
        assert_eq!(std::fs::read_to_string(folder.join(TOKENS)).expect("there"), text);
        std::fs::remove_dir_all(folder).expect("there");
    }
}
