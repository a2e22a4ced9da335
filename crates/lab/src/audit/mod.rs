//! Does the noise hold? An empirical audit of what is really released, against what is charged for it.
//!
//! Canaries are included with probability ½ each; whoever sees the release, knows everything but those coins and the
//! noise, and guesses. A claimed (ε, δ) bounds how well that can go, so guesses that go better refute the claim, and
//! every run yields a lower bound on ε ([`bounds`]). The bound of an honest mechanism stays below its claim, that of
//! one with a [`Fault`] rises above: an audit that shows only the former shows nothing.
//!
//! What is audited is a [`Mechanism`]; [`Rounds`] is the product's own.

pub mod bounds;
mod canary;
mod fault;
mod mechanism;
mod rounds;

use cloister_params::limits::PrivacyUnit;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde::Serialize;

use crate::error::LabError;
use crate::noise::Target;
use bounds::{Decisions, Guesses};
pub use fault::Fault;
pub use mechanism::Mechanism;
pub use rounds::Rounds;

/// `rho` of an audited round: the noise that a bound tells best from half of it with some thousand canaries.
const RHO: f64 = 1.125;
/// One guess for so many canaries: those that look most as if they were included.
const CANARIES_A_GUESS: usize = 20;
/// Bounds that are taken of each run; their error probabilities add up.
const BOUNDS: f64 = 2.0;

/// How to audit.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Settings {
    /// Canaries of each run.
    pub canaries: usize,
    /// A run for each seed.
    pub seeds: Vec<u64>,
    /// The δ of claims and bounds.
    pub delta: f64,
    /// The probability with which each run's bounds hold.
    pub confidence: f64,
}

/// What one run found.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Finding {
    /// Whose data is protected.
    pub unit: PrivacyUnit,
    /// What was wrong with the mechanism.
    pub fault: Fault,
    /// The seed of canaries and noise.
    pub seed: u64,
    /// What the accountant claims.
    pub epsilon_claimed: f64,
    /// What the guesses refute: the larger of both bounds.
    pub epsilon_lower_bound: f64,
    /// The bound that assumes nothing of the mechanism.
    pub by_one_run: f64,
    /// The bound that assumes the shape of Gaussian noise.
    pub by_decisions: f64,
    /// Guesses that a canary was included.
    pub guesses: u64,
    /// Those that are right.
    pub correct: u64,
    /// Share of the canaries left out that were taken for included, by the likelier of both.
    pub false_positive_rate: f64,
    /// Share of the canaries included that were taken for left out.
    pub false_negative_rate: f64,
}

impl Finding {
    /// Whether the claim is refuted.
    pub fn refutes(&self) -> bool {
        self.epsilon_lower_bound > self.epsilon_claimed
    }
}

/// The scores behind a finding, for other programs to bound ε by.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Scores {
    /// What was found with them.
    pub finding: Finding,
    /// Of the canaries that were included.
    pub inside: Vec<f64>,
    /// Of those that were left out.
    pub outside: Vec<f64>,
}

/// All runs.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// The claimed ε of unit `member`, the mechanism as it is.
    pub epsilon_claimed: f64,
    /// The largest lower bound of all seeds for it.
    pub epsilon_lower_bound: f64,
    /// Whether no claim was refuted where nothing is wrong.
    pub claims_hold: bool,
    /// Whether the claim was refuted in every run with something wrong.
    pub broken_caught: bool,
    /// How it was audited.
    pub settings: Settings,
    /// Every run.
    pub findings: Vec<Finding>,
}

/// Audits both units of privacy, as they are and with each fault. `found` is told of every run as it ends.
///
/// # Errors
/// [`LabError::OtherSum`] for a fault of the program; [`LabError::File`] for ledgers that cannot be written.
pub fn audit(settings: &Settings, found: &mut dyn FnMut(&Scores)) -> Result<Report, LabError> {
    let mut findings = Vec::new();
    for unit in [PrivacyUnit::Member, PrivacyUnit::Record] {
        for fault in [Fault::None].into_iter().chain(Fault::BREAKS) {
            for &seed in &settings.seeds {
                let mut rounds = Rounds::new(Target { unit, rho: RHO }, fault)?;
                let scores = run(&mut rounds, settings, (unit, fault, seed))?;
                found(&scores);
                findings.push(scores.finding);
            }
        }
    }
    Ok(Report::of(settings, findings))
}

/// One run of a mechanism.
///
/// # Errors
/// As the mechanism.
pub fn run(
    mechanism: &mut dyn Mechanism,
    settings: &Settings,
    (unit, fault, seed): (PrivacyUnit, Fault, u64),
) -> Result<Scores, LabError> {
    let included = coins(settings.canaries, seed);
    let scores = mechanism.scores(&included, seed)?;
    let of = |wanted: bool| -> Vec<f64> {
        scores.iter().zip(&included).filter(|(_, bit)| **bit == wanted).map(|(score, _)| *score).collect()
    };
    let (inside, outside) = (of(true), of(false));
    let significance = (1.0 - settings.confidence) / BOUNDS;
    let guesses = most_likely(&scores, &included);
    let decisions = decide(&inside, &outside);
    let (by_one_run, by_decisions) =
        (guesses.epsilon(settings.delta, significance), decisions.epsilon(settings.delta, significance));
    let finding = Finding {
        unit,
        fault,
        seed,
        epsilon_claimed: mechanism.claimed()?.epsilon(settings.delta).epsilon,
        epsilon_lower_bound: by_one_run.max(by_decisions),
        by_one_run,
        by_decisions,
        guesses: guesses.guesses,
        correct: guesses.correct,
        false_positive_rate: decisions.false_positives as f64 / decisions.outside as f64,
        false_negative_rate: decisions.false_negatives as f64 / decisions.inside as f64,
    };
    Ok(Scores { finding, inside, outside })
}

/// Which canaries are included; their stream is not that of the noise.
fn coins(canaries: usize, seed: u64) -> Vec<bool> {
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    random.set_stream(1);
    (0..canaries).map(|_| random.next_u32() & 1 == 1).collect()
}

/// Guesses that the canaries with the largest scores were included, as many as were fixed beforehand.
fn most_likely(scores: &[f64], included: &[bool]) -> Guesses {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&one, &other| scores[other].total_cmp(&scores[one]));
    let guessed = &order[..scores.len().div_ceil(CANARIES_A_GUESS)];
    Guesses {
        canaries: scores.len() as u64,
        guesses: guessed.len() as u64,
        correct: guessed.iter().filter(|&&canary| included[canary]).count() as u64,
    }
}

/// Takes for included what is likelier so, were the noise what it is said to be.
fn decide(inside: &[f64], outside: &[f64]) -> Decisions {
    Decisions {
        outside: outside.len() as u64,
        false_positives: outside.iter().filter(|score| **score > 0.0).count() as u64,
        inside: inside.len() as u64,
        false_negatives: inside.iter().filter(|score| **score <= 0.0).count() as u64,
    }
}

impl Report {
    fn of(settings: &Settings, findings: Vec<Finding>) -> Self {
        let (sound, broken): (Vec<&Finding>, Vec<&Finding>) =
            findings.iter().partition(|finding| finding.fault == Fault::None);
        let members = || sound.iter().filter(|finding| finding.unit == PrivacyUnit::Member);
        let largest = |of: fn(&Finding) -> f64| members().map(|finding| of(finding)).fold(0.0, f64::max);
        Self {
            epsilon_claimed: largest(|finding| finding.epsilon_claimed),
            epsilon_lower_bound: largest(|finding| finding.epsilon_lower_bound),
            claims_hold: !sound.iter().any(|finding| finding.refutes()),
            broken_caught: broken.iter().all(|finding| finding.refutes()),
            settings: settings.clone(),
            findings,
        }
    }

    /// A table for people.
    pub fn to_table(&self) -> String {
        let mut lines = vec![format!(
            "{:<7} {:<24} {:>4}  {:>9}  {:>13}  {:>8}  {:>9}  {:>13}",
            "unit",
            "mechanism",
            "seed",
            "ε claimed",
            "ε lower bound",
            "one run",
            "decisions",
            "right guesses"
        )];
        lines.extend(self.findings.iter().map(|finding| {
            let Finding { unit, fault, seed, epsilon_claimed, epsilon_lower_bound, by_one_run, by_decisions, .. } =
                finding;
            format!(
                "{:<7} {:<24} {seed:>4}  {epsilon_claimed:>9.2}  {epsilon_lower_bound:>13.2}  {by_one_run:>8.2}  \
                 {by_decisions:>9.2}  {:>6} of {:<4} {}",
                unit.to_string(),
                fault.in_words(),
                finding.correct,
                finding.guesses,
                if finding.refutes() { "refuted" } else { "" }
            )
            .trim_end()
            .to_owned()
        }));
        lines.join("\n") + "\n"
    }
}
