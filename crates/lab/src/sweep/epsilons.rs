//! Every ε of a row at a value.

use cloister_params::limits::PrivacyUnit;
use serde::{Serialize, Serializer};

use super::{SweepAxis, SweepSettings};
use crate::charges::{ReleasedPart, SeedCharges};
use crate::config::{Config, HeadKind};
use crate::results::RunSummary;

/// Every ε of a row at a value: the largest over seeds, for a member or a text of it. None where nothing of the kind is
/// released or known, and infinite (`unbounded` in files) where a release has no noise.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize)]
pub struct SweepEpsilons {
    /// Of DP-SGD alone, for a text, at `strategy.private.delta`.
    #[serde(serialize_with = "spelled")]
    pub training: Option<f64>,
    /// Of the head from noised sums, for the unit of its noise, at `head.noise.delta`.
    #[serde(serialize_with = "spelled")]
    pub head: Option<f64>,
    /// Of everything that a member released behind masks, for the member.
    #[serde(serialize_with = "spelled")]
    pub member: Option<f64>,
    /// The same, for a text.
    #[serde(serialize_with = "spelled")]
    pub record: Option<f64>,
    /// Of what a member announced (sketches or signs, and token counts), for the member.
    #[serde(serialize_with = "spelled")]
    pub announced_member: Option<f64>,
    /// The same, for a text.
    #[serde(serialize_with = "spelled")]
    pub announced_record: Option<f64>,
    /// Of sketches or signs alone, for the member.
    #[serde(serialize_with = "spelled")]
    pub sketches_member: Option<f64>,
    /// The same, for a text.
    #[serde(serialize_with = "spelled")]
    pub sketches_record: Option<f64>,
}

impl SweepEpsilons {
    /// Every ε of a run, those of releases behind masks at `delta`.
    pub(super) fn new(config: &Config, summary: &RunSummary, delta: f64) -> Self {
        use ReleasedPart::{Announced, Everything, Sketches};
        let mut charges: Vec<&SeedCharges> = Vec::new();
        for seed in &summary.measured {
            // Most seeds release alike, and an account may take a while.
            charges.extend(seed.charges.as_ref().filter(|other| !charges.contains(other)));
        }
        let [member, announced_member, sketches_member] =
            [Everything, Announced, Sketches].map(|part| largest(&charges, part, PrivacyUnit::Member, delta));
        let [record, announced_record, sketches_record] =
            [Everything, Announced, Sketches].map(|part| largest(&charges, part, PrivacyUnit::Record, delta));
        Self {
            training: summary.epsilon_of_training(config),
            head: summary.epsilon_of_head().or_else(|| bare_head(config)),
            member,
            record,
            announced_member,
            announced_record,
            sketches_member,
            sketches_record,
        }
    }

    /// The ε that a sweep's curve is drawn over.
    pub fn on_axis(&self, settings: &SweepSettings) -> Option<f64> {
        match (settings.axis(), settings.unit) {
            (SweepAxis::Training, _) => self.training,
            (SweepAxis::Head, _) => self.head,
            (SweepAxis::Released(ReleasedPart::Everything), PrivacyUnit::Member) => self.member,
            (SweepAxis::Released(ReleasedPart::Everything), PrivacyUnit::Record) => self.record,
            (SweepAxis::Released(ReleasedPart::Announced), PrivacyUnit::Member) => self.announced_member,
            (SweepAxis::Released(ReleasedPart::Announced), PrivacyUnit::Record) => self.announced_record,
            (SweepAxis::Released(ReleasedPart::Sketches), PrivacyUnit::Member) => self.sketches_member,
            (SweepAxis::Released(ReleasedPart::Sketches), PrivacyUnit::Record) => self.sketches_record,
        }
    }

    /// Every ε with the name of its column.
    pub fn columns(&self) -> [(&'static str, Option<f64>); 8] {
        [
            ("epsilon_training", self.training),
            ("epsilon_head", self.head),
            ("epsilon_member", self.member),
            ("epsilon_record", self.record),
            ("epsilon_announced_member", self.announced_member),
            ("epsilon_announced_record", self.announced_record),
            ("epsilon_sketches_member", self.sketches_member),
            ("epsilon_sketches_record", self.sketches_record),
        ]
    }
}

impl SweepSettings {
    /// What the curve's ε covers, for whom, and at which δ, in words.
    pub fn axis_in_words(&self, config: &Config) -> String {
        let unit = match self.unit {
            PrivacyUnit::Member => "a member",
            PrivacyUnit::Record => "a text",
        };
        let (part, unit, delta) = match self.axis() {
            SweepAxis::Training => ("DP-SGD", "a text", delta_of_training(config).unwrap_or(self.delta)),
            SweepAxis::Head => head_in_words(config, self.delta),
            SweepAxis::Released(ReleasedPart::Everything) => ("everything released", unit, self.delta),
            SweepAxis::Released(ReleasedPart::Announced) => ("what is announced", unit, self.delta),
            SweepAxis::Released(ReleasedPart::Sketches) => ("sketches", unit, self.delta),
        };
        format!("ε of {part} for {unit}, δ = {delta:e}")
    }
}

fn head_in_words(config: &Config, delta: f64) -> (&'static str, &'static str, f64) {
    match config.head.noise {
        Some(noise) if noise.unit == PrivacyUnit::Member => ("the head", "a member", noise.delta),
        Some(noise) => ("the head", "a text", noise.delta),
        None => ("the head", "a text", delta),
    }
}

fn delta_of_training(config: &Config) -> Option<f64> {
    config.strategy.training.private.map(|private| private.delta)
}

/// Infinity, if a head is fitted behind masks from sums without noise.
fn bare_head(config: &Config) -> Option<f64> {
    let is_fitted = config.secure && config.head.kind != HeadKind::None;
    (is_fitted && config.head.noise.is_none()).then_some(f64::INFINITY)
}

/// The largest ε over seeds.
fn largest(charges: &[&SeedCharges], part: ReleasedPart, unit: PrivacyUnit, delta: f64) -> Option<f64> {
    charges.iter().filter_map(|charges| charges.epsilon(part, unit, delta)).max_by(f64::total_cmp)
}

/// An ε in files: JSON has no infinity.
pub(super) fn spelled<S: Serializer>(epsilon: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match epsilon {
        Some(epsilon) if epsilon.is_finite() => serializer.serialize_f64(*epsilon),
        Some(_) => serializer.serialize_str(UNBOUNDED),
        None => serializer.serialize_none(),
    }
}

/// What tables say in place of an infinite ε.
pub(super) const UNBOUNDED: &str = "unbounded";
