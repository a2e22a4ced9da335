//! The ε that a sweep's curve is drawn over.

use cloister_params::limits::PrivacyUnit;

use super::{SweepAxis, SweepSettings};
use crate::charges::ReleasedPart;
use crate::config::Config;
use crate::epsilons::RunEpsilons;

impl SweepSettings {
    /// The ε that the curve is drawn over.
    pub fn epsilon_on_axis(&self, epsilons: &RunEpsilons) -> Option<f64> {
        match (self.axis(), self.unit) {
            (SweepAxis::Training, _) => epsilons.training,
            (SweepAxis::Head, _) => epsilons.head,
            (SweepAxis::Released(ReleasedPart::Everything), PrivacyUnit::Member) => epsilons.member,
            (SweepAxis::Released(ReleasedPart::Everything), PrivacyUnit::Record) => epsilons.record,
            (SweepAxis::Released(ReleasedPart::Announced), PrivacyUnit::Member) => epsilons.announced_member,
            (SweepAxis::Released(ReleasedPart::Announced), PrivacyUnit::Record) => epsilons.announced_record,
            (SweepAxis::Released(ReleasedPart::Sketches), PrivacyUnit::Member) => epsilons.sketches_member,
            (SweepAxis::Released(ReleasedPart::Sketches), PrivacyUnit::Record) => epsilons.sketches_record,
        }
    }

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
