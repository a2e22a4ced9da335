//! Cohort rules: whom FedAlign-MoE sums for an expert. All but `aligned` are controls for experiments.
//!
//! A rule is a module of this folder with a function `shares`, and a line of the list below.

use cloister_alignment::reference::{ExpertScores, TrainedExpert};
use cloister_params::floors::Floors;
use cloister_params::id::BlockId;
use serde::{Deserialize, Serialize};

use crate::strategy::MemberUpdates;
use crate::strategy::registry;

mod aligned;
mod complementary;
mod everyone;
mod random;
mod soft;

registry::cohort_rules! {
    /// The members that align.
    Aligned => aligned,
    /// Everyone, weighted by consensus: the paper's soft form.
    Soft => soft,
    /// As many members as would align, drawn at random.
    Random => random,
    /// As many members as would align, those that agree least with the others.
    Complementary => complementary,
    /// Everyone.
    Everyone => everyone,
}

/// One expert with everything that a rule can look at.
pub(crate) struct ScoredExpert<'a> {
    pub(super) block: BlockId,
    /// What each member knows of the expert: its region, its update and its token count.
    pub(super) roles: &'a [TrainedExpert],
    pub(super) scores: ExpertScores,
    pub(super) updates: &'a MemberUpdates<'a>,
    /// The seed of the run, for rules that draw.
    pub(super) seed: u64,
}

impl ScoredExpert<'_> {
    /// How many members align. Controls choose as many, so that they differ from `aligned` in nothing but who
    /// is chosen.
    fn aligned_count(&self) -> usize {
        self.scores.aligned.iter().filter(|aligns| **aligns).count()
    }
}

/// The shares of a cohort's members by their texts. As in the protocol, a cohort below the floor falls back
/// to everyone.
pub(super) fn shares_of_cohort(is_in: &[bool], updates: &MemberUpdates<'_>) -> Vec<f64> {
    let members = is_in.iter().filter(|is_in| **is_in).count();
    let floor = Floors::for_roster(is_in.len(), is_in.len()).map_or(1, |floors| floors.cohort);
    if members < floor {
        return updates.by_texts();
    }
    // Divided by members, not by their texts: behind masks each update is scaled before its cohort is known.
    let pairs = updates.sizes.iter().zip(is_in);
    pairs.map(|(size, is_in)| if *is_in { size / members as f64 } else { 0.0 }).collect()
}

/// For each of `count` members, whether it is among `chosen`.
fn membership(count: usize, chosen: &[usize]) -> Vec<bool> {
    (0..count).map(|member| chosen.contains(&member)).collect()
}
