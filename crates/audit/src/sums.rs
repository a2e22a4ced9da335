//! The opened sums of a closed round against its closing, the late sketches, and the models (`LOG-07`, `ROUND-21`).

use std::fmt::Display;

use cloister_params::id::{BlockId, PartyId};
use cloister_protocol::late::check::check_sum;
use cloister_protocol::late::{LateEvidence, is_applied};
use cloister_protocol::model::Model;
use cloister_protocol::opening::{OpenedSum, Seeds};
use cloister_protocol::round::RoundContext;
use cloister_protocol::sealed::SealedCohorts;
use cloister_wire::statement::Closing;

use crate::claim::{AuditClaim, ClaimFault, ClaimGap};

/// A closed round whose reveals and late sketches were checked.
pub(crate) struct SummedRound {
    pub(crate) context: RoundContext,
    pub(crate) cohorts: SealedCohorts,
    pub(crate) seeds: Seeds,
    pub(crate) evidence: LateEvidence,
    pub(crate) closing: Closing,
}

impl SummedRound {
    /// The published sums, each compared with the digest that the closing lists.
    pub(crate) fn sums(&self, mut packed: &[u8]) -> Result<Vec<OpenedSum>, ClaimFault> {
        let (plan, mut sums) = (self.context.plan(), Vec::new());
        for listed in &self.closing.sums {
            let length = self.context.block(listed.block).map_or(0, |block| plan.packed_bytes(block));
            let (words, rest) = packed.split_at_checked(length).ok_or_else(|| {
                wrong_sums(format!("its file of sums ends within that of {}", listed.block))
            })?;
            let sum = OpenedSum::published(&self.context, listed, words);
            sums.push(sum.map_err(wrong_sums)?);
            packed = rest;
        }
        match packed.is_empty() {
            true => Ok(sums),
            false => Err(wrong_sums(format!("its file of sums is {} bytes too long", packed.len()))),
        }
    }

    /// Compares what the closing says of late sketches with what follows from them (`LATE-03`, `LATE-04`). The gap is who
    /// lied about a row, which follows from masked blocks.
    pub(crate) fn check_late_sketches(&self, sums: &[OpenedSum]) -> Result<Option<ClaimGap>, ClaimFault> {
        let mut gap = None;
        for (sum, listed) in sums.iter().zip(&self.closing.sums) {
            let block = sum.block();
            let verdict = check_sum(&self.context, &self.cohorts, &self.seeds, &self.evidence, sum);
            if verdict.check != listed.check {
                let (said, found) = (listed.check, verdict.check);
                return Err(wrong_sketches(format!(
                    "its closing says {said:?} of {block}, and the sketches say {found:?}"
                )));
            }
            let blamed = self.blamed(block);
            if let Some(member) = verdict.too_large.iter().find(|member| !blamed.contains(member)) {
                return Err(wrong_sketches(format!(
                    "the sketch of {member} for {block} is too large, and nobody says so"
                )));
            }
            let Some(other) = blamed.iter().find(|member| !verdict.too_large.contains(member)) else {
                continue;
            };
            if verdict.failing.is_none() {
                return Err(wrong_sketches(format!("{other} is named for {block} without a row that fails")));
            }
            let why =
                format!("that {other} lied about {block} follows from masked blocks, which are not kept");
            gap = Some((AuditClaim::LateSketches, why));
        }
        Ok(gap)
    }

    /// The opened blocks, each with the number of members in its sum.
    pub(crate) fn opened(&self) -> Vec<(BlockId, u32)> {
        let mut opened = Vec::new();
        for cohort in self.cohorts.valid() {
            opened.push((cohort.block(), cohort.members().count() as u32));
        }
        opened
    }

    fn blamed(&self, block: BlockId) -> Vec<PartyId> {
        let named = self.closing.blamed.iter().filter(|blamed| blamed.block == block);
        named.map(|blamed| blamed.member).collect()
    }

    /// The model after the round, from the one before it.
    pub(crate) fn model_after(&self, before: &Model, sums: Vec<OpenedSum>) -> Result<Model, ClaimFault> {
        let mut applied = Vec::with_capacity(sums.len());
        for (sum, listed) in sums.into_iter().zip(&self.closing.sums) {
            if is_applied(&self.context, listed.check) {
                applied.push(sum);
            }
        }
        before.check(&self.context.plan().settings.blocks).map_err(wrong_sums)?;
        let after = before.after(self.context.plan(), &applied).map_err(wrong_sums)?;
        if after.digest() == self.closing.model {
            return Ok(after);
        }
        let (named, found) = (self.closing.model, after.digest());
        Err(wrong_sums(format!("its closing names the model {named}, and from its sums follows {found}")))
    }
}

fn wrong_sums(why: impl Display) -> ClaimFault {
    (AuditClaim::OpenedSums, why.to_string())
}

fn wrong_sketches(why: impl Display) -> ClaimFault {
    (AuditClaim::LateSketches, why.to_string())
}
