//! Attacks on what is revealed, and by what is revealed.

use std::collections::BTreeSet;

use cloister_params::id::{BlockId, PartyId, Round};
use cloister_protocol::coordinator::Input;
use cloister_protocol::fault::{Fault, Misbehaviour};
use cloister_wire::frame::Frame;
use cloister_wire::message::{Message, RevealedSeeds};

use crate::stage::{Stage, revealed};

fn is_sealed1(message: &Message) -> bool {
    matches!(message, Message::Sealed1 { .. })
}

fn is_sealed2(message: &Message) -> bool {
    matches!(message, Message::Sealed2 { .. })
}

/// An ordinary stage before the second seal's certificate reaches anybody; these members uploaded nothing.
fn without(lost: &[u32]) -> Stage {
    stopped(Stage::seven(), lost)
}

/// The same for any stage.
fn stopped(mut stage: Stage, lost: &[u32]) -> Stage {
    stage.world.start_round();
    stage.run_to(1, is_sealed1);
    for member in lost {
        stage.world.silence_member(PartyId(*member));
    }
    if !lost.is_empty() {
        stage.world.settle();
        stage.world.expire();
    }
    stage.run_to(1, is_sealed2);
    stage
}

fn request(dealer: u32) -> Message {
    Message::SeedSharesRequest { round: Round(1), dealer: PartyId(dealer) }
}

/// ROUND-01
#[test]
fn secrets_of_both_kinds_of_one_member() {
    let mut stage = without(&[7]);
    let answer = stage.deliver_to(1);
    let shares: BTreeSet<_> =
        revealed(&answer.done).into_iter().filter(|(dealer, _)| *dealer != PartyId(1)).collect();
    assert_eq!(
        shares,
        BTreeSet::from([(PartyId(7), None)]),
        "control: the mask key of who left, and nothing else"
    );
    let answer = stage.give(1, request(2));
    let shares = revealed(&answer.done);
    assert!(!shares.is_empty(), "control: seeds of who uploaded");
    assert!(shares.iter().all(|(dealer, block)| *dealer == PartyId(2) && block.is_some()));
}

/// ROUND-01
#[test]
fn a_self_seed_of_an_absent_member() {
    let mut stage = without(&[7]);
    assert!(revealed(&stage.give(1, request(2)).done).is_empty(), "nothing before the second seal");
    stage.deliver_to(1);
    let answer = stage.give(1, request(7));
    assert!(revealed(&answer.done).is_empty());
    assert!(matches!(answer.faults[..], [Fault::Unexpected { .. }]), "{answer:?}");
    assert!(!revealed(&stage.give(1, request(6)).done).is_empty(), "control: of a member that uploaded");
}

#[test]
fn a_self_seed_of_a_void_block() {
    let mut stage = stopped(Stage::with_split_minds(), &[1]);
    stage.finish();
    let report = stage.reports()[0].clone();
    let blocks = |revealed: &[(PartyId, Option<BlockId>)]| {
        revealed.iter().filter_map(|(_, block)| *block).collect::<BTreeSet<_>>()
    };
    let opened: BTreeSet<BlockId> = report.opened().iter().copied().collect();
    assert!(opened.len() < report.cohorts.len(), "a block is void");
    assert_eq!(blocks(&revealed(&stage.seen)), opened, "seeds of opened blocks, and of no other");
    let mut control = stopped(Stage::with_split_minds(), &[]);
    control.finish();
    assert_eq!(
        blocks(&revealed(&control.seen)).len(),
        report.cohorts.len(),
        "control: when all blocks are valid"
    );
}

/// Who sent chunks of which blocks, as far as the coordinator's disk tells.
fn chunks_on_disk(stage: &Stage) -> BTreeSet<(PartyId, BlockId)> {
    let mut chunks = BTreeSet::new();
    for input in stage.world.kept_inputs() {
        if let Input::Frame(from, Frame::Chunk(chunk)) = input {
            chunks.insert((*from, chunk.block));
        }
    }
    chunks
}

/// ROUND-29
#[test]
fn masked_blocks_that_no_sum_needs_stay_on_no_disk() {
    let (absent, void) = (PartyId(1), BlockId(0));
    let mut stage = Stage::with_split_minds();
    stage.world.start_round();
    stage.run_to(1, is_sealed1);
    stage.take_from(1, |message| matches!(message, Message::Uploaded(_)));
    stage.world.silence_member(absent);
    stage.world.settle();
    stage.world.expire();
    let before = chunks_on_disk(&stage);
    assert!(
        before.contains(&(absent, void)) && before.contains(&(PartyId(2), void)),
        "control: while seals are open"
    );
    stage.run_to(2, is_sealed2);
    let after = chunks_on_disk(&stage);
    let needed = |(member, block): &(PartyId, BlockId)| *member != absent && *block != void;
    assert_eq!(after, before.into_iter().filter(needed).collect(), "what is summed, and nothing else");
    stage.world.restart_coordinator();
    (1..=7).for_each(|party| stage.world.connect(PartyId(party)));
    stage.finish();
    assert!(!stage.reports()[0].sums.is_empty(), "the round goes on without what was erased");
}

/// Asserts that the coordinator takes a message of a party as it is, and refuses it when it is changed.
fn refused_when(stage: &mut Stage, party: u32, honest: &Message, change: impl FnOnce(&mut Message)) {
    let mut changed = honest.clone();
    change(&mut changed);
    let result = stage.world.say(PartyId(party), Frame::Message(changed));
    let reveal = |fault| matches!(fault, &Fault::PeerMisbehaved { what: Misbehaviour::Reveal { .. }, .. });
    assert!(result.as_ref().is_err_and(reveal), "{result:?}");
}

/// ROUND-15
#[test]
fn a_wrong_seed() {
    let mut stage = without(&[7]);
    let honest = stage.take_from(2, |message| matches!(message, Message::Seeds { .. }));
    let with = |change: fn(&mut RevealedSeeds)| {
        move |message: &mut Message| {
            let Message::Seeds { seeds, .. } = message else { unreachable!() };
            change(seeds);
        }
    };
    refused_when(&mut stage, 2, &honest, with(|seeds| seeds.seeds[0].seed = seeds.seeds[1].seed));
    refused_when(&mut stage, 2, &honest, with(|seeds| seeds.seeds[0].seed = [0; 32]));
    refused_when(&mut stage, 2, &honest, with(|seeds| seeds.seeds[0].block = BlockId(99)));
    refused_when(&mut stage, 2, &honest, with(|seeds| seeds.seeds.swap(0, 1)));
    refused_when(&mut stage, 2, &honest, with(|seeds| seeds.seeds.truncate(1)));
    refused_when(&mut stage, 2, &honest, with(|seeds| seeds.proof[3] ^= 1));
    refused_when(&mut stage, 3, &honest, |_| {});
    assert_eq!(
        stage.world.say(PartyId(2), Frame::Message(honest)),
        Ok(()),
        "control: as it was sent, by who sent it"
    );
}

/// ROUND-15, MASK-11
#[test]
fn a_wrong_share_of_a_mask_key() {
    let mut stage = without(&[7]);
    let honest = stage.take_from(2, |message| matches!(message, Message::MaskKeyShare { .. }));
    let other = stage.take_from(3, |message| matches!(message, Message::MaskKeyShare { .. }));
    refused_when(&mut stage, 2, &honest, |message| {
        let Message::MaskKeyShare { share, .. } = message else { unreachable!() };
        share[0] ^= 1;
    });
    refused_when(&mut stage, 2, &honest, |message| {
        let Message::MaskKeyShare { dealer, .. } = message else { unreachable!() };
        *dealer = PartyId(3);
    });
    refused_when(&mut stage, 2, &other, |_| {});
    for (party, message) in [(2, honest), (3, other)] {
        let result = stage.world.say(PartyId(party), Frame::Message(message));
        assert_eq!(result, Ok(()), "control: as it was sent, by who sent it");
    }
}

/// ROUND-15, MASK-15
#[test]
fn wrong_parts_of_seeds() {
    let mut stage = without(&[]);
    stage.take_from(7, |message| matches!(message, Message::Seeds { .. }));
    stage.world.disconnect(PartyId(7));
    let honest = stage.take_from(2, |message| matches!(message, Message::SeedParts { .. }));
    let with = |change: fn(&mut RevealedSeeds)| {
        move |message: &mut Message| {
            let Message::SeedParts { parts, .. } = message else { unreachable!() };
            change(parts);
        }
    };
    refused_when(&mut stage, 2, &honest, with(|parts| parts.seeds[0].seed = parts.seeds[1].seed));
    refused_when(&mut stage, 2, &honest, with(|parts| parts.seeds.truncate(1)));
    refused_when(&mut stage, 2, &honest, with(|parts| parts.proof[40] ^= 1));
    refused_when(&mut stage, 3, &honest, |_| {});
    refused_when(&mut stage, 2, &honest, |message| {
        let Message::SeedParts { dealer, .. } = message else { unreachable!() };
        *dealer = PartyId(6);
    });
    assert_eq!(
        stage.world.say(PartyId(2), Frame::Message(honest)),
        Ok(()),
        "control: as it was sent, by who sent it"
    );
}

#[test]
fn revealed_secrets_of_an_earlier_round() {
    let mut stage = without(&[]);
    let old = stage.take_from(2, |message| matches!(message, Message::Seeds { .. }));
    stage.world.say(PartyId(2), Frame::Message(old.clone())).unwrap();
    stage.finish();
    stage.world.start_round();
    let fresh = stage.take_from(2, |message| matches!(message, Message::Seeds { .. }));
    let result = stage.world.say(PartyId(2), Frame::Message(old.clone()));
    assert!(matches!(result, Err(Fault::Unexpected { .. })), "{result:?}");
    refused_when(&mut stage, 2, &old, |message| {
        let Message::Seeds { round, .. } = message else { unreachable!() };
        *round = Round(2);
    });
    assert_eq!(stage.world.say(PartyId(2), Frame::Message(fresh)), Ok(()), "control: those of this round");
}
