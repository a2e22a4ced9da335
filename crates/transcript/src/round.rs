//! The log of one round (`LOG-01`): what each entry is, its leaf, and the root that a seal names.

use cloister_crypto::merkle;
use cloister_params::id::{Digest, PartyId};

/// What an entry is. Its number is the first byte of the leaf, so it never changes and is not used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum EntryKind {
    /// The plan's body.
    Plan = 1,
    /// An announcement's body.
    Announcement = 2,
    /// The manifest's body.
    Manifest = 3,
    /// The first seal's body.
    Seal1 = 4,
    /// An upload's body.
    Upload = 5,
    /// The second seal's body.
    Seal2 = 6,
    /// A revealed seed or mask key, with whose it is.
    Reveal = 7,
    /// The closing's body.
    Closing = 8,
    /// The abort's body.
    Abort = 9,
    /// A member's late sketches.
    LateSketches = 10,
    /// A member's answer about a block whose late sketches do not add up to its sum.
    BlameAnswer = 11,
    /// The shared secret of two members, shown by one of them.
    PairOpening = 12,
    /// An announcement's body that no first seal names.
    UnsealedAnnouncement = 13,
    /// A receiving key's body. The plan repeats the key.
    ReceivingKey = 14,
    /// The evidence that bars a dealer from the next round.
    BadDealing = 15,
}

impl EntryKind {
    /// Every kind, ascending by number.
    pub const ALL: [Self; 15] = [
        Self::Plan,
        Self::Announcement,
        Self::Manifest,
        Self::Seal1,
        Self::Upload,
        Self::Seal2,
        Self::Reveal,
        Self::Closing,
        Self::Abort,
        Self::LateSketches,
        Self::BlameAnswer,
        Self::PairOpening,
        Self::UnsealedAnnouncement,
        Self::ReceivingKey,
        Self::BadDealing,
    ];

    /// The name used in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Announcement => "announcement",
            Self::Manifest => "manifest",
            Self::Seal1 => "seal-1",
            Self::Upload => "upload",
            Self::Seal2 => "seal-2",
            Self::Reveal => "reveal",
            Self::Closing => "closing",
            Self::Abort => "abort",
            Self::LateSketches => "late-sketches",
            Self::BlameAnswer => "blame",
            Self::PairOpening => "pair-opening",
            Self::UnsealedAnnouncement => "unsealed-announcement",
            Self::ReceivingKey => "receiving-key",
            Self::BadDealing => "bad-dealing",
        }
    }

    /// The kind of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether a seal or a closing names a root that has it (`LOG-01`).
    fn is_in_tree(self) -> bool {
        !matches!(self, Self::UnsealedAnnouncement | Self::ReceivingKey | Self::BadDealing)
    }
}

/// A signature on an entry's body, under the tag of its kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntrySignature {
    /// Who signed.
    pub party: PartyId,
    /// Ed25519.
    pub signature: [u8; 64],
}

/// An entry: what, of whom, and the body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogEntry {
    /// What the body is; part of the leaf, so that a body of one kind cannot stand for another.
    pub kind: EntryKind,
    /// Whose statement it is; the coordinator's for plans, manifests, seals and endings.
    pub party: PartyId,
    /// The canonical body, without signatures.
    pub body: Vec<u8>,
    /// The signatures on it, which are not in the leaf (`LOG-03`). Empty for what nobody signs.
    pub signatures: Vec<EntrySignature>,
}

impl LogEntry {
    /// The hash of the entry's leaf: kind, party (little-endian) and body.
    pub fn leaf(&self) -> Digest {
        // Kind and party have fixed widths, so no two entries have the same bytes.
        merkle::leaf_hash(&[&[self.kind as u8], &self.party.0.to_le_bytes()[..], &self.body].concat())
    }

    /// The entry as one line of JSON, for the log file of a run.
    pub fn to_json_line(&self) -> String {
        let mut signatures = Vec::with_capacity(self.signatures.len());
        for EntrySignature { party, signature } in &self.signatures {
            let signature = hex::encode(signature);
            signatures.push(format!(r#"{{"party":{},"signature":"{signature}"}}"#, party.0));
        }
        format!(
            r#"{{"kind":"{}","party":{},"leaf":"{}","body":"{}","signatures":[{}]}}"#,
            self.kind.name(),
            self.party.0,
            self.leaf(),
            hex::encode(&self.body),
            signatures.join(",")
        )
    }
}

/// The log of one round.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RoundLog {
    entries: Vec<LogEntry>,
    leaves: Vec<Digest>,
}

impl RoundLog {
    /// Appends an entry without signatures.
    pub fn push(&mut self, kind: EntryKind, party: PartyId, body: Vec<u8>) {
        self.push_signed(kind, party, body, Vec::new());
    }

    /// Appends an entry with the signatures on its body, which the caller checked.
    pub fn push_signed(
        &mut self,
        kind: EntryKind,
        party: PartyId,
        body: Vec<u8>,
        signatures: Vec<EntrySignature>,
    ) {
        let entry = LogEntry { kind, party, body, signatures };
        if kind.is_in_tree() {
            // Hashed once on entry, because roots are taken at each seal and bodies are long.
            self.leaves.push(entry.leaf());
        }
        self.entries.push(entry);
    }

    /// Adds signatures to the entry of this kind and party. A kind of which a party may have several entries is pushed
    /// with its signatures. Nothing happens without such an entry.
    pub fn add_signatures(&mut self, kind: EntryKind, party: PartyId, signatures: &[EntrySignature]) {
        let entry = self.entries.iter_mut().find(|entry| (entry.kind, entry.party) == (kind, party));
        if let Some(entry) = entry {
            entry.signatures.extend_from_slice(signatures);
        }
    }

    /// The root over all entries so far that seals and closings cover (`LOG-01`).
    pub fn root(&self) -> Digest {
        merkle::root(&self.leaves)
    }

    /// All entries so far.
    pub fn entries(&self) -> &[LogEntry] {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// LOG-01
    #[test]
    fn kind_party_body_and_order_are_all_in_the_root() {
        let log = |entries: &[(EntryKind, u32, &[u8])]| {
            let mut log = RoundLog::default();
            entries.iter().for_each(|(kind, party, body)| log.push(*kind, PartyId(*party), body.to_vec()));
            log.root()
        };
        let base = log(&[(EntryKind::Plan, 0, b"a"), (EntryKind::Upload, 1, b"b")]);
        assert_ne!(base, log(&[(EntryKind::Seal1, 0, b"a"), (EntryKind::Upload, 1, b"b")]));
        assert_ne!(base, log(&[(EntryKind::Plan, 0, b"a"), (EntryKind::Upload, 2, b"b")]));
        assert_ne!(base, log(&[(EntryKind::Plan, 0, b"a"), (EntryKind::Upload, 1, b"c")]));
        assert_ne!(base, log(&[(EntryKind::Upload, 1, b"b"), (EntryKind::Plan, 0, b"a")]));
    }

    #[test]
    fn a_line_of_the_file_holds_the_entry() {
        let signatures = vec![EntrySignature { party: PartyId(2), signature: [1; 64] }];
        let mut entry = LogEntry { kind: EntryKind::Seal1, party: PartyId(3), body: vec![0xab], signatures };
        let line = entry.to_json_line();
        assert!(line.starts_with(r#"{"kind":"seal-1","party":3,"leaf":""#), "{line}");
        let end = format!(r#""body":"ab","signatures":[{{"party":2,"signature":"{}"}}]}}"#, "01".repeat(64));
        assert!(line.ends_with(&end), "{line}");
        entry.signatures.clear();
        assert!(entry.to_json_line().ends_with(r#""body":"ab","signatures":[]}"#));
    }

    #[test]
    fn every_number_is_that_of_its_kind() {
        for (at, kind) in EntryKind::ALL.into_iter().enumerate() {
            assert_eq!((kind as usize, EntryKind::by_name(kind.name())), (at + 1, Some(kind)));
        }
    }

    /// LOG-03
    #[test]
    fn signatures_and_entries_beside_the_tree_do_not_change_the_root() {
        let mut log = RoundLog::default();
        log.push(EntryKind::Plan, PartyId::COORDINATOR, b"a".to_vec());
        let root = log.root();
        log.add_signatures(
            EntryKind::Plan,
            PartyId::COORDINATOR,
            &[EntrySignature { party: PartyId::COORDINATOR, signature: [7; 64] }],
        );
        for kind in [EntryKind::UnsealedAnnouncement, EntryKind::ReceivingKey, EntryKind::BadDealing] {
            log.push(kind, PartyId(2), b"b".to_vec());
        }
        assert_eq!((log.root(), log.entries().len()), (root, 4));
        assert_eq!(log.entries()[0].signatures.len(), 1);
        log.push(EntryKind::Abort, PartyId::COORDINATOR, b"c".to_vec());
        assert_ne!(log.root(), root);
    }
}
