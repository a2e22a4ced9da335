//! Division of labelled notes among members, and into what is trained on and what is held out.

use thiserror::Error;

use crate::draw::{Draw, DrawPurpose};

/// A division that cannot be made.
#[derive(Debug, PartialEq, Error)]
pub enum PartitionError {
    /// Members cannot all get their minimum.
    #[error(
        "{members} members with at least {minimum} notes each need more than the {notes} notes there are"
    )]
    TooFewNotes {
        /// Notes to divide.
        notes: usize,
        /// Members to divide them among.
        members: usize,
        /// Notes that each must get.
        minimum: usize,
    },
    /// The number of members is 0.
    #[error("the notes must be divided among at least one member")]
    NoMembers,
    /// The concentration is not a positive number.
    #[error("alpha must be a positive number, not {0}")]
    Alpha(f64),
    /// The fraction does not lie between 0 and 1.
    #[error("the fraction held out must lie between 0 and 1, not be {0}")]
    Fraction(f64),
}

/// Divides notes so that members differ in their mix of labels, as hospitals do: the notes of each label go
/// to the members in proportions drawn from a symmetric Dirichlet distribution. Small `alpha` makes members
/// unlike each other.
///
/// Members short of `minimum` notes are given notes of the largest member. Returns each member's notes, sorted.
///
/// # Errors
/// [`PartitionError`] when the arguments admit no division.
pub fn label_dirichlet(
    labels: &[usize],
    members: usize,
    alpha: f64,
    minimum: usize,
    seed: u64,
) -> Result<Vec<Vec<usize>>, PartitionError> {
    check(labels, members, alpha, minimum)?;
    let mut parts = vec![Vec::new(); members];
    for (label, mut notes) in by_label(labels).into_iter().enumerate() {
        // A stream for each label: more notes of one label do not change how another is divided.
        let mut draw = Draw::new(seed, DrawPurpose::Partition, label);
        draw.shuffle(&mut notes);
        let shares: Vec<f64> = (0..members).map(|_| draw.gamma(alpha)).collect();
        divide(&notes, &shares, &mut parts);
    }
    fill_up(&mut parts, minimum);
    parts.iter_mut().for_each(|part| part.sort_unstable());
    Ok(parts)
}

fn check(labels: &[usize], members: usize, alpha: f64, minimum: usize) -> Result<(), PartitionError> {
    if members == 0 {
        return Err(PartitionError::NoMembers);
    }
    if !(alpha.is_finite() && alpha > 0.0) {
        return Err(PartitionError::Alpha(alpha));
    }
    if members.saturating_mul(minimum) > labels.len() {
        return Err(PartitionError::TooFewNotes { notes: labels.len(), members, minimum });
    }
    Ok(())
}

/// The notes of each label.
fn by_label(labels: &[usize]) -> Vec<Vec<usize>> {
    let count = labels.iter().max().map_or(0, |most| most + 1);
    let mut groups = vec![Vec::new(); count];
    labels.iter().enumerate().for_each(|(note, &label)| groups[label].push(note));
    groups
}

/// Cuts the notes at the cumulated shares, so that rounding loses none.
fn divide(notes: &[usize], shares: &[f64], parts: &mut [Vec<usize>]) {
    let total: f64 = shares.iter().sum();
    let (mut cumulated, mut start) = (0.0, 0);
    for (index, (share, part)) in shares.iter().zip(parts).enumerate() {
        cumulated += share;
        let cut = (cumulated / total * notes.len() as f64).round() as usize;
        // The last part takes the rest: its computed cut could be rounded below the end.
        let end = if index + 1 == shares.len() { notes.len() } else { cut.clamp(start, notes.len()) };
        part.extend_from_slice(&notes[start..end]);
        start = end;
    }
}

fn fill_up(parts: &mut [Vec<usize>], minimum: usize) {
    while let Some(poor) = parts.iter().position(|part| part.len() < minimum) {
        // The largest part has more than `minimum` notes while another has fewer, because `check` found
        // enough for all. So the loop ends.
        let rich = (0..parts.len()).max_by_key(|&part| parts[part].len()).unwrap_or(poor);
        let Some(note) = parts[rich].pop() else { return };
        parts[poor].push(note);
    }
}

/// Notes to train on and notes to evaluate on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Split {
    /// Notes to train on, sorted.
    pub train: Vec<usize>,
    /// Notes held out, sorted.
    pub held_out: Vec<usize>,
}

/// Holds out this fraction of each label's notes, rounded.
///
/// # Errors
/// [`PartitionError::Fraction`].
pub fn hold_out(labels: &[usize], fraction: f64, seed: u64) -> Result<Split, PartitionError> {
    if !(0.0..=1.0).contains(&fraction) {
        return Err(PartitionError::Fraction(fraction));
    }
    let mut split = Split { train: Vec::new(), held_out: Vec::new() };
    for (label, mut notes) in by_label(labels).into_iter().enumerate() {
        Draw::new(seed, DrawPurpose::HoldOut, label).shuffle(&mut notes);
        let held_out = (notes.len() as f64 * fraction).round() as usize;
        split.held_out.extend_from_slice(&notes[..held_out]);
        split.train.extend_from_slice(&notes[held_out..]);
    }
    split.train.sort_unstable();
    split.held_out.sort_unstable();
    Ok(split)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Vec<usize> {
        (0..400).map(|note| note % 4).collect()
    }

    fn largest_share(parts: &[Vec<usize>]) -> f64 {
        let share = |part: &Vec<usize>| {
            let most = (0..4).map(|label| part.iter().filter(|&&note| note % 4 == label).count()).max();
            most.unwrap_or(0) as f64 / part.len() as f64
        };
        parts.iter().map(share).sum::<f64>() / parts.len() as f64
    }

    #[test]
    fn each_note_goes_to_one_member_and_each_member_gets_the_minimum() {
        for seed in 0..20 {
            let parts = label_dirichlet(&labels(), 10, 0.1, 8, seed).expect("a valid division");
            let mut all = parts.concat();
            all.sort_unstable();
            assert_eq!(all, (0..400).collect::<Vec<_>>());
            assert!(parts.iter().all(|part| part.len() >= 8));
        }
    }

    #[test]
    fn small_alpha_makes_members_unlike() {
        let skewed = label_dirichlet(&labels(), 5, 0.1, 8, 3).expect("a valid division");
        let even = label_dirichlet(&labels(), 5, 1000.0, 8, 3).expect("a valid division");
        assert!(largest_share(&skewed) > 0.5, "{}", largest_share(&skewed));
        assert!(largest_share(&even) < 0.35, "{}", largest_share(&even));
        assert_eq!(label_dirichlet(&labels(), 5, 0.1, 8, 3), Ok(skewed));
    }

    #[test]
    fn impossible_divisions_are_refused() {
        let too_few = PartitionError::TooFewNotes { notes: 400, members: 10, minimum: 41 };
        assert_eq!(label_dirichlet(&labels(), 10, 0.5, 41, 0), Err(too_few));
        assert_eq!(label_dirichlet(&labels(), 0, 0.5, 1, 0), Err(PartitionError::NoMembers));
        assert_eq!(label_dirichlet(&labels(), 4, 0.0, 1, 0), Err(PartitionError::Alpha(0.0)));
        assert_eq!(hold_out(&labels(), 1.5, 0), Err(PartitionError::Fraction(1.5)));
    }

    #[test]
    fn the_fraction_is_held_out_of_every_label() {
        let split = hold_out(&labels(), 0.2, 5).expect("a valid fraction");
        assert_eq!((split.train.len(), split.held_out.len()), (320, 80));
        for label in 0..4 {
            assert_eq!(split.held_out.iter().filter(|&&note| note % 4 == label).count(), 20);
        }
        assert!(split.held_out.iter().all(|note| split.train.binary_search(note).is_err()));
    }
}
