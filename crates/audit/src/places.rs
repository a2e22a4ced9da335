//! The place of each entry in a round's log: its order (`LOG-01`, `LOG-04`), and the round that its body names.

use cloister_crypto::consortium::Epoch;
use cloister_params::id::{Digest, PartyId, Round};
use cloister_params::plan::RoundPlan;
use cloister_transcript::{EntryKind, LogEntry};
use cloister_wire::codec::{self, DecodeError};
use cloister_wire::statement::{
    Abort, Announcement, BlameAnswer, Closing, LateSketches, Manifest, ReceivingKey, Seal1, Seal2, Upload,
};

/// The order of kinds in a log. An ending, of either kind, is last.
const ORDER: [EntryKind; 15] = [
    EntryKind::Plan,
    EntryKind::Announcement,
    EntryKind::Manifest,
    EntryKind::Seal1,
    EntryKind::Upload,
    EntryKind::Seal2,
    EntryKind::Reveal,
    EntryKind::LateSketches,
    EntryKind::BlameAnswer,
    EntryKind::PairOpening,
    EntryKind::UnsealedAnnouncement,
    EntryKind::ReceivingKey,
    EntryKind::BadDealing,
    EntryKind::Closing,
    EntryKind::Abort,
];

/// Checks that entries are in the order of `LOG-01`, each at most as often as there can be statements of its kind.
pub(crate) fn check_order(entries: &[LogEntry]) -> Result<(), String> {
    for pair in entries.windows(2) {
        let [before, after] = pair else { continue };
        let (first, second) = (rank(before.kind), rank(after.kind));
        let follows = if before.kind == after.kind && repeats(after.kind) {
            before.party < after.party || !is_once_for_a_party(after.kind)
        } else {
            first < second
        };
        if !follows {
            return Err(format!("{} cannot follow {}", described(after), described(before)));
        }
    }
    let endings = [EntryKind::Closing, EntryKind::Abort];
    match entries.iter().position(|entry| endings.contains(&entry.kind)) {
        Some(at) if at + 1 == entries.len() => Ok(()),
        Some(at) => Err(format!("{} follows its ending", described(&entries[at + 1]))),
        None => Err("its log has no ending".to_owned()),
    }
}

/// Checks that an entry is of the party that its kind says, and that its body is of this epoch and round.
pub(crate) fn check_place(entry: &LogEntry, epoch: &Epoch, round: Round) -> Result<(), String> {
    let is_coordinators = !repeats(entry.kind);
    if is_coordinators != (entry.party == PartyId::COORDINATOR) {
        return Err(format!("{} is not of a party that can have one", described(entry)));
    }
    let (named_epoch, named_round) = match named_place(entry) {
        Ok(Some(place)) => place,
        Ok(None) => return Ok(()),
        Err(error) => return Err(format!("{}: {error}", described(entry))),
    };
    if (named_epoch, named_round) == (epoch.digest(), round) {
        return Ok(());
    }
    Err(format!("{} is of {named_round} in the epoch {named_epoch}", described(entry)))
}

/// The epoch and the round that a body names; none of the kinds that are only checked against commitments.
fn named_place(entry: &LogEntry) -> Result<Option<(Digest, Round)>, DecodeError> {
    macro_rules! place_in {
        ($body:ty) => {
            codec::decode::<$body>(&entry.body).map(|body| Some((body.epoch, body.round)))
        };
    }
    match entry.kind {
        EntryKind::Plan => place_in!(RoundPlan),
        EntryKind::Announcement | EntryKind::UnsealedAnnouncement => place_in!(Announcement),
        EntryKind::Manifest => place_in!(Manifest),
        EntryKind::Seal1 => place_in!(Seal1),
        EntryKind::Upload => place_in!(Upload),
        EntryKind::Seal2 => place_in!(Seal2),
        EntryKind::Closing => place_in!(Closing),
        EntryKind::Abort => place_in!(Abort),
        EntryKind::LateSketches => place_in!(LateSketches),
        EntryKind::BlameAnswer => place_in!(BlameAnswer),
        EntryKind::ReceivingKey => place_in!(ReceivingKey),
        EntryKind::Reveal | EntryKind::PairOpening | EntryKind::BadDealing => Ok(None),
    }
}

fn rank(kind: EntryKind) -> usize {
    ORDER.iter().position(|other| *other == kind).unwrap_or(ORDER.len())
}

/// Whether a log can have several entries of a kind, each of a party that is not the coordinator.
fn repeats(kind: EntryKind) -> bool {
    use EntryKind::{Abort, Closing, Manifest, Plan, Seal1, Seal2};
    !matches!(kind, Plan | Manifest | Seal1 | Seal2 | Closing | Abort)
}

/// Whether a party has at most one entry of a kind, so that they ascend by party.
fn is_once_for_a_party(kind: EntryKind) -> bool {
    !matches!(kind, EntryKind::Reveal | EntryKind::BlameAnswer | EntryKind::PairOpening)
}

fn described(entry: &LogEntry) -> String {
    format!("the {} of {}", entry.kind.name(), entry.party)
}
