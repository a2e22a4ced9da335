//! The result of comparing a block's late sketches with its sum.

use cloister_alignment::late::{LateProjection, squared_norm};
use cloister_params::id::PartyId;
use cloister_params::late::{LATE_ROWS, norm_bound};
use cloister_params::rule;
use cloister_wire::statement::SumCheck;

use crate::late::{LateEvidence, is_sketched, projection};
use crate::opening::{OpenedSum, Seeds};
use crate::round::RoundContext;
use crate::sealed::{SealedCohorts, SummedCohort};

/// The result of comparing a block's late sketches with its sum.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SumVerdict {
    /// The result that the closing lists.
    pub check: SumCheck,
    /// Members whose own sketch is larger than the plan's clip and weight allow, ascending.
    pub too_large: Vec<PartyId>,
    /// The first row in which the sketches do not add up to the sum, and the projection.
    pub failing: Option<(usize, LateProjection)>,
}

impl SumVerdict {
    fn without_sketches(check: SumCheck) -> Self {
        Self { check, too_large: Vec::new(), failing: None }
    }
}

/// Compares a block's late sketches with its sum (`LATE-03`), and each with its bound (`LATE-04`).
pub fn check_sum(
    round: &RoundContext,
    cohorts: &SealedCohorts,
    seeds: &Seeds,
    evidence: &LateEvidence,
    sum: &OpenedSum,
) -> SumVerdict {
    if !is_sketched(round, sum.block()) {
        return SumVerdict::without_sketches(SumCheck::NotSketched);
    }
    let cohort = cohorts.valid_cohort(sum.block());
    let Some((cohort, projection)) =
        cohort.and_then(|cohort| Some((cohort, projection(cohorts, cohort, seeds)?)))
    else {
        return SumVerdict::without_sketches(SumCheck::Unchecked);
    };
    let too_large = too_large(round, cohort, evidence);
    // Found even where a sketch is too large: who lied about the row is named as well.
    let failing = first_failing_row(round, cohort, evidence, projection, sum.words());
    let is_whole = cohort.members().all(|member| evidence.rows(member, sum.block()).is_some());
    let failing = failing.filter(|_| rule::in_force("LATE-03"));
    let check = match (too_large.is_empty() && failing.is_none(), is_whole) {
        (false, _) => SumCheck::Refuted,
        (true, true) => SumCheck::Checked,
        (true, false) => SumCheck::Unchecked,
    };
    SumVerdict { check, too_large, failing: failing.map(|row| (row, projection)) }
}

/// The members whose own sketch is larger than its bound (`LATE-04`), ascending.
fn too_large(round: &RoundContext, cohort: &SummedCohort, evidence: &LateEvidence) -> Vec<PartyId> {
    let ring = round.plan().settings.ring;
    let Some(block) = round.block(cohort.block()) else { return Vec::new() };
    if !rule::in_force("LATE-04") {
        return Vec::new();
    }
    let mut too_large = Vec::new();
    for listed in cohort.weighted() {
        let rows = evidence.rows(listed.member, cohort.block());
        // By what the member signed itself, so that it is named without any answer.
        if rows.is_some_and(|rows| squared_norm(ring, rows) > norm_bound(block, listed.weight)) {
            too_large.push(listed.member);
        }
    }
    too_large
}

/// The first row in which the members' sketches do not add up to the sum's; `None` too while one is missing.
pub fn first_failing_row(
    round: &RoundContext,
    cohort: &SummedCohort,
    evidence: &LateEvidence,
    projection: LateProjection,
    sum: &[u32],
) -> Option<usize> {
    let ring = round.plan().settings.ring;
    // The projection is linear, so the sum's rows minus the members' rows are 0 in the ring.
    let mut left = projection.rows(ring, sum.iter().copied());
    for member in cohort.members() {
        // One missing sketch hides any difference, so nothing is refuted and nobody is asked.
        let rows = evidence.rows(member, cohort.block())?;
        for (left, row) in left.iter_mut().zip(rows) {
            *left = left.wrapping_sub(*row);
        }
    }
    // The first one, so that all members answer about the same row without being told which.
    (0..LATE_ROWS).find(|row| ring.reduce(left[*row]) != 0)
}
