//! Attacks of one party on the coordinator's memory and time.

use cloister_params::consortium::Role;
use cloister_params::id::{PartyId, Round};
use cloister_protocol::coordinator::Event;
use cloister_protocol::statement::sign;
use cloister_testkit::world::Observation;
use cloister_wire::frame::Frame;
use cloister_wire::message::{Message, MissingParts};
use cloister_wire::statement::Upload;

use crate::stage::Stage;

/// A member asks for the model again and again, and reads nothing.
pub(super) fn a_model_for_each_of_many_requests() -> bool {
    let mut stage = Stage::seven();
    let model = stage.world.coordinator.model().clone();
    for _ in 0..50 {
        let missing = model.blocks().iter().map(|(block, _)| MissingParts { block, first: 0 }).collect();
        let request = Frame::Message(Message::ModelRequest { model: model.digest(), missing });
        stage.world.say(PartyId(1), request).unwrap();
    }
    stage.note();
    let is_part = |observation: &&Observation| {
        matches!(observation, Observation::FromCoordinator(_, Frame::Message(Message::ModelPart(_))))
    };
    // Each block of this model is one part.
    let parts = stage.seen.iter().filter(is_part).count();
    assert!(parts >= model.blocks().len(), "the first request is answered");
    parts > model.blocks().len()
}

/// A member that has uploaded signs a wrong root many times.
pub(super) fn an_upload_hashed_again_for_each_claim() -> bool {
    let mut stage = Stage::seven();
    stage.world.start_round();
    let claim = stage.take_from(2, |message| matches!(message, Message::Uploaded(_)));
    let Message::Uploaded(signed) = &claim else { unreachable!() };
    let mut body: Upload = signed.parse().unwrap();
    body.root.0[0] ^= 1;
    let wrong = Message::Uploaded(sign(stage.key(2), PartyId(2), &body));
    let once = stage.world.coordinator.hashed_bytes(PartyId(2));
    assert!(once > 0);
    for _ in 0..20 {
        stage.world.say(PartyId(2), Frame::Message(wrong.clone())).unwrap_err();
    }
    let hashed = stage.world.coordinator.hashed_bytes(PartyId(2));
    stage.world.say(PartyId(2), Frame::Message(claim)).unwrap();
    hashed > once
}

/// A member's reason for taking no part is as long as a message may be.
pub(super) fn a_refusal_that_fills_the_screen() -> bool {
    let mut stage = Stage::started_to(1, |message| matches!(message, Message::Plan { .. }));
    let reason = "ä".repeat(1 << 20);
    let refusal = Message::Refusal { round: Round(1), role: Role::Member, reason };
    stage.world.say(PartyId(2), Frame::Message(refusal)).unwrap();
    stage.world.events.iter().any(|event| matches!(event, Event::Refused(_, reason) if reason.len() > 1024))
}
