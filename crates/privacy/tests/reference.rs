//! The accountant against PyPI `dp-accounting`: `reference/reference.json`, written by `reference/generate.py`.

use cloister_privacy::accountant::{Account, Mechanism};
use serde::Deserialize;

#[derive(Deserialize)]
struct Row {
    mechanism: String,
    sigma: f64,
    q: f64,
    count: u32,
    delta: f64,
    pld: f64,
    divergences: Option<[f64; 2]>,
}

impl Row {
    fn account(&self) -> Account {
        let mechanism = match self.mechanism.as_str() {
            "gaussian" => Mechanism::Gaussian { noise_multiplier: self.sigma, sampling_probability: self.q },
            "discrete_gaussian" => Mechanism::DiscreteGaussian { sigma: self.sigma, sensitivity: 1.0 },
            other => panic!("an unknown mechanism {other:?}"),
        };
        let mut account = Account::default();
        account.add(mechanism, self.count);
        account
    }

    fn name(&self) -> String {
        format!("{} σ={} q={} T={} δ={}", self.mechanism, self.sigma, self.q, self.count, self.delta)
    }
}

fn rows() -> Vec<Row> {
    serde_json::from_str(include_str!("reference/reference.json")).expect("the grid is JSON")
}

/// PRIV-07
#[test]
fn losses_are_never_below_the_reference_and_at_most_three_percent_above() {
    let (mut worst, mut least) = (0.0f64, f64::INFINITY);
    for row in rows() {
        let got = row.account().epsilon_by_losses(row.delta).expect("its losses are known");
        let excess = got / row.pld - 1.0;
        assert!((0.0..=0.03).contains(&excess), "{}: {got}, the reference says {}", row.name(), row.pld);
        (worst, least) = (worst.max(excess), least.min(excess));
    }
    println!("{} settings, between {least:.1e} and {worst:.1e} above the reference", rows().len());
}

/// PRIV-07
#[test]
fn renyi_divergences_agree_with_the_reference() {
    let mut most = 0.0f64;
    for row in rows() {
        let Some([between, whole]) = row.divergences else { continue };
        let (ours, name) = (row.account().divergence(8.0), row.name());
        assert!((ours / whole - 1.0).abs() < 1e-6, "{name}: {ours}, not {whole}");
        // Between integers the package adds up the sizes of alternating terms; numerical integration gives our figures.
        let excess = between / row.account().divergence(5.5) - 1.0;
        assert!((-1e-9..0.03).contains(&excess), "{name}: {excess}");
        most = most.max(excess);
        let epsilon = row.account().epsilon_by_renyi(row.delta);
        assert!(epsilon >= row.pld, "{}: {epsilon} is below the reference's {}", row.name(), row.pld);
    }
    println!("between integers the reference is at most {most:.1e} above");
}

/// PRIV-07: a setting that is a little off is noticed, so that the two tests above test something.
#[test]
fn five_percent_less_noise_is_noticed() {
    let quieter = rows().into_iter().map(|row| Row { sigma: row.sigma * 0.95, ..row });
    let noticed = |row: &Row| {
        let divergences = row.divergences.iter().flatten();
        [5.5, 8.0]
            .into_iter()
            .zip(divergences)
            .any(|(order, expected)| row.account().divergence(order) > 1.03 * expected)
    };
    let with_divergences = quieter.filter(|row| row.divergences.is_some()).collect::<Vec<_>>();
    assert!(with_divergences.iter().all(noticed));
}
