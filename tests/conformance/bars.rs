//! Evidence of bad dealings, and the rounds that it bars from.

use cloister_crypto::consortium::Epoch;
use cloister_params::consortium::PublicBytes;
use cloister_params::id::{PartyId, Round};
use cloister_protocol::bars::Bars;
use cloister_wire::frame::Frame;
use cloister_wire::message::{BadDealing, Message};
use serde::Deserialize;

use crate::steps::misbehaviour_step;
use crate::vectors::Hex;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Evidence {
    consortium: String,
    signature: Hex,
    governance: Hex,
    cases: Vec<GoodEvidence>,
    bad: Vec<BadEvidence>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GoodEvidence {
    why: String,
    frame: Hex,
    member: PartyId,
    round: Round,
    /// Rounds, and whether the member is barred from them.
    bars: Vec<(Round, bool)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BadEvidence {
    why: String,
    frame: Hex,
    step: String,
}

fn evidence(frame: &Hex) -> BadDealing {
    match Frame::decode(&frame.0).unwrap() {
        Frame::Message(Message::BadDealing(evidence)) => evidence,
        other => panic!("no evidence: {other:?}"),
    }
}

/// ROUND-33, PLAN-14
pub(crate) fn check(file: Evidence) {
    let governance = PublicBytes(file.governance.array());
    let epoch = Epoch::accept(&file.consortium, &file.signature.array(), governance).unwrap();
    for case in file.cases {
        let mut bars = Bars::default();
        bars.take(&epoch, &evidence(&case.frame)).expect(&case.why);
        for (round, is_barred) in case.bars {
            let expected: Vec<PartyId> = is_barred.then_some(case.member).into_iter().collect();
            assert_eq!(bars.barred(round).collect::<Vec<_>>(), expected, "{} in {round}", case.why);
        }
        assert!(bars.barred(case.round.next()).eq([case.member]));
    }
    for bad in file.bad {
        let fault = Bars::default().take(&epoch, &evidence(&bad.frame)).expect_err(&bad.why);
        assert_eq!(misbehaviour_step(&fault), bad.step, "{}: {fault}", bad.why);
    }
}
