//! Recomputation: a custodian checks sums of a closing from masked blocks and reveals, and signs for them.
//!
//! A closing counts only if for each opened block `f + 1` custodians recomputed its sum, one of them honest
//! (`ROUND-22`). Which custodian is asked for which block goes by rotation; any `f + 1` will do.

use std::collections::BTreeMap;

use cloister_crypto::commitment::SharedSecret;
use cloister_crypto::consortium::Epoch;
use cloister_crypto::group::ScalarSecret;
use cloister_params::consortium::Role;
use cloister_params::id::{BlockId, Digest, PartyId};
use cloister_transcript::{EntryKind, RoundLog};
use cloister_wire::codec;
use cloister_wire::frame::Chunk;
use cloister_wire::message::{Reveal, RevealedSeed};
use cloister_wire::statement::{Body, Closing, OpenedSum, Recomputed, Signed};

use crate::dealing::seed_fits;
use crate::fault::{Misbehaviour, expect};
use crate::opening::{MaskedBlocks, Openings, append_chunk, is_under_root, open_block};
use crate::round::RoundContext;
use crate::sealed::SealedCohorts;
use crate::statement::check_partys;

/// Appends the second seal and the reveals to the log of a round, ascending by member and index.
pub(crate) fn log_reveals(log: &mut RoundLog, cohorts: &SealedCohorts, reveals: &[Reveal]) {
    log.push(EntryKind::Seal2, PartyId::COORDINATOR, cohorts.seal2().bytes().to_vec());
    for reveal in reveals {
        log.push(EntryKind::Reveal, reveal.member, codec::encode(&(reveal.index, reveal.value)));
    }
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
        match secret {
            SharedSecret::MaskKey if scalar.public().bytes() == announced.mask_key => {
                self.mask_keys.insert(member, scalar);
            }
            SharedSecret::Seed(block)
                if seed_fits(round, (member, announced), &RevealedSeed { block, seed: reveal.value }) =>
            {
                self.seeds.insert((member, block), scalar);
            }
            _ => return None,
        }
        Some(())
    }
}

/// Masked blocks that the coordinator handed to a custodian, each with its path under the signed root.
#[derive(Debug, Default)]
pub(crate) struct HandedBlocks {
    paths: BTreeMap<(PartyId, BlockId), Vec<Digest>>,
    blocks: BTreeMap<PartyId, MaskedBlocks>,
}

impl HandedBlocks {
    /// Expects the chunks of a masked block; a block that no valid cohort has is not taken.
    pub(crate) fn expect(
        &mut self,
        cohorts: &SealedCohorts,
        (member, block): (PartyId, BlockId),
        path: Vec<Digest>,
    ) -> Result<(), Misbehaviour> {
        let summed = |cohort: &crate::sealed::SummedCohort| {
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

    /// Forgets a block that was recomputed.
    fn forget(&mut self, block: BlockId) {
        self.blocks.values_mut().for_each(|blocks| {
            blocks.remove(&block);
        });
    }
}

/// Recomputes the sum of one block and compares it with the closing's.
pub(crate) fn recompute(
    round: &RoundContext,
    cohorts: &mut SealedCohorts,
    handed: &mut HandedBlocks,
    reveals: &CheckedReveals,
    listed: &OpenedSum,
) -> Result<(), Misbehaviour> {
    let block = listed.block;
    let wrong = |why: &str| Misbehaviour::Sum { block, why: why.into() };
    let cohort = cohorts.valid().iter().find(|cohort| cohort.block() == block);
    let members: Vec<PartyId> = cohort.ok_or(wrong("it is not valid"))?.members().collect();
    for member in members {
        handed.check(cohorts, block, member)?;
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
    handed.forget(block);
    if sum.listed(round) == *listed { Ok(()) } else { Err(wrong("the closing lists another sum")) }
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
