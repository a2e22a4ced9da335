//! Which members a round summed.

use cloister_params::block::BlockKind;

use crate::results::MeasuredRound;

/// Which members the experts and the head were summed over.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct CohortRecord {
    /// Experts whose cohort was not everyone.
    aligned: usize,
    /// Of each member, experts whose cohort was without it.
    left_out: Vec<usize>,
    /// Members, from 0, that the head was summed without.
    head_without: Vec<usize>,
    /// Of each member, its consensus with another member, expert by expert.
    consensus: Vec<Vec<f64>>,
}

impl CohortRecord {
    pub(crate) fn new(members: usize) -> Self {
        Self {
            aligned: 0,
            left_out: vec![0; members],
            head_without: Vec::new(),
            consensus: vec![Vec::new(); members],
        }
    }

    /// Records one block, which was summed over the members that `is_in` names; of an expert also the
    /// members' consensus.
    pub(crate) fn note(&mut self, kind: BlockKind, is_in: impl Fn(usize) -> bool, consensus: &[Option<f64>]) {
        let absent = (0..self.left_out.len()).filter(|&member| !is_in(member)).collect();
        match kind {
            BlockKind::Expert { .. } => self.count(absent, consensus),
            BlockKind::Shared => self.head_without = absent,
            _ => {}
        }
    }

    fn count(&mut self, absent: Vec<usize>, consensus: &[Option<f64>]) {
        self.aligned += usize::from(!absent.is_empty());
        absent.into_iter().for_each(|member| self.left_out[member] += 1);
        // A consensus is a sum over the other members; divided by their number it is from 0 to 1 for any
        // number of members.
        let others = self.left_out.len().saturating_sub(1).max(1) as f64;
        for (by_expert, sum) in self.consensus.iter_mut().zip(consensus) {
            by_expert.extend(sum.map(|sum| sum / others));
        }
    }

    /// A round with what was measured, and whom it summed.
    pub(crate) fn into_round(self, measured: MeasuredRound) -> MeasuredRound {
        MeasuredRound {
            aligned: Some(self.aligned),
            consensus: Some(self.consensus.iter().map(|by_expert| mean(by_expert)).collect()),
            left_out: Some(self.left_out),
            head_without: Some(self.head_without.iter().map(|member| member + 1).collect()),
            ..measured
        }
    }
}

/// `None` of nothing: a member that no expert has a consensus for.
fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
