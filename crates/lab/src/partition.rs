//! Who gets which texts.

use cloister_experts::partition::{PartitionError, label_dirichlet};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::config::{Division, Partition};

/// The texts of each member. `domains` gives each text's domain, from 0.
///
/// # Errors
/// [`PartitionError`] when the texts admit no such division.
pub fn divide(
    partition: &Partition,
    labels: &[usize],
    domains: &[usize],
    seed: u64,
) -> Result<Vec<Vec<usize>>, PartitionError> {
    let Partition { members, alpha, minimum, .. } = *partition;
    match partition.division {
        Division::Dirichlet => label_dirichlet(labels, members, alpha, minimum, seed),
        Division::Iid => {
            check(labels.len(), members, minimum)?;
            Ok(deal(shuffled((0..labels.len()).collect(), seed), members))
        }
        Division::Domains => by_domain(partition, domains, seed),
    }
}

/// Members take turns at the domains; those of one domain share its texts evenly.
fn by_domain(partition: &Partition, domains: &[usize], seed: u64) -> Result<Vec<Vec<usize>>, PartitionError> {
    let count = domains.iter().max().map_or(1, |most| most + 1);
    let mut parts = vec![Vec::new(); partition.members];
    for domain in 0..count {
        let own: Vec<usize> = (domain..partition.members).step_by(count).collect();
        let texts: Vec<usize> = (0..domains.len()).filter(|&text| domains[text] == domain).collect();
        check(texts.len(), own.len(), partition.minimum)?;
        for (member, part) in own.iter().zip(deal(shuffled(texts, seed), own.len())) {
            parts[*member] = part;
        }
    }
    Ok(parts)
}

fn check(notes: usize, members: usize, minimum: usize) -> Result<(), PartitionError> {
    if members == 0 {
        return Err(PartitionError::NoMembers);
    }
    if members * minimum > notes {
        return Err(PartitionError::TooFewNotes { notes, members, minimum });
    }
    Ok(())
}

fn deal(texts: Vec<usize>, members: usize) -> Vec<Vec<usize>> {
    let mut parts = vec![Vec::new(); members];
    texts.into_iter().enumerate().for_each(|(turn, text)| parts[turn % members].push(text));
    parts.iter_mut().for_each(|part| part.sort_unstable());
    parts
}

/// At most so many items, the same for every seed; 0 is all.
pub(crate) fn limited<T: Clone>(items: Vec<T>, limit: usize) -> Vec<T> {
    if limit == 0 {
        return items;
    }
    let order = shuffled((0..items.len()).collect(), 0);
    order.into_iter().take(limit).map(|item| items[item].clone()).collect()
}

/// Fisher–Yates shuffle by the seed.
pub(crate) fn shuffled(mut items: Vec<usize>, seed: u64) -> Vec<usize> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for last in (1..items.len()).rev() {
        items.swap(last, (random.next_u64() % (last as u64 + 1)) as usize);
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(division: Division, members: usize) -> Partition {
        Partition { division, members, ..Partition::default() }
    }

    #[test]
    fn members_of_an_iid_division_are_equally_large_and_follow_the_seed() {
        let labels: Vec<usize> = (0..103).map(|text| text % 4).collect();
        let of = |seed| divide(&partition(Division::Iid, 10), &labels, &[], seed).expect("enough texts");
        let parts = of(1);
        let mut all = parts.concat();
        all.sort_unstable();
        assert_eq!(all, (0..103).collect::<Vec<_>>());
        assert!(parts.iter().all(|part| (10..=11).contains(&part.len())));
        assert_eq!(of(1), parts);
        assert_ne!(of(2), parts);
    }

    #[test]
    fn each_member_has_texts_of_one_domain() {
        let domains: Vec<usize> = (0..120).map(|text| usize::from(text >= 80)).collect();
        let parts = divide(&partition(Division::Domains, 5), &[0; 120], &domains, 3).expect("enough texts");
        for (member, part) in parts.iter().enumerate() {
            assert!(part.iter().all(|&text| domains[text] == member % 2) && part.len() >= 20, "{member}");
        }
        let short = divide(&partition(Division::Domains, 5), &[0; 5], &[0, 0, 0, 0, 1], 3);
        assert!(matches!(short, Err(PartitionError::TooFewNotes { .. })));
    }
}
