//! Positive controls of the invariants: each of them fails when something is observed that its rule forbids.

use std::collections::BTreeSet;

use cloister_cluster::consortium::consortium;
use cloister_cluster::plan::{model, template};
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::plan::RoundPlan;
use cloister_protocol::custodian::{SignedRecord, SignedStep};
use cloister_protocol::statement::body_digest;
use cloister_testkit::world::{Observation, World};
use cloister_wire::codec;
use cloister_wire::frame::Frame;
use cloister_wire::message::{BlockSeed, Message, PairOpening, RevealedSeeds};
use cloister_wire::statement::{Closing, Seal2, Signature};

use crate::invariants::{Invariants, Violation};
use crate::knowledge::Knowledge;

/// A consortium of five members, four of which make a cohort.
fn five() -> World {
    World::new(consortium(&[1; 5]), template(1, 4, 15), 2)
}

/// Invariants that have seen nothing.
fn fresh() -> Invariants {
    Invariants::new(consortium(&[1; 5]).epoch, BTreeSet::new(), model(&template(1, 4, 15)).digest())
}

/// Everything of one honest round. Custodians are asked for parts of party 1's seeds, too.
fn honest_round() -> Vec<Observation> {
    let mut world = five();
    world.start_round();
    world.run_until(|_, _, frame| matches!(frame, Frame::Message(Message::ProposeClosing { .. })));
    let request = Message::SeedSharesRequest { round: Round(1), dealer: PartyId(1) };
    (1..=5).for_each(|custodian| world.inject(PartyId(custodian), Frame::Message(request.clone())));
    world.settle();
    world.observations
}

/// The same of a round that party 5 does not upload in, so that its mask key is opened.
fn round_without_an_upload() -> Vec<Observation> {
    let mut world = five();
    world.start_round();
    world.run_until(|_, _, frame| matches!(frame, Frame::Message(Message::Sealed1 { .. })));
    world.silence_member(PartyId(5));
    world.settle();
    world.expire();
    world.settle();
    world.observations
}

/// The body of the second seal.
fn second_seal(observed: &[Observation]) -> Seal2 {
    let proposed = observed.iter().find_map(|observation| match observation {
        Observation::FromCoordinator(_, Frame::Message(Message::ProposeSeal2 { seal, .. })) => Some(seal),
        _ => None,
    });
    codec::decode(proposed.expect("it was proposed")).unwrap()
}

/// The rule that is broken when these things are observed after others that break none.
fn broken_after(
    before: &[Observation],
    observations: impl IntoIterator<Item = Observation>,
) -> Option<&'static str> {
    let mut invariants = fresh();
    for observation in before {
        assert_eq!(invariants.check(observation), Ok(()));
    }
    let mut results = observations.into_iter().map(|observation| invariants.check(&observation));
    results.find_map(Result::err).map(|violation| violation.rule)
}

/// The same after an honest round.
fn broken_by(observations: impl IntoIterator<Item = Observation>) -> Option<&'static str> {
    broken_after(&honest_round(), observations)
}

fn from_custodian(message: Message) -> Observation {
    Observation::FromCustodian(PartyId(2), Frame::Message(message))
}

/// A share of the mask key of party 1 that was dealt to nobody.
fn mask_key_share(round: u64) -> Observation {
    from_custodian(Message::MaskKeyShare { round: Round(round), dealer: PartyId(1), share: [0; 32] })
}

/// A list of one seed with a proof of nothing.
fn unproven(block: u32) -> RevealedSeeds {
    RevealedSeeds { seeds: vec![BlockSeed { block: BlockId(block), seed: [0; 32] }], proof: [0; 64] }
}

fn seed_parts(round: u64, block: u32) -> Observation {
    let parts = unproven(block);
    from_custodian(Message::SeedParts { round: Round(round), dealer: PartyId(1), parts })
}

fn signed(round: u64, step: SignedStep, body: &[u8]) -> Observation {
    Observation::Signed(PartyId(2), SignedRecord { round: Round(round), step, body: body_digest(body) })
}

/// The first thing of a kind that was observed.
fn first<T>(observed: &[Observation], wanted: impl Fn(&Observation) -> Option<T>) -> T {
    observed.iter().find_map(wanted).expect("it was sent")
}

/// Seeds that a member revealed, and parts of them that a custodian revealed, each with a change.
fn revealed(observed: &[Observation], change: impl Fn(&mut RevealedSeeds)) -> [Observation; 2] {
    let seeds = first(observed, |observation| match observation {
        Observation::FromMember(member, Frame::Message(Message::Seeds { round, seeds })) => {
            let mut seeds = seeds.clone();
            change(&mut seeds);
            Some(Observation::FromMember(*member, Frame::Message(Message::Seeds { round: *round, seeds })))
        }
        _ => None,
    });
    let parts = first(observed, |observation| match observation {
        Observation::FromCustodian(
            custodian,
            Frame::Message(Message::SeedParts { round, dealer, parts }),
        ) => {
            let (round, dealer, mut parts) = (*round, *dealer, parts.clone());
            change(&mut parts);
            let message = Message::SeedParts { round, dealer, parts };
            Some(Observation::FromCustodian(*custodian, Frame::Message(message)))
        }
        _ => None,
    });
    [seeds, parts]
}

#[test]
fn seeds_and_parts_of_seeds_that_were_not_committed_to() {
    let observed = honest_round();
    let broken = |change: fn(&mut RevealedSeeds)| {
        revealed(&observed, change).map(|observation| broken_after(&observed, [observation]))
    };
    assert_eq!(broken(|_| {}), [None; 2], "control: as they were sent");
    assert_eq!(broken(|seeds| seeds.proof[40] ^= 1), [Some("R5"); 2]);
    let swapped = |seeds: &mut RevealedSeeds| {
        (seeds.seeds[0].seed, seeds.seeds[1].seed) = (seeds.seeds[1].seed, seeds.seeds[0].seed);
    };
    assert_eq!(broken(swapped), [Some("R5"); 2]);
    // One custodian's parts are not another's.
    let [_, parts] = revealed(&observed, |_| {});
    let Observation::FromCustodian(custodian, frame) = parts else { unreachable!() };
    let other = PartyId(1 + custodian.0 % 5);
    assert_eq!(broken_after(&observed, [Observation::FromCustodian(other, frame)]), Some("R5"));
}

#[test]
fn a_share_of_a_mask_key_that_was_not_dealt() {
    let observed = round_without_an_upload();
    let sent = first(&observed, |observation| match observation {
        Observation::FromCustodian(
            custodian,
            Frame::Message(Message::MaskKeyShare { round, dealer, share }),
        ) => Some((*custodian, *round, *dealer, *share)),
        _ => None,
    });
    let (custodian, round, dealer, share) = sent;
    assert_eq!(dealer, PartyId(5));
    let shown = |custodian, share| {
        let message = Message::MaskKeyShare { round, dealer, share };
        broken_after(&observed, [Observation::FromCustodian(custodian, Frame::Message(message))])
    };
    assert_eq!(shown(custodian, share), None, "control: as it was sent");
    assert_eq!(shown(custodian, [0; 32]), Some("R5"), "zero was dealt to nobody");
    assert_eq!(shown(PartyId(1 + custodian.0 % 5), share), Some("R5"), "it was dealt to another");
}

/// What was observed of a round whose second seal lists another set of blocks as repeated.
fn with_repeated(observed: &[Observation], repeated: Vec<BlockId>) -> Vec<Observation> {
    let mut seal = second_seal(observed);
    let before = body_digest(&codec::encode(&seal));
    seal.repeated = repeated;
    let bytes = codec::encode(&seal);
    let after = body_digest(&bytes);
    let changed = |observation: &Observation| {
        let mut observation = observation.clone();
        match &mut observation {
            Observation::FromCoordinator(_, Frame::Message(Message::ProposeSeal2 { seal, .. })) => {
                seal.clone_from(&bytes);
            }
            Observation::Signed(_, SignedRecord { body, .. })
            | Observation::FromCustodian(_, Frame::Message(Message::Vote { body, .. }))
                if *body == before =>
            {
                *body = after;
            }
            _ => {}
        }
        observation
    };
    observed.iter().map(changed).collect()
}

/// ROUND-14: a repeated block stays closed, as a void one does.
#[test]
fn a_seed_or_a_mask_key_for_a_repeated_block() {
    let observed = honest_round();
    let all: Vec<BlockId> = first(&observed, |observation| match observation {
        Observation::FromMember(_, Frame::Message(Message::Seeds { seeds, .. })) => {
            Some(seeds.seeds.iter().map(|seed| seed.block).collect())
        }
        _ => None,
    });
    assert_eq!(broken_after(&[], with_repeated(&observed, vec![])), None, "control: no block is repeated");
    assert_eq!(broken_after(&[], with_repeated(&observed, vec![all[0]])), Some("R1"));
    let absent = round_without_an_upload();
    let before_seeds = |observation: &Observation| {
        !matches!(observation, Observation::FromMember(_, Frame::Message(Message::Seeds { .. })))
    };
    let keys_alone: Vec<Observation> = absent.into_iter().filter(before_seeds).collect();
    let some = with_repeated(&keys_alone, vec![all[0]]);
    assert_eq!(broken_after(&[], some), None, "control: another block needs the mask key");
    assert_eq!(broken_after(&[], with_repeated(&keys_alone, all)), Some("R1"));
}

/// The rule that a member breaks that announces in round 2 under this plan.
fn announced_under(change: impl Fn(&mut RoundPlan)) -> Option<&'static str> {
    let observed = honest_round();
    let (member, mut announced) = first(&observed, |observation| match observation {
        Observation::FromMember(member, Frame::Message(Message::Announcement(signed))) => {
            Some((*member, signed.clone()))
        }
        _ => None,
    });
    let closing = first(&observed, |observation| match observation {
        Observation::FromCoordinator(_, Frame::Message(Message::ProposeClosing { closing, .. })) => {
            Some(closing.clone())
        }
        _ => None,
    });
    let model = codec::decode::<Closing>(&closing).unwrap().model;
    let plan = first(&observed, |observation| match observation {
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
    assert_eq!(announced_under(|plan| plan.barred = vec![PartyId(3)]), Some("bars"));
    let twice = |plan: &mut RoundPlan| {
        plan.settings.blocks[1].shape.kind = plan.settings.blocks[0].shape.kind;
    };
    assert_eq!(announced_under(twice), Some("R7"));
}

#[test]
fn a_mask_key_of_a_member_that_uploaded() {
    assert_eq!(broken_by([mask_key_share(1)]), Some("R1"));
    assert_eq!(
        broken_by([seed_parts(1, 2)]),
        Some("R5"),
        "control: the seed of a block for everyone may be revealed"
    );
}

#[test]
fn a_seed_before_any_second_seal_or_of_no_block() {
    assert_eq!(broken_by([seed_parts(2, 0)]), Some("R1"));
    let message = Message::Seeds { round: Round(1), seeds: unproven(99) };
    assert_eq!(broken_by([Observation::FromMember(PartyId(1), Frame::Message(message))]), Some("R1"));
}

#[test]
fn a_second_seal_below_the_floor() {
    let mut seal = second_seal(&honest_round());
    seal.round = Round(2);
    let proposed = |seal: &Seal2| {
        let seal = codec::encode(seal);
        let message = Message::ProposeSeal2 { seal: seal.clone(), uploads: Vec::new() };
        let proposal = Observation::FromCoordinator(PartyId(2), Frame::Message(message));
        [proposal, signed(2, SignedStep::Outcome, &seal)]
    };
    assert_eq!(broken_by(proposed(&seal)), None, "control: with all of them");
    seal.uploaded.truncate(3);
    assert_eq!(broken_by(proposed(&seal)), Some("R2"));
}

#[test]
fn a_first_seal_before_the_round_before_has_ended() {
    assert_eq!(broken_by([signed(2, SignedStep::Seal1, b"body")]), None, "control: round 1 has ended");
    assert_eq!(broken_by([signed(3, SignedStep::Seal1, b"body")]), Some("R3"));
}

#[test]
fn signing_or_announcing_twice_or_before_it_is_on_disk() {
    assert_eq!(broken_by([signed(1, SignedStep::Outcome, b"another")]), Some("R4"));
    let unwritten = Message::Vote { body: body_digest(b"body"), signature: Signature([0; 64]) };
    assert_eq!(broken_by([from_custodian(unwritten)]), Some("R4"));
    let mut again = honest_round().into_iter().find_map(|observation| match observation {
        Observation::FromMember(member, Frame::Message(Message::Announcement(signed))) => {
            Some((member, signed))
        }
        _ => None,
    });
    let (member, announcement) = again.as_mut().unwrap();
    let mut body = announcement.parse().unwrap();
    body.mask_key.commitments[0][0] ^= 1;
    announcement.body = codec::encode(&body);
    let second =
        Observation::FromMember(*member, Frame::Message(Message::Announcement(announcement.clone())));
    assert_eq!(broken_by([second]), Some("R4"));
}

/// What the adversary knows after an honest round and what else is observed then. The last parties are corrupt.
fn known_after(corrupt: u32, observations: impl IntoIterator<Item = Observation>) -> Result<(), Violation> {
    let mut world = five();
    world.start_round();
    world.settle();
    let honest = std::mem::take(&mut world.observations);
    let corrupt = (6 - corrupt..=5).map(PartyId).collect();
    let mut knowledge = Knowledge::new(&world, corrupt).expect("five parties are followed");
    honest.into_iter().chain(observations).try_for_each(|observation| knowledge.observe(&world, &observation))
}

/// Shares of the mask key of party 1, from so many custodians.
fn shares_of_a_mask_key(custodians: u32) -> impl Iterator<Item = Observation> {
    let message = Message::MaskKeyShare { round: Round(1), dealer: PartyId(1), share: [0; 32] };
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
