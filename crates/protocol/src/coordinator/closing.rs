//! The coordinator's last phase: custodians recompute the sums by rotation and sign the closing.

use std::collections::{BTreeMap, BTreeSet};

use cloister_crypto::consortium::Epoch;
use cloister_params::consortium::Role;
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_wire::frame::{Frame, chunks};
use cloister_wire::message::{Ending, Message};
use cloister_wire::statement::{BlamedMember, Certificate, Closing, Recomputed, Signature, Signed};

use super::ballot::Ballot;
use super::checking::Checking;
use super::uploads::Uploads;
use super::{Announced, Coordinator, CoordinatorPhase, Event, Time, unexpected};
use crate::fault::{Fault, Misbehaviour, expect};
use crate::late::{Judgement, is_applied, judge};
use crate::model::{Model, block_parts};
use crate::opening::OpenedSum;
use crate::recompute::log_to_evidence;
use crate::sealed::SealedCohorts;
use crate::statement::{body_digest, check_partys};

/// What custodians need to check a closing.
#[derive(Debug)]
pub(super) struct ClosingMaterial {
    /// The model before the round.
    pub(super) before: Model,
    /// What was revealed, and what members said of their uploads.
    pub(super) shown: Vec<Message>,
}

/// Waiting for votes on the closing, and for recomputations of its sums.
#[derive(Debug)]
pub(super) struct Recomputing {
    ballot: Ballot<Closing>,
    certificate: Option<Certificate<Closing>>,
    /// What revealing sent, for custodians that reconnect.
    before: Vec<Message>,
    evidence: ClosingMaterial,
    sums: Vec<OpenedSum>,
    model: Model,
    cohorts: SealedCohorts,
    uploads: Uploads,
    assigned: BTreeMap<PartyId, BTreeSet<BlockId>>,
    given_up: BTreeSet<(PartyId, BlockId)>,
    proposed: bool,
    recomputed: BTreeMap<PartyId, (Signed<Recomputed>, BTreeSet<BlockId>)>,
}

impl Recomputing {
    pub(super) fn new(
        body: &Closing,
        before: Vec<Message>,
        evidence: ClosingMaterial,
        (sums, model): (Vec<OpenedSum>, Model),
        (cohorts, uploads): (SealedCohorts, Uploads),
    ) -> Self {
        Self {
            ballot: Ballot::open(body),
            certificate: None,
            before,
            evidence,
            sums,
            model,
            cohorts,
            uploads,
            assigned: BTreeMap::new(),
            given_up: BTreeSet::new(),
            proposed: false,
            recomputed: BTreeMap::new(),
        }
    }

    /// Everything that a custodian that reconnects needs: both seals, and its part of the closing.
    pub(super) fn frames(&self, round: Round, party: PartyId) -> Vec<Frame> {
        let before = self.before.iter().cloned().map(Frame::Message);
        before.chain(self.request(round, party)).collect()
    }

    /// The masked blocks of a custodian's assigned blocks, and the proposal.
    fn request(&self, round: Round, custodian: PartyId) -> Vec<Frame> {
        let assigned = self.assigned.get(&custodian).cloned().unwrap_or_default();
        let cohorts = self.cohorts.valid().iter().filter(|cohort| assigned.contains(&cohort.block()));
        // In the order in which a custodian needs them: it checks that it has everything when the proposal
        // comes.
        let mut frames: Vec<Frame> = self.evidence.shown.iter().cloned().map(Frame::Message).collect();
        for (member, block) in
            cohorts.flat_map(|cohort| cohort.members().map(|member| (member, cohort.block())))
        {
            let Some((packed, path)) = self.uploads.proven(member, block) else { continue };
            frames.push(Frame::Message(Message::MaskedBlock { round, member, block, path }));
            frames.extend(chunks(round, member, block, packed).map(Frame::Chunk));
        }
        for block in &assigned {
            let parameters = self.evidence.before.blocks().get(*block);
            let parts = parameters.into_iter().flat_map(|parameters| block_parts(*block, parameters));
            frames.extend(parts.map(|part| Frame::Message(Message::OldParameters(part))));
        }
        frames.push(Frame::Message(Message::ProposeClosing {
            closing: self.ballot.body().to_vec(),
            recompute: assigned.into_iter().collect(),
        }));
        frames
    }

    pub(super) fn count_vote(
        &mut self,
        from: PartyId,
        body: Digest,
        signature: Signature,
        epoch: &Epoch,
    ) -> Result<(), Misbehaviour> {
        let certificate = self.ballot.count(from, body, signature, epoch)?;
        self.certificate = certificate.or(self.certificate.take());
        Ok(())
    }

    fn covers(&self, custodian: PartyId, block: BlockId) -> bool {
        self.recomputed.get(&custodian).is_some_and(|(_, blocks)| blocks.contains(&block))
    }

    /// Gives up on assignments that were not done in time, so that the rotation goes on to other custodians.
    fn give_up_waiting(&mut self) {
        for (custodian, blocks) in &mut self.assigned {
            let done = self.recomputed.get(custodian).map(|(_, done)| done);
            // Those that are done are given up as well, which changes nothing: `covers` is asked first.
            self.given_up.extend(blocks.iter().map(|block| (*custodian, *block)));
            blocks.retain(|block| done.is_some_and(|done| done.contains(block)));
        }
    }

    /// A custodian that reconnects is asked again, because the first request may have been lost with its
    /// link.
    pub(super) fn reconsider(&mut self, custodian: PartyId) {
        self.given_up.retain(|(given_up, _)| *given_up != custodian);
    }

    /// Assigns each block to custodians by rotation until enough of those that can be reached have it. Gives
    /// the custodians with a new assignment. The rotation starts elsewhere for each round and block, so that
    /// the work is shared.
    fn assign(&mut self, round: Round, reachable: &[PartyId], quorum: usize) -> BTreeSet<PartyId> {
        let mut changed = BTreeSet::new();
        for block in self.sums.iter().map(OpenedSum::block).collect::<Vec<_>>() {
            // Finished work counts, whether it was assigned or not: any `f + 1` custodians are enough.
            let done = self.recomputed.values().filter(|(_, blocks)| blocks.contains(&block)).count();
            let start = usize::try_from(round.0).unwrap_or(0) + block.0 as usize;
            let order = (0..reachable.len()).map(|step| reachable[(start + step) % reachable.len()]);
            let (assigned, spare): (Vec<PartyId>, Vec<PartyId>) = order
                .filter(|custodian| !self.covers(*custodian, block))
                .filter(|custodian| !self.given_up.contains(&(*custodian, block)))
                .partition(|custodian| {
                    self.assigned.get(custodian).is_some_and(|blocks| blocks.contains(&block))
                });
            let (mut expected, mut spare) = (done + assigned.len(), spare.into_iter());
            while expected < quorum
                && let Some(custodian) = spare.next()
            {
                self.assigned.entry(custodian).or_default().insert(block);
                changed.insert(custodian);
                expected += 1;
            }
        }
        changed
    }

    /// Whether every block was recomputed by enough custodians.
    fn is_recomputed(&self, quorum: usize) -> bool {
        self.sums.iter().all(|sum| {
            let custodians = self.recomputed.keys();
            custodians.filter(|custodian| self.covers(**custodian, sum.block())).count() >= quorum
        })
    }
}

impl Coordinator {
    /// Judges the sums, applies those that hold, and proposes the closing (step 7).
    pub(super) fn propose_closing(&mut self, mut announced: Box<Announced>, checking: Checking, now: Time) {
        let Checking { opened, evidence, .. } = checking;
        let context = &announced.context;
        announced.log = log_to_evidence(context, &opened.cohorts, &opened.reveals, &evidence);
        let judgements: Vec<Judgement> = opened
            .sums
            .iter()
            .map(|sum| judge(&opened.openings(context), &opened.cohorts, &evidence, sum))
            .collect();
        let (mut listed, mut blamed, mut applied) = (Vec::new(), Vec::new(), Vec::new());
        for (sum, judgement) in opened.sums.iter().zip(&judgements) {
            listed.push(sum.listed(context, judgement.check));
            let block = sum.block();
            blamed.extend(judgement.blamed.iter().map(|member| BlamedMember { block, member: *member }));
            if is_applied(context, judgement.check) {
                applied.push(sum.clone());
            }
        }
        let model = self.model.after(context.plan(), &applied).expect("opened blocks are the plan's");
        let body = Closing {
            epoch: self.epoch.digest(),
            round: context.round(),
            plan: context.plan_digest(),
            seal2: opened.cohorts.seal2().digest(),
            sums: listed,
            blamed,
            parameters: model.block_digests(),
            model: model.digest(),
            tree: announced.log.root(),
        };
        for blamed in &body.blamed {
            self.event(Event::Blamed(blamed.member, blamed.block));
        }
        let mut shown = opened.reveals.messages(&announced.context);
        shown.extend(evidence.messages(&announced.context));
        let evidence = ClosingMaterial { before: self.model.clone(), shown };
        let summed = (opened.cohorts, opened.uploads);
        let closing = Recomputing::new(&body, opened.before, evidence, (opened.sums, model), summed);
        self.put_phase(CoordinatorPhase::Closing(announced, Box::new(closing)));
        self.assign_recomputation(now);
    }

    fn recompute_quorum(&self) -> usize {
        self.epoch.consortium().floors().malicious_custodians + 1
    }

    /// Hands out blocks to recompute, and proposes the closing to every custodian (step 7).
    pub(super) fn assign_recomputation(&mut self, now: Time) {
        let quorum = self.recompute_quorum();
        let connected = self.connected.clone();
        let Some(CoordinatorPhase::Closing(announced, closing)) =
            self.round.as_mut().map(|active| &mut active.phase)
        else {
            return;
        };
        let round = announced.context.round();
        let reachable: Vec<PartyId> =
            announced.context.custodians().filter(|custodian| connected.contains(custodian)).collect();
        let is_first = !std::mem::replace(&mut closing.proposed, true);
        let changed = closing.assign(round, &reachable, quorum);
        // Every custodian is asked to sign at first, and later only those with new work. One that reconnects
        // gets the proposal with its other frames.
        let asked = reachable.into_iter().filter(|custodian| is_first || changed.contains(custodian));
        let requests: Vec<(PartyId, Vec<Frame>)> =
            asked.map(|custodian| (custodian, closing.request(round, custodian))).collect();
        let limit = announced.context.plan().settings.deadlines.seal;
        if requests.is_empty() {
            return;
        }
        self.wait(now, limit);
        for (custodian, frames) in requests {
            frames.iter().for_each(|frame| self.send_to([custodian], frame));
        }
    }

    pub(super) fn advance_closing(&mut self, now: Time, expired: bool) {
        if expired
            && let Some(CoordinatorPhase::Closing(_, closing)) =
                self.round.as_mut().map(|active| &mut active.phase)
        {
            closing.give_up_waiting();
        }
        let was_waiting = self.deadline.is_some();
        self.assign_recomputation(now);
        if expired && !was_waiting && self.deadline.is_none() {
            self.event(Event::QuorumLost("custodians' signatures or recomputations are missing"));
        }
    }

    pub(super) fn handle_recomputed(
        &mut self,
        from: PartyId,
        signed: Signed<Recomputed>,
    ) -> Result<(), Fault> {
        let epoch = self.epoch.clone();
        let Some(CoordinatorPhase::Closing(announced, closing)) =
            self.round.as_mut().map(|active| &mut active.phase)
        else {
            // Enough others had recomputed before.
            return Ok(());
        };
        let statement = check_partys(&signed, &epoch, Role::Custodian).map_err(|what| what.by(from))?;
        let body = statement.body();
        if statement.signer() != from {
            return Err(unexpected(from, "another custodian's recomputation"));
        }
        let closing_digest = body_digest(closing.ballot.body());
        expect("recomputation", "epoch", body.epoch, epoch.digest())
            .and_then(|()| expect("recomputation", "round", body.round, announced.context.round()))
            .and_then(|()| expect("recomputation", "closing", body.closing, closing_digest))
            .map_err(|what| what.by(from))?;
        let blocks = body.blocks.iter().copied().collect();
        // A later statement replaces an earlier one: it lists the earlier blocks too.
        closing.recomputed.insert(from, (signed, blocks));
        self.finish_closing_if_complete();
        Ok(())
    }

    /// Once it is certified and recomputed, everyone gets the sums and the certificate.
    pub(super) fn finish_closing_if_complete(&mut self) {
        let quorum = self.recompute_quorum();
        let Some(CoordinatorPhase::Closing(_, closing)) = self.round.as_ref().map(|active| &active.phase)
        else {
            return;
        };
        let Some(certificate) = closing.certificate.clone() else { return };
        if !closing.is_recomputed(quorum) {
            return;
        }
        let Some(CoordinatorPhase::Closing(announced, closing)) = self.take_phase() else { return };
        let members: Vec<PartyId> = self.epoch.consortium().members().collect();
        let round = announced.context.round();
        let sums: Vec<Frame> = closing
            .sums
            .iter()
            .map(|sum| (sum.block(), sum.packed(&announced.context)))
            .flat_map(|(block, packed)| {
                chunks(round, PartyId::COORDINATOR, block, &packed).map(Frame::Chunk).collect::<Vec<_>>()
            })
            .collect();
        // Before the ending: a member applies the sums when the ending comes, and asks for the whole model if
        // one is missing.
        sums.iter().for_each(|frame| self.send_to(members.clone(), frame));
        self.last_sums = sums;
        let recomputed = closing.recomputed.into_values().map(|(signed, _)| signed).collect();
        self.end(*announced, Ending::Closed { certificate, recomputed }, closing.sums, closing.model);
    }
}
