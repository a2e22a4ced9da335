//! What is done to a coordinator's folder, and which claims must not hold afterwards.

use cloister_audit::{AuditClaim, AuditedFolder, KeptFile};
use cloister_params::id::{PartyId, Round};
use cloister_params::plan::RoundPlan;
use cloister_transcript::{EntryKind, EntrySignature, LogEntry};
use cloister_wire::statement::{Announcement, Body, LateSketches, ReceivingKey, Upload};
use serde::Serialize;

use crate::fields::changed_bodies;
use crate::rounds::RecordedRounds;

/// The claims of which at least one names what was done.
type ExpectedClaims = &'static [AuditClaim];

/// Everything that depends on what a quorum signed: a party that signs something else later contradicts it.
const CONTRADICTED: ExpectedClaims = &[
    AuditClaim::Chain,
    AuditClaim::Cohorts,
    AuditClaim::Seals,
    AuditClaim::Reveals,
    AuditClaim::LateSketches,
    AuditClaim::Endings,
];

/// What came of all mutations.
#[derive(Default, Serialize)]
pub(crate) struct TamperReport {
    /// How many were tried.
    pub(crate) mutations: usize,
    /// After how many a claim did not hold.
    pub(crate) detected: usize,
    /// Those after which every claim held.
    pub(crate) undetected: Vec<String>,
    /// Those after which other claims did not hold than the ones that name what was done.
    pub(crate) misnamed: Vec<String>,
}

/// Tries mutations one after the other: every one, or each of a number of them.
pub(crate) struct Tamperer<'a> {
    recorded: &'a RecordedRounds,
    sound: AuditedFolder,
    step: usize,
    considered: usize,
    report: TamperReport,
}

impl<'a> Tamperer<'a> {
    /// Prepares to try one of every `step` mutations.
    pub(crate) fn new(recorded: &'a RecordedRounds, step: usize) -> Self {
        let sound = recorded.folder(&recorded.rounds());
        Self { recorded, sound, step, considered: 0, report: TamperReport::default() }
    }

    /// Tries them.
    pub(crate) fn run(mut self) -> TamperReport {
        let rounds: Vec<Round> = self.sound.rounds.keys().copied().collect();
        for round in rounds {
            for at in 0..self.entries(round).len() {
                self.change_fields(round, at);
                self.change_entry(round, at);
                self.move_entry(round, at);
            }
            self.change_files(round);
        }
        self.change_log();
        self.report
    }

    fn entries(&self, round: Round) -> &[LogEntry] {
        self.sound.rounds[&round].entries.as_deref().expect("a sound folder has all entries")
    }

    /// Tries one mutation, if its turn has come.
    fn attempt(&mut self, name: String, expected: ExpectedClaims, mutate: impl FnOnce(&mut AuditedFolder)) {
        self.considered += 1;
        if !self.considered.is_multiple_of(self.step) {
            return;
        }
        let mut folder = self.sound.clone();
        mutate(&mut folder);
        let refuted = self.recorded.refuted(&folder);
        self.report.mutations += 1;
        if refuted.is_empty() {
            self.report.undetected.push(name);
            return;
        }
        self.report.detected += 1;
        if !expected.iter().any(|claim| refuted.contains(claim)) {
            self.report.misnamed.push(format!("{name}: {refuted:?} and not {expected:?}"));
        }
    }

    /// Tries a mutation of a round's entries: with the log as it was, and with a log that the coordinator signs again.
    fn attempt_entries(
        &mut self,
        (round, name): (Round, &str),
        expected: ExpectedClaims,
        mutate: impl Fn(&mut Vec<LogEntry>),
    ) {
        let change = |folder: &mut AuditedFolder| {
            let kept = folder.rounds.get_mut(&round).expect("it is one of the folder's");
            mutate(kept.entries.as_mut().expect("a sound folder has all entries"));
        };
        self.attempt(format!("{round}: {name}"), &[AuditClaim::Statements], change);
        let recorded = self.recorded;
        self.attempt(format!("{round}: {name}, log signed again"), expected, |folder| {
            change(folder);
            recorded.sign_log(folder);
        });
    }

    /// Changes each field of an entry's body. Signatures stay as they were; then its party signs the other body too.
    fn change_fields(&mut self, round: Round, at: usize) {
        let entry = self.entries(round)[at].clone();
        let is_closed = self.sound.rounds[&round].sums.is_some();
        for changed in changed_bodies(entry.kind, &entry.body) {
            let name = format!("{} of {}, {}", entry.kind.name(), entry.party, changed.field);
            let expected: ExpectedClaims = match (entry.kind, entry.signatures.is_empty()) {
                (_, false) => &[AuditClaim::Signatures],
                (EntryKind::Manifest, _) => &[AuditClaim::Cohorts],
                _ => &[AuditClaim::Reveals, AuditClaim::Endings],
            };
            self.attempt_entries((round, &name), expected, |entries| {
                entries[at].body.clone_from(&changed.body);
            });
            // Without a quorum's signatures over what came after it, a statement of an aborted round is the word of its
            // party and of the coordinator.
            let Some(tag) = tag_of_party(entry.kind).filter(|_| is_closed) else { continue };
            let key = self.recorded.keys[&entry.party].clone();
            let signature = key.sign(tag, &changed.body);
            let name = format!("{name}, signed by its party");
            self.attempt_entries((round, &name), CONTRADICTED, |entries| {
                entries[at].body.clone_from(&changed.body);
                entries[at].signatures = vec![EntrySignature { party: entry.party, signature }];
            });
        }
    }

    /// Changes what stands beside an entry's body.
    fn change_entry(&mut self, round: Round, at: usize) {
        let entry = self.entries(round)[at].clone();
        let what = format!("{} of {}", entry.kind.name(), entry.party);
        let elsewhere: ExpectedClaims =
            &[AuditClaim::Statements, AuditClaim::Signatures, AuditClaim::Endings];
        self.attempt_entries((round, &format!("{what} under another party")), elsewhere, |entries| {
            entries[at].party = PartyId(entries[at].party.0 ^ 1);
        });
        for kind in EntryKind::ALL.into_iter().filter(|kind| *kind != entry.kind) {
            let name = format!("{what} as {}", kind.name());
            self.attempt_entries((round, &name), elsewhere, |entries| entries[at].kind = kind);
        }
        for place in 0..entry.signatures.len() {
            let name = format!("{what}, signature {place}");
            let expected: ExpectedClaims = &[AuditClaim::Signatures];
            self.attempt_entries((round, &format!("{name} changed")), expected, |entries| {
                entries[at].signatures[place].signature[40] ^= 1;
            });
            self.attempt_entries((round, &format!("{name} repeated")), expected, |entries| {
                let signature = entries[at].signatures[place];
                entries[at].signatures.push(signature);
            });
            self.attempt_entries((round, &format!("{name} under another party")), expected, |entries| {
                entries[at].signatures[place].party.0 ^= 1;
            });
        }
        if !entry.signatures.is_empty() {
            let name = format!("{what} without signatures");
            self.attempt_entries((round, &name), &[AuditClaim::Signatures], |entries| {
                entries[at].signatures.clear();
            });
        }
    }

    /// Leaves an entry out, repeats it, and moves it.
    fn move_entry(&mut self, round: Round, at: usize) {
        let entry = self.entries(round)[at].clone();
        let count = self.entries(round).len();
        let what = format!("{} of {}", entry.kind.name(), entry.party);
        let is_closed = self.sound.rounds[&round].sums.is_some();
        // Which uploads came before an abort is the coordinator's word.
        if is_closed || entry.kind != EntryKind::Upload {
            let expected: ExpectedClaims = &[
                AuditClaim::Statements,
                AuditClaim::Cohorts,
                AuditClaim::Seals,
                AuditClaim::Reveals,
                AuditClaim::Endings,
            ];
            self.attempt_entries((round, &format!("{what} left out")), expected, |entries| {
                entries.remove(at);
            });
        }
        let expected: ExpectedClaims = &[AuditClaim::Statements];
        self.attempt_entries((round, &format!("{what} repeated")), expected, |entries| {
            entries.insert(at, entries[at].clone());
        });
        if at + 1 < count {
            let expected: ExpectedClaims =
                &[AuditClaim::Statements, AuditClaim::Reveals, AuditClaim::Endings];
            self.attempt_entries((round, &format!("{what} one place later")), expected, |entries| {
                entries.swap(at, at + 1);
            });
            let expected: ExpectedClaims = &[AuditClaim::Statements, AuditClaim::Endings];
            self.attempt_entries((round, &format!("cut behind the {what}")), expected, |entries| {
                entries.truncate(at + 1);
            });
        }
        // A member's statement of another round has signatures that hold.
        let others: Vec<Round> = self.sound.rounds.keys().copied().filter(|other| *other != round).collect();
        for other in others {
            let same = |found: &&LogEntry| (found.kind, found.party) == (entry.kind, entry.party);
            let Some(found) = self.entries(other).iter().find(same).cloned() else { continue };
            let name = format!("{what} from {other}");
            let expected: ExpectedClaims =
                &[AuditClaim::Statements, AuditClaim::Reveals, AuditClaim::Endings];
            self.attempt_entries((round, &name), expected, |entries| entries[at] = found.clone());
        }
    }

    /// Changes the files beside a round's log.
    fn change_files(&mut self, round: Round) {
        let kept = self.sound.rounds[&round].clone();
        let ending = kept.ending.expect("a sound folder has all endings");
        let of_ending: ExpectedClaims =
            &[AuditClaim::Endings, AuditClaim::Recomputations, AuditClaim::Chain, AuditClaim::Signatures];
        for bytes in changed_bytes(&ending) {
            let name = format!("{round}: its ending changed, {}", bytes.what);
            self.attempt(name, of_ending, |folder| {
                folder.rounds.get_mut(&round).expect("there").ending = Some(bytes.bytes);
            });
        }
        self.attempt(format!("{round}: without its ending"), &[AuditClaim::Rounds], |folder| {
            folder.rounds.get_mut(&round).expect("there").ending = None;
        });
        let unreadable: ExpectedClaims = &[AuditClaim::Rounds];
        self.attempt(format!("{round}: a log that cannot be read"), unreadable, |folder| {
            folder.rounds.get_mut(&round).expect("there").entries = Err("it is damaged".to_owned());
        });
        if let Some(sums) = kept.sums {
            for bytes in changed_bytes(&sums.read().expect("in memory")) {
                let name = format!("{round}: its sums changed, {}", bytes.what);
                self.attempt(name, &[AuditClaim::OpenedSums], |folder| {
                    folder.rounds.get_mut(&round).expect("there").sums = Some(KeptFile::Bytes(bytes.bytes));
                });
            }
        }
        let others: Vec<Round> = self.sound.rounds.keys().copied().filter(|other| *other != round).collect();
        for other in others {
            let name = format!("the files of {other} as those of {round}");
            let expected: ExpectedClaims = &[AuditClaim::Statements];
            self.attempt(name, expected, |folder| {
                folder.rounds.insert(round, folder.rounds[&other].clone());
            });
        }
        // The end of the log is in other parties' hands alone: a coordinator that signs again can leave off an aborted round.
        self.attempt(format!("without {round}"), &[AuditClaim::Statements], |folder| {
            folder.rounds.remove(&round);
        });
    }

    /// Changes the log of the epoch, and the models.
    fn change_log(&mut self) {
        let paths: Vec<String> = self.sound.tiles.keys().cloned().collect();
        for path in paths {
            for bytes in changed_bytes(&self.sound.tiles[&path].clone()) {
                let name = format!("{path} changed, {}", bytes.what);
                self.attempt(name, &[AuditClaim::Log], |folder| {
                    folder.tiles.insert(path.clone(), bytes.bytes);
                });
            }
            self.attempt(format!("without {path}"), &[AuditClaim::Log], |folder| {
                folder.tiles.remove(&path);
            });
        }
        let checkpoint = self.sound.checkpoint.clone().expect("a sound folder has one");
        for bytes in changed_bytes(&checkpoint) {
            let name = format!("the checkpoint changed, {}", bytes.what);
            self.attempt(name, &[AuditClaim::Log], |folder| folder.checkpoint = Some(bytes.bytes));
        }
        let key = self.sound.verifier_key.clone().expect("a sound folder has one");
        for bytes in changed_bytes(&key) {
            let name = format!("the verifier key changed, {}", bytes.what);
            self.attempt(name, &[AuditClaim::Log], |folder| folder.verifier_key = Some(bytes.bytes));
        }
        let model = self.sound.model.clone().expect("a sound folder has one");
        for bytes in changed_bytes(&model) {
            let name = format!("the model changed, {}", bytes.what);
            self.attempt(name, &[AuditClaim::Model], |folder| folder.model = Some(bytes.bytes));
        }
        for bytes in changed_bytes(&self.recorded.start.to_bytes()) {
            let name = format!("the first model changed, {}", bytes.what);
            self.attempt(name, &[AuditClaim::OpenedSums], |folder| {
                for file in folder.models.values_mut() {
                    *file = KeptFile::Bytes(bytes.bytes.clone());
                }
            });
        }
    }
}

/// The tag under which a party alone signs entries of a kind.
fn tag_of_party(kind: EntryKind) -> Option<&'static str> {
    match kind {
        EntryKind::Plan => Some(RoundPlan::TAG),
        EntryKind::Announcement => Some(Announcement::TAG),
        EntryKind::Upload => Some(Upload::TAG),
        EntryKind::LateSketches => Some(LateSketches::TAG),
        EntryKind::ReceivingKey => Some(ReceivingKey::TAG),
        _ => None,
    }
}

/// A file's bytes after a change.
struct ChangedBytes {
    what: String,
    bytes: Vec<u8>,
}

/// A file with a bit changed at eight places, with a byte less or more, and empty.
fn changed_bytes(bytes: &[u8]) -> Vec<ChangedBytes> {
    let mut changed = Vec::new();
    let mut push = |what: String, bytes: Vec<u8>| changed.push(ChangedBytes { what, bytes });
    for eighth in 0..8 {
        let at = (bytes.len() - 1) * eighth / 7;
        let mut other = bytes.to_vec();
        other[at] ^= 2;
        push(format!("byte {at}"), other);
    }
    push("cut".to_owned(), bytes[..bytes.len() - 1].to_vec());
    push("halved".to_owned(), bytes[..bytes.len() / 2].to_vec());
    push("one byte longer".to_owned(), [bytes, &[0]].concat());
    push("twice".to_owned(), [bytes, bytes].concat());
    changed
}
