//! An exact sampler of the discrete Gaussian, fast enough for vectors of many millions of coordinates.
//!
//! Construction: Canonne, Kamath and Steinke, "The Discrete Gaussian for Differential Privacy" (2020),
//! algorithms 1 to 3, with the Laplace scale `t = sigma`, in 64-bit integer arithmetic: no floating-point
//! number comes near a probability. A Bernoulli trial compares the binary digits of a uniform number with a
//! fraction, and draws more of them only while they do not decide.
//!
//! Why not `opendp`'s sampler: a round needs a draw for each trained parameter, and this one is faster
//! (`cargo xtask bench noise` measures both). Its draws are compared with `opendp`'s in a test.
//!
//! # Timing
//! Not constant: how long a draw takes depends on the drawn value.

use rand_core::CryptoRng;

/// The largest standard deviation; with it every fraction below has a denominator of less than 2⁶³.
pub const MAX_SIGMA: u32 = 1 << 20;

/// Draws from the discrete Gaussian with parameter `sigma`, whose variance is at most `sigma²`. A `sigma` of
/// 0 gives 0.
///
/// # Panics
/// When `sigma` is above [`MAX_SIGMA`].
pub fn sample(sigma: u32, random: &mut impl CryptoRng) -> i64 {
    assert!(sigma <= MAX_SIGMA, "sigma {sigma} is above {MAX_SIGMA}");
    if sigma == 0 {
        return 0;
    }
    let sigma = u64::from(sigma);
    loop {
        let (size, negative) = laplace(sigma, random);
        // With `t = sigma` the exponent of algorithm 3, `(|y| - sigma²/t)²/(2·sigma²)`, has integers alone.
        if bernoulli_exp(size.abs_diff(sigma).saturating_pow(2), 2 * sigma * sigma, random) {
            let size = size.cast_signed();
            return if negative { -size } else { size };
        }
    }
}

/// Size and sign of a draw from the discrete Laplace distribution with the given scale (algorithm 2).
fn laplace(scale: u64, random: &mut impl CryptoRng) -> (u64, bool) {
    loop {
        // A uniform remainder and a sign from one draw.
        let drawn = below(2 * scale, random);
        let (remainder, negative) = (drawn >> 1, drawn & 1 == 1);
        if !bernoulli_exp_at_most_one(remainder, scale, random) {
            continue;
        }
        let mut size = remainder;
        while bernoulli_exp_one(random) {
            size += scale;
        }
        // 0 has two signs. Without this, it would be drawn twice as often as it should.
        if !(negative && size == 0) {
            return (size, negative);
        }
    }
}

/// True with probability `exp(-numerator/denominator)` (algorithm 1).
fn bernoulli_exp(mut numerator: u64, denominator: u64, random: &mut impl CryptoRng) -> bool {
    while numerator > denominator {
        if !bernoulli_exp_one(random) {
            return false;
        }
        numerator -= denominator;
    }
    bernoulli_exp_at_most_one(numerator, denominator, random)
}

/// True with probability `exp(-numerator/denominator)`, if that fraction is at most 1.
///
/// `denominator · count` stays below 2⁶⁴: that `count` reaches 2²² has a probability of less than 1/(2²²)!.
fn bernoulli_exp_at_most_one(numerator: u64, denominator: u64, random: &mut impl CryptoRng) -> bool {
    let mut count = 1;
    while bernoulli(numerator, denominator * count, random) {
        count += 1;
    }
    count % 2 == 1
}

/// `k!`, and `1/k!` in 64 binary digits, for every `k` whose factorial is below 2⁶³.
const FACTORIALS: [(u64, u64); 21] = {
    let mut table = [(1, u64::MAX); 21];
    let mut k = 2;
    while k < table.len() {
        let factorial = table[k - 1].0 * k as u64;
        table[k] = (factorial, ((1u128 << 64) / factorial as u128) as u64);
        k += 1;
    }
    table
};

/// True with probability `exp(-1)`: what `bernoulli_exp_at_most_one(1, 1)` gives, mostly from a single draw.
///
/// All of the first `k` trials of that series succeed if a uniform number is below `1/k!`, so that one number
/// decides how many do, unless its 64 binary digits end at a bound.
fn bernoulli_exp_one(random: &mut impl CryptoRng) -> bool {
    let drawn = random.next_u64();
    for (k, (factorial, bound)) in FACTORIALS.iter().enumerate().skip(2) {
        if drawn > *bound {
            return k % 2 == 1;
        }
        // 64 digits do not decide. This bound is below all smaller `k`'s and above all larger ones', so that
        // `k` trials succeed if the number with further digits is below `1/k!`, and `k - 1` otherwise.
        if drawn == *bound {
            let rest = drawn.wrapping_mul(*factorial).wrapping_neg();
            return bernoulli(rest, *factorial, random) == (k % 2 == 0);
        }
    }
    // All trials of the table succeeded. The series continues one trial at a time.
    let mut count = FACTORIALS.len() as u64;
    while bernoulli(1, count, random) {
        count += 1;
    }
    count % 2 == 1
}

/// True with probability `numerator/denominator`, at most 1.
///
/// With 64 binary digits `r` and what follows them, `u`, of a uniform number, `(r + u)/2⁶⁴ · denominator` is
/// `high + (low + u·denominator)/2⁶⁴`; only if `high + 1 = numerator` may `u` decide.
fn bernoulli(mut numerator: u64, denominator: u64, random: &mut impl CryptoRng) -> bool {
    loop {
        let product = u128::from(random.next_u64()) * u128::from(denominator);
        let (high, low) = ((product >> 64) as u64, product as u64);
        if high + 1 != numerator {
            return high < numerator;
        }
        // 2⁶⁴ - low; a `low` of 0 leaves nothing to decide.
        let rest = low.wrapping_neg();
        if low == 0 || rest >= denominator {
            return true;
        }
        numerator = rest;
    }
}

/// A uniform integer below `bound`, by multiplication and rejection (Lemire 2019).
fn below(bound: u64, random: &mut impl CryptoRng) -> u64 {
    loop {
        let product = u128::from(random.next_u64()) * u128::from(bound);
        let low = product as u64;
        if low >= bound || low >= bound.wrapping_neg() % bound {
            return (product >> 64) as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use opendp::domains::{AtomDomain, VectorDomain};
    use opendp::measurements::make_gaussian;
    use opendp::measures::ZeroConcentratedDivergence;
    use opendp::metrics::L2Distance;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    const DRAWS: u32 = 40_000;

    /// Pearson's statistic of draws with `drawn_sigma` against exact probabilities of `sigma`, and its
    /// degrees of freedom.
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

    /// As many draws by opendp's sampler, whose randomness is the system's.
    fn drawn_by_opendp(sigma: u32) -> Vec<i64> {
        let domain = VectorDomain::new(AtomDomain::<i64>::default());
        let noise = make_gaussian::<_, _, ZeroConcentratedDivergence>(
            domain,
            L2Distance::<f64>::default(),
            f64::from(sigma),
            None,
        );
        noise.expect("a measurement").invoke(&vec![0; DRAWS as usize]).expect("noise")
    }

    /// The two-sample chi-square statistic of equally many draws, in cells of half a sigma up to four, and
    /// its degrees of freedom.
    fn two_samples(ours: &[i64], theirs: &[i64], sigma: f64) -> (f64, f64) {
        let cell = |value: &i64| ((*value as f64 / sigma).clamp(-4.0, 4.0) * 2.0).round() as i64;
        let mut counts = std::collections::BTreeMap::new();
        ours.iter().for_each(|value| counts.entry(cell(value)).or_insert([0.0; 2])[0] += 1.0);
        theirs.iter().for_each(|value| counts.entry(cell(value)).or_insert([0.0; 2])[1] += 1.0);
        let statistic = counts.values().map(|[one, other]: &[f64; 2]| (one - other).powi(2) / (one + other));
        (statistic.sum(), counts.len() as f64 - 1.0)
    }

    /// Seven standard deviations above what equal distributions give: opendp cannot be seeded, and this must
    /// not fail by chance.
    #[test]
    fn draws_and_opendps_come_from_one_distribution_and_those_of_another_sigma_do_not() {
        for sigma in [3, 40] {
            let theirs = drawn_by_opendp(sigma);
            let ours = |sigma| {
                let mut random = ChaCha20Rng::seed_from_u64(13);
                (0..DRAWS).map(|_| sample(sigma, &mut random)).collect::<Vec<i64>>()
            };
            let (fit, freedom) = two_samples(&ours(sigma), &theirs, f64::from(sigma));
            let limit = freedom + 7.0 * (2.0 * freedom).sqrt();
            assert!(fit < limit, "sigma {sigma}: {fit} above {limit}");
            let (misfit, _) = two_samples(&ours(sigma + sigma.div_ceil(10)), &theirs, f64::from(sigma));
            assert!(misfit > 2.0 * limit, "sigma {sigma}: control {misfit}");
        }
    }

    #[test]
    fn no_sigma_is_no_noise_and_the_largest_does_not_overflow() {
        let mut random = ChaCha20Rng::seed_from_u64(12);
        assert_eq!(sample(0, &mut random), 0);
        assert!((0..20).any(|_| sample(MAX_SIGMA, &mut random).abs() > 1000));
    }
}
