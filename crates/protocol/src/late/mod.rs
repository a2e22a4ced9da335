//! Late sketches: how a lying upload becomes visible, and who is shown to have lied.
//!
//! Once all seeds of a block are open, each member of its cohort sends its upload's integers through a
//! projection that the seeds fix ([`projection`], `LATE-02`); the sketches must make up the sketch of the
//! sum, and each is bounded ([`check`], `LATE-03`, `LATE-04`). Where they do not, [`blame`] finds who lied,
//! from signed answers about one row (`LATE-06` to `LATE-09`). No mask is opened that an honest pair shares.

pub mod blame;
pub mod check;
mod evidence;

use std::collections::BTreeSet;

use cloister_alignment::late::LateProjection;
use cloister_crypto::hash::{Domain, digest};
use cloister_params::id::{BlockId, PartyId};
use cloister_params::late;
use cloister_params::plan::LateSketchMode;
use cloister_params::rule;
use cloister_wire::statement::SumCheck;

use crate::late::blame::BlamedRow;
use crate::late::check::check_sum;
use crate::opening::{OpenedSum, OpeningInputs, Seeds};
use crate::round::RoundContext;
use crate::sealed::{SealedCohorts, SummedCohort};

pub use evidence::LateEvidence;
pub(crate) use evidence::{contradicts, open_pair};

/// Whether members of this block's cohort are asked for late sketches (`LATE-01`).
pub fn is_sketched(round: &RoundContext, block: BlockId) -> bool {
    let planned = round.block(block).is_some_and(late::is_sketched);
    planned && round.plan().settings.late_sketches != LateSketchMode::Off
}

/// Whether a sum is applied to the model (`LATE-05`): none of a rehearsal (`ROUND-45`).
pub fn is_applied(round: &RoundContext, check: SumCheck) -> bool {
    if round.plan().settings.rehearsal && rule::in_force("ROUND-45") {
        return false;
    }
    match check {
        SumCheck::NotSketched | SumCheck::Checked => true,
        // Under `Required`, silence must not get a false upload applied; under `Optional`, a member that left
        // must not stop the block.
        SumCheck::Unchecked => round.plan().settings.late_sketches == LateSketchMode::Optional,
        SumCheck::Refuted => false,
    }
}

/// The projection of a block, from the second seal and all seeds of its cohort; `None` while one is missing.
///
/// Nobody knew it when uploading: the uploads were sealed before any seed was open.
pub fn projection(cohorts: &SealedCohorts, cohort: &SummedCohort, seeds: &Seeds) -> Option<LateProjection> {
    let block = cohort.block();
    // Each honest member's seed is unpredictable before it is revealed, so one of them makes the projection
    // so.
    let mut cohort_seeds = Vec::new();
    for member in cohort.members() {
        cohort_seeds.extend_from_slice(seeds.get(&(member, block))?.reveal());
    }
    let parts = [&cohorts.seal2().digest().0[..], &block.0.to_be_bytes(), &cohort_seeds];
    Some(LateProjection::new(digest(Domain::Late, &parts)))
}

/// The sketched blocks that a member is summed in and of which all seeds are known, ascending, each with its
/// projection.
pub fn sketched_blocks<'a>(
    round: &'a RoundContext,
    cohorts: &'a SealedCohorts,
    member: PartyId,
    seeds: &'a Seeds,
) -> impl Iterator<Item = (&'a SummedCohort, LateProjection)> {
    let members_cohorts = cohorts.valid().iter().filter(move |cohort| cohort.has(member));
    let sketched = members_cohorts.filter(|cohort| is_sketched(round, cohort.block()));
    sketched.filter_map(|cohort| Some((cohort, projection(cohorts, cohort, seeds)?)))
}

/// The result of the late sketches for one sum, and the members that were shown to have lied about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judgement {
    /// What the closing says of the sum.
    pub check: SumCheck,
    /// The members that lied, ascending: by a sketch that is too large, or by answers that show it.
    pub blamed: Vec<PartyId>,
}

/// Judges a sum by everything that members signed and showed. Every custodian that recomputes the sum comes
/// to the same judgement.
pub fn judge(
    openings: &OpeningInputs<'_>,
    cohorts: &SealedCohorts,
    evidence: &LateEvidence,
    sum: &OpenedSum,
) -> Judgement {
    let verdict = check_sum(openings.round, cohorts, openings.seeds, evidence, sum);
    let mut blamed: BTreeSet<PartyId> = verdict.too_large.iter().copied().collect();
    let cohort = cohorts.valid_cohort(sum.block());
    if let (Some((row, projection)), Some(cohort)) = (verdict.failing, cohort) {
        let manifest = openings.manifest;
        let blamed_row = BlamedRow { round: openings.round, manifest, cohort, projection, row };
        blamed.extend(blamed_row.liars(openings, evidence));
    }
    Judgement { check: verdict.check, blamed: blamed.into_iter().collect() }
}
