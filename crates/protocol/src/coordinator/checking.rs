//! The coordinator between opening and closing: it collects late sketches of the uploads, and finds who lied
//! when they do not add up to a sum. A plan without late sketches passes through.

use std::collections::BTreeSet;

use cloister_params::id::{BlockId, PartyId};
use cloister_wire::frame::{Frame, chunks};
use cloister_wire::message::Message;

use super::revealing::Opened;
use super::{Announced, Coordinator, CoordinatorPhase, Event, Time, unexpected};
use crate::fault::{Fault, Misbehaviour};
use crate::late::blame::BlamedRow;
use crate::late::check::check_sum;
use crate::late::{LateEvidence, is_sketched};
use crate::round::RoundContext;
use crate::sealed::SummedCohort;

/// Sums that are open, and what members say of them.
#[derive(Debug)]
pub(super) struct Checking {
    pub(super) opened: Opened,
    pub(super) evidence: LateEvidence,
    step: CheckingStep,
}

/// What the coordinator waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
enum CheckingStep {
    /// Late sketches.
    Sketches,
    /// Answers about the first failing rows of these blocks.
    Answers(Vec<BlockId>),
    /// What pairs agreed on, where their answers about these blocks differ.
    PairOpenings(Vec<BlockId>),
}

impl Checking {
    /// What a party that reconnects needs.
    pub(super) fn frames(&self, context: &RoundContext, party: PartyId) -> Vec<Frame> {
        let before = self.opened.before.iter().cloned().map(Frame::Message);
        let mut frames: Vec<Frame> = before.chain(self.request(context)).collect();
        if let CheckingStep::Answers(blocks) | CheckingStep::PairOpenings(blocks) = &self.step {
            frames.extend(blocks.iter().flat_map(|block| self.blame_frames(context, *block, party)));
        }
        frames
    }

    /// What was revealed, and the request for late sketches, whose own seeds follow from it.
    fn request(&self, context: &RoundContext) -> Vec<Frame> {
        let request = Message::LateRequest { round: context.round() };
        self.opened.reveals.seed_messages(context).into_iter().chain([request]).map(Frame::Message).collect()
    }

    fn cohort(&self, block: BlockId) -> Option<&SummedCohort> {
        self.opened.cohorts.valid_cohort(block)
    }

    /// Members that are asked for late sketches.
    fn sketchers(&self, context: &RoundContext) -> BTreeSet<PartyId> {
        let sketched = self.opened.sums.iter().filter(|sum| is_sketched(context, sum.block()));
        sketched.filter_map(|sum| self.cohort(sum.block())).flat_map(SummedCohort::members).collect()
    }

    /// The first failing row of each block whose sketches do not add up to its sum.
    fn failing<'a>(&'a self, context: &'a RoundContext) -> Vec<BlamedRow<'a>> {
        let opened = &self.opened;
        let manifest = opened.cohorts.sealed_manifest().manifest().digest();
        let mut failing = Vec::new();
        for sum in &opened.sums {
            let verdict = check_sum(context, &opened.cohorts, &opened.reveals.seeds, &self.evidence, sum);
            if let (Some((row, projection)), Some(cohort)) = (verdict.failing, self.cohort(sum.block())) {
                failing.push(BlamedRow { round: context, manifest, cohort, projection, row });
            }
        }
        failing
    }

    /// The sum, the late sketches that do not add up to it, and the request to answer, for one of its
    /// members.
    fn blame_frames(&self, context: &RoundContext, block: BlockId, member: PartyId) -> Vec<Frame> {
        let (round, cohort) = (context.round(), self.cohort(block));
        let sum = self.opened.sums.iter().find(|sum| sum.block() == block);
        let (Some(cohort), Some(sum)) = (cohort, sum) else { return Vec::new() };
        if !cohort.has(member) {
            return Vec::new();
        }
        let sum =
            chunks(round, PartyId::COORDINATOR, block, &sum.packed(context)).map(Frame::Chunk).collect();
        let sketches = self.evidence.sketches_of(cohort.members()).into_iter().map(Frame::Message).collect();
        let request = vec![Frame::Message(Message::BlameRequest { round, block })];
        [sum, sketches, request].concat()
    }

    /// Members that have not answered for one of these blocks, ascending.
    fn silent(&self, blocks: &[BlockId]) -> BTreeSet<PartyId> {
        let mut silent = BTreeSet::new();
        for cohort in blocks.iter().filter_map(|block| self.cohort(*block)) {
            let mut members: BTreeSet<PartyId> = cohort.members().collect();
            members.retain(|member| self.evidence.answer(*member, cohort.block()).is_none());
            silent.extend(members);
        }
        silent
    }

    /// The pairs whose signed answers differ and that neither has opened.
    fn disputes(&self, context: &RoundContext) -> Vec<(BlockId, PartyId, PartyId)> {
        let mut disputes = Vec::new();
        for row in self.failing(context) {
            for (one, other) in row.disputes(&self.evidence) {
                // Either of the two can open the pair, so one of them is enough.
                if self.evidence.agreed(one, other).is_none() {
                    disputes.push((row.cohort.block(), one, other));
                }
            }
        }
        disputes
    }
}

impl Coordinator {
    pub(super) fn begin_checking(&mut self, announced: Box<Announced>, opened: Opened, now: Time) {
        let checking = Checking { opened, evidence: LateEvidence::default(), step: CheckingStep::Sketches };
        let members: Vec<PartyId> = checking.sketchers(&announced.context).into_iter().collect();
        // Without a sketched block this phase passes at once: nobody is awaited.
        let request = if members.is_empty() { Vec::new() } else { checking.request(&announced.context) };
        self.wait(now, announced.context.plan().settings.deadlines.reveal);
        self.put_phase(CoordinatorPhase::Checking(announced, Box::new(checking)));
        request.iter().for_each(|frame| self.send_to(members.clone(), frame));
        self.advance_checking(now, false);
    }

    /// Goes to the next step when everyone who is connected has said what this one asks for.
    pub(super) fn advance_checking(&mut self, now: Time, expired: bool) {
        let Some(CoordinatorPhase::Checking(announced, checking)) =
            self.round.as_ref().map(|active| &active.phase)
        else {
            return;
        };
        let context = &announced.context;
        let awaited: Vec<PartyId> = match &checking.step {
            CheckingStep::Sketches => {
                let members = checking.sketchers(context).into_iter();
                members.filter(|member| !checking.evidence.has_sketches(*member)).collect()
            }
            CheckingStep::Answers(blocks) => checking.silent(blocks).into_iter().collect(),
            CheckingStep::PairOpenings(_) => {
                let disputes = checking.disputes(context).into_iter();
                disputes.flat_map(|(_, one, other)| [one, other]).collect()
            }
        };
        // Silence is allowed: the block is then unchecked or nobody is named, so members that left are not
        // waited for.
        if !expired && awaited.iter().any(|member| self.connected.contains(member)) {
            return;
        }
        match checking.step.clone() {
            CheckingStep::Sketches => self.ask_for_answers(now),
            CheckingStep::Answers(blocks) => self.ask_for_openings(blocks, now),
            CheckingStep::PairOpenings(_) => self.finish_checking(now),
        }
    }

    fn ask_for_answers(&mut self, now: Time) {
        let Some(CoordinatorPhase::Checking(announced, checking)) =
            self.round.as_ref().map(|active| &active.phase)
        else {
            return;
        };
        let context = &announced.context;
        let blocks: Vec<BlockId> = checking.failing(context).iter().map(|row| row.cohort.block()).collect();
        if blocks.is_empty() {
            return self.finish_checking(now);
        }
        let mut frames = Vec::new();
        for block in &blocks {
            let members = checking.cohort(*block).into_iter().flat_map(SummedCohort::members);
            frames.extend(members.map(|member| (member, checking.blame_frames(context, *block, member))));
        }
        for block in &blocks {
            self.event(Event::Refuted(*block));
        }
        self.enter(CheckingStep::Answers(blocks), now);
        for (member, frames) in frames {
            frames.iter().for_each(|frame| self.send_to([member], frame));
        }
        // Everybody who would be asked may have left by now.
        self.advance_checking(now, false);
    }

    /// Shows the members of each pair whose answers differ the other's answer.
    fn ask_for_openings(&mut self, blocks: Vec<BlockId>, now: Time) {
        let Some(CoordinatorPhase::Checking(announced, checking)) =
            self.round.as_ref().map(|active| &active.phase)
        else {
            return;
        };
        let mut frames = Vec::new();
        for (block, one, other) in checking.disputes(&announced.context) {
            frames.extend(checking.evidence.signed_answer(one, block).map(|answer| (other, answer)));
            frames.extend(checking.evidence.signed_answer(other, block).map(|answer| (one, answer)));
        }
        self.enter(CheckingStep::PairOpenings(blocks), now);
        for (member, answer) in frames {
            self.send_to([member], &Frame::Message(answer));
        }
        self.advance_checking(now, false);
    }

    fn enter(&mut self, step: CheckingStep, now: Time) {
        if let Some(CoordinatorPhase::Checking(announced, checking)) =
            self.round.as_mut().map(|active| &mut active.phase)
        {
            checking.step = step;
            let limit = announced.context.plan().settings.deadlines.reveal;
            self.wait(now, limit);
        }
    }

    fn finish_checking(&mut self, now: Time) {
        if let Some(CoordinatorPhase::Checking(announced, checking)) = self.take_phase() {
            self.propose_closing(announced, *checking, now);
        }
    }

    /// Takes something that a member signed or showed of its upload.
    pub(super) fn handle_evidence(&mut self, from: PartyId, message: &Message) -> Result<(), Fault> {
        let Some(CoordinatorPhase::Checking(announced, checking)) =
            self.round.as_mut().map(|active| &mut active.phase)
        else {
            return Err(unexpected(from, "what a member says of its upload"));
        };
        let (context, cohorts) = (&announced.context, &checking.opened.cohorts);
        let evidence = &mut checking.evidence;
        let signer = match message {
            Message::LateSketches(signed) => signed.signer,
            Message::BlameAnswer(signed) => signed.signer,
            Message::PairOpened { opening, .. } => opening.member,
            _ => return Err(unexpected(from, "what a member says of its upload")),
        };
        // The sender first: input that is rejected is not stored, so it must not change anything before that.
        if signer != from {
            let why = "somebody else sent it";
            return Err(Misbehaviour::LateSketch { member: signer, why }.by(from));
        }
        let taken = match message {
            Message::LateSketches(signed) => evidence.take_sketches(context, cohorts, signed),
            Message::BlameAnswer(signed) => evidence.take_answer(context, cohorts, signed),
            Message::PairOpened { round, opening } => {
                evidence.take_opening(context, cohorts, (*round, opening))
            }
            _ => Ok(()),
        };
        taken.map_err(|what| what.by(from))
    }
}
