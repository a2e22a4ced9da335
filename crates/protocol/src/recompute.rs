//! Recomputation: a custodian checks sums of a closing from masked blocks and reveals, and signs for them.
//!
//! A closing counts only if for each opened block `f + 1` custodians recomputed its sum, one of them honest
//! (`ROUND-22`). Which custodian is asked for which block goes by rotation; any `f + 1` will do.

use std::collections::{BTreeMap, BTreeSet};

use cloister_params::id::{BlockId, Digest, PartyId};
use cloister_params::rule;
use cloister_transcript::{EntryKind, RoundLog};
use cloister_wire::frame::Chunk;
use cloister_wire::message::ModelPart;
use cloister_wire::statement::{Body, Closing, ListedSum, SumCheck};

use crate::applying::apply;
use crate::fault::{Misbehaviour, expect};
use crate::late::{LateEvidence, is_applied, judge};
use crate::model::{Model, floats, parameters_digest};
use crate::opening::{MaskedBlocks, OpeningInputs, append_chunk_to, is_under_root, open_block};
use crate::reveals::CheckedReveals;
use crate::round::RoundContext;
use crate::sealed::{SealedCohorts, SummedCohort, log_to_uploads};

/// The log of a round up to the reveals and what members said of their uploads after them; its root is in the closing.
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

/// Masked blocks that the coordinator handed to a custodian, each with its path under the signed root.
#[derive(Debug, Default)]
pub(crate) struct HandedBlocks {
    paths: BTreeMap<(PartyId, BlockId), Vec<Digest>>,
    blocks: BTreeMap<PartyId, MaskedBlocks>,
    /// Parameters before the round, by block.
    parameters: BTreeMap<BlockId, Vec<u8>>,
}

impl HandedBlocks {
    /// Expects the chunks of a masked block; a block that no valid cohort has is not taken.
    pub(crate) fn expect(
        &mut self,
        cohorts: &SealedCohorts,
        (member, block): (PartyId, BlockId),
        path: Vec<Digest>,
    ) -> Result<(), Misbehaviour> {
        let is_summed = |cohort: &SummedCohort| cohort.members().any(|present| present == member);
        if !cohorts.valid_cohort(block).is_some_and(is_summed) {
            return Err(Misbehaviour::Sum { block, why: format!("{member} is not summed in it") });
        }
        self.paths.insert((member, block), path);
        self.blocks.entry(member).or_default();
        Ok(())
    }

    pub(crate) fn take_chunk(&mut self, round: &RoundContext, chunk: &Chunk) -> Result<(), Misbehaviour> {
        let wrong = Misbehaviour::Chunk { block: chunk.block, index: chunk.index };
        let expected = self.paths.contains_key(&(chunk.owner, chunk.block)) && chunk.round == round.round();
        let block = round.block(chunk.block).filter(|_| expected).ok_or(wrong.clone())?;
        let blocks = self.blocks.get_mut(&chunk.owner).ok_or(wrong.clone())?;
        append_chunk_to(blocks, chunk, round.plan().packed_bytes(block)).ok_or(wrong)
    }

    /// Checks that a block's masked blocks are whole and what their members signed.
    fn check(&self, cohorts: &SealedCohorts, block: BlockId, member: PartyId) -> Result<(), Misbehaviour> {
        let wrong = Misbehaviour::UploadRoot { member };
        let uploaded = cohorts.uploaded().iter().find(|listed| listed.member == member);
        let root = uploaded.ok_or(wrong.clone())?.root;
        let packed = self.blocks.get(&member).and_then(|blocks| blocks.get(&block)).ok_or(wrong.clone())?;
        let path = self.paths.get(&(member, block)).ok_or(wrong.clone())?;
        let uploaded = cohorts.sealed_manifest().manifest().blocks_of(member);
        let index = uploaded.binary_search_by_key(&block, |listed| listed.0).map_err(|_| wrong.clone())?;
        if is_under_root(root, (block, packed), (index, uploaded.len()), path) { Ok(()) } else { Err(wrong) }
    }

    /// Takes a part of a block's parameters before the round.
    pub(crate) fn take_parameters(
        &mut self,
        round: &RoundContext,
        part: &ModelPart,
    ) -> Result<(), Misbehaviour> {
        let wrong = Misbehaviour::Chunk { block: part.block, index: part.index };
        let block = round.block(part.block).ok_or(wrong.clone())?;
        let whole = usize::try_from(block.shape.length).unwrap_or(usize::MAX).saturating_mul(4);
        let here = self.parameters.get(&part.block).map_or(0, Vec::len);
        // The first part starts over.
        let start = if part.index == 0 { 0 } else { here };
        if start + part.bytes.len() > whole {
            return Err(wrong);
        }
        let bytes = self.parameters.entry(part.block).or_default();
        bytes.truncate(start);
        bytes.extend_from_slice(&part.bytes);
        Ok(())
    }

    /// Forgets a block that was recomputed.
    fn forget(&mut self, block: BlockId) {
        self.parameters.remove(&block);
        self.blocks.values_mut().for_each(|blocks| {
            blocks.remove(&block);
        });
    }
}

/// What a closing says of one block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ClosedBlock {
    /// Its sum and weight, and what the late sketches say of it.
    pub(crate) sum: ListedSum,
    /// Who lied about it.
    pub(crate) blamed: Vec<PartyId>,
    /// Digest of its parameters before the round.
    pub(crate) before: Digest,
    /// Digest of its parameters after the sum was applied.
    pub(crate) after: Digest,
}

/// Checks that everything is here from which the sum of a block is recomputed: nothing is opened before, so that what is
/// missing can still come.
pub(crate) fn check_handed(
    cohorts: &SealedCohorts,
    handed: &HandedBlocks,
    reveals: &CheckedReveals,
    closed: &ClosedBlock,
) -> Result<(), Misbehaviour> {
    let block = closed.sum.block;
    let wrong = |why: &str| Misbehaviour::Sum { block, why: why.into() };
    let cohort = cohorts.valid_cohort(block).ok_or(wrong("it is not valid"))?;
    cohort.members().try_for_each(|member| handed.check(cohorts, block, member))?;
    let parameters = floats(handed.parameters.get(&block).map_or(&[][..], Vec::as_slice));
    if parameters_digest(&parameters) != closed.before {
        return Err(wrong("the parameters that came are not those before the round"));
    }
    let mut needed = cohort.members().chain(cohort.absent().iter().copied());
    if !needed.all(|dealer| reveals.has_all_of(cohorts, dealer)) {
        return Err(wrong("a secret that it needs was not revealed"));
    }
    Ok(())
}

/// Recomputes the sum of one block for which everything is here ([`check_handed`]), judges it, applies it, and compares all of
/// that with the closing.
pub(crate) fn recompute(
    round: &RoundContext,
    cohorts: &mut SealedCohorts,
    handed: &mut HandedBlocks,
    (reveals, evidence): (&CheckedReveals, &LateEvidence),
    closed: &ClosedBlock,
) -> Result<(), Misbehaviour> {
    let block = closed.sum.block;
    let wrong = |why: &str| Misbehaviour::Sum { block, why: why.into() };
    let mut parameters = floats(handed.parameters.get(&block).map_or(&[][..], Vec::as_slice));
    let permit = cohorts.take_permit(block).ok_or(wrong("it was recomputed before"))?;
    let manifest = cohorts.sealed_manifest().manifest();
    let openings = OpeningInputs {
        round,
        manifest: manifest.digest(),
        announcements: manifest.announcements(),
        uploads: &handed.blocks,
        seeds: &reveals.seeds,
        mask_keys: &reveals.mask_keys,
    };
    let sum = open_block(permit, &openings).map_err(|_| wrong("a secret that it needs was not revealed"))?;
    let judgement = judge(&openings, cohorts, evidence, &sum);
    handed.forget(block);
    if sum.listed(round, judgement.check) != closed.sum || judgement.blamed != closed.blamed {
        return Err(wrong("the closing lists another sum, or says other things of it"));
    }
    if is_applied(round, judgement.check) {
        apply(round.plan(), &sum, &mut parameters).ok_or(wrong("the plan has no such block"))?;
    }
    let same = parameters_digest(&parameters) == closed.after;
    if same { Ok(()) } else { Err(wrong("the closing lists other parameters after the sum")) }
}

/// Checks which blocks a closing opens and what it leaves of the model (`ROUND-25`): every valid block is listed, with
/// its cohort's weight; blocks that are not listed keep their parameters.
pub(crate) fn check_closing(
    round: &RoundContext,
    cohorts: &SealedCohorts,
    closing: &Closing,
) -> Result<(), Misbehaviour> {
    let expected: Vec<(BlockId, u32)> =
        cohorts.valid().iter().map(|cohort| (cohort.block(), cohort.weight())).collect();
    let listed: Vec<(BlockId, u32)> = closing.sums.iter().map(|sum| (sum.block, sum.weight)).collect();
    if listed != expected && rule::in_force("ROUND-25") {
        let missing = expected
            .iter()
            .chain(&listed)
            .find(|entry| !(listed.contains(entry) && expected.contains(entry)));
        let block = missing.map_or(BlockId(0), |(block, _)| *block);
        let why = "the closing must list every valid block once, ascending, with its weight".into();
        return Err(Misbehaviour::Sum { block, why });
    }
    if !closing.blamed.is_sorted() || closing.blamed.iter().any(|blamed| !is_refuted(closing, blamed.block)) {
        return Err(Misbehaviour::Closing("a closing blames members of refuted blocks, ascending"));
    }
    let before = &round.plan().parameters;
    expect(Closing::TAG, "model", closing.model, Model::digest_of(&closing.parameters))?;
    expect(Closing::TAG, "number of blocks", closing.parameters.len(), before.len())?;
    let applied = closing.sums.iter().filter(|sum| is_applied(round, sum.check));
    let applied: BTreeSet<BlockId> = applied.map(|sum| sum.block).collect();
    let blocks = (0u32..).map(BlockId).zip(before.iter().zip(&closing.parameters));
    for (block, (old, new)) in blocks.filter(|(block, _)| !applied.contains(block)) {
        if old != new {
            let why = "its parameters change without a sum that is applied".into();
            return Err(Misbehaviour::Sum { block, why });
        }
    }
    Ok(())
}

fn is_refuted(closing: &Closing, block: BlockId) -> bool {
    closing.sums.iter().any(|sum| sum.block == block && sum.check == SumCheck::Refuted)
}
