use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::*;

fn private() -> PrivateTraining {
    PrivateTraining { clipping_norm: 2.0, noise_multiplier: 0.5, sampling_probability: 0.2, steps: 1 }
}

fn random() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(5)
}

/// Whether sizes look like draws from a binomial distribution, by mean and variance, four standard errors
/// each.
fn look_binomial(sizes: &[usize], examples: usize, probability: f64) -> bool {
    let count = sizes.len() as f64;
    let mean = sizes.iter().sum::<usize>() as f64 / count;
    let variance = sizes.iter().map(|&size| (size as f64 - mean).powi(2)).sum::<f64>() / count;
    let expected = examples as f64 * probability;
    let spread = expected * (1.0 - probability);
    (mean - expected).abs() < 4.0 * (spread / count).sqrt()
        && (variance - spread).abs() < 4.0 * spread * (2.0 / count).sqrt()
}

/// PRIV-10
#[test]
fn batches_have_the_sizes_of_independent_draws_and_other_samplers_do_not() {
    let mut random = random();
    let mut sizes = |probability| -> Vec<usize> {
        let private = PrivateTraining { sampling_probability: probability, ..private() };
        (0..4000).map(|_| private.draw(50, &mut random).len()).collect()
    };
    let drawn = sizes(0.2);
    assert!(look_binomial(&drawn, 50, 0.2));
    assert!(drawn.iter().min() < Some(&4) && drawn.iter().max() > Some(&18), "sizes differ widely");
    assert!(!look_binomial(&[10; 4000], 50, 0.2), "control: batches of equal size");
    assert!(!look_binomial(&sizes(0.21), 50, 0.2), "control: another probability");
    assert!(sizes(0.01).contains(&0), "some batches are empty");
}

#[test]
fn each_example_is_drawn_alike_and_apart_from_the_others() {
    let (mut random, rounds) = (random(), 20_000);
    let (mut alone, mut together) = ([0; 5], 0);
    for _ in 0..rounds {
        let drawn = private().draw(5, &mut random);
        assert!(drawn.windows(2).all(|pair| pair[0] < pair[1]), "nobody twice");
        drawn.iter().for_each(|&example| alone[example] += 1);
        together += usize::from(drawn.contains(&1) && drawn.contains(&3));
    }
    let share = |count: usize| count as f64 / f64::from(rounds);
    assert!(alone.iter().all(|&count| (share(count) - 0.2).abs() < 0.012), "{alone:?}");
    assert!((share(together) - 0.04).abs() < 0.006, "{together}");
    let certain = PrivateTraining { sampling_probability: 1.0, ..private() };
    assert_eq!(certain.draw(3, &mut random), [0, 1, 2]);
}

/// Whether values look like a Gaussian of this deviation, by variance, and by fourth moment and the share
/// within one deviation for the shape.
fn looks_gaussian(values: &[f64], deviation: f64) -> bool {
    let count = values.len() as f64;
    let moment = |power| values.iter().map(|value| (value / deviation).powi(power)).sum::<f64>() / count;
    let within = values.iter().filter(|value| value.abs() < deviation).count() as f64 / count;
    let near =
        |got: f64, expected: f64, variance: f64| (got - expected).abs() < 4.0 * (variance / count).sqrt();
    near(moment(1), 0.0, 1.0)
        && near(moment(2), 1.0, 2.0)
        && near(moment(4), 3.0, 96.0)
        && near(within, 0.682_689, 0.2166)
}

fn noised(grid: Grid, sum: &[f32], divisor: f64, random: &mut ChaCha20Rng) -> Vec<f64> {
    let noised = grid.noised(&Tensor::from_slice(sum), divisor, random);
    crate::device::values(&noised).into_iter().map(f64::from).collect()
}

/// PRIV-10
#[test]
fn the_noise_is_gaussian_with_its_deviation_on_every_coordinate() {
    let (mut random, coordinates) = (random(), 100_000);
    let grid = Grid::new(&private(), coordinates).expect("little noise");
    let values = noised(grid, &vec![0.0; coordinates], 4.0, &mut random);
    // 0.5 · 2, over a divisor of 4.
    assert!(looks_gaussian(&values, 0.25));
    assert!(!looks_gaussian(&values, 0.26), "control: another deviation");
    let mut uniform = || (random.next_u64() as f64 / 2f64.powi(64) - 0.5) * 12f64.sqrt() * 0.25;
    let uniform: Vec<f64> = (0..coordinates).map(|_| uniform()).collect();
    assert!(!looks_gaussian(&uniform, 0.25), "control: the right variance of another shape");
    let half = &values[..coordinates / 2];
    let off: Vec<f64> = half.iter().zip(&values[coordinates / 2..]).map(|(one, other)| one * other).collect();
    let product = off.iter().sum::<f64>() / off.len() as f64 / (0.25 * 0.25);
    assert!(product.abs() < 4.0 / (off.len() as f64).sqrt(), "coordinates are independent");
}

#[test]
fn sums_keep_their_mean_and_land_on_the_grid() {
    let mut random = random();
    let grid = Grid::new(&private(), 40_000).expect("little noise");
    let values = noised(grid, &[1.5; 40_000], 1.0, &mut random);
    let mean = values.iter().sum::<f64>() / 40_000.0;
    assert!((mean - 1.5).abs() < 4.0 / 200.0, "{mean}");
    let step = 2f64.powi(-20);
    assert!(values.iter().all(|value| (value / step).fract() == 0.0), "multiples of σ/2²⁰");
    let broken = noised(grid, &[f32::NAN, f32::INFINITY, 1.0], 1.0, &mut random);
    assert_eq!(broken.iter().map(|value| value.is_finite()).collect::<Vec<_>>(), [false, false, true]);
}

/// PRIV-10: training that failed would tell of the record that it failed at.
#[test]
fn a_gradient_that_is_not_finite_counts_as_0_and_is_told() {
    let whole = gradients(3, 4, 1.0);
    let parameters: Vec<(String, Tensor)> =
        whole.iter().map(|all| (String::new(), all.get(0).zeros_like())).collect();
    let sum_of = |gradients: &[Tensor]| {
        let mut sum = ClippedSum::new(0.7, &parameters);
        sum.add(gradients);
        let counts: Vec<i64> = Vec::try_from(&sum.counts).expect("two counts");
        (sum.sums, counts)
    };
    let without: Vec<Tensor> =
        whole.iter().map(|all| all.index_select(0, &Tensor::from_slice(&[0_i64, 2, 3]))).collect();
    for value in [f64::NAN, f64::INFINITY] {
        let broken: Vec<Tensor> = whole.iter().map(Tensor::copy).collect();
        let _ = broken[1].get(1).narrow(0, 2, 1).fill_(value);
        let ((sums, counts), (expected, _)) = (sum_of(&broken), sum_of(&without));
        assert_eq!(counts, [3, 1], "three are clipped, and one is not finite");
        for (sum, expected) in sums.iter().zip(&expected) {
            assert!(sum.allclose(expected, 1e-6, 1e-6, false), "what is left is as if it were not there");
        }
    }
    assert_eq!(sum_of(&whole).1, [4, 0], "control");
}

#[test]
fn rounding_and_floats_have_room_under_the_clipping_norm() {
    let grid = Grid::new(&private(), 1_000_000).expect("little noise");
    assert!(grid.bound < 2.0 * (1.0 - 1.0 / 1024.0) && grid.bound > 1.99, "{grid:?}");
    let huge = PrivateTraining { noise_multiplier: 1000.0, ..private() };
    let error = Grid::new(&huge, 1_000_000).expect_err("nothing is left");
    assert!(error.to_string().contains("leaves too little of the gradients"), "{error}");
}

fn gradients(seed: i64, examples: i64, scale: f64) -> Vec<Tensor> {
    tch::manual_seed(seed);
    let gaussian = |shape: &[i64]| Tensor::randn(shape, (Kind::Float, tch::Device::Cpu)) * scale;
    vec![gaussian(&[examples, 4, 3]), gaussian(&[examples, 7]), gaussian(&[examples, 2, 3, 5])]
}

fn norm(sums: &[Tensor]) -> f64 {
    sums.iter().map(|sum| sum.square().sum(Kind::Double).double_value(&[])).sum::<f64>().sqrt()
}

/// PRIV-10: clipping bounds what any example adds, over all tensors together.
#[test]
fn no_example_adds_more_than_the_bound() {
    for seed in 0..50 {
        let scale = 10f64.powi(seed as i32 % 7 - 3);
        let all = gradients(seed, 6, scale);
        let parameters: Vec<(String, Tensor)> =
            all.iter().map(|gradients| (String::new(), gradients.get(0).zeros_like())).collect();
        let bound = 0.7;
        let sum_of = |examples: &[i64]| {
            let mut sum = ClippedSum::new(bound, &parameters);
            sum.add(
                &all.iter()
                    .map(|gradients| gradients.index_select(0, &Tensor::from_slice(examples)))
                    .collect::<Vec<_>>(),
            );
            sum.sums
        };
        let whole = sum_of(&[0, 1, 2, 3, 4, 5]);
        for left_out in 0..6 {
            let others: Vec<i64> = (0..6).filter(|&example| example != left_out).collect();
            let apart: Vec<Tensor> =
                whole.iter().zip(sum_of(&others)).map(|(one, other)| one - other).collect();
            let left = norm(&all.iter().map(|gradients| gradients.get(left_out)).collect::<Vec<_>>());
            let expected = left.min(bound);
            assert!((norm(&apart) - expected).abs() < 1e-5, "{} is not {expected}", norm(&apart));
        }
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for wrong in [
        PrivateTraining { clipping_norm: 0.0, ..private() },
        PrivateTraining { noise_multiplier: f64::NAN, ..private() },
        PrivateTraining { noise_multiplier: 0.0, ..private() },
        PrivateTraining { sampling_probability: 0.0, ..private() },
        PrivateTraining { sampling_probability: 1.1, ..private() },
        PrivateTraining { steps: 0, ..private() },
    ] {
        assert!(matches!(wrong.check(), Err(ExpertsError::Settings(_))), "{wrong:?}");
    }
    assert!(private().check().is_ok());
}
