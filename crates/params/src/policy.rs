//! A party's policy file: what it accepts of a plan, whatever the coordinator proposes.
//! `deploy/config/policy.toml` is a sample with all settings.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::consortium::PublicBytes;
use crate::id::Digest;
use crate::limits::{Date, PrivacyLimits};
use crate::plan::{CheckedPlan, Fallback, LateSketchMode, RoundSettings, Threshold};

/// Limits that a hospital sets for itself. A limit can only tighten the specification's floors.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The governance key whose signature makes a consortium file acceptable.
    pub governance_key: PublicBytes,
    /// The fewest organisations of a cohort in which this party's update may be summed, this party included.
    /// By default the consortium's floor alone holds.
    #[serde(default)]
    pub minimum_cohort: u16,
    /// The least standard deviation of the noise on each coordinate of a sketch, in sketch steps (a sketch's
    /// clip is 8192 steps), and on each score, whose largest value counts as 8192 steps. By default 0.
    #[serde(default)]
    pub minimum_sketch_noise: u16,
    /// The most numbers about its experts that this party announces in a round by itself, outside of any sum: a sketch of
    /// pairs counts as its coordinates and its count, signs as their bits and the count, and a score as one. By default
    /// as many as a plan asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_announced_numbers: Option<u64>,
    /// The largest aggregation weight that any member may have, 1 to 15. By default 15.
    #[serde(default = "default_weight")]
    pub maximum_weight: u8,
    /// Whether an expert without an aligned cohort may be summed over everyone. By default yes.
    #[serde(default = "default_fallback")]
    pub allow_fallback_to_everyone: bool,
    /// Whether a plan may ask members for late sketches: 48 sums over each upload of this party, which
    /// everybody sees. By default no.
    #[serde(default)]
    pub allow_late_sketches: bool,
    /// Whether plans must train with DP-SGD at every member, so that training says little about any one
    /// record. By default no.
    #[serde(default)]
    pub require_private_training: bool,
    /// The least noise multiplier of private training, in thousandths, if a plan has private training. By
    /// default 300.
    #[serde(default = "default_noise_multiplier")]
    pub minimum_noise_multiplier_milli: u32,
    /// The scoring rules that this party accepts. By default all.
    #[serde(default = "every_scoring_rule")]
    pub allowed_scoring_rules: Vec<Threshold>,
    /// Digests of the tasks (classes and shape of the model) that this party accepts. By default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_models: Option<Vec<Digest>>,
    /// The last day, in UTC, on which this policy admits a plan. By default it does not end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Date>,
    /// The privacy budget. Without one, releases are counted in the ledger, and none is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privacy: Option<PrivacyLimits>,
}

fn default_weight() -> u8 {
    crate::consortium::MAX_WEIGHT
}

fn default_fallback() -> bool {
    true
}

/// With this noise, one step that takes every record costs an ε of 21 at a δ of 10⁻⁶. Privacy statements call
/// an ε above 20 no meaningful promise (`PRIV-09`).
fn default_noise_multiplier() -> u32 {
    300
}

fn every_scoring_rule() -> Vec<Threshold> {
    vec![Threshold::MeanDeviation, Threshold::MedianDeviation]
}

/// A policy file that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("the policy file cannot be read: {0}")]
pub struct PolicySyntax(String);

/// Why this party refuses a plan. The message names the policy's setting, the plan's value and the limit. The
/// party sends it to the coordinator in its `Refusal`.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PolicyRefusal {
    /// Cohorts that are too small.
    #[error(
        "policy `minimum_cohort`: the plan opens cohorts of {got} organisations, this party demands {limit}"
    )]
    Cohort {
        /// The plan's floor, in organisations.
        got: u16,
        /// The policy's.
        limit: u16,
    },
    /// Too little noise on sketches.
    #[error(
        "policy `minimum_sketch_noise`: the plan's sketches or scores carry {got} of 8192 steps of noise, this party \
         demands {limit}"
    )]
    SketchNoise {
        /// The plan's noise.
        got: u16,
        /// The policy's.
        limit: u16,
    },
    /// More announced numbers than the policy allows.
    #[error(
        "policy `maximum_announced_numbers`: the plan has each member announce {got} numbers of its own, this party allows \
         {limit}; withheld sketches need one for each group of experts"
    )]
    AnnouncedNumbers {
        /// The plan's numbers for each member.
        got: u64,
        /// The policy's.
        limit: u64,
    },
    /// Weights that are too large.
    #[error("policy `maximum_weight`: the plan uses weights up to {got}, this party allows {limit}")]
    Weight {
        /// The plan's largest weight.
        got: u8,
        /// The policy's.
        limit: u8,
    },
    /// A fallback that the policy does not allow.
    #[error(
        "policy `allow_fallback_to_everyone`: the plan sums experts without an aligned cohort over \
         everyone, this party does not allow it"
    )]
    Fallback,
    /// Late sketches that the policy does not allow.
    #[error(
        "policy `allow_late_sketches`: the plan asks members for late sketches, this party does not allow them"
    )]
    LateSketches,
    /// Training that is not private.
    #[error(
        "policy `require_private_training`: the plan trains without clipping and noise for each record, \
         this party demands both"
    )]
    NoPrivateTraining,
    /// Private training with too little noise.
    #[error(
        "policy `minimum_noise_multiplier_milli`: the plan's private training has noise of {got} \
         thousandths of its clip, this party demands {limit}"
    )]
    NoiseMultiplier {
        /// The plan's noise.
        got: u32,
        /// The policy's.
        limit: u32,
    },
    /// A scoring rule that the policy does not list.
    #[error("policy `allowed_scoring_rules`: the plan scores by {got:?}, this party allows {limit:?}")]
    ScoringRule {
        /// The plan's rule.
        got: Threshold,
        /// The policy's.
        limit: Vec<Threshold>,
    },
    /// A task that the policy does not list.
    #[error(
        "policy `allowed_models`: the plan trains the task {got}, which is none of the {count} that this party allows"
    )]
    Model {
        /// Digest of the plan's task.
        got: Digest,
        /// How many tasks the policy lists.
        count: usize,
    },
    /// A policy whose last day is over.
    #[error("policy `expires`: it admitted plans until {limit}, today is {got}; have it renewed")]
    Expired {
        /// Today.
        got: Date,
        /// The policy's last day.
        limit: Date,
    },
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// A file that is not a policy in TOML. An unknown setting is an error, so that a typing error cannot
    /// loosen a limit.
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
        self.admit_settings(&plan.settings)
    }

    /// Checks the settings of a plan, before there is one.
    ///
    /// # Errors
    /// The first limit that they exceed.
    pub fn admit_settings(&self, settings: &RoundSettings) -> Result<(), PolicyRefusal> {
        self.refusals(settings).into_iter().next().map_or(Ok(()), Err)
    }

    /// Every limit that settings exceed, in the order of the policy's settings.
    pub fn refusals(&self, settings: &RoundSettings) -> Vec<PolicyRefusal> {
        let rules = [
            self.refuse_cohort(settings),
            self.refuse_noise(settings),
            self.refuse_announced_numbers(settings),
            self.refuse_weight(settings),
            self.refuse_fallback(settings),
            self.refuse_late_sketches(settings),
            self.refuse_training(settings),
            self.refuse_scoring(settings),
            self.refuse_model(settings),
        ];
        rules.into_iter().flatten().collect()
    }

    fn refuse_cohort(&self, settings: &RoundSettings) -> Option<PolicyRefusal> {
        let (got, limit) = (settings.cohort_floor, self.minimum_cohort);
        (got < limit).then_some(PolicyRefusal::Cohort { got, limit })
    }

    fn refuse_noise(&self, settings: &RoundSettings) -> Option<PolicyRefusal> {
        let (got, limit) = (settings.announced_noise(), self.minimum_sketch_noise);
        (got < limit).then_some(PolicyRefusal::SketchNoise { got, limit })
    }

    fn refuse_announced_numbers(&self, settings: &RoundSettings) -> Option<PolicyRefusal> {
        let (got, limit) = (settings.announced_numbers(), self.maximum_announced_numbers?);
        (got > limit).then_some(PolicyRefusal::AnnouncedNumbers { got, limit })
    }

    fn refuse_weight(&self, settings: &RoundSettings) -> Option<PolicyRefusal> {
        let (got, limit) = (settings.max_weight, self.maximum_weight);
        (got > limit).then_some(PolicyRefusal::Weight { got, limit })
    }

    fn refuse_fallback(&self, settings: &RoundSettings) -> Option<PolicyRefusal> {
        let falls_back = settings.scoring.fallback == Fallback::Everyone;
        (falls_back && !self.allow_fallback_to_everyone).then_some(PolicyRefusal::Fallback)
    }

    fn refuse_late_sketches(&self, settings: &RoundSettings) -> Option<PolicyRefusal> {
        // Everybody sees optional late sketches too.
        let has_late_sketches = settings.late_sketches != LateSketchMode::Off;
        (has_late_sketches && !self.allow_late_sketches).then_some(PolicyRefusal::LateSketches)
    }

    fn refuse_training(&self, settings: &RoundSettings) -> Option<PolicyRefusal> {
        let Some(private) = settings.training.private else {
            return self.require_private_training.then_some(PolicyRefusal::NoPrivateTraining);
        };
        // Whether a plan may train without noise is another setting. If it has noise, it must be enough.
        let (got, limit) = (private.noise_multiplier_milli, self.minimum_noise_multiplier_milli);
        (got < limit).then_some(PolicyRefusal::NoiseMultiplier { got, limit })
    }

    /// `PRIV-08`: how cohorts are chosen.
    fn refuse_scoring(&self, settings: &RoundSettings) -> Option<PolicyRefusal> {
        let (got, limit) = (settings.scoring.threshold, &self.allowed_scoring_rules);
        (!limit.contains(&got)).then(|| PolicyRefusal::ScoringRule { got, limit: limit.clone() })
    }

    /// `PRIV-08`: what is learned.
    fn refuse_model(&self, settings: &RoundSettings) -> Option<PolicyRefusal> {
        let (got, allowed) = (settings.task, self.allowed_models.as_ref()?);
        (!allowed.contains(&got)).then_some(PolicyRefusal::Model { got, count: allowed.len() })
    }

    /// Checks that the policy still admits plans today (`PRIV-08`).
    ///
    /// # Errors
    /// [`PolicyRefusal::Expired`] after the policy's last day.
    pub fn check_expiry(&self, today: Date) -> Result<(), PolicyRefusal> {
        match self.expires {
            Some(limit) if today > limit => Err(PolicyRefusal::Expired { got: today, limit }),
            _ => Ok(()),
        }
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

    /// PRIV-08
    #[test]
    fn a_policy_ends_after_its_last_day() {
        let sample = include_str!("../../../deploy/config/policy.toml");
        let policy = Policy::parse(sample).expect("the sample parses");
        let day = |text: &str| Date::try_from(text.to_owned()).expect("a day");
        assert_eq!(policy.check_expiry(day("2027-12-31")), Ok(()));
        let error = policy.check_expiry(day("2028-01-01")).expect_err("over");
        assert_eq!(
            error.to_string(),
            "policy `expires`: it admitted plans until 2027-12-31, today is 2028-01-01; have it renewed"
        );
        let limits = policy.privacy.expect("the sample has a budget");
        assert_eq!((limits.maximum_epsilon, limits.maximum_delta), (4.0, 1e-6));
    }

    #[test]
    fn a_typing_error_loosens_no_limit() {
        let typo = "governance_key = \"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a\"\nminimum_cohrt = 5";
        assert!(Policy::parse(typo).is_err());
    }
}
