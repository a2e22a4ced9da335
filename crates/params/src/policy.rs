//! A party's own policy file: what it accepts of a plan, whatever the coordinator proposes.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::consortium::PublicBytes;
use crate::plan::{CheckedPlan, Fallback, LateSketches};

/// Limits that a hospital sets for itself. Every limit may only tighten the specification's floors.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The governance key whose signature makes a consortium file acceptable.
    pub governance_key: PublicBytes,
    /// The fewest organisations of a cohort that this party lets its update be summed in.
    #[serde(default)]
    pub minimum_cohort: u16,
    /// The least noise on sketch coordinates, in sketch steps.
    #[serde(default)]
    pub minimum_sketch_noise: u16,
    /// The largest aggregation weight.
    #[serde(default = "default_weight")]
    pub maximum_weight: u8,
    /// Whether a block without an aligned cohort may be summed over everyone.
    #[serde(default = "default_fallback")]
    pub allow_fallback_to_everyone: bool,
    /// Whether members may be asked for late sketches: 48 sums over each of its uploads, seen by everybody.
    #[serde(default)]
    pub allow_late_sketches: bool,
}

fn default_weight() -> u8 {
    crate::consortium::MAX_WEIGHT
}

fn default_fallback() -> bool {
    true
}

/// A policy file that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("the policy file cannot be read: {0}")]
pub struct PolicySyntax(String);

/// A plan that this party refuses. The sentence names the rule, the plan's value and the limit.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PolicyRefusal {
    /// Cohorts too small.
    #[error(
        "policy `minimum_cohort`: the plan opens cohorts of {got} organisations, this party demands {limit}"
    )]
    Cohort {
        /// The plan's floor.
        got: u16,
        /// The policy's.
        limit: u16,
    },
    /// Too little noise on sketches.
    #[error(
        "policy `minimum_sketch_noise`: the plan's sketches carry {got} steps of noise, this party demands {limit}"
    )]
    SketchNoise {
        /// The plan's noise.
        got: u16,
        /// The policy's.
        limit: u16,
    },
    /// Weights too large.
    #[error("policy `maximum_weight`: the plan uses weights up to {got}, this party allows {limit}")]
    Weight {
        /// The plan's largest weight.
        got: u8,
        /// The policy's.
        limit: u8,
    },
    /// A fallback that is not allowed.
    #[error(
        "policy `allow_fallback_to_everyone`: the plan sums unaligned experts over everyone, this party does not allow it"
    )]
    Fallback,
    /// Late sketches that are not allowed.
    #[error(
        "policy `allow_late_sketches`: the plan asks members for late sketches, this party does not allow them"
    )]
    LateSketches,
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// A file that is no policy; unknown settings are errors, so that a typing error cannot loosen a limit.
    pub fn parse(text: &str) -> Result<Self, PolicySyntax> {
        toml::from_str(text).map_err(|error| PolicySyntax(error.to_string()))
    }

    /// The file's text.
    ///
    /// # Errors
    /// Never for this type; the TOML library's error is passed on.
    pub fn to_toml(&self) -> Result<String, PolicySyntax> {
        toml::to_string(self).map_err(|error| PolicySyntax(error.to_string()))
    }

    /// Checks a plan against this party's limits (`PLAN-10`).
    ///
    /// # Errors
    /// The first limit that the plan exceeds.
    pub fn admit(&self, plan: &CheckedPlan) -> Result<(), PolicyRefusal> {
        if plan.settings.cohort_floor < self.minimum_cohort {
            return Err(PolicyRefusal::Cohort {
                got: plan.settings.cohort_floor,
                limit: self.minimum_cohort,
            });
        }
        if plan.settings.sketch.noise_steps < self.minimum_sketch_noise {
            let (got, limit) = (plan.settings.sketch.noise_steps, self.minimum_sketch_noise);
            return Err(PolicyRefusal::SketchNoise { got, limit });
        }
        if plan.settings.max_weight > self.maximum_weight {
            return Err(PolicyRefusal::Weight { got: plan.settings.max_weight, limit: self.maximum_weight });
        }
        if plan.settings.scoring.fallback == Fallback::Everyone && !self.allow_fallback_to_everyone {
            return Err(PolicyRefusal::Fallback);
        }
        if plan.settings.late_sketches != LateSketches::Off && !self.allow_late_sketches {
            return Err(PolicyRefusal::LateSketches);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_that_ships_is_a_policy() {
        let sample = include_str!("../../../deploy/config/policy.toml");
        let policy = Policy::parse(sample).expect("the sample parses");
        assert_eq!((policy.minimum_cohort, policy.minimum_sketch_noise, policy.maximum_weight), (5, 80, 1));
    }

    #[test]
    fn a_typing_error_loosens_no_limit() {
        let typo = "governance_key = \"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a\"\nminimum_cohrt = 5";
        assert!(Policy::parse(typo).is_err());
    }
}
