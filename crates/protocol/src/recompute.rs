//! Recomputation: a custodian checks sums of a closing from masked blocks and reveals, and signs for them.
//!
//! A closing counts only if for each opened block `f + 1` custodians recomputed its sum, one of them honest
//! (`ROUND-22`). Which custodian is asked for which block goes by rotation; any `f + 1` will do.

use std::collections::BTreeMap;

use cloister_crypto::commitment::SharedSecret;
use cloister_crypto::consortium::Epoch;
use cloister_crypto::group::ScalarSecret;
use cloister_crypto::shamir;
use cloister_params::consortium::Role;
use cloister_params::id::{BlockId, Digest, PartyId};
use cloister_transcript::{EntryKind, RoundLog};
use cloister_wire::codec;
use cloister_wire::frame::Chunk;
use cloister_wire::message::{LostSecret, ModelPart, Reveal, RevealedShare};
use cloister_wire::statement::{Body, Closing, OpenedSum, Recomputed, Signed, SumCheck};

use crate::dealing::{secret_fits, share_fits};
use crate::fault::{Misbehaviour, expect};
use crate::late::{LateEvidence, is_applied, judge};
use crate::model::{Model, apply, floats, parameters_digest};
use crate::opening::{MaskedBlocks, Openings, append_chunk, is_under_root, open_block};
use crate::round::RoundContext;
use crate::sealed::{SealedCohorts, SummedCohort, log_to_uploads};
use crate::statement::check_partys;

/// The log of a round up to the reveals, ascending by member and index, and what members said of their uploads after
/// them; its root is in the closing.
pub(crate) fn log_to_evidence(
    round: &RoundContext,
    cohorts: &SealedCohorts,
    reveals: &[Reveal],
    evidence: &LateEvidence,
) -> RoundLog {
    let mut log = log_to_uploads(round, cohorts.sealed_manifest(), cohorts.uploaded());
    log.push(EntryKind::Seal2, PartyId::COORDINATOR, cohorts.seal2().bytes().to_vec());
    for reveal in reveals {
        log.push(EntryKind::Reveal, reveal.member, codec::encode(&(reveal.index, reveal.value)));
    }
    evidence.log(&mut log);
    log
}

/// Revealed secrets that fit their commitments, by what they are.
#[derive(Debug, Default)]
pub(crate) struct CheckedReveals {
    pub(crate) seeds: BTreeMap<(PartyId, BlockId), ScalarSecret>,
    pub(crate) mask_keys: BTreeMap<PartyId, ScalarSecret>,
}

impl CheckedReveals {
    /// Checks that reveals are distinct and ascending, permitted by both seals, and what was committed to
    /// (`ROUND-01`, `ROUND-15`).
    pub(crate) fn check(
        round: &RoundContext,
        cohorts: &SealedCohorts,
        reveals: &[Reveal],
    ) -> Result<Self, Misbehaviour> {
        let place = |reveal: &Reveal| (reveal.member, reveal.index);
        if let Some(pair) = reveals.windows(2).find(|pair| place(&pair[0]) >= place(&pair[1])) {
            return Err(Misbehaviour::Reveal { dealer: pair[1].member });
        }
        let mut checked = Self::default();
        for reveal in reveals {
            checked.take(round, cohorts, reveal).ok_or(Misbehaviour::Reveal { dealer: reveal.member })?;
        }
        Ok(checked)
    }

    fn take(&mut self, round: &RoundContext, cohorts: &SealedCohorts, reveal: &Reveal) -> Option<()> {
        let member = reveal.member;
        let permitted = cohorts.revealable(member);
        let secret = permitted.into_iter().find(|secret| secret.index() == reveal.index as usize)?;
        let announced = cohorts.sealed_manifest().manifest().announcements().get(&member)?.body();
        let scalar = ScalarSecret::from_revealed(reveal.value)?;
        if !secret_fits(round, (member, announced), secret, &scalar) {
            return None;
        }
        match secret {
            SharedSecret::MaskKey => self.mask_keys.insert(member, scalar),
            SharedSecret::Seed(block) => self.seeds.insert((member, block), scalar),
        };
        Some(())
    }
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
        let summed = |cohort: &SummedCohort| {
            cohort.block() == block && cohort.members().any(|present| present == member)
        };
        if !cohorts.valid().iter().any(summed) {
            return Err(Misbehaviour::Sum { block, why: format!("{member} is not summed in it") });
        }
        self.paths.insert((member, block), path);
        Ok(())
    }

    pub(crate) fn take_chunk(&mut self, round: &RoundContext, chunk: &Chunk) -> Result<(), Misbehaviour> {
        let wrong = Misbehaviour::Chunk { block: chunk.block, index: chunk.index };
        let expected = self.paths.contains_key(&(chunk.owner, chunk.block)) && chunk.round == round.round();
        let block = round.block(chunk.block).filter(|_| expected).ok_or(wrong.clone())?;
        let vector = self.blocks.entry(chunk.owner).or_default().entry(chunk.block).or_default();
        append_chunk(vector, chunk, round.plan().packed_bytes(block)).ok_or(wrong)
    }

    /// Checks that a block's masked blocks are whole and what their members signed.
    fn check(&self, cohorts: &SealedCohorts, block: BlockId, member: PartyId) -> Result<(), Misbehaviour> {
        let wrong = Misbehaviour::UploadRoot { member };
        let uploaded = cohorts.uploaded().iter().find(|listed| listed.member == member);
        let root = uploaded.ok_or(wrong.clone())?.root;
        let packed = self.blocks.get(&member).and_then(|blocks| blocks.get(&block)).ok_or(wrong.clone())?;
        let path = self.paths.get(&(member, block)).ok_or(wrong.clone())?;
        let own: Vec<BlockId> =
            cohorts.sealed_manifest().manifest().blocks_of(member).map(|(block, _)| block).collect();
        let index = own.iter().position(|listed| *listed == block).ok_or(wrong.clone())?;
        if is_under_root(root, (block, packed), (index, own.len()), path) { Ok(()) } else { Err(wrong) }
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
        let bytes = self.parameters.entry(part.block).or_default();
        if part.index == 0 {
            bytes.clear();
        }
        if bytes.len() + part.bytes.len() > whole {
            return Err(wrong);
        }
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
    pub(crate) sum: OpenedSum,
    /// Who lied about it.
    pub(crate) blamed: Vec<PartyId>,
    /// Digest of its parameters before the round.
    pub(crate) before: Digest,
    /// Digest of its parameters after the sum was applied.
    pub(crate) after: Digest,
}

/// Recomputes the sum of one block, judges it, applies it, and compares all of that with the closing.
pub(crate) fn recompute(
    round: &RoundContext,
    cohorts: &mut SealedCohorts,
    handed: &mut HandedBlocks,
    (reveals, evidence): (&CheckedReveals, &LateEvidence),
    closed: &ClosedBlock,
) -> Result<(), Misbehaviour> {
    let block = closed.sum.block;
    let wrong = |why: &str| Misbehaviour::Sum { block, why: why.into() };
    let cohort = cohorts.valid().iter().find(|cohort| cohort.block() == block);
    let members: Vec<PartyId> = cohort.ok_or(wrong("it is not valid"))?.members().collect();
    for member in members {
        handed.check(cohorts, block, member)?;
    }
    let mut parameters = floats(handed.parameters.get(&block).map_or(&[][..], Vec::as_slice));
    if parameters_digest(block, &parameters) != closed.before {
        return Err(wrong("the parameters that came are not those before the round"));
    }
    let permit = cohorts.take_permit(block).ok_or(wrong("it was recomputed before"))?;
    let manifest = cohorts.sealed_manifest().manifest();
    let openings = Openings {
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
    let same = parameters_digest(block, &parameters) == closed.after;
    if same { Ok(()) } else { Err(wrong("the closing lists other parameters after the sum")) }
}

/// Checks which blocks a closing opens and what it leaves of the model (`ROUND-25`): every valid block is listed, with
/// its cohort's weight, but for those that need a secret which is shown to be lost; blocks that are not listed keep
/// their parameters.
pub(crate) fn check_closing(
    round: &RoundContext,
    cohorts: &SealedCohorts,
    closing: &Closing,
    before: &[Digest],
    lost: &[LostSecret],
) -> Result<(), Misbehaviour> {
    let lost = lost.iter().map(|secret| check_lost(round, cohorts, secret)).collect::<Result<Vec<_>, _>>()?;
    let stays_closed = |cohort: &SummedCohort| cohort.secrets().iter().any(|needed| lost.contains(needed));
    let opened = cohorts.valid().iter().filter(|cohort| !stays_closed(cohort));
    let expected: Vec<(BlockId, u32)> = opened.map(|cohort| (cohort.block(), cohort.weight())).collect();
    let listed: Vec<(BlockId, u32)> = closing.sums.iter().map(|sum| (sum.block, sum.weight)).collect();
    if listed != expected {
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
    expect(Closing::TAG, "model before", Model::digest_of(before), round.plan().model)?;
    expect(Closing::TAG, "model", closing.model, Model::digest_of(&closing.parameters))?;
    expect(Closing::TAG, "number of blocks", closing.parameters.len(), before.len())?;
    let applied = |block| closing.sums.iter().any(|sum| sum.block == block && is_applied(round, sum.check));
    let blocks = (0u32..).map(BlockId).zip(before.iter().zip(&closing.parameters));
    for (block, (old, new)) in blocks.filter(|(block, _)| !applied(*block)) {
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

/// Checks that committed shares of a secret do not make up what its dealer committed to.
fn check_lost(
    round: &RoundContext,
    cohorts: &SealedCohorts,
    lost: &LostSecret,
) -> Result<(PartyId, SharedSecret), Misbehaviour> {
    let member = lost.member;
    let wrong = Misbehaviour::Reveal { dealer: member };
    let permitted = cohorts.revealable(member);
    let secret =
        permitted.into_iter().find(|secret| secret.index() == lost.index as usize).ok_or(wrong.clone())?;
    let announcements = cohorts.sealed_manifest().manifest().announcements();
    let announced = (member, announcements.get(&member).ok_or(wrong.clone())?.body());
    let fits = |(custodian, share): &(PartyId, RevealedShare)| {
        share_fits(round, announced, *custodian, secret, share)
    };
    let threshold = round.roster().floors().reveal_threshold;
    let points: Vec<(u32, [u8; 32])> =
        lost.shares.iter().map(|(holder, share)| (holder.0, share.share)).collect();
    if !lost.shares.iter().all(fits) || points.len() != threshold {
        return Err(wrong);
    }
    match shamir::combine(threshold, &points) {
        Err(shamir::CombineError::TooFew { .. } | shamir::CombineError::Holders) => Err(wrong),
        Ok(recovered) if secret_fits(round, announced, secret, &recovered) => Err(wrong),
        _ => Ok((member, secret)),
    }
}

/// The custodians whose statements say that they recomputed a block of this closing.
fn recomputed_by(statements: &[(PartyId, Recomputed)], closing: Digest, block: BlockId) -> usize {
    let mut custodians: Vec<PartyId> = statements
        .iter()
        .filter(|(_, body)| body.closing == closing && body.blocks.contains(&block))
        .map(|(custodian, _)| *custodian)
        .collect();
    custodians.sort_unstable();
    custodians.dedup();
    custodians.len()
}

/// Checks that for each opened block `f + 1` custodians signed that they recomputed its sum (`ROUND-22`).
///
/// # Errors
/// A statement that is not a custodian's, or of another epoch or round; a block with too few.
pub fn check_recomputed(
    epoch: &Epoch,
    closing: &Closing,
    digest: Digest,
    statements: &[Signed<Recomputed>],
) -> Result<(), Misbehaviour> {
    let mut checked = Vec::new();
    for signed in statements {
        let statement = check_partys(signed, epoch, Role::Custodian)?;
        expect(Recomputed::TAG, "epoch", statement.body().epoch, closing.epoch)?;
        expect(Recomputed::TAG, "round", statement.body().round, closing.round)?;
        checked.push((statement.signer(), statement.body().clone()));
    }
    let quorum = epoch.consortium().floors().malicious_custodians + 1;
    for sum in &closing.sums {
        let got = recomputed_by(&checked, digest, sum.block);
        if got < quorum {
            return Err(Misbehaviour::Quorum { what: Recomputed::TAG, got, quorum });
        }
    }
    Ok(())
}
