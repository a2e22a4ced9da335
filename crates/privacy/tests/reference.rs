//! The accountant against the tight ε and PyPI `dp-accounting`: `reference/reference.json`, written by
//! `reference/generate.py`.

use cloister_params::limits::TrainingLimits;
use cloister_params::plan::LEAST_NOISE_MULTIPLIER_MILLI;
use cloister_privacy::accountant::{Account, Mechanism};
use cloister_privacy::budget::Budget;
use serde::Deserialize;

#[derive(Deserialize)]
struct Row {
    /// Mechanisms and how often each.
    parts: Vec<(Mechanism, u64)>,
    delta: f64,
    epsilon: f64,
    package: Option<f64>,
    divergences: Option<[f64; 2]>,
}

impl Row {
    fn account(&self) -> Account {
        let mut account = Account::default();
        self.parts.iter().for_each(|(mechanism, count)| account.add(*mechanism, *count));
        account
    }

    fn name(&self) -> String {
        format!("{:?} δ={:e}", self.parts, self.delta)
    }
}

fn rows() -> Vec<Row> {
    serde_json::from_str(include_str!("reference/reference.json")).expect("the grid is JSON")
}

/// PRIV-07
#[test]
fn losses_are_never_below_the_tight_bound_and_at_most_three_percent_above() {
    let (mut worst, mut least) = (0.0f64, f64::INFINITY);
    for row in rows() {
        let found = row.account().epsilon_by_losses(row.delta);
        let got = found.unwrap_or_else(|| panic!("{}: its losses are known", row.name()));
        let excess = got / row.epsilon - 1.0;
        assert!((0.0..=0.03).contains(&excess), "{}: {got}, the tight bound is {}", row.name(), row.epsilon);
        assert_eq!(row.account().epsilon(row.delta).epsilon, got, "{}", row.name());
        (worst, least) = (worst.max(excess), least.min(excess));
    }
    println!("{} settings, between {least:.1e} and {worst:.1e} above the tight bound", rows().len());
}

/// PRIV-07: the package rounds losses up on a grid of its own.
#[test]
fn losses_agree_with_the_package_where_it_has_a_say() {
    let spoken: Vec<Row> = rows().into_iter().filter(|row| row.package.is_some()).collect();
    assert!(spoken.len() > 100, "{}", spoken.len());
    for row in spoken {
        let (got, package) = (row.account().epsilon(row.delta).epsilon, row.package.expect("it has"));
        assert!(
            (0.97..=1.03).contains(&(got / package)),
            "{}: {got}, the package says {package}",
            row.name()
        );
    }
}

/// PRIV-07
#[test]
fn renyi_divergences_agree_with_the_reference() {
    let mut most = 0.0f64;
    for row in rows() {
        let epsilon = row.account().epsilon_by_renyi(row.delta);
        assert!(epsilon >= row.epsilon, "{}: {epsilon} is below {}", row.name(), row.epsilon);
        let Some([between, whole]) = row.divergences else { continue };
        let (ours, name) = (row.account().divergence(8.0), row.name());
        assert!((ours / whole - 1.0).abs() < 1e-6, "{name}: {ours}, not {whole}");
        // Between integers the package adds up the sizes of alternating terms; numerical integration gives
        // our figures.
        let excess = between / row.account().divergence(5.5) - 1.0;
        assert!((-1e-6..0.03).contains(&excess), "{name}: {excess}");
        most = most.max(excess);
    }
    println!("between integers the reference is at most {most:.1e} above");
}

/// The same with 5 % less noise, where it is Gaussian.
fn quieter(part: (Mechanism, u64)) -> (Mechanism, u64) {
    match part {
        (Mechanism::Gaussian { noise_multiplier, sampling_probability }, count) => {
            let noise_multiplier = noise_multiplier * 0.95;
            (Mechanism::Gaussian { noise_multiplier, sampling_probability }, count)
        }
        other => other,
    }
}

/// PRIV-07: a setting that is a little off is noticed, so that the tests above test something.
#[test]
fn five_percent_less_noise_is_noticed() {
    let with_divergences = rows().into_iter().filter(|row| row.divergences.is_some());
    let rows: Vec<Row> = with_divergences
        .map(|row| Row { parts: row.parts.into_iter().map(quieter).collect(), ..row })
        .collect();
    assert!(rows.len() > 100);
    let noticed = |row: &Row| {
        let divergences = row.divergences.iter().flatten();
        let mut pairs = [5.5, 8.0].into_iter().zip(divergences);
        pairs.any(|(order, expected)| row.account().divergence(order) > 1.03 * expected)
    };
    assert!(rows.iter().all(noticed));
    let above = |row: &Row| row.account().epsilon_by_losses(row.delta) > Some(row.epsilon * 1.005);
    let noticed = rows.iter().filter(|row| above(row)).count();
    assert!(noticed * 10 > rows.len() * 9, "{noticed} of {}", rows.len());
}

/// The training that a policy would name for these parts: the one kind of sampled noise among them, if there
/// is at most one and its noise is not below what plans may have. Policies have integers, so noise is rounded
/// down and sampling up.
fn planned(parts: &[(Mechanism, u64)]) -> Option<TrainingLimits> {
    let mut limits =
        TrainingLimits { noise_multiplier_milli: 1000, sampling_probability_micro: 1_000_000, steps: 0 };
    for (mechanism, count) in parts {
        let Mechanism::Gaussian { noise_multiplier, sampling_probability } = *mechanism else { continue };
        // What is an integer but for a float's last bits is that integer.
        let (milli, micro) =
            ((noise_multiplier * 1e3 + 1e-6).floor(), (sampling_probability * 1e6 - 1e-6).ceil());
        let noise_multiplier_milli = milli as u32;
        if limits.steps > 0 || noise_multiplier_milli < LEAST_NOISE_MULTIPLIER_MILLI {
            return None;
        }
        limits = TrainingLimits {
            noise_multiplier_milli,
            sampling_probability_micro: micro as u32,
            steps: *count,
        };
    }
    Some(limits)
}

/// Noise of fewer steps is taken for Gaussian noise of a clearly smaller variance, which costs more.
const FINE_NOISE: u32 = 5;

fn has_coarse_noise(row: &Row) -> bool {
    let is_coarse = |mechanism: &Mechanism| matches!(mechanism, Mechanism::DiscreteGaussian { sigma, .. } if *sigma < FINE_NOISE);
    row.parts.iter().any(|(mechanism, _)| is_coarse(mechanism))
}

/// PRIV-05: what a budget counts, where the policy names the training that the plans have, is what was spent.
#[test]
fn a_filter_whose_training_is_named_loses_little() {
    let (mut named, mut by_an_order) = (Vec::new(), Vec::new());
    for row in rows().into_iter().filter(|row| !has_coarse_noise(row)) {
        let Some(training) = planned(&row.parts) else { continue };
        let order = Budget::new(row.epsilon, row.delta).expect("a budget");
        let counted = Budget { training: Some(training), ..order }.epsilon_by_filter(&row.account());
        // Infinite where noise is too little on too many coordinates to be taken for Gaussian.
        if !counted.is_finite() {
            continue;
        }
        let loss = counted / row.epsilon - 1.0;
        assert!((0.0..=0.1).contains(&loss), "{}: {counted}, spent are {}", row.name(), row.epsilon);
        named.push(loss);
        by_an_order.push(order.epsilon_by_filter(&row.account()) / row.epsilon - 1.0);
    }
    let worst = |losses: &[f64]| losses.iter().copied().fold(0.0, f64::max);
    println!(
        "{} settings: at most {:.1e}; by an order {:.1e}",
        named.len(),
        worst(&named),
        worst(&by_an_order)
    );
    assert!(named.len() > 200, "{}", named.len());
    assert!(worst(&by_an_order) > 0.1, "control: an order loses more");
}
