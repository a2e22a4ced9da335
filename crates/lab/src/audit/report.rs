//! The results of an audit, for people and for programs.

use cloister_params::limits::PrivacyUnit;
use serde::Serialize;

use super::AuditSettings;
use super::fault::PlantedFault;
use super::mechanism::AuditSubject;

/// What was audited in one run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct AuditCase {
    /// Whose data is protected.
    pub unit: PrivacyUnit,
    /// Whether members train by DP-SGD.
    pub private_training: bool,
    /// What was wrong with the mechanism.
    pub fault: PlantedFault,
    /// The seed of canaries and noise.
    pub seed: u64,
}

/// The result of one run for one claim.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Finding {
    /// What was audited.
    #[serde(flatten)]
    pub case: AuditCase,
    /// What the claim is about, and what was wrong where there was a fault.
    pub subject: AuditSubject,
    /// What the accountant claims.
    pub epsilon_claimed: f64,
    /// What the guesses refute: the larger of both bounds.
    pub epsilon_lower_bound: f64,
    /// The bound that assumes nothing about the mechanism.
    pub by_one_run: f64,
    /// The tighter bound, which assumes noise of Gaussian shape.
    pub by_decisions: f64,
    /// The furthest that a canary moves the release before noise, divided by the sensitivity that is charged.
    /// Above 1 it refutes what ε was computed from; far below 1 the canaries are too weak to show much.
    pub moved: f64,
    /// Whether noise is reused, which refutes any ε.
    pub noise_repeats: bool,
    /// Whether noise is smaller than claimed, which refutes what ε was computed from.
    pub noise_small: bool,
    /// Canaries that were scored.
    pub canaries: u64,
    /// Guesses that a canary was included.
    pub guesses: u64,
    /// Those that are right.
    pub correct: u64,
    /// Share of the canaries left out that were taken for included.
    pub false_positive_rate: f64,
    /// Share of the canaries included that were taken for left out.
    pub false_negative_rate: f64,
}

impl Finding {
    /// Whether guesses refute the claimed ε.
    pub fn bound_refutes(&self) -> bool {
        self.epsilon_lower_bound > self.epsilon_claimed
    }

    /// Whether a canary moves more than is charged for. The tolerance covers rounding in floats, and is far
    /// below the least planted fault, a factor of 2.
    pub fn moves_too_far(&self) -> bool {
        self.moved > 1.0 + 1e-6
    }

    /// Whether the claim is refuted.
    pub fn refutes(&self) -> bool {
        self.bound_refutes() || self.moves_too_far() || self.noise_repeats || self.noise_small
    }

    /// What refutes the claim, in words.
    pub fn verdict(&self) -> String {
        let reasons = [
            (self.bound_refutes(), "ε"),
            (self.moves_too_far(), "sensitivity"),
            (self.noise_repeats, "noise is reused"),
            (self.noise_small, "too little noise"),
        ];
        let reasons: Vec<&str> =
            reasons.iter().filter(|(holds, _)| *holds).map(|(_, words)| *words).collect();
        if reasons.is_empty() { "stands".to_owned() } else { format!("refuted: {}", reasons.join(", ")) }
    }
}

/// The scores behind a finding, from which other programs can compute bounds on ε (`cargo xtask audit`).
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct CanaryScores {
    /// What was found with them.
    pub finding: Finding,
    /// Scores of the canaries that were included.
    pub inside: Vec<f64>,
    /// Scores of those that were left out.
    pub outside: Vec<f64>,
}

/// The results of all runs.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct AuditReport {
    /// The claimed ε of everything in a round, for unit `member`, where nothing is wrong.
    pub epsilon_claimed: f64,
    /// The largest lower bound of all seeds for it.
    pub epsilon_lower_bound: f64,
    /// Whether no claim was refuted where nothing is wrong.
    pub claims_hold: bool,
    /// Whether the claim was refuted in every run with something wrong.
    pub broken_caught: bool,
    /// How it was audited.
    pub settings: AuditSettings,
    /// The probability with which one test of one claim may err, so that all together keep to `settings.confidence`.
    pub significance: f64,
    /// Every finding.
    pub findings: Vec<Finding>,
}

impl AuditReport {
    pub(crate) fn new(settings: &AuditSettings, significance: f64, findings: Vec<Finding>) -> Self {
        let (sound, broken): (Vec<&Finding>, Vec<&Finding>) =
            findings.iter().partition(|finding| finding.case.fault == PlantedFault::None);
        let (mut epsilon_claimed, mut epsilon_lower_bound) = (0.0, 0.0);
        for finding in &sound {
            if finding.case.unit == PrivacyUnit::Member && finding.subject == AuditSubject::Round {
                epsilon_claimed = f64::max(epsilon_claimed, finding.epsilon_claimed);
                epsilon_lower_bound = f64::max(epsilon_lower_bound, finding.epsilon_lower_bound);
            }
        }
        Self {
            epsilon_claimed,
            epsilon_lower_bound,
            claims_hold: !sound.iter().any(|finding| finding.refutes()),
            broken_caught: broken.iter().all(|finding| finding.refutes()),
            settings: settings.clone(),
            significance,
            findings,
        }
    }

    /// A table for people.
    pub fn to_table(&self) -> String {
        let mut lines = vec![format!(
            "{:<7} {:<8} {:<34} {:<24} {:>4}  {:>9}  {:>13}  {}",
            "unit", "training", "released", "mechanism", "seed", "ε claimed", "ε lower bound", "claim"
        )];
        lines.extend(self.findings.iter().map(|finding| {
            let AuditCase { unit, private_training, fault, seed } = finding.case;
            format!(
                "{:<7} {:<8} {:<34} {:<24} {seed:>4}  {:>9.2}  {:>13.2}  {}",
                unit.to_string(),
                if private_training { "private" } else { "plain" },
                finding.subject.in_words(),
                fault.in_words(),
                finding.epsilon_claimed,
                finding.epsilon_lower_bound,
                finding.verdict()
            )
        }));
        lines.join("\n") + "\n"
    }
}
