//! The entries of the log of an epoch (`LOG-05`): lines of text that carry hashes and signatures, and no body.

use std::fmt;
use std::str::FromStr;

use cloister_params::id::{Digest, PartyId, Round};
use thiserror::Error;

use crate::checkpoint::TreeHead;
use crate::encoding::excerpt;
use crate::keys::KeyName;
use crate::round::{EntryKind, EntrySignature};

/// The first line of the first entry of a log.
const OPENING: &str = "cloister/log-opening/v1";

/// The first line of every other entry.
const STATEMENT: &str = "cloister/log-statement/v1";

/// The name of the log of an epoch, which is its origin and the name of its key (`LOG-06`).
pub fn log_name(epoch: Digest) -> KeyName {
    KeyName::new(&format!("cloister/epoch/{epoch}")).expect("hexadecimal digits are no spaces")
}

/// The first entry of a log: whose it is, and which log came before it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogOpening {
    /// The digest of the consortium file.
    pub epoch: Digest,
    /// The number of its edition, from 1.
    pub edition: u32,
    /// The first round that the log has. A coordinator that kept no log before begins with a later one than 1.
    pub first_round: Round,
    /// When the log was opened, in seconds since 1970: the coordinator's word.
    pub time: u64,
    /// The epoch of the log before it, with that log's last size and root. None if the coordinator has no such log.
    pub previous: Option<(Digest, TreeHead)>,
}

/// A statement of a round.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogStatement {
    /// The round.
    pub round: Round,
    /// What was said.
    pub kind: EntryKind,
    /// Who said it.
    pub party: PartyId,
    /// The digest of its body, by which other statements name it (`ROUND-06`).
    pub body: Digest,
    /// When the round ended, in seconds since 1970: the coordinator's word.
    pub time: u64,
    /// The signatures on the body.
    pub signatures: Vec<EntrySignature>,
}

/// An entry that is neither an opening nor a statement in its one form.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error(
    "expected an entry of the log in the form of LOG-05, got {came:?}; a later version may have written it"
)]
pub struct BadLogEntry {
    /// The beginning of the entry.
    pub came: String,
}

impl fmt::Display for LogOpening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{OPENING}\nepoch {}\nedition {}", self.epoch, self.edition)?;
        writeln!(f, "round {}\ntime {}", self.first_round.0, self.time)?;
        match self.previous {
            Some((epoch, TreeHead { size, root })) => writeln!(f, "previous {epoch} {size} {root}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for LogStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{STATEMENT}\nround {}\nkind {}", self.round.0, self.kind.name())?;
        writeln!(f, "party {}\nbody {}\ntime {}", self.party.0, self.body, self.time)?;
        for EntrySignature { party, signature } in &self.signatures {
            writeln!(f, "signature {} {}", party.0, hex::encode(signature))?;
        }
        Ok(())
    }
}

impl LogOpening {
    /// Reads an entry.
    ///
    /// # Errors
    /// [`BadLogEntry`].
    pub fn parse(entry: &[u8]) -> Result<Self, BadLogEntry> {
        one_form(entry, |text| {
            let mut lines = text.lines();
            lines.next()?;
            let epoch = digest(field(&mut lines, "epoch")?)?;
            let edition = number(field(&mut lines, "edition")?)?;
            let first_round = Round(number(field(&mut lines, "round")?)?);
            let time = number(field(&mut lines, "time")?)?;
            let previous = match lines.next() {
                Some(line) => Some(previous(line.strip_prefix("previous ")?)?),
                None => None,
            };
            Some(Self { epoch, edition, first_round, time, previous })
        })
    }
}

impl LogStatement {
    /// Reads an entry.
    ///
    /// # Errors
    /// [`BadLogEntry`].
    pub fn parse(entry: &[u8]) -> Result<Self, BadLogEntry> {
        one_form(entry, |text| {
            let mut lines = text.lines();
            lines.next()?;
            let round = Round(number(field(&mut lines, "round")?)?);
            let kind = EntryKind::by_name(field(&mut lines, "kind")?)?;
            let party = PartyId(number(field(&mut lines, "party")?)?);
            let body = digest(field(&mut lines, "body")?)?;
            let time = number(field(&mut lines, "time")?)?;
            let mut signatures = Vec::new();
            for line in lines {
                let (party, signature) = line.strip_prefix("signature ")?.split_once(' ')?;
                let signature = hex::decode(signature).ok()?.try_into().ok()?;
                signatures.push(EntrySignature { party: PartyId(number(party)?), signature });
            }
            Some(Self { round, kind, party, body, time, signatures })
        })
    }
}

/// Reads an entry and compares it with what the result is written as: each entry has one form.
fn one_form<T: fmt::Display>(entry: &[u8], read: impl Fn(&str) -> Option<T>) -> Result<T, BadLogEntry> {
    let text = String::from_utf8_lossy(entry);
    read(&text)
        .filter(|value| value.to_string().as_bytes() == entry)
        .ok_or_else(|| BadLogEntry { came: excerpt(&text) })
}

/// The value of the next line, which must have this name.
fn field<'a>(lines: &mut std::str::Lines<'a>, name: &str) -> Option<&'a str> {
    lines.next()?.strip_prefix(name)?.strip_prefix(' ')
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn digest(text: &str) -> Option<Digest> {
    hex::decode(text).ok()?.try_into().ok().map(Digest)
}

fn previous(text: &str) -> Option<(Digest, TreeHead)> {
    let mut parts = text.split(' ');
    let epoch = digest(parts.next()?)?;
    let head = TreeHead { size: number(parts.next()?)?, root: digest(parts.next()?)? };
    Some((epoch, head))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn statement(signatures: usize) -> LogStatement {
        let signature = |party| EntrySignature { party: PartyId(party), signature: [party as u8; 64] };
        LogStatement {
            round: Round(12),
            kind: EntryKind::Seal1,
            party: PartyId::COORDINATOR,
            body: Digest([0xab; 32]),
            time: 1_800_000_000,
            signatures: (1..=signatures as u32).map(signature).collect(),
        }
    }

    /// LOG-05: the text of both kinds of entries.
    #[test]
    fn entries_are_lines_in_a_fixed_order() {
        let text = statement(1).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..4], ["cloister/log-statement/v1", "round 12", "kind seal-1", "party 0"]);
        assert_eq!(lines[4..6], [&format!("body {}", "ab".repeat(32)), "time 1800000000"]);
        assert_eq!(lines[6..], [format!("signature 1 {}", "01".repeat(64))]);
        let opening = LogOpening {
            epoch: Digest([1; 32]),
            edition: 2,
            first_round: Round(1),
            time: 5,
            previous: Some((Digest([2; 32]), TreeHead { size: 7, root: Digest([3; 32]) })),
        };
        let text = opening.to_string();
        let end = format!("previous {} 7 {}\n", "02".repeat(32), "03".repeat(32));
        assert!(text.starts_with("cloister/log-opening/v1\nepoch 01") && text.ends_with(&end), "{text}");
        assert_eq!(LogOpening::parse(text.as_bytes()), Ok(opening.clone()));
        let first = LogOpening { previous: None, ..opening };
        assert_eq!(LogOpening::parse(first.to_string().as_bytes()), Ok(first));
    }

    proptest! {
        /// LOG-05: each entry has one form, and nothing else is one.
        #[test]
        fn an_entry_with_a_change_is_another_or_none(signatures in 0usize..4, at in 0usize..2000, byte: u8) {
            let known = statement(signatures);
            let text = known.to_string().into_bytes();
            prop_assert_eq!(LogStatement::parse(&text), Ok(known.clone()));
            let mut changed = text.clone();
            let at = at % changed.len();
            changed[at] = byte;
            if changed != text && let Ok(other) = LogStatement::parse(&changed) {
                prop_assert_ne!(&other, &known);
                prop_assert_eq!(other.to_string().into_bytes(), changed);
            }
            prop_assert!(LogOpening::parse(&text).is_err());
        }
    }
}
