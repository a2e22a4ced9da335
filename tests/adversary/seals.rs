//! Attacks by seals: two bodies where one is allowed, and cohorts below their floor.

use cloister_params::id::PartyId;
use cloister_protocol::fault::Misbehaviour;
use cloister_testkit::world::{Observation, PartyDisk};
use cloister_wire::codec;
use cloister_wire::message::Message;
use cloister_wire::statement::{Seal1, Seal2};

use crate::stage::{Answer, SEVEN, Stage, messages_of, revealed};

fn is_seal1(message: &Message) -> bool {
    matches!(message, Message::ProposeSeal1 { .. })
}

fn is_seal2(message: &Message) -> bool {
    matches!(message, Message::ProposeSeal2 { .. })
}

fn is_equivocation(answer: &Answer) -> bool {
    let equivocates = |what: &&Misbehaviour| matches!(what, Misbehaviour::Equivocation { .. });
    answer.vote().is_none() && answer.misbehaviours().iter().all(equivocates) && answer.faults.len() == 1
}

/// ROUND-03
#[test]
fn a_second_manifest() {
    let mut stage = Stage::started_to(1, is_seal1);
    let second = stage.attacker.second_manifest(0).unwrap();
    assert!(stage.give(2, second.clone()).vote().is_some(), "control: as the only one it is signed");
    assert!(stage.deliver_to(1).vote().is_some());
    assert!(is_equivocation(&stage.give(1, second)));
}

#[test]
fn a_second_second_seal() {
    let mut stage = Stage::started_to(1, is_seal2);
    let second = stage.attacker.second_seal2(0, 1).unwrap();
    assert!(stage.give(2, second.clone()).vote().is_some(), "control: as the only one it is signed");
    assert!(stage.deliver_to(1).vote().is_some());
    let answer = stage.give(1, second);
    assert!(answer.vote().is_none() && !answer.is_accepted());
}

#[test]
fn an_abort_after_the_second_seal() {
    let mut stage = Stage::started_to(1, is_seal2);
    let abort = stage.attacker.abort(0).unwrap();
    assert!(stage.give(2, abort.clone()).vote().is_some(), "control: before the second seal");
    assert!(stage.deliver_to(1).vote().is_some());
    assert!(is_equivocation(&stage.give(1, abort)));
}

#[test]
fn a_second_seal_after_an_abort() {
    let mut stage = Stage::started_to(1, is_seal2);
    let abort = stage.attacker.abort(0).unwrap();
    assert!(stage.give(1, abort).vote().is_some());
    let proposal = stage.sent_last(is_seal2);
    assert!(is_equivocation(&stage.deliver_to(1)));
    assert!(stage.give(2, proposal).vote().is_some(), "control: without the abort");
}

/// The first custodian's votes in a round in which members may be lost before they announce, when it starts from a
/// journal; and the rules that it saw broken.
fn votes_after(
    journal: Vec<cloister_protocol::custodian::SignedRecord>,
    silent: u32,
) -> (usize, Vec<Misbehaviour>) {
    let mut stage = Stage::seven();
    let node = stage.world.nodes.get_mut(&PartyId(1)).unwrap();
    node.journal = PartyDisk { signed: journal, ..PartyDisk::default() };
    stage.world.restart(PartyId(1));
    stage.world.connect(PartyId(1));
    // Another member's silence makes this round another than the one of the journal.
    (0..silent).for_each(|lost| stage.world.silence_member(PartyId(SEVEN as u32 - lost)));
    stage.world.start_round();
    stage.finish();
    let mut sent = stage.seen.clone();
    sent.retain(|observation| matches!(observation, Observation::FromCustodian(PartyId(1), _)));
    let count = messages_of(&sent).iter().filter(|message| matches!(message, Message::Vote { .. })).count();
    let broken = stage.world.faults.iter().filter(|(who, _)| *who == PartyId(1));
    let broken = broken.filter_map(|(_, fault)| match fault {
        cloister_protocol::fault::Fault::PeerMisbehaved { what, .. } => Some(what.clone()),
        _ => None,
    });
    (count, broken.collect())
}

/// What the first custodian wrote down in a round with so many silent members.
fn journal_of(silent: u32) -> Vec<cloister_protocol::custodian::SignedRecord> {
    let mut stage = Stage::seven();
    (0..silent).for_each(|lost| stage.world.silence_member(PartyId(SEVEN as u32 - lost)));
    stage.world.start_round();
    stage.finish();
    stage.world.nodes[&PartyId(1)].journal.signed.clone()
}

fn equivocations(broken: &[Misbehaviour], tag: &str) -> usize {
    let mut count = 0;
    for misbehaviour in broken {
        if let Misbehaviour::Equivocation { what, .. } = misbehaviour {
            count += usize::from(what.ends_with(tag));
        }
    }
    count
}

/// ROUND-03, ROUND-04
#[test]
fn second_seals_after_a_restart() {
    let mut seals = journal_of(0);
    seals.truncate(2);
    let (votes, broken) = votes_after(seals, 1);
    assert!(votes <= 1, "at most the closing of what others sealed");
    assert_eq!((equivocations(&broken, "seal-1"), equivocations(&broken, "seal-2")), (1, 1), "{broken:?}");
    assert_eq!(votes_after(Vec::new(), 1), (3, vec![]), "control: with an empty journal it signs all three");
}

#[test]
fn an_abort_after_the_second_seal_and_a_restart() {
    let mut seals = journal_of(0);
    seals.truncate(2);
    let (votes, broken) = votes_after(seals, 3);
    assert_eq!((votes, equivocations(&broken, "abort")), (0, 1), "{broken:?}");
    assert_eq!(votes_after(Vec::new(), 3), (1, vec![]), "control: with an empty journal it signs the abort");
}

#[test]
fn a_second_seal_after_an_abort_and_a_restart() {
    let (votes, broken) = votes_after(journal_of(3), 0);
    assert_eq!(equivocations(&broken, "seal-2"), 1, "{broken:?}");
    assert!(matches!(broken[0], Misbehaviour::Order { .. }), "the first seal comes before the abort");
    assert!(votes <= 1, "at most the closing of what others sealed");
}

#[test]
fn two_second_seals_for_two_halves_of_the_custodians() {
    let mut stage = Stage::started_to(1, is_seal2);
    let second = stage.attacker.second_seal2(0, 1).unwrap();
    for party in [2, 3, 4] {
        assert!(stage.give(party, second.clone()).vote().is_some());
    }
    stage.finish();
    assert!(stage.attacker.use_certificates().is_empty(), "three signatures on the one");
    assert!(stage.reports().is_empty() && revealed(&stage.seen).is_empty(), "four on the other");
    let mut control = Stage::started_to(1, is_seal2);
    control.finish();
    assert!(!control.reports().is_empty() && !revealed(&control.seen).is_empty(), "control: one for all");
}

/// ROUND-12
#[test]
fn a_cohort_of_a_victim_and_colluders() {
    let mut stage = Stage::started_to(1, is_seal1);
    let thin = stage.attacker.thin_cohort(0).unwrap();
    let answer = stage.give(1, thin);
    assert!(matches!(answer.misbehaviours()[..], [Misbehaviour::Score { .. }]), "{answer:?}");
    assert!(stage.deliver_to(1).vote().is_some(), "control: the cohorts that follow from the sketches");
    stage.run_to(1, is_seal2);
    let few = stage.attacker.second_seal2(0, 3).unwrap();
    let answer = stage.give(1, few);
    let below = |what: &Misbehaviour| matches!(what, Misbehaviour::BelowFloor { got: 4, floor: 5, .. });
    assert!(answer.misbehaviours().into_iter().all(below) && !answer.is_accepted(), "{answer:?}");
    let enough = stage.attacker.second_seal2(0, 2).unwrap();
    assert!(stage.give(1, enough).vote().is_some(), "control: five of them");
}

/// ROUND-02, ROUND-14
#[test]
fn a_block_below_its_floor_that_is_not_called_void() {
    let mut stage = Stage::with_split_minds();
    stage.world.start_round();
    stage.run_to(1, is_seal2);
    let lone = (0..SEVEN as u32).find_map(|choice| {
        let Message::ProposeSeal2 { seal, uploads } = stage.attacker.second_seal2(choice, 2)? else {
            return None;
        };
        let body: Seal2 = codec::decode(&seal).ok()?;
        (!body.void.is_empty()).then_some((body, uploads))
    });
    let (mut body, uploads) = lone.expect("some expert's cohort falls below its floor without two members");
    let honest = codec::encode(&body);
    body.void.clear();
    let forged = Message::ProposeSeal2 { seal: codec::encode(&body), uploads: uploads.clone() };
    let answer = stage.give(1, forged);
    assert!(matches!(answer.misbehaviours()[..], [Misbehaviour::BelowFloor { .. }]), "{answer:?}");
    let control = Message::ProposeSeal2 { seal: honest, uploads };
    assert!(stage.give(1, control).vote().is_some(), "control: called void");
}

#[test]
fn an_upload_root_that_its_member_did_not_sign() {
    let mut stage = Stage::started_to(1, is_seal2);
    let Message::ProposeSeal2 { seal, mut uploads } = stage.sent_last(is_seal2) else { unreachable!() };
    let honest = Message::ProposeSeal2 { seal: seal.clone(), uploads: uploads.clone() };
    uploads[0].signature = uploads[1].signature;
    let answer = stage.give(1, Message::ProposeSeal2 { seal, uploads });
    assert!(matches!(answer.misbehaviours()[..], [Misbehaviour::Signature { .. }]), "{answer:?}");
    assert!(stage.give(1, honest).vote().is_some(), "control: with its own signature");
}

/// ROUND-13
#[test]
fn a_first_seal_that_names_something_else() {
    let changes: [fn(&mut Seal1); 6] = [
        |seal| seal.epoch.0[0] ^= 1,
        |seal| seal.round.0 += 1,
        |seal| seal.plan.0[0] ^= 1,
        |seal| seal.manifest.0[0] ^= 1,
        |seal| seal.previous.0[0] ^= 1,
        |seal| seal.tree.0[0] ^= 1,
    ];
    for change in changes {
        let mut stage = Stage::seven();
        stage.world.start_round();
        let proposal = stage.withhold_from(1, is_seal1);
        let Message::ProposeSeal1 { manifest, seal } = proposal.clone() else { unreachable!() };
        let mut body: Seal1 = codec::decode(&seal).unwrap();
        change(&mut body);
        let changed = Message::ProposeSeal1 { manifest, seal: codec::encode(&body) };
        assert!(stage.give(1, changed).vote().is_none());
        assert!(stage.give(1, proposal).vote().is_some(), "control: the honest seal");
    }
}
