//! Every ε of a run.

use std::fmt;

use cloister_params::limits::PrivacyUnit;
use serde::{Serialize, Serializer};

use crate::charges::{ReleasedPart, SeedCharges};
use crate::config::{Config, HeadKind};

/// The δ of what is released behind masks, unless a sweep names another.
pub const RELEASED_DELTA: f64 = 1e-5;

/// Every ε of a run: the largest over seeds, for a member or a text of it. None where nothing of the kind is
/// released or known, and infinite (`unbounded` in files) where a release has no noise.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize)]
pub struct RunEpsilons {
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
    /// Of what a member announced (sketches, signs or scores, and token counts), for the member.
    #[serde(serialize_with = "spelled")]
    pub announced_member: Option<f64>,
    /// The same, for a text.
    #[serde(serialize_with = "spelled")]
    pub announced_record: Option<f64>,
    /// Of sketches, signs or scores alone, for the member.
    #[serde(serialize_with = "spelled")]
    pub sketches_member: Option<f64>,
    /// The same, for a text.
    #[serde(serialize_with = "spelled")]
    pub sketches_record: Option<f64>,
}

impl RunEpsilons {
    /// Every ε of a run of these charges of seeds, those of releases behind masks at `delta`. `training` is that of
    /// DP-SGD, and `head` that of a head with noise.
    pub(crate) fn new(
        config: &Config,
        training: Option<f64>,
        head: Option<f64>,
        charges: &[&SeedCharges],
        delta: f64,
    ) -> Self {
        use ReleasedPart::{Announced, Everything, Sketches};
        let [member, announced_member, sketches_member] =
            [Everything, Announced, Sketches].map(|part| largest(charges, part, PrivacyUnit::Member, delta));
        let [record, announced_record, sketches_record] =
            [Everything, Announced, Sketches].map(|part| largest(charges, part, PrivacyUnit::Record, delta));
        Self {
            training,
            head: head.or_else(|| bare_head(config)),
            member,
            record,
            announced_member,
            announced_record,
            sketches_member,
            sketches_record,
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

impl fmt::Display for RunEpsilons {
    /// What was released, and its ε. Of what was not released nothing is said.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("DP-SGD, for a text", self.training),
            ("a head from sums", self.head),
            ("everything behind masks, for a member", self.member),
            ("for a text", self.record),
        ];
        let mut said = Vec::new();
        for (part, epsilon) in parts {
            match epsilon {
                Some(epsilon) if epsilon.is_finite() => said.push(format!("{part}: {epsilon:.2}")),
                Some(_) => said.push(format!("{part}: {UNBOUNDED}")),
                None => {}
            }
        }
        match said.is_empty() {
            true => write!(f, "ε: none, because updates are in the clear"),
            false => write!(f, "ε of {}", said.join("; ")),
        }
    }
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
pub(crate) fn spelled<S: Serializer>(epsilon: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match epsilon {
        Some(epsilon) if epsilon.is_finite() => serializer.serialize_f64(*epsilon),
        Some(_) => serializer.serialize_str(UNBOUNDED),
        None => serializer.serialize_none(),
    }
}

/// What tables say in place of an infinite ε.
pub(crate) const UNBOUNDED: &str = "unbounded";

/// An ε, or another number, as CSV has it: empty for none, and `unbounded` for an infinite one.
pub(crate) fn in_csv(epsilon: Option<f64>) -> String {
    match epsilon {
        Some(epsilon) if epsilon.is_finite() => epsilon.to_string(),
        Some(_) => UNBOUNDED.to_owned(),
        None => String::new(),
    }
}
