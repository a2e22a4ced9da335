//! The coordinator's list of invitations, as a file. It has no token, only their digests (`CONS-13`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cloister_params::consortium::PublicBytes;
use cloister_params::id::Digest;
use serde::{Deserialize, Serialize};

use super::invitation::seconds;
use crate::enrolment::EnrolmentRole;
use crate::list_file::KeptList;

/// How many invitations there may be at a time, and so how many enrolment files a coordinator keeps of strangers.
pub const MAX_INVITATIONS: usize = 128;

/// All invitations, in the order of their numbers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Book {
    version: u32,
    /// The number of the next invitation. No number is given again, because kept files are named by it.
    next: u32,
    #[serde(default, rename = "invitation")]
    entries: Vec<Entry>,
}

/// One invitation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) number: u32,
    /// The digest of the token.
    token: PublicBytes,
    pub(super) roles: Vec<EnrolmentRole>,
    /// In seconds since 1970.
    expires: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) used: Option<Use>,
    /// How many requests with the token were refused since the program started.
    #[serde(skip)]
    pub(super) refused: u32,
}

/// The enrolment file that was handed in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Use {
    pub(super) name: String,
    /// The digest of the enrolment.
    pub(super) enrolment: PublicBytes,
    /// The file's name in the folder of enrolment files.
    pub(super) file: String,
    /// In seconds since 1970.
    pub(super) at: u64,
}

/// An invitation, as the coordinator's operator sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InvitationState {
    /// Its number.
    pub number: u32,
    /// The roles for which the party is invited.
    pub roles: Vec<EnrolmentRole>,
    /// Until when it can be used.
    pub expires: SystemTime,
    /// The party's name and the name of its file, if it was used.
    pub used: Option<(String, String)>,
}

impl Default for Book {
    fn default() -> Self {
        Self { version: Self::VERSION, next: 1, entries: Vec::new() }
    }
}

impl KeptList for Book {
    const VERSION: u32 = 1;
    const NAME: &'static str = "list of invitations";
    const REMOVAL: &'static str = "which cancels all invitations";
}

impl Book {
    /// Adds an invitation, and returns its number; `None` if there are too many. Invitations that have expired unused
    /// make room.
    pub(super) fn add(
        &mut self,
        token: Digest,
        roles: Vec<EnrolmentRole>,
        expires: SystemTime,
        now: SystemTime,
    ) -> Option<u32> {
        if self.entries.len() >= MAX_INVITATIONS {
            self.entries.retain(|entry| entry.used.is_some() || !entry.has_expired(now));
        }
        if self.entries.len() >= MAX_INVITATIONS {
            return None;
        }
        let number = self.next;
        self.next = number.checked_add(1)?;
        let (token, expires) = (PublicBytes(token.0), seconds(expires));
        self.entries.push(Entry { number, token, roles, expires, used: None, refused: 0 });
        Some(number)
    }

    /// Removes an invitation; false if there is none with this number.
    pub(super) fn remove(&mut self, number: u32) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.number != number);
        self.entries.len() < before
    }

    /// The invitation whose token has this digest.
    pub(super) fn find(&mut self, token: Digest) -> Option<&mut Entry> {
        // Digests are compared in a time that depends on them. It says nothing of a token that has another digest.
        self.entries.iter_mut().find(|entry| entry.token.0 == token.0)
    }

    pub(super) fn states(&self) -> Vec<InvitationState> {
        self.entries.iter().map(Entry::state).collect()
    }
}

impl Entry {
    pub(super) fn has_expired(&self, now: SystemTime) -> bool {
        seconds(now) > self.expires
    }

    fn state(&self) -> InvitationState {
        InvitationState {
            number: self.number,
            roles: self.roles.clone(),
            expires: UNIX_EPOCH.checked_add(Duration::from_secs(self.expires)).unwrap_or(UNIX_EPOCH),
            used: self.used.as_ref().map(|used| (used.name.clone(), used.file.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn add(book: &mut Book, number: u32, now: u64) -> Option<u32> {
        let mut token = [0; 32];
        token[..4].copy_from_slice(&number.to_be_bytes());
        book.add(Digest(token), vec![EnrolmentRole::Member], at(100), at(now))
    }

    /// CONS-13
    #[test]
    fn there_are_no_more_invitations_than_the_limit_and_expired_ones_make_room() {
        let mut book = Book::default();
        for number in 1..=MAX_INVITATIONS as u32 {
            assert_eq!(add(&mut book, number, 50), Some(number));
        }
        assert_eq!(add(&mut book, 1000, 100), None, "they are valid up to their last second");
        assert!(book.remove(7) && !book.remove(7));
        assert_eq!(add(&mut book, 1000, 100), Some(129));
        book.entries[0].used =
            Some(Use { name: "n".into(), enrolment: PublicBytes([0; 32]), file: "f".into(), at: 1 });
        assert_eq!(add(&mut book, 1001, 101), Some(130));
        let numbers: Vec<u32> = book.states().iter().map(|state| state.number).collect();
        assert_eq!(numbers, [1, 130], "an invitation that was used stays");
    }

    #[test]
    fn the_file_is_read_as_it_was_written() {
        let mut book = Book::default();
        add(&mut book, 1, 0);
        add(&mut book, 2, 0);
        book.entries[1].used = Some(Use {
            name: "north".into(),
            enrolment: PublicBytes([1; 32]),
            file: "north-2.toml".into(),
            at: 9,
        });
        let text = toml::to_string(&book).expect("it can be written");
        assert_eq!(toml::from_str(&text), Ok(book));
        assert!(toml::from_str::<Book>(&format!("more = 1\n{text}")).is_err());
    }
}
