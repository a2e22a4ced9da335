//! Attacks by announcements and letters.

use cloister_crypto::hash::{Domain, digest};
use cloister_params::id::{PartyId, Round};
use cloister_protocol::fault::{Fault, Misbehaviour};
use cloister_protocol::statement::sign;
use cloister_testkit::world::Observation;
use cloister_wire::frame::Frame;
use cloister_wire::message::Message;
use cloister_wire::statement::Announcement;

use crate::stage::{Answer, Stage, announcements};

/// A stage in which everything was announced and opened, before the first seal is signed.
fn announced() -> Stage {
    Stage::started_to(1, |message| matches!(message, Message::ProposeSeal1 { .. }))
}

/// A stage at which the first custodian has the plan and no announcement, while members 2 and 3 have announced.
fn unannounced() -> Stage {
    let mut stage = Stage::started_to(1, |message| matches!(message, Message::Plan { .. }));
    stage.deliver_to(1);
    for member in [2, 3] {
        stage.take_from(member, |message| matches!(message, Message::Announcement(_)));
    }
    stage
}

/// The letter that one member sealed for a custodian.
fn letter(stage: &Stage, from: u32, to: u32) -> Vec<u8> {
    let found = stage.seen.iter().find_map(|observation| match observation {
        Observation::FromMember(member, Frame::Message(Message::Letter { custodian, sealed, .. }))
            if (member.0, custodian.0) == (from, to) =>
        {
            Some(sealed.clone())
        }
        _ => None,
    });
    found.expect("it was dealt")
}

fn letter_to_first(dealer: u32, sealed: Vec<u8>) -> Message {
    Message::Letter { round: Round(1), dealer: PartyId(dealer), custodian: PartyId(1), sealed }
}

/// A member's announcement, changed and signed again by that member.
fn announced_otherwise(stage: &Stage, member: u32, change: impl FnOnce(&mut Announcement)) -> Message {
    let mut body = announcements(&stage.seen)[&PartyId(member)].parse().unwrap();
    change(&mut body);
    Message::Announcement(sign(stage.key(member), PartyId(member), &body))
}

fn why(answer: &Answer) -> Option<&'static str> {
    match answer.misbehaviours()[..] {
        [Misbehaviour::Letter { why, .. }] => Some(why),
        _ => None,
    }
}

#[test]
fn swapped_letters() {
    let mut stage = announced();
    let sealed = letter(&stage, 2, 1);
    for (dealer, other) in [(2, letter(&stage, 2, 3)), (3, sealed.clone()), (2, letter(&stage, 3, 1))] {
        let answer = stage.give(1, letter_to_first(dealer, other));
        assert_eq!(why(&answer), Some("it is not the announced letter"));
    }
    assert!(stage.give(1, letter_to_first(2, sealed)).is_accepted(), "control: the letter itself");
}

#[test]
fn a_letter_copied_from_another_member() {
    let mut stage = unannounced();
    let sealed = letter(&stage, 2, 1);
    let copied =
        announced_otherwise(&stage, 3, |body| body.dealings[0].letter = digest(Domain::Letter, &[&sealed]));
    stage.give(1, copied);
    let answer = stage.give(1, letter_to_first(3, sealed.clone()));
    assert_eq!(why(&answer), Some("it cannot be opened"), "it is bound to its dealer");
    let unchanged = announced_otherwise(&stage, 2, |_| {});
    stage.give(1, unchanged);
    assert!(
        stage.give(1, letter_to_first(2, sealed)).is_accepted(),
        "control: from the dealer that sealed it"
    );
}

#[test]
fn a_letter_for_the_custodian_next_to_it() {
    let mut stage = unannounced();
    let sealed = letter(&stage, 2, 3);
    let moved =
        announced_otherwise(&stage, 2, |body| body.dealings[0].letter = digest(Domain::Letter, &[&sealed]));
    stage.give(1, moved);
    assert_eq!(why(&stage.give(1, letter_to_first(2, sealed))), Some("it cannot be opened"));
}

#[test]
fn shares_that_are_not_the_committed_ones() {
    let mut stage = unannounced();
    let sealed = letter(&stage, 2, 1);
    let other =
        announced_otherwise(&stage, 2, |body| body.mask_key.commitments[1] = body.mask_key.commitments[2]);
    stage.give(1, other);
    assert_eq!(
        why(&stage.give(1, letter_to_first(2, sealed))),
        Some("its shares are not those that the announcement commits to")
    );
}

/// ROUND-10, MASK-02
#[test]
fn a_mask_key_copied_from_another_member() {
    let mut stage = announced();
    let victim = announcements(&stage.seen)[&PartyId(2)].parse().unwrap();
    let copied = announced_otherwise(&stage, 3, |body| {
        body.mask_key = victim.mask_key;
    });
    let answer = stage.give(1, copied);
    let unproven = Misbehaviour::Announcement("the proof of knowledge of the mask key");
    assert_eq!(answer.misbehaviours(), [&unproven; 2], "by member and custodian");
    let unchanged = announced_otherwise(&stage, 3, |_| {});
    assert!(stage.give(1, unchanged).is_accepted(), "control: its own key");
}

/// ROUND-26
#[test]
fn a_letter_after_the_close() {
    let mut stage = announced();
    let sealed = letter(&stage, 2, 1);
    assert!(stage.give(1, letter_to_first(2, sealed.clone())).is_accepted(), "control: before the close");
    stage.finish();
    assert_eq!(stage.reports().len(), 1);
    let answer = stage.give(1, letter_to_first(2, sealed));
    assert!(matches!(answer.faults[..], [Fault::Unexpected { .. }]), "its key is erased: {answer:?}");
}

/// ROUND-10
#[test]
fn a_second_announcement_to_the_coordinator() {
    let mut stage = Stage::seven();
    stage.world.start_round();
    let honest = stage.take_from(3, |message| matches!(message, Message::Announcement(_)));
    stage.world.say(PartyId(3), Frame::Message(honest.clone())).unwrap();
    let second = announced_otherwise(&stage, 3, |body| body.sketches[0].tokens += 1);
    let result = stage.world.say(PartyId(3), Frame::Message(second));
    let twice =
        |fault| matches!(fault, &Fault::PeerMisbehaved { what: Misbehaviour::Equivocation { .. }, .. });
    assert!(result.as_ref().is_err_and(twice), "{result:?}");
    assert_eq!(stage.world.say(PartyId(3), Frame::Message(honest)), Ok(()), "control: the same again");
}

/// A coordinator and one member make a custodian sign for shares that it does not hold.
/// ROUND-11
#[test]
fn a_first_seal_over_an_announcement_whose_letter_was_not_opened() {
    let mut stage = announced();
    let second =
        announced_otherwise(&stage, 3, |body| body.mask_key.commitments[1] = body.mask_key.commitments[2]);
    (1..=7).for_each(|party| {
        stage.give(party, second.clone());
    });
    let Message::Announcement(signed) = second else { unreachable!() };
    stage
        .attacker
        .observe(&Observation::FromMember(PartyId(3), Frame::Message(Message::Announcement(signed))));
    let over_second = stage.attacker.second_manifest(6).unwrap();
    assert!(stage.give(1, over_second).vote().is_none());
}

/// One member deals letters that nobody can open, in an announcement that is whole.
fn with_letters_of_noise(noisy: bool) -> usize {
    let mut stage = Stage::seven();
    stage.world.start_round();
    let honest = stage.take_from(3, |message| matches!(message, Message::Announcement(_)));
    let noise = vec![7; 100];
    let announcement = announced_otherwise(&stage, 3, |body| {
        let dealings = body.dealings.iter_mut();
        dealings.for_each(|dealing| dealing.letter = digest(Domain::Letter, &[&noise]));
    });
    let announcement = if noisy { announcement } else { honest };
    stage.world.say(PartyId(3), Frame::Message(announcement)).unwrap();
    for custodian in 1..=7 {
        let sealed = if noisy { noise.clone() } else { letter(&stage, 3, custodian) };
        let letter =
            Message::Letter { round: Round(1), dealer: PartyId(3), custodian: PartyId(custodian), sealed };
        stage.world.say(PartyId(3), Frame::Message(letter)).unwrap();
    }
    stage.finish();
    stage.reports().len()
}

/// ROUND-24
#[test]
fn letters_that_nobody_can_open() {
    assert_eq!(with_letters_of_noise(false), 1, "control: with letters that open, the round ends");
    assert_eq!(with_letters_of_noise(true), 1, "without the dealer, or by an abort");
}
