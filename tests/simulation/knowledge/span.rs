//! All linear combinations of rows, kept in reduced row echelon form while rows come one by one.

use std::collections::BTreeMap;

use super::field::Residue;

/// The coefficients of a row that are not 0, by unknown.
pub(crate) type Row<Unknown, const P: u64> = BTreeMap<Unknown, Residue<P>>;

/// The span of the rows that were inserted.
///
/// Each stored row begins with the coefficient 1 of its leading unknown, which no other stored row has. So a
/// combination of stored rows has the leading unknowns of exactly the rows that are in it. Two consequences are used:
/// - A combination without any of the first unknowns is one of stored rows that lead with later unknowns.
/// - A row is in the span if taking off the stored rows of its leading unknowns leaves nothing.
#[derive(Clone, Debug)]
pub(crate) struct Span<Unknown, const P: u64> {
    /// By leading unknown.
    rows: BTreeMap<Unknown, Row<Unknown, P>>,
}

impl<Unknown: Ord + Copy, const P: u64> Span<Unknown, P> {
    pub(crate) fn new() -> Self {
        Self { rows: BTreeMap::new() }
    }

    /// The span of rows that exist already.
    fn from_rows(rows: impl IntoIterator<Item = Row<Unknown, P>>) -> Self {
        let mut span = Self::new();
        for row in rows {
            span.insert(row);
        }
        span
    }

    /// Adds a row. Gives the leading unknown of what the row adds to the span, or nothing if it was in it.
    pub(crate) fn insert(&mut self, row: Row<Unknown, P>) -> Option<Unknown> {
        let mut rest = row;
        rest.retain(|_, coefficient| !coefficient.is_zero());
        let led: Vec<Unknown> =
            rest.keys().filter(|unknown| self.rows.contains_key(unknown)).copied().collect();
        for unknown in led {
            take_off(&mut rest, &self.rows[&unknown], unknown);
        }
        let (leading, coefficient) = rest.first_key_value().map(|(unknown, first)| (*unknown, *first))?;
        let scale = coefficient.inverse();
        rest.values_mut().for_each(|coefficient| *coefficient = coefficient.times(scale));
        for stored in self.rows.values_mut() {
            take_off(stored, &rest, leading);
        }
        self.rows.insert(leading, rest);
        Some(leading)
    }

    /// The span of the rows that lead with this unknown or a later one: all combinations without any earlier unknown.
    pub(crate) fn without_unknowns_before(&self, first: Unknown) -> Self {
        Self { rows: self.rows.range(first..).map(|(leading, row)| (*leading, row.clone())).collect() }
    }

    /// Whether a combination other than 0 has coefficients at these unknowns alone. It has if leaving these unknowns
    /// out of all rows makes some combination vanish, so that the rank falls.
    pub(crate) fn reaches(&self, within: impl Fn(&Unknown) -> bool) -> bool {
        let outside = |row: &Row<Unknown, P>| {
            let kept = row.iter().filter(|(unknown, _)| !within(unknown));
            kept.map(|(unknown, coefficient)| (*unknown, *coefficient)).collect()
        };
        Self::from_rows(self.rows.values().map(outside)).rank() < self.rank()
    }

    /// The number of rows that no others make up.
    pub(crate) fn rank(&self) -> usize {
        self.rows.len()
    }
}

/// Takes off the multiple of a stored row after which `row` has no coefficient at `leading` any more.
fn take_off<Unknown: Ord + Copy, const P: u64>(
    row: &mut Row<Unknown, P>,
    stored: &Row<Unknown, P>,
    leading: Unknown,
) {
    let Some(factor) = row.get(&leading).map(|coefficient| coefficient.negated()) else { return };
    for (unknown, coefficient) in stored {
        let place = row.entry(*unknown).or_insert(Residue::ZERO);
        *place = place.plus(factor.times(*coefficient));
        if place.is_zero() {
            row.remove(unknown);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// So small that all combinations of a few rows can be listed.
    const SMALL: u64 = 3;
    const UNKNOWNS: usize = 5;

    type SmallSpan = Span<usize, SMALL>;

    fn sparse(row: &[u64]) -> Row<usize, SMALL> {
        row.iter().copied().map(Residue::new).enumerate().collect()
    }

    /// All combinations of rows, without any elimination.
    fn combinations(rows: &[Vec<u64>]) -> Vec<Vec<u64>> {
        let mut all = vec![vec![0; UNKNOWNS]];
        for row in rows {
            let with = |sum: &Vec<u64>, factor: u64| -> Vec<u64> {
                sum.iter().zip(row).map(|(left, right)| (left + factor * right) % SMALL).collect()
            };
            all = all.iter().flat_map(|sum| (0..SMALL).map(|factor| with(sum, factor))).collect();
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    fn is_within(row: &[u64], allowed: &[bool]) -> bool {
        row.iter().zip(allowed).all(|(coefficient, allowed)| *coefficient == 0 || *allowed)
    }

    proptest! {
        #[test]
        fn agrees_with_all_combinations(
            rows in vec(vec(0..SMALL, UNKNOWNS), 0..5),
            allowed in vec(any::<bool>(), UNKNOWNS),
            first in 0..UNKNOWNS,
        ) {
            let all = combinations(&rows);
            let span = SmallSpan::from_rows(rows.iter().map(|row| sparse(row)));
            prop_assert_eq!(SMALL.pow(span.rank() as u32) as usize, all.len(), "as many as there are combinations");

            let reached = |set: &[bool]| all.iter().any(|row| row.iter().any(|at| *at != 0) && is_within(row, set));
            prop_assert_eq!(span.reaches(|unknown| allowed[*unknown]), reached(&allowed));

            let late: Vec<bool> = (0..UNKNOWNS).map(|unknown| unknown >= first).collect();
            let remaining = all.iter().filter(|row| is_within(row, &late)).count();
            prop_assert_eq!(SMALL.pow(span.without_unknowns_before(first).rank() as u32) as usize, remaining, "without the first");

            let both: Vec<bool> = allowed.iter().zip(&late).map(|(one, other)| *one && *other).collect();
            prop_assert_eq!(span.without_unknowns_before(first).reaches(|unknown| allowed[*unknown]), reached(&both));
        }

        #[test]
        fn a_row_is_new_if_no_combination_is_equal(
            rows in vec(vec(0..SMALL, UNKNOWNS), 0..4),
            row in vec(0..SMALL, UNKNOWNS),
        ) {
            let mut span = SmallSpan::from_rows(rows.iter().map(|row| sparse(row)));
            let is_new = span.insert(sparse(&row)).is_some();
            prop_assert_eq!(is_new, !combinations(&rows).contains(&row));
        }
    }
}
