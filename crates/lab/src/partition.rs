//! How texts are divided among members.

use cloister_experts::partition::{PartitionError, label_dirichlet};

use crate::config::{Division, PartitionConfig};
use crate::shuffle::shuffled;

/// What a division depends on, for each text.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'a> {
    /// Classes, from 0.
    pub labels: &'a [usize],
    /// Domains, from 0.
    pub domains: &'a [usize],
    /// Lengths in bytes.
    pub lengths: &'a [usize],
}

/// The texts of each member.
///
/// # Errors
/// [`PartitionError`] when the texts admit no such division.
pub fn divide(
    partition: &PartitionConfig,
    texts: &Texts<'_>,
    seed: u64,
) -> Result<Vec<Vec<usize>>, PartitionError> {
    let PartitionConfig { members, alpha, minimum, .. } = *partition;
    match partition.division {
        Division::Dirichlet => return label_dirichlet(texts.labels, members, alpha, minimum, seed),
        Division::Domains => return by_domain(partition, texts.domains, seed),
        Division::Iid | Division::Sizes | Division::Lengths => {
            check(texts.labels.len(), members, minimum)?;
        }
    }
    let mut order = shuffled((0..texts.labels.len()).collect(), seed);
    Ok(match partition.division {
        Division::Sizes => by_size(order, members, minimum),
        Division::Lengths => {
            // The sort is stable, so texts of one length stay in their random order.
            order.sort_by_key(|&text| texts.lengths[text]);
            cut(&order, &vec![1.0; members], 0)
        }
        _ => deal(order, members),
    })
}

/// How many texts of each label each part has.
pub(crate) fn counts(parts: &[Vec<usize>], labels: &[usize]) -> Vec<Vec<usize>> {
    let mut counts = vec![vec![0; labels.iter().max().map_or(0, |most| most + 1)]; parts.len()];
    for (part_counts, part) in counts.iter_mut().zip(parts) {
        part.iter().for_each(|&text| part_counts[labels[text]] += 1);
    }
    counts
}

/// Parts of an order: `minimum` texts each, and of the rest shares that fall as 1, ½, ⅓ … do.
fn by_size(order: Vec<usize>, members: usize, minimum: usize) -> Vec<Vec<usize>> {
    let shares: Vec<f64> = (1..=members).map(|member| 1.0 / member as f64).collect();
    cut(&order, &shares, minimum)
}

/// Cuts an order into parts of `minimum` texts, plus these shares of the rest.
fn cut(order: &[usize], shares: &[f64], minimum: usize) -> Vec<Vec<usize>> {
    let (rest, total) = (order.len() - minimum * shares.len(), shares.iter().sum::<f64>());
    let mut sum = 0.0;
    let ends: Vec<usize> = (1..=shares.len())
        .map(|parts| {
            sum += shares[parts - 1];
            // Ends are rounded, not lengths: parts then have every text once, however the shares round.
            parts * minimum + (rest as f64 * (sum / total).min(1.0)).round() as usize
        })
        .collect();
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let mut parts: Vec<Vec<usize>> =
        starts.zip(&ends).map(|(start, &end)| order[start..end].to_vec()).collect();
    parts.iter_mut().for_each(|part| part.sort_unstable());
    parts
}

/// Members take turns at the domains; those of one domain share its texts evenly.
fn by_domain(
    partition: &PartitionConfig,
    domains: &[usize],
    seed: u64,
) -> Result<Vec<Vec<usize>>, PartitionError> {
    let count = domains.iter().max().map_or(1, |most| most + 1);
    let mut parts = vec![Vec::new(); partition.members];
    for domain in 0..count {
        let members: Vec<usize> = (domain..partition.members).step_by(count).collect();
        let texts: Vec<usize> = (0..domains.len()).filter(|&text| domains[text] == domain).collect();
        check(texts.len(), members.len(), partition.minimum)?;
        for (member, part) in members.iter().zip(deal(shuffled(texts, seed), members.len())) {
            parts[*member] = part;
        }
    }
    Ok(parts)
}

/// Rejects too few texts before anything is cut, where lengths would underflow.
fn check(notes: usize, members: usize, minimum: usize) -> Result<(), PartitionError> {
    if members == 0 {
        return Err(PartitionError::NoMembers);
    }
    if members * minimum > notes {
        return Err(PartitionError::TooFewNotes { notes, members, minimum });
    }
    Ok(())
}

/// Deals texts out in turn, so that parts differ by one text at most.
fn deal(texts: Vec<usize>, members: usize) -> Vec<Vec<usize>> {
    let mut parts = vec![Vec::new(); members];
    texts.into_iter().enumerate().for_each(|(turn, text)| parts[turn % members].push(text));
    parts.iter_mut().for_each(|part| part.sort_unstable());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(division: Division, members: usize) -> PartitionConfig {
        PartitionConfig { division, members, ..PartitionConfig::default() }
    }

    #[test]
    fn members_of_an_iid_division_are_equally_large_and_follow_the_seed() {
        let labels: Vec<usize> = (0..103).map(|text| text % 4).collect();
        let texts = Texts { labels: &labels, domains: &[], lengths: &[] };
        let divided = |seed| divide(&partition(Division::Iid, 10), &texts, seed).expect("enough texts");
        let parts = divided(1);
        let mut all = parts.concat();
        all.sort_unstable();
        assert_eq!(all, (0..103).collect::<Vec<_>>());
        assert!(parts.iter().all(|part| (10..=11).contains(&part.len())));
        assert_eq!(divided(1), parts);
        assert_ne!(divided(2), parts);
        let counts = counts(&parts, &labels);
        let label_total = |label: usize| counts.iter().map(|part_counts| part_counts[label]).sum::<usize>();
        assert_eq!([0, 1, 2, 3].map(label_total), [26, 26, 26, 25]);
        assert!(
            counts
                .iter()
                .zip(&parts)
                .all(|(part_counts, part)| part_counts.iter().sum::<usize>() == part.len())
        );
    }

    #[test]
    fn each_member_has_texts_of_one_domain() {
        let domains: Vec<usize> = (0..120).map(|text| usize::from(text >= 80)).collect();
        let texts = |domains| Texts { labels: &[0; 120], domains, lengths: &[] };
        let parts = divide(&partition(Division::Domains, 5), &texts(&domains), 3).expect("enough texts");
        for (member, part) in parts.iter().enumerate() {
            assert!(part.iter().all(|&text| domains[text] == member % 2) && part.len() >= 20, "{member}");
        }
        let short = divide(&partition(Division::Domains, 5), &texts(&[0, 0, 0, 0, 1]), 3);
        assert!(matches!(short, Err(PartitionError::TooFewNotes { .. })));
    }

    #[test]
    fn members_differ_in_size_or_in_the_lengths_of_their_texts_and_have_every_text_once() {
        let (labels, lengths): (Vec<usize>, Vec<usize>) =
            (0..403).map(|text| (text % 4, text * 17 % 403)).unzip();
        let texts = Texts { labels: &labels, domains: &[], lengths: &lengths };
        let divided = |division| divide(&partition(division, 10), &texts, 1).expect("enough texts");
        let (sizes, bands) = (divided(Division::Sizes), divided(Division::Lengths));
        for parts in [&sizes, &bands] {
            let mut all = parts.concat();
            all.sort_unstable();
            assert_eq!(all, (0..403).collect::<Vec<_>>());
        }
        let counts: Vec<usize> = sizes.iter().map(Vec::len).collect();
        assert!(counts.is_sorted_by(|one, other| one >= other) && counts[9] >= 8, "{counts:?}");
        assert!((110..=120).contains(&counts[0]), "8 and the largest of the shares of 323: {counts:?}");
        let longest = |part: &Vec<usize>| part.iter().map(|&text| lengths[text]).max();
        let shortest = |part: &Vec<usize>| part.iter().map(|&text| lengths[text]).min();
        assert!(bands.windows(2).all(|pair| longest(&pair[0]) < shortest(&pair[1])), "bands do not overlap");
        assert!(bands.iter().all(|band| (40..=41).contains(&band.len())));
        let few = Texts { labels: &[0; 9], domains: &[], lengths: &[1; 9] };
        let few = divide(&partition(Division::Sizes, 10), &few, 1);
        assert!(matches!(few, Err(PartitionError::TooFewNotes { .. })));
    }
}
