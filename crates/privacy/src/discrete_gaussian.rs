//! An exact sampler of the discrete Gaussian.
//!
//! Construction: Canonne, Kamath and Steinke, "The Discrete Gaussian for Differential Privacy" (2020),
//! algorithms 1 to 3, in integer arithmetic: no floating-point number comes near a probability.
//!
//! # Timing
//! Not constant: how long a draw takes depends on the drawn value.

use rand_core::CryptoRng;

/// The largest standard deviation; with it every product below stays inside a `u128`.
pub const MAX_SIGMA: u32 = 1 << 20;

/// Draws from the discrete Gaussian with parameter `sigma` (variance at most `sigma²`); 0 is no noise.
///
/// # Panics
/// When `sigma` is above [`MAX_SIGMA`].
pub fn sample(sigma: u32, random: &mut impl CryptoRng) -> i64 {
    assert!(sigma <= MAX_SIGMA, "sigma {sigma} is above {MAX_SIGMA}");
    if sigma == 0 {
        return 0;
    }
    let variance = u128::from(sigma).pow(2);
    let scale = u128::from(sigma) + 1;
    loop {
        let candidate = laplace(scale, random);
        let distance = (u128::from(candidate.unsigned_abs()) * scale).abs_diff(variance);
        if bernoulli_exp(distance.pow(2), 2 * variance * scale.pow(2), random) {
            return candidate;
        }
    }
}

/// The discrete Laplace distribution with the given scale (algorithm 2).
fn laplace(scale: u128, random: &mut impl CryptoRng) -> i64 {
    loop {
        let remainder = below(scale, random);
        if !bernoulli_exp(remainder, scale, random) {
            continue;
        }
        let mut quotient = 0u128;
        while bernoulli_exp(1, 1, random) {
            quotient += 1;
        }
        let size = i64::try_from(remainder + scale * quotient).unwrap_or(i64::MAX);
        let negative = random.next_u32() & 1 == 1;
        if !(negative && size == 0) {
            return if negative { -size } else { size };
        }
    }
}

/// True with probability `exp(-numerator/denominator)` (algorithm 1).
fn bernoulli_exp(mut numerator: u128, denominator: u128, random: &mut impl CryptoRng) -> bool {
    while numerator > denominator {
        if !bernoulli_exp_at_most_one(1, 1, random) {
            return false;
        }
        numerator -= denominator;
    }
    bernoulli_exp_at_most_one(numerator, denominator, random)
}

fn bernoulli_exp_at_most_one(numerator: u128, denominator: u128, random: &mut impl CryptoRng) -> bool {
    let mut count = 1;
    while below(denominator * count, random) < numerator {
        count += 1;
    }
    count % 2 == 1
}

/// A uniform integer below `bound`, by rejection.
fn below(bound: u128, random: &mut impl CryptoRng) -> u128 {
    let bits = 128 - (bound - 1).leading_zeros();
    if bits == 0 {
        return 0;
    }
    loop {
        let high = if bits > 64 { u128::from(random.next_u64()) << 64 } else { 0 };
        let drawn = (high | u128::from(random.next_u64())) & (u128::MAX >> (128 - bits));
        if drawn < bound {
            return drawn;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    const DRAWS: u32 = 40_000;

    /// Pearson's statistic of draws with `drawn_sigma` against exact probabilities of `sigma`, and its degrees of freedom.
    fn chi_square(drawn_sigma: u32, sigma: f64) -> (f64, f64) {
        let reach = (4.0 * sigma) as i64;
        let mut random = ChaCha20Rng::seed_from_u64(11);
        let mut counts = vec![0u32; 2 * reach as usize + 1];
        for _ in 0..DRAWS {
            let value = sample(drawn_sigma, &mut random).clamp(-reach, reach);
            counts[(value + reach) as usize] += 1;
        }
        let density = |x: i64| (-(x as f64).powi(2) / (2.0 * sigma * sigma)).exp();
        let total: f64 = (-40 * reach..=40 * reach).map(density).sum();
        let (mut statistic, mut cells) = (0.0, 0.0);
        for x in -reach + 1..reach {
            let expected = f64::from(DRAWS) * density(x) / total;
            if expected >= 5.0 {
                statistic += (f64::from(counts[(x + reach) as usize]) - expected).powi(2) / expected;
                cells += 1.0;
            }
        }
        (statistic, cells - 1.0)
    }

    #[test]
    fn draws_fit_the_exact_probabilities_and_a_wrong_sigma_does_not() {
        for sigma in [1, 3, 20] {
            let (fit, freedom) = chi_square(sigma, f64::from(sigma));
            let limit = freedom + 4.0 * (2.0 * freedom).sqrt();
            assert!(fit < limit, "sigma {sigma}: {fit} above {limit}");
            let (misfit, freedom) = chi_square(sigma, f64::from(sigma) * 1.1);
            assert!(misfit > freedom + 4.0 * (2.0 * freedom).sqrt(), "sigma {sigma}: control {misfit}");
        }
    }

    #[test]
    fn no_sigma_is_no_noise_and_the_largest_does_not_overflow() {
        let mut random = ChaCha20Rng::seed_from_u64(12);
        assert_eq!(sample(0, &mut random), 0);
        assert!((0..20).any(|_| sample(MAX_SIGMA, &mut random).abs() > 1000));
    }
}
