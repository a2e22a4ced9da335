//! Positive controls of the invariants: each of them fails when something is observed that its rule forbids.

use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::plan::RoundPlan;
use cloister_protocol::custodian::{Phase, SignedRecord};
use cloister_protocol::statement::body_digest;
use cloister_testkit::consortium::consortium;
use cloister_testkit::plan::template;
use cloister_testkit::world::{Observation, World};
use cloister_wire::codec;
use cloister_wire::frame::Frame;
use cloister_wire::message::{Message, PairOpening, RevealedSeed, RevealedShare};
use cloister_wire::statement::{Closing, Seal2, Signature};

use crate::invariants::{Invariants, Violation};
use crate::knowledge::Knowledge;

/// Everything of one honest round, and the second seal's body.
fn honest_round() -> (Vec<Observation>, Seal2, Invariants) {
    let mut world = World::new(consortium(&[1; 5]), template(1, 4, 15), 2);
    let genesis = world.coordinator.model().digest();
    world.start_round();
    world.settle();
    let observed = std::mem::take(&mut world.observations);
    let proposed = observed.iter().find_map(|observation| match observation {
        Observation::FromCoordinator(_, Frame::Message(Message::ProposeSeal2 { seal, .. })) => Some(seal),
        _ => None,
    });
    let seal = codec::decode(proposed.expect("it was proposed")).unwrap();
    let mut invariants = Invariants::new(world.consortium.epoch.clone(), world.byzantine(), genesis);
    for observation in &observed {
        assert_eq!(invariants.check(observation), Ok(()));
    }
    (observed, seal, invariants)
}

/// The rule that is broken when these things are observed after an honest round.
fn broken_by(observations: impl IntoIterator<Item = Observation>) -> Option<&'static str> {
    let (_, _, mut invariants) = honest_round();
    let mut results = observations.into_iter().map(|observation| invariants.check(&observation));
    results.find_map(Result::err).map(|violation| violation.rule)
}

fn from_custodian(message: Message) -> Observation {
    Observation::FromCustodian(PartyId(2), Frame::Message(message))
}

fn share_of(index: u32, round: u64) -> Observation {
    let shares = vec![RevealedShare { index, share: [0; 32], path: Vec::new() }];
    from_custodian(Message::Shares { round: Round(round), dealer: PartyId(1), shares })
}

fn signed(round: u64, phase: Phase, body: &[u8]) -> Observation {
    Observation::Signed(PartyId(2), SignedRecord { round: Round(round), phase, body: body_digest(body) })
}

/// A message that honest parties sent, changed.
fn sent<T>(of: impl Fn(&Observation) -> Option<T>) -> T {
    let (observed, _, _) = honest_round();
    observed.iter().find_map(of).expect("it was sent")
}

#[test]
fn a_share_or_a_seed_that_was_not_committed_to() {
    let seeds = |change: fn(&mut RevealedSeed)| {
        let (member, mut message) = sent(|observation| match observation {
            Observation::FromMember(member, Frame::Message(message @ Message::Seeds { .. })) => {
                Some((*member, message.clone()))
            }
            _ => None,
        });
        if let Message::Seeds { seeds, .. } = &mut message {
            seeds.iter_mut().for_each(change);
        }
        Observation::FromMember(member, Frame::Message(message))
    };
    assert_eq!(broken_by([seeds(|_| {})]), None, "control: as it was sent");
    assert_eq!(broken_by([seeds(|seed| seed.seed[0] ^= 1)]), Some("R5"));
    assert_eq!(broken_by([share_of(3, 1)]), Some("R5"), "zeros were dealt to nobody");
}

/// The rule that a member breaks that announces in round 2 under this plan.
fn announced_under(change: impl Fn(&mut RoundPlan)) -> Option<&'static str> {
    let (observed, _, _) = honest_round();
    let (member, mut announced) = sent(|observation| match observation {
        Observation::FromMember(member, Frame::Message(Message::Announcement(signed))) => {
            Some((*member, signed.clone()))
        }
        _ => None,
    });
    let closing = observed.iter().find_map(|observation| match observation {
        Observation::FromCoordinator(_, Frame::Message(Message::ProposeClosing { closing, .. })) => {
            Some(closing.clone())
        }
        _ => None,
    });
    let closing = closing.expect("it was proposed");
    let model = codec::decode::<Closing>(&closing).unwrap().model;
    let plan = sent(|observation| match observation {
        Observation::FromCoordinator(_, Frame::Message(message @ Message::Plan { .. })) => {
            Some(message.clone())
        }
        _ => None,
    });
    let Message::Plan { mut plan, receiving_keys, .. } = plan else { unreachable!() };
    let first_plan = plan.parse().unwrap();
    let mut body = RoundPlan { round: Round(2), previous: body_digest(&closing), model, ..first_plan };
    change(&mut body);
    plan.body = codec::encode(&body);
    let mut announcement = announced.parse().unwrap();
    (announcement.round, announcement.plan) = (Round(2), body_digest(&plan.body));
    announced.body = codec::encode(&announcement);
    let plan = Message::Plan { plan, receiving_keys, previous: None };
    broken_by([
        Observation::FromCoordinator(member, Frame::Message(plan)),
        Observation::FromMember(member, Frame::Message(Message::Announcement(announced))),
    ])
}

#[test]
fn a_plan_that_does_not_follow_or_whose_blocks_overlap() {
    assert_eq!(announced_under(|_| {}), None, "control: what follows from the closing");
    assert_eq!(announced_under(|plan| plan.previous = Digest([7; 32])), Some("R8"));
    assert_eq!(announced_under(|plan| plan.model = Digest([7; 32])), Some("R8"));
    assert_eq!(announced_under(|plan| plan.round = Round(3)), Some("R8"));
    let twice = |plan: &mut RoundPlan| {
        plan.settings.blocks[1].shape.kind = plan.settings.blocks[0].shape.kind;
    };
    assert_eq!(announced_under(twice), Some("R7"));
}

#[test]
fn a_mask_key_of_a_member_that_uploaded() {
    assert_eq!(broken_by([share_of(0, 1)]), Some("R1"));
    assert_eq!(
        broken_by([share_of(3, 1)]),
        Some("R5"),
        "control: the seed of a block for everyone may be revealed"
    );
}

#[test]
fn a_seed_before_any_second_seal_or_of_no_block() {
    assert_eq!(broken_by([share_of(1, 2)]), Some("R1"));
    let seeds = vec![RevealedSeed { block: BlockId(99), seed: [0; 32] }];
    let message = Message::Seeds { round: Round(1), seeds };
    assert_eq!(broken_by([Observation::FromMember(PartyId(1), Frame::Message(message))]), Some("R1"));
}

#[test]
fn a_second_seal_below_the_floor() {
    let (_, mut seal, _) = honest_round();
    seal.round = Round(2);
    let proposed = |seal: &Seal2| {
        let seal = codec::encode(seal);
        let message = Message::ProposeSeal2 { seal: seal.clone(), uploads: Vec::new() };
        let proposal = Observation::FromCoordinator(PartyId(2), Frame::Message(message));
        [proposal, signed(2, Phase::Outcome, &seal)]
    };
    assert_eq!(broken_by(proposed(&seal)), None, "control: with all of them");
    seal.uploaded.truncate(3);
    assert_eq!(broken_by(proposed(&seal)), Some("R2"));
}

#[test]
fn a_first_seal_before_the_round_before_has_ended() {
    assert_eq!(broken_by([signed(2, Phase::Seal1, b"body")]), None, "control: round 1 has ended");
    assert_eq!(broken_by([signed(3, Phase::Seal1, b"body")]), Some("R3"));
}

#[test]
fn signing_or_announcing_twice_or_before_it_is_on_disk() {
    assert_eq!(broken_by([signed(1, Phase::Outcome, b"another")]), Some("R4"));
    let unwritten = Message::Vote { body: body_digest(b"body"), signature: Signature([0; 64]) };
    assert_eq!(broken_by([from_custodian(unwritten)]), Some("R4"));
    let (observed, _, _) = honest_round();
    let mut again = observed.into_iter().find_map(|observation| match observation {
        Observation::FromMember(member, Frame::Message(Message::Announcement(signed))) => {
            Some((member, signed))
        }
        _ => None,
    });
    let (member, announcement) = again.as_mut().unwrap();
    let mut body = announcement.parse().unwrap();
    body.mask_key[0] ^= 1;
    announcement.body = codec::encode(&body);
    let second =
        Observation::FromMember(*member, Frame::Message(Message::Announcement(announcement.clone())));
    assert_eq!(broken_by([second]), Some("R4"));
}

/// What the adversary knows after an honest round and what else is observed then. The last parties are corrupt.
fn known_after(corrupt: u32, observations: impl IntoIterator<Item = Observation>) -> Result<(), Violation> {
    let mut world = World::new(consortium(&[1; 5]), template(1, 4, 15), 2);
    world.start_round();
    world.settle();
    let honest = std::mem::take(&mut world.observations);
    let corrupt = (6 - corrupt..=5).map(PartyId).collect();
    let mut knowledge = Knowledge::new(&world, corrupt).expect("five parties are followed");
    honest.into_iter().chain(observations).try_for_each(|observation| knowledge.observe(&world, &observation))
}

/// Shares of the mask key of party 1, from so many custodians.
fn shares_of_a_mask_key(custodians: u32) -> impl Iterator<Item = Observation> {
    let shares = vec![RevealedShare { index: 0, share: [0; 32], path: Vec::new() }];
    let message = Message::Shares { round: Round(1), dealer: PartyId(1), shares };
    (2..2 + custodians)
        .map(move |id| Observation::FromCustodian(PartyId(id), Frame::Message(message.clone())))
}

/// The letters to a corrupt custodian count as one share.
#[test]
fn shares_of_the_mask_key_of_a_member_whose_seeds_are_open() {
    assert_eq!(known_after(0, shares_of_a_mask_key(2)), Ok(()), "control: three recover a secret");
    assert!(known_after(0, shares_of_a_mask_key(3)).is_err());
    assert_eq!(known_after(1, shares_of_a_mask_key(1)), Ok(()), "control: two with the letter's");
    assert!(known_after(1, shares_of_a_mask_key(2)).is_err());
}

#[test]
fn the_pairs_of_a_member_whose_seeds_are_open() {
    let opened = |others: u32| {
        (2..2 + others).map(|other| {
            let opening =
                PairOpening { member: PartyId(1), other: PartyId(other), agreed: [0; 32], proof: [0; 64] };
            let message = Message::PairOpened { round: Round(1), opening };
            Observation::FromMember(PartyId(1), Frame::Message(message))
        })
    };
    assert_eq!(known_after(0, opened(3)), Ok(()), "control: one is closed");
    assert!(known_after(0, opened(4)).is_err());
    assert!(known_after(1, opened(3)).is_err(), "the corrupt party's pair is open anyway");
}

#[test]
fn letters_that_honest_custodians_show() {
    let shown = |custodians: u32| {
        (2..2 + custodians).map(|id| {
            let (round, dealer) = (Round(1), PartyId(1));
            let message = Message::LetterFault { round, dealer, agreed: [0; 32], proof: [0; 64] };
            Observation::FromCustodian(PartyId(id), Frame::Message(message))
        })
    };
    assert_eq!(known_after(0, shown(2)), Ok(()), "control: three recover a secret");
    assert!(known_after(0, shown(3)).is_err());
}
