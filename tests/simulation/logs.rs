//! The log of a round: what was said and signed in it is there, however the round ends (`LOG-03`, `LOG-04`).

use std::collections::{BTreeMap, BTreeSet};

use cloister_crypto::consortium::Epoch;
use cloister_crypto::sign::verify;
use cloister_params::consortium::Role;
use cloister_params::id::{PartyId, Round};
use cloister_params::plan::RoundPlan;
use cloister_protocol::coordinator::RoundReport;
use cloister_transcript::{EntryKind, LogEntry};
use cloister_wire::message::Message;
use cloister_wire::statement::{
    Abort, Announcement, BlameAnswer, Body, Closing, LateSketches, ReceivingKey, Seal1, Seal2, Upload,
};

use crate::invariants::{Violation, hold};

/// The announcements that the coordinator relayed.
#[derive(Default)]
pub(crate) struct RelayedAnnouncements(BTreeMap<Round, BTreeSet<Vec<u8>>>);

/// The kinds of entries that no seal or closing covers, in the order of a log (`LOG-01`).
const BESIDE_THE_TREE: [EntryKind; 3] =
    [EntryKind::UnsealedAnnouncement, EntryKind::ReceivingKey, EntryKind::BadDealing];

/// Who has to have signed an entry.
enum Signers {
    Nobody,
    Party(PartyId),
    Quorum,
}

impl RelayedAnnouncements {
    pub(crate) fn learn(&mut self, message: &Message) {
        if let Message::Announcement(signed) = message
            && let Ok(body) = signed.parse()
        {
            self.0.entry(body.round).or_default().insert(signed.body.clone());
        }
    }

    /// A log begins with the plan, ends with the ending, and has every relayed announcement. All signatures hold.
    pub(crate) fn check(&self, report: &RoundReport, epoch: &Epoch) -> Result<(), Violation> {
        let entries = report.log.entries();
        let kinds: Vec<EntryKind> = entries.iter().map(|entry| entry.kind).collect();
        let is_whole = kinds.first() == Some(&EntryKind::Plan)
            && matches!(kinds.last(), Some(EntryKind::Closing | EntryKind::Abort));
        hold(is_whole, "LOG-04", || format!("the log of {} has {kinds:?}", report.round))?;
        let places: Vec<(usize, PartyId)> = entries.iter().filter_map(place_beside_the_tree).collect();
        hold(
            places.is_sorted() && kinds[..kinds.len() - places.len() - 1].iter().all(is_in_tree),
            "LOG-04",
            || format!("the log of {} has {kinds:?} in another order", report.round),
        )?;
        let is_announcement = |entry: &&LogEntry| {
            matches!(entry.kind, EntryKind::Announcement | EntryKind::UnsealedAnnouncement)
        };
        let logged: BTreeSet<&Vec<u8>> =
            entries.iter().filter(is_announcement).map(|entry| &entry.body).collect();
        for relayed in self.0.get(&report.round).into_iter().flatten() {
            hold(logged.contains(relayed), "LOG-04", || {
                format!("an announcement in {} is not in its log", report.round)
            })?;
        }
        entries.iter().try_for_each(|entry| check_signatures(entry, epoch))
    }
}

/// The place of an entry that is in no root, behind those that are: by kind, and then by party.
fn place_beside_the_tree(entry: &LogEntry) -> Option<(usize, PartyId)> {
    BESIDE_THE_TREE.iter().position(|kind| *kind == entry.kind).map(|place| (place, entry.party))
}

fn is_in_tree(kind: &EntryKind) -> bool {
    !BESIDE_THE_TREE.contains(kind)
}

/// The tag under which a kind is signed, and by whom.
fn signed_as(entry: &LogEntry) -> (&'static str, Signers) {
    let party = Signers::Party(entry.party);
    match entry.kind {
        EntryKind::Plan => (RoundPlan::TAG, Signers::Party(PartyId::COORDINATOR)),
        EntryKind::Announcement | EntryKind::UnsealedAnnouncement => (Announcement::TAG, party),
        EntryKind::Upload => (Upload::TAG, party),
        EntryKind::LateSketches => (LateSketches::TAG, party),
        EntryKind::BlameAnswer => (BlameAnswer::TAG, party),
        EntryKind::ReceivingKey => (ReceivingKey::TAG, party),
        EntryKind::Seal1 => (Seal1::TAG, Signers::Quorum),
        EntryKind::Seal2 => (Seal2::TAG, Signers::Quorum),
        EntryKind::Closing => (Closing::TAG, Signers::Quorum),
        EntryKind::Abort => (Abort::TAG, Signers::Quorum),
        EntryKind::Manifest | EntryKind::Reveal | EntryKind::PairOpening | EntryKind::BadDealing => {
            ("", Signers::Nobody)
        }
    }
}

fn check_signatures(entry: &LogEntry, epoch: &Epoch) -> Result<(), Violation> {
    let consortium = epoch.consortium();
    let (tag, signers) = signed_as(entry);
    let named: BTreeSet<PartyId> = entry.signatures.iter().map(|signature| signature.party).collect();
    let fits = match signers {
        Signers::Nobody => named.is_empty(),
        Signers::Party(party) => named == BTreeSet::from([party]),
        Signers::Quorum => {
            named.len() >= consortium.floors().seal_quorum
                && named.iter().all(|party| consortium.has_role(*party, Role::Custodian))
        }
    };
    let holds = entry.signatures.iter().all(|signed| {
        let key = consortium.signing_key(signed.party);
        key.is_some_and(|key| verify(key, tag, &entry.body, &signed.signature).is_ok())
    });
    let once = named.len() == entry.signatures.len();
    hold(fits && holds && once, "LOG-03", || {
        format!("the {} of {} has wrong signatures of {named:?}", entry.kind.name(), entry.party)
    })
}

#[cfg(test)]
mod tests {
    use cloister_cluster::consortium::consortium;
    use cloister_cluster::plan::template;
    use cloister_testkit::world::{Observation, World};
    use cloister_transcript::RoundLog;
    use cloister_wire::frame::Frame;

    use super::*;
    use crate::liveness::{finish, run_to};

    fn seven() -> World {
        World::new(consortium(&[1; 7]), template(2, 5, 1), 4)
    }

    fn last_report(world: &World) -> RoundReport {
        let mut reports = world.observations.iter().filter_map(|observation| match observation {
            Observation::Ended(report) => Some(report),
            _ => None,
        });
        RoundReport::clone(reports.next_back().expect("a round ended"))
    }

    fn count(report: &RoundReport, kind: EntryKind) -> usize {
        report.log.entries().iter().filter(|entry| entry.kind == kind).count()
    }

    /// LOG-04: sketches were released, so they are in the log although nothing was sealed.
    #[test]
    fn a_round_that_too_few_announced_has_their_announcements() {
        let mut world = seven();
        [5, 6, 7].map(PartyId).iter().for_each(|member| world.silence_member(*member));
        world.start_round();
        finish(&mut world);
        let report = last_report(&world);
        assert_eq!(count(&report, EntryKind::UnsealedAnnouncement), 4);
        assert_eq!((count(&report, EntryKind::Announcement), count(&report, EntryKind::Abort)), (0, 1));
        assert!(
            count(&report, EntryKind::ReceivingKey)
                >= world.consortium.epoch.consortium().floors().seal_quorum
        );
        assert_eq!(RelayedAnnouncements::default().check(&report, &world.consortium.epoch), Ok(()));
    }

    /// LOG-04: a round that ends after its first seal has the seal with its signatures, and the uploads that came.
    #[test]
    fn a_round_that_too_few_uploaded_has_its_seal() {
        let mut world = seven();
        world.start_round();
        run_to(&mut world, 2, |message| matches!(message, Message::Sealed1 { .. }));
        for member in [4, 5, 6, 7].map(PartyId) {
            world.silence_member(member);
        }
        finish(&mut world);
        let report = last_report(&world);
        assert_eq!(count(&report, EntryKind::Announcement), 7);
        assert_eq!((count(&report, EntryKind::Seal1), count(&report, EntryKind::Seal2)), (1, 0));
        assert!(count(&report, EntryKind::Upload) > 0, "some uploaded");
        assert_eq!(RelayedAnnouncements::default().check(&report, &world.consortium.epoch), Ok(()));
    }

    /// LOG-03: the check of all other simulations finds a signature that does not hold, and an announcement that is missing.
    #[test]
    fn a_wrong_signature_and_a_missing_announcement_are_found() {
        let mut world = seven();
        world.start_round();
        finish(&mut world);
        let report = last_report(&world);
        assert_eq!(count(&report, EntryKind::Closing), 1);
        let mut relayed = RelayedAnnouncements::default();
        for observation in &world.observations {
            if let Observation::FromCoordinator(_, frame) = observation
                && let Frame::Message(message) = frame
            {
                relayed.learn(message);
            }
        }
        assert_eq!(relayed.check(&report, &world.consortium.epoch), Ok(()));
        for at in 0..report.log.entries().len() {
            let mut entry = report.log.entries()[at].clone();
            let Some(signature) = entry.signatures.first_mut() else { continue };
            signature.signature[0] ^= 1;
            assert!(check_signatures(&entry, &world.consortium.epoch).is_err(), "{:?}", entry.kind);
            entry.signatures.clear();
            assert!(check_signatures(&entry, &world.consortium.epoch).is_err(), "{:?}", entry.kind);
        }
        let mut short = report.clone();
        short.log = RoundLog::default();
        let kept = report.log.entries().iter().filter(|entry| entry.party != PartyId(3));
        kept.for_each(|entry| {
            short.log.push_signed(entry.kind, entry.party, entry.body.clone(), entry.signatures.clone());
        });
        assert_eq!(relayed.check(&short, &world.consortium.epoch).expect_err("it lacks one").rule, "LOG-04");
    }
}
