//! Almost equal mechanisms are replaced by one that costs more, so that an account stays small whatever a
//! ledger says.

use std::collections::BTreeMap;

use super::Mechanism;

/// The most sampled mechanisms that are counted one by one. Each needs a transform of its own.
const MOST_SAMPLED: usize = 32;
/// The first factor within which parameters count as equal. Each further factor is the fourth power of the
/// one before.
const FINEST: f64 = 1.0 + 1.0 / 1024.0;

/// The same mechanisms, or fewer that cost at least as much: less noise and more sampling cost more.
///
/// Each mechanism follows by post-processing from the one that replaces it. A sample of probability `q` can
/// be drawn from one of a larger probability `p`, by keeping each unit with the probability `q/p`, and noise
/// can be added to what is released.
pub(super) fn together(parts: Vec<(Mechanism, f64)>) -> Vec<(Mechanism, f64)> {
    let (gaussian, mut others): (Vec<_>, Vec<_>) =
        parts.into_iter().partition(|(mechanism, _)| matches!(mechanism, Mechanism::Gaussian { .. }));
    let mut factor = FINEST;
    let mut merged = gaussian;
    while merged.len() > MOST_SAMPLED {
        merged = merge(merged, factor.ln());
        factor = factor.powi(4);
    }
    others.extend(merged);
    others
}

/// Rounds parameters to powers of a factor, noise down and sampling up, and counts equal ones together.
fn merge(gaussian: Vec<(Mechanism, f64)>, ln_factor: f64) -> Vec<(Mechanism, f64)> {
    // Floats are no keys; the bits of positive floats are in the same order.
    let mut counts: BTreeMap<[u64; 2], f64> = BTreeMap::new();
    for (mechanism, count) in gaussian {
        if let Mechanism::Gaussian { noise_multiplier, sampling_probability } = mechanism {
            // `min` and `clamp`: rounding in `ln` and `exp` must not make a mechanism cheaper than it is.
            let less = ((noise_multiplier.ln() / ln_factor).floor() * ln_factor).exp().min(noise_multiplier);
            let more = ((sampling_probability.ln() / ln_factor).ceil() * ln_factor).exp();
            let more = more.clamp(sampling_probability, 1.0);
            *counts.entry([less.to_bits(), more.to_bits()]).or_default() += count;
        }
    }
    let mut merged = Vec::with_capacity(counts.len());
    for ([less, more], count) in counts {
        let (noise_multiplier, sampling_probability) = (f64::from_bits(less), f64::from_bits(more));
        merged.push((Mechanism::Gaussian { noise_multiplier, sampling_probability }, count));
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::super::Account;
    use super::*;

    fn gaussian(noise_multiplier: f64, sampling_probability: f64) -> (Mechanism, f64) {
        (Mechanism::Gaussian { noise_multiplier, sampling_probability }, 2.0)
    }

    #[test]
    fn many_mechanisms_are_few_that_cost_a_little_more() {
        let all = || (0..300).map(|i| 1.0 + f64::from(i) / 3000.0).map(|sigma| gaussian(sigma, 0.01));
        let merged = together(all().collect());
        assert!(merged.len() <= MOST_SAMPLED, "{}", merged.len());
        assert_eq!(merged.iter().map(|(_, count)| count).sum::<f64>(), 600.0);
        let mut account = Account::default();
        all().for_each(|(mechanism, count)| account.add(mechanism, count as u64));
        let least = account.divergence(4.0);
        let taken: f64 = merged.iter().map(|(mechanism, count)| count * mechanism.divergence(4.0)).sum();
        assert!((1.0..1.03).contains(&(taken / least)), "{taken} {least}");
        let few: Vec<_> = all().take(MOST_SAMPLED).collect();
        assert_eq!(together(few.clone()), few, "few stay what they are");
    }

    /// Ledgers that somebody wrote by hand.
    #[test]
    fn any_number_of_mechanisms_ends() {
        let all = (0..40_000).map(|i| gaussian(1.001f64.powi(i % 20_000), 0.999f64.powi(i / 4)));
        assert!(together(all.collect()).len() <= MOST_SAMPLED);
    }
}
