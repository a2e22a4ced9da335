//! Members that lie about what they uploaded.

use std::collections::BTreeSet;

use cloister_cluster::consortium::consortium;
use cloister_crypto::sign::SigningKey;
use cloister_params::fixed::RingWidth;
use cloister_params::id::{BlockId, PartyId, Round};
use cloister_params::plan::LateSketchMode;
use cloister_params::rule;
use cloister_protocol::coordinator::RoundReport;
use cloister_protocol::statement::sign;
use cloister_wire::frame::{Frame, chunks};
use cloister_wire::message::{Ending, Message};
use cloister_wire::statement::{BlameAnswer, Closing, LateSketches, ListedSum, SumCheck};

use crate::stage::{SEVEN, Stage, settings};

/// The shared block of the stage's settings, made long enough to be sketched.
pub(crate) const LONG: BlockId = BlockId(4);
pub(crate) const LENGTH: u64 = 4800;
pub(crate) const LIAR: PartyId = PartyId(2);

/// Seven members whose shared block is long, and whose updates of it are within the clip.
pub(crate) fn stage(policy: LateSketchMode) -> Stage {
    let mut settings = settings();
    settings.late_sketches = policy;
    settings.blocks[LONG.0 as usize].shape.length = LENGTH;
    let mut stage = Stage::new(consortium(&[1; SEVEN]), settings, 3);
    let parameters = stage.world.coordinator.model().block_digests();
    for member in (1..=SEVEN as u32).map(PartyId) {
        let contribution = stage.world.contribution(member, &parameters);
        stage.world.fixed_contributions.insert(member, contribution);
    }
    stage
}

/// How a member lies; what is not changed is what its program says.
#[derive(Default)]
pub(crate) struct Lie {
    pub(crate) upload: Option<fn(&mut [i32])>,
    pub(crate) sketch: Option<fn(&mut LateSketches)>,
    pub(crate) answer: Option<fn(&mut BlameAnswer)>,
}

impl Lie {
    fn change(&self, key: &SigningKey, frame: Frame) -> Frame {
        match frame {
            Frame::Message(Message::LateSketches(signed)) => {
                let mut body = signed.parse().unwrap();
                self.sketch.inspect(|change| change(&mut body));
                Frame::Message(Message::LateSketches(sign(key, LIAR, &body)))
            }
            Frame::Message(Message::BlameAnswer(signed)) => {
                let mut body = signed.parse().unwrap();
                self.answer.inspect(|change| change(&mut body));
                Frame::Message(Message::BlameAnswer(sign(key, LIAR, &body)))
            }
            other => other,
        }
    }
}

/// Runs a round to its end with a lying member; members in `silent` say nothing of their uploads. The liar's program
/// lacks the one check that would keep it from uploading what it lies with.
pub(crate) fn run(stage: &mut Stage, lie: Lie, silent: &[PartyId]) -> RoundReport {
    if let Some(change) = lie.upload {
        let contribution = stage.world.fixed_contributions.get_mut(&LIAR).unwrap();
        change(&mut contribution.integers[LONG]);
    }
    rule::without("MASK-07", || run_to_end(stage, &lie, silent))
}

pub(crate) fn run_to_end(stage: &mut Stage, lie: &Lie, silent: &[PartyId]) -> RoundReport {
    let says = |frame: &Frame| {
        let Frame::Message(message) = frame else { return false };
        matches!(message, Message::LateSketches(_) | Message::BlameAnswer(_) | Message::PairOpened { .. })
    };
    let key = stage.world.consortium.keys[&LIAR].clone();
    stage.world.start_round();
    for _ in 0..8 {
        while let Some((from, _, frame)) = stage.world.run_until(|from, to, frame| {
            to == PartyId::COORDINATOR && says(frame) && (from == LIAR || silent.contains(&from))
        }) {
            stage.world.lose_next(from, PartyId::COORDINATOR);
            if from == LIAR {
                let _ = stage.world.say(LIAR, lie.change(&key, frame));
            }
        }
        stage.note();
        if let Some(report) = stage.reports().first() {
            return (*report).clone();
        }
        stage.world.expire();
    }
    panic!("the round ends");
}

pub(crate) fn closing(report: &RoundReport) -> Closing {
    match &report.ending {
        Ending::Closed { certificate, .. } => certificate.parse().unwrap(),
        Ending::Aborted(_) => panic!("the round closes"),
    }
}

/// What is said of the long block, who is named, and whether its sum is in the model.
pub(crate) fn outcome(report: &RoundReport) -> (SumCheck, BTreeSet<PartyId>, bool) {
    let closing = closing(report);
    let listed: &ListedSum = closing.sums.iter().find(|sum| sum.block == LONG).unwrap();
    assert!(closing.blamed.iter().all(|blamed| blamed.block == LONG));
    let blamed = closing.blamed.iter().map(|blamed| blamed.member).collect();
    let applied = report.model.blocks()[LONG].iter().any(|value| *value != 0.0);
    (listed.check, blamed, applied)
}

pub(crate) fn named(members: &[PartyId]) -> BTreeSet<PartyId> {
    members.iter().copied().collect()
}

/// Half the ring in two coordinates, which rows of ±1 alone never see.
pub(crate) fn half_the_ring(integers: &mut [i32]) {
    for at in [17, 4000] {
        integers[at] = integers[at].wrapping_add(i32::MIN);
    }
}

/// The sketch of the upload without the lie: every row that saw it is off by half the ring.
pub(crate) fn hides_half_the_ring(body: &mut LateSketches) {
    let ring = RingWidth::new(32).unwrap();
    for row in body.sketches.iter_mut().flat_map(|sketch| &mut sketch.rows) {
        if ring.lift(*row).abs() > 1 << 30 {
            *row ^= 1 << 31;
        }
    }
}

pub(crate) fn claims_nothing(body: &mut LateSketches) {
    body.sketches.iter_mut().for_each(|sketch| sketch.rows.fill(0));
}

/// A stage at which the liar claimed to have uploaded nothing, and member 1 has all that it needs to answer for it.
pub(crate) fn before_blame() -> (Stage, Message) {
    let mut stage = stage(LateSketchMode::Required);
    stage.world.start_round();
    let signed = stage.take_from(LIAR.0, |message| matches!(message, Message::LateSketches(_)));
    let Message::LateSketches(signed) = signed else { unreachable!() };
    let mut body = signed.parse().unwrap();
    claims_nothing(&mut body);
    let claimed = Message::LateSketches(sign(stage.key(LIAR.0), LIAR, &body));
    stage.world.say(LIAR, Frame::Message(claimed)).unwrap();
    let request = stage.run_to(1, |message| matches!(message, Message::BlameRequest { .. }));
    (stage, request)
}

/// Asks member 1 with the sum of what the honest members contributed, off by one in one coordinate.
pub(crate) fn ask_about_another_sum(
    stage: &mut Stage,
    request: &Message,
    coordinate: usize,
) -> Vec<BlameAnswer> {
    let mut words = vec![0u32; LENGTH as usize];
    for (_, contribution) in stage.world.fixed_contributions.iter().filter(|(member, _)| **member != LIAR) {
        let integers = &contribution.integers[LONG];
        for (word, integer) in words.iter_mut().zip(integers) {
            *word = word.wrapping_add(integer.cast_unsigned());
        }
    }
    words[coordinate] = words[coordinate].wrapping_add(1);
    let packed = RingWidth::new(32).unwrap().pack(&words);
    for chunk in chunks(Round(1), PartyId::COORDINATOR, LONG, &packed) {
        stage.world.inject(PartyId(1), Frame::Chunk(chunk));
    }
    answers(&stage.give(1, request.clone()).messages())
}

pub(crate) fn answers(messages: &[Message]) -> Vec<BlameAnswer> {
    let answer = |message: &Message| match message {
        Message::BlameAnswer(signed) => Some(signed.parse().unwrap()),
        _ => None,
    };
    messages.iter().filter_map(answer).collect()
}
