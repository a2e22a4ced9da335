//! Attacks by plans that bend what stays the same from round to round, and by what plans are made of.

use cloister_params::id::{PartyId, Round};
use cloister_params::plan::{RoundPlan, RoundSettings};
use cloister_params::rule;
use cloister_protocol::statement::sign;
use cloister_wire::frame::Frame;
use cloister_wire::message::Message;
use cloister_wire::statement::ReceivingKey;

use crate::stage::Stage;

fn is_plan(message: &Message) -> bool {
    matches!(message, Message::Plan { .. })
}

fn is_receiving_key(message: &Message) -> bool {
    matches!(message, Message::ReceivingKey(_))
}

/// Whether a party takes part where the coordinator signs a plan with changed settings, and no other.
fn is_accepted_with(change: impl FnOnce(&mut RoundSettings)) -> bool {
    let mut stage = Stage::started_to(1, is_plan);
    let Message::Plan { plan, receiving_keys, previous } = stage.sent_last(is_plan) else { unreachable!() };
    let mut body: RoundPlan = plan.parse().unwrap();
    change(&mut body.settings);
    let plan = sign(stage.key(0), PartyId::COORDINATOR, &body);
    stage.give(1, Message::Plan { plan, receiving_keys, previous }).is_accepted()
}

/// Directions of one member's update, a new one in each round.
pub(super) fn a_projection_of_the_coordinators_choice() -> bool {
    is_accepted_with(|settings| settings.sketch.seed.0[0] ^= 1)
}

/// A member's second expert is scored and summed as its first.
pub(super) fn experts_in_another_order() -> bool {
    is_accepted_with(|settings| {
        let [first, second] = [0, 1].map(|at: usize| settings.blocks[at].shape.kind);
        settings.blocks[0].shape.kind = second;
        settings.blocks[1].shape.kind = first;
    })
}

/// The exact number of tokens that each member's data sends to each expert.
pub(super) fn exact_token_counts() -> bool {
    is_accepted_with(|settings| {
        settings.sketch.count_noise = 0;
        settings.scoring.minimum_tokens = 1 << 20;
    })
}

/// One custodian stops every round: nobody can seal a letter to it, and every member refuses the coordinator's plan.
pub(super) fn a_receiving_key_that_is_no_element() -> bool {
    let mut stage = Stage::seven();
    stage.world.start_round();
    stage.take_from(3, is_receiving_key);
    let epoch = stage.world.consortium.epoch.digest();
    let key = ReceivingKey { epoch, round: Round::FIRST, key: [0xff; 32] };
    let signed = sign(stage.key(3), PartyId(3), &key);
    stage.world.say(PartyId(3), Frame::Message(Message::ReceivingKey(signed))).is_ok()
}

/// A slow member's training for a first plan ends under the next round's, which asks for other training.
pub(super) fn a_result_of_an_earlier_plan() -> bool {
    let mut stage = Stage::seven();
    [1, 2, 3].map(PartyId).iter().for_each(|member| stage.world.silence_member(*member));
    stage.world.start_round();
    stage.run_to(7, is_plan);
    stage.deliver_to(7);
    let (plan, contribution) = stage.world.take_training(PartyId(7)).unwrap();
    stage.finish();
    stage.world.template_mut().training.local_epochs += 1;
    stage.world.start_round();
    stage.run_to(7, is_plan);
    assert!(stage.deliver_to(7).is_accepted());
    stage.world.contribute(PartyId(7), plan, contribution).is_ok()
}

/// A rehearsal releases nothing and is charged nothing. What a member trained for it would leave without a charge.
pub(super) fn an_update_in_a_rehearsal() -> bool {
    let mut stage = Stage::seven();
    assert!(stage.world.start_rehearsal());
    stage.run_to(7, is_plan);
    stage.deliver_to(7);
    let (plan, contribution) = stage.world.take_training(PartyId(7)).unwrap();
    stage.world.contribute(PartyId(7), plan, contribution).is_ok()
}

/// One member uploads an update in a rehearsal, where the others upload zeros: it would make the model what it likes.
pub(super) fn a_rehearsal_that_moves_the_model() -> bool {
    let mut stage = Stage::seven();
    let before = stage.world.coordinator.model().digest();
    assert!(stage.world.start_rehearsal());
    stage.run_to(7, is_plan);
    stage.deliver_to(7);
    let (plan, contribution) = stage.world.take_training(PartyId(7)).unwrap();
    // The liar's program lacks the check.
    rule::without("ROUND-39", || {
        assert!(stage.world.contribute(PartyId(7), plan, contribution).is_ok());
        stage.finish();
    });
    assert!(stage.reports().last().is_some_and(|report| !report.sums.is_empty()), "the rehearsal closes");
    stage.world.coordinator.model().digest() != before
}
