//! How well scores separate members from non-members.

/// Scores of members (inside) and of non-members (outside).
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Roc {
    inside: Vec<f64>,
    outside: Vec<f64>,
}

impl Roc {
    pub(crate) fn add(&mut self, is_there: bool, score: f64) {
        if is_there { self.inside.push(score) } else { self.outside.push(score) }
    }

    /// The probability that a member scores higher than a non-member; ½ is chance.
    pub(crate) fn area(&self) -> f64 {
        let mut all: Vec<(f64, bool)> = self.inside.iter().map(|score| (*score, true)).collect();
        all.extend(self.outside.iter().map(|score| (*score, false)));
        all.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut below = 0.0;
        let mut wins = 0.0;
        for ties in all.chunk_by(|one, other| one.0 == other.0) {
            let inside = ties.iter().filter(|(_, is_there)| *is_there).count() as f64;
            let outside = ties.len() as f64 - inside;
            // Ties count half, so that a constant score has ½ and not 0 or 1.
            wins += inside * (below + outside / 2.0);
            below += outside;
        }
        wins / (self.inside.len() * self.outside.len()) as f64
    }

    /// The share of members found at a threshold that at most this share of non-members passes.
    pub(crate) fn found_at(&self, false_positives: f64) -> f64 {
        let mut outside = self.outside.clone();
        outside.sort_by(|one, other| other.total_cmp(one));
        // Rounded down, and a score has to exceed the next non-member's: the rate stays within the limit,
        // ties included.
        let allowed = (false_positives * outside.len() as f64) as usize;
        let threshold = outside.get(allowed).copied().unwrap_or(f64::NEG_INFINITY);
        self.inside.iter().filter(|score| **score > threshold).count() as f64 / self.inside.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separated_scores_are_told_apart_and_equal_ones_by_chance() {
        let mut apart = Roc::default();
        (0..100).for_each(|at| apart.add(at % 2 == 0, if at % 2 == 0 { 1.0 } else { 0.0 }));
        assert_eq!((apart.area(), apart.found_at(0.0), apart.found_at(0.01)), (1.0, 1.0, 1.0));
        let mut equal = Roc::default();
        (0..100).for_each(|at| equal.add(at % 2 == 0, 3.0));
        assert_eq!((equal.area(), equal.found_at(0.01)), (0.5, 0.0));
    }

    #[test]
    fn false_positives_are_counted() {
        let mut roc = Roc::default();
        (0..100).for_each(|at| roc.add(false, f64::from(at)));
        [98.5, 97.5, 3.0].into_iter().for_each(|score| roc.add(true, score));
        assert_eq!((roc.found_at(0.01), roc.found_at(0.02)), (1.0 / 3.0, 2.0 / 3.0));
    }
}
