//! Recomputation: a custodian checks sums of a closing from masked blocks and reveals, and signs for them.
//!
//! A closing counts only if for each opened block `f + 1` custodians recomputed its sum, one of them honest
//! (`ROUND-22`). The coordinator asks custodians by rotation which block each recomputes; any `f + 1` will
//! do.

use std::collections::{BTreeMap, BTreeSet};

use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::plan::CheckedPlan;
use cloister_params::rule;
use cloister_transcript::{EntryKind, RoundLog};
use cloister_wire::frame::Chunk;
use cloister_wire::message::{ModelPart, PairOpening, Reveal};
use cloister_wire::statement::{BlameAnswer, Body, Closing, LateSketches, ListedSum, Signed, SumCheck};

use crate::applying::apply;
use crate::fault::{Misbehaviour, expect};
use crate::late::{LateEvidence, is_applied, judge};
use crate::model::{Model, floats, parameters_digest};
use crate::opening::{MaskedBlocks, OpeningInputs, append_chunk_to, is_under_root, open_block};
use crate::reveals::CheckedReveals;
use crate::round::RoundContext;
use crate::sealed::{SealedCohorts, log_to_uploads};

/// The log of a round up to the reveals and what members said of their uploads after them; its root is in the
/// closing.
pub(crate) fn log_to_evidence(
    round: &RoundContext,
    cohorts: &SealedCohorts,
    reveals: &CheckedReveals,
    evidence: &LateEvidence,
) -> RoundLog {
    let mut log = log_to_uploads(round, cohorts.sealed_manifest(), cohorts.uploaded());
    log.push(EntryKind::Seal2, PartyId::COORDINATOR, cohorts.seal2().bytes().to_vec());
    reveals.log(&mut log);
    evidence.log(&mut log);
    log
}

/// What a closing says of one block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ClosedBlock {
    /// Its sum and weight, and what the late sketches say of it.
    pub(crate) sum: ListedSum,
    /// The members that lied about it, ascending.
    pub(crate) blamed: Vec<PartyId>,
    /// Digest of its parameters before the round.
    pub(crate) before: Digest,
    /// Digest of its parameters after the sum was applied.
    pub(crate) after: Digest,
}

/// What a closing that [`check_closing`] accepted says of each block that it lists.
pub(crate) fn closed_blocks(closing: &Closing, plan: &CheckedPlan) -> Vec<ClosedBlock> {
    let mut blocks = Vec::new();
    for sum in &closing.sums {
        let before = plan.parameters_of(sum.block);
        let after = closing.parameters.get(sum.block);
        let (before, after) =
            before.zip(after.copied()).expect("the closing was checked to list blocks of the plan");
        let blamed = closing.blamed.iter().filter(|blamed| blamed.block == sum.block);
        blocks.push(ClosedBlock {
            sum: *sum,
            blamed: blamed.map(|blamed| blamed.member).collect(),
            before,
            after,
        });
    }
    blocks
}

/// What a custodian collects once both seals are certified, and the sums that it recomputed from it.
#[derive(Debug)]
pub(crate) struct Recomputation {
    cohorts: SealedCohorts,
    reveals: CheckedReveals,
    evidence: LateEvidence,
    /// For each masked block that the coordinator announced, the path to the root that its member signed.
    paths: BTreeMap<(PartyId, BlockId), Vec<Digest>>,
    /// The masked blocks of the blocks that this custodian recomputes; each is a prefix until all its chunks
    /// have arrived.
    masked: BTreeMap<PartyId, MaskedBlocks>,
    /// Parameters before the round, as far as they came, as little-endian floats.
    parameters: BTreeMap<BlockId, Vec<u8>>,
    /// The blocks that this custodian recomputed, with what it found: the closing said exactly the same.
    confirmed: BTreeMap<BlockId, ClosedBlock>,
}

impl Recomputation {
    pub(crate) fn new(cohorts: SealedCohorts) -> Self {
        Self {
            cohorts,
            reveals: CheckedReveals::default(),
            evidence: LateEvidence::default(),
            paths: BTreeMap::new(),
            masked: BTreeMap::new(),
            parameters: BTreeMap::new(),
            confirmed: BTreeMap::new(),
        }
    }

    /// What both seals fix.
    pub(crate) fn cohorts(&self) -> &SealedCohorts {
        &self.cohorts
    }

    /// The log of the round, as far as the closing's root covers it.
    pub(crate) fn log(&self, round: &RoundContext) -> RoundLog {
        log_to_evidence(round, &self.cohorts, &self.reveals, &self.evidence)
    }

    /// Takes a secret that somebody revealed.
    pub(crate) fn take_reveal(&mut self, round: &RoundContext, reveal: &Reveal) -> Result<(), Misbehaviour> {
        self.reveals.take(round, &self.cohorts, reveal)
    }

    /// Takes a member's late sketches.
    pub(crate) fn take_sketches(
        &mut self,
        round: &RoundContext,
        signed: &Signed<LateSketches>,
    ) -> Result<(), Misbehaviour> {
        self.evidence.take_sketches(round, &self.cohorts, signed)
    }

    /// Takes a member's answer about a row.
    pub(crate) fn take_answer(
        &mut self,
        round: &RoundContext,
        signed: &Signed<BlameAnswer>,
    ) -> Result<(), Misbehaviour> {
        self.evidence.take_answer(round, &self.cohorts, signed)
    }

    /// Takes what a pair of members agreed on.
    pub(crate) fn take_pair_opening(
        &mut self,
        round: &RoundContext,
        number: Round,
        opening: &PairOpening,
    ) -> Result<(), Misbehaviour> {
        self.evidence.take_opening(round, &self.cohorts, (number, opening))
    }

    /// Expects the chunks of a masked block. One that enters no sum is not taken.
    pub(crate) fn expect_masked_block(
        &mut self,
        (member, block): (PartyId, BlockId),
        path: Vec<Digest>,
    ) -> Result<(), Misbehaviour> {
        let cohort = self.cohorts.valid_cohort(block);
        if !cohort.is_some_and(|cohort| cohort.has(member)) {
            return Err(Misbehaviour::Sum { block, why: format!("{member} is not summed in it") });
        }
        self.paths.insert((member, block), path);
        self.masked.entry(member).or_default();
        Ok(())
    }

    /// Takes a chunk of an expected masked block.
    pub(crate) fn take_chunk(&mut self, round: &RoundContext, chunk: &Chunk) -> Result<(), Misbehaviour> {
        let wrong = Misbehaviour::Chunk { block: chunk.block, index: chunk.index };
        if chunk.round != round.round() || !self.paths.contains_key(&(chunk.owner, chunk.block)) {
            return Err(wrong);
        }
        let block = round.block(chunk.block).ok_or(wrong.clone())?;
        let masked = self.masked.get_mut(&chunk.owner).ok_or(wrong.clone())?;
        append_chunk_to(masked, chunk, round.plan().packed_bytes(block)).ok_or(wrong)
    }

    /// Takes a part of a block's parameters before the round. Parts come in order; the first one starts over,
    /// because the coordinator sends them from the start after a lost link.
    pub(crate) fn take_parameters(
        &mut self,
        round: &RoundContext,
        part: &ModelPart,
    ) -> Result<(), Misbehaviour> {
        let wrong = Misbehaviour::Chunk { block: part.block, index: part.index };
        let block = round.block(part.block).ok_or(wrong.clone())?;
        let whole = usize::try_from(block.shape.length).unwrap_or(usize::MAX).saturating_mul(4);
        let present = self.parameters.get(&part.block).map_or(0, Vec::len);
        // Only the order of arrival counts, not the number: the digest of the whole is checked before it is
        // used.
        let start = if part.index == 0 { 0 } else { present };
        if start + part.bytes.len() > whole {
            return Err(wrong);
        }
        let bytes = self.parameters.entry(part.block).or_default();
        bytes.truncate(start);
        bytes.extend_from_slice(&part.bytes);
        Ok(())
    }

    /// Whether this custodian recomputed a block and found exactly this.
    pub(crate) fn has_confirmed(&self, closed: &ClosedBlock) -> bool {
        self.confirmed.get(&closed.sum.block) == Some(closed)
    }

    /// Checks that everything is here that recomputing a block needs. Nothing is opened before that, so that
    /// what is missing can still come.
    pub(crate) fn check_complete(&self, closed: &ClosedBlock) -> Result<(), Misbehaviour> {
        if self.has_confirmed(closed) {
            return Ok(());
        }
        let block = closed.sum.block;
        let cohort = self.cohorts.valid_cohort(block).ok_or_else(|| wrong_sum(block, "it is not valid"))?;
        for member in cohort.members() {
            self.check_masked_block(block, member)?;
        }
        // `before` is from the plan, so the coordinator cannot have the sum applied to other parameters.
        if parameters_digest(&self.parameters_before(block)) != closed.before {
            return Err(wrong_sum(block, "the parameters that came are not those before the round"));
        }
        // Seeds of the members that are summed, and mask keys of those that left.
        let mut needed = cohort.members().chain(cohort.absent().iter().copied());
        if !needed.all(|dealer| self.reveals.has_all_of(&self.cohorts, dealer)) {
            return Err(wrong_sum(block, "a secret that it needs was not revealed"));
        }
        Ok(())
    }

    /// Checks that a masked block is whole and the one under the root that its member signed.
    fn check_masked_block(&self, block: BlockId, member: PartyId) -> Result<(), Misbehaviour> {
        let wrong = Misbehaviour::UploadRoot { member };
        let listed = self.cohorts.uploaded().iter().find(|listed| listed.member == member);
        let root = listed.ok_or(wrong.clone())?.root;
        let packed = self.masked.get(&member).and_then(|blocks| blocks.get(&block)).ok_or(wrong.clone())?;
        let path = self.paths.get(&(member, block)).ok_or(wrong.clone())?;
        let uploaded = self.cohorts.sealed_manifest().manifest().blocks_of(member);
        // The leaves under the root are the blocks of the member's cohorts, ascending, as the manifest has
        // them.
        let leaf = uploaded.binary_search_by_key(&block, |listed| listed.0).map_err(|_| wrong.clone())?;
        if is_under_root(root, (block, packed), (leaf, uploaded.len()), path) { Ok(()) } else { Err(wrong) }
    }

    fn parameters_before(&self, block: BlockId) -> Vec<f32> {
        floats(self.parameters.get(&block).map_or(&[][..], Vec::as_slice))
    }

    /// Recomputes the sum of a block for which [`Recomputation::check_complete`] holds, judges it, applies
    /// it, and compares all of that with the closing. The block's permit is used up whether the closing is
    /// right or not.
    pub(crate) fn confirm(&mut self, round: &RoundContext, closed: &ClosedBlock) -> Result<(), Misbehaviour> {
        if self.has_confirmed(closed) {
            return Ok(());
        }
        let block = closed.sum.block;
        let mut parameters = self.parameters_before(block);
        // Once for each block, so that a custodian cannot be asked twice and give two answers.
        let permit = self.cohorts.take_permit(block);
        let permit = permit.ok_or_else(|| wrong_sum(block, "it was recomputed before"))?;
        let manifest = self.cohorts.sealed_manifest().manifest();
        let inputs = OpeningInputs {
            round,
            manifest: manifest.digest(),
            announcements: manifest.announcements(),
            uploads: &self.masked,
            seeds: &self.reveals.seeds,
            mask_keys: &self.reveals.mask_keys,
        };
        let sum = open_block(permit, &inputs)
            .map_err(|_| wrong_sum(block, "a secret that it needs was not revealed"))?;
        let judgement = judge(&inputs, &self.cohorts, &self.evidence, &sum);
        // Also when the closing is wrong: the permit is gone, so nothing can be recomputed from it any more.
        self.forget(block);
        if sum.listed(round, judgement.check) != closed.sum || judgement.blamed != closed.blamed {
            return Err(wrong_sum(block, "the closing lists another sum, or says other things of it"));
        }
        if is_applied(round, judgement.check) {
            apply(round.plan(), &sum, &mut parameters)
                .ok_or_else(|| wrong_sum(block, "the plan has no such block"))?;
        }
        if parameters_digest(&parameters) != closed.after {
            return Err(wrong_sum(block, "the closing lists other parameters after the sum"));
        }
        self.confirmed.insert(block, closed.clone());
        Ok(())
    }

    /// Frees the memory of a block that was recomputed.
    fn forget(&mut self, block: BlockId) {
        self.parameters.remove(&block);
        for blocks in self.masked.values_mut() {
            blocks.remove(&block);
        }
    }
}

fn wrong_sum(block: BlockId, why: &str) -> Misbehaviour {
    Misbehaviour::Sum { block, why: why.into() }
}

/// Checks which blocks a closing opens and what it leaves of the model (`ROUND-25`): every valid block is
/// listed, with its cohort's weight; blocks that are not listed keep their parameters.
///
/// # Errors
/// The first entry of the closing for which that is not so.
pub fn check_closing(
    round: &RoundContext,
    cohorts: &SealedCohorts,
    closing: &Closing,
) -> Result<(), Misbehaviour> {
    // Every valid block, or a sum could be opened, left out, and the same updates summed again.
    let expected: Vec<(BlockId, u32)> =
        cohorts.valid().iter().map(|cohort| (cohort.block(), cohort.weight())).collect();
    let listed: Vec<(BlockId, u32)> = closing.sums.iter().map(|sum| (sum.block, sum.weight)).collect();
    if listed != expected && rule::in_force("ROUND-25") {
        // For the message alone: the first entry that only one of the two lists has.
        let missing = expected
            .iter()
            .chain(&listed)
            .find(|entry| !(listed.contains(entry) && expected.contains(entry)));
        let block = missing.map_or(BlockId(0), |(block, _)| *block);
        let why = "the closing must list every valid block once, ascending, with its weight".into();
        return Err(Misbehaviour::Sum { block, why });
    }
    // Whether the list is complete is checked block by block, by those who recompute the sum.
    if !closing.blamed.is_sorted() || closing.blamed.iter().any(|blamed| !is_refuted(closing, blamed.block)) {
        return Err(Misbehaviour::Closing("a closing blames members of refuted blocks, ascending"));
    }
    let before = &round.plan().parameters;
    expect(Closing::TAG, "model", closing.model, Model::digest_of(&closing.parameters))?;
    expect(Closing::TAG, "number of blocks", closing.parameters.len(), before.len())?;
    // Blocks with an applied sum are left to those who recompute it; all others are checked by everybody.
    let applied = closing.sums.iter().filter(|sum| is_applied(round, sum.check));
    let applied: BTreeSet<BlockId> = applied.map(|sum| sum.block).collect();
    for (block, after) in closing.parameters.iter() {
        if !applied.contains(&block) && before.get(block) != Some(after) {
            let why = "its parameters change without a sum that is applied".into();
            return Err(Misbehaviour::Sum { block, why });
        }
    }
    Ok(())
}

fn is_refuted(closing: &Closing, block: BlockId) -> bool {
    closing.sums.iter().any(|sum| sum.block == block && sum.check == SumCheck::Refuted)
}
