//! What each setting of a policy means, in sentences.

use std::fmt;

use cloister_params::limits::{PrivacyLimits, TrainingLimits};
use cloister_params::plan::{SKETCH_CLIP_STEPS, Threshold};
use cloister_params::policy::Policy;
use serde::Serialize;
use toml::Table;

use crate::consortium::governance_fingerprint;

/// An ε above this is no meaningful promise.
const LARGEST_PROMISE: f64 = 20.0;

/// One setting.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Meaning {
    /// As the file spells it.
    setting: &'static str,
    value: String,
    /// Whether the file does not have it.
    is_default: bool,
    meaning: String,
}

impl fmt::Display for Meaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = if self.is_default { " (default)" } else { "" };
        writeln!(f, "{} = {}{default}\n    {}\n", self.setting, self.value, self.meaning)
    }
}

/// The meaning of each setting, in the order of the sample policy. `text` is the policy's file, which says what is a
/// default.
pub(super) fn meanings(policy: &Policy, text: &str) -> Vec<Meaning> {
    // It was parsed as a policy before.
    let file: Table = text.parse().unwrap_or_default();
    let mut all = Vec::new();
    for (setting, value, meaning) in cohorts(policy)
        .into_iter()
        .chain(announced(policy))
        .chain(sums(policy))
        .chain(training(policy))
        .chain(privacy(policy))
    {
        all.push(Meaning { setting, value, is_default: !file.contains_key(setting), meaning });
    }
    all
}

/// A setting's name, its value, and what it means.
type Sentence = (&'static str, String, String);

/// Who is trusted, and over whom sums are.
fn cohorts(policy: &Policy) -> Vec<Sentence> {
    vec![
        (
            "governance_key",
            policy.governance_key.to_string(),
            format!(
                "A consortium file counts only if this key has signed it. The key's fingerprint is {}; compare it with the \
             holder of the key.",
                governance_fingerprint(policy.governance_key)
            ),
        ),
        (
            "minimum_cohort",
            policy.minimum_cohort.to_string(),
            match policy.minimum_cohort {
                0 => "The consortium's own floor alone says over how many organisations a sum is.".to_owned(),
                least => format!(
                    "An update of this party is summed over at least {least} organisations, this party included. The \
                 consortium's own floor holds too."
                ),
            },
        ),
    ]
}

/// What is announced, which no sum hides.
fn announced(policy: &Policy) -> Vec<Sentence> {
    let sketches = "the coordinator, the custodians and the auditors see each member's sketches or scores";
    vec![
        (
            "minimum_sketch_noise",
            policy.minimum_sketch_noise.to_string(),
            match policy.minimum_sketch_noise {
                0 => format!("Sketches may be sent without noise, and {sketches}."),
                least => format!(
                    "Each coordinate of a sketch has noise of at least {least} steps, where a sketch is at most \
                 {SKETCH_CLIP_STEPS} steps long, and a score at most {SKETCH_CLIP_STEPS} steps large; {sketches}."
                ),
            },
        ),
        (
            "maximum_announced_numbers",
            policy.maximum_announced_numbers.map_or_else(|| "any".to_owned(), |most| most.to_string()),
            match policy.maximum_announced_numbers {
                None => {
                    "A plan may have each hospital announce as many numbers about its experts as it likes."
                        .to_owned()
                }
                Some(most) => format!(
                    "In a round this party announces at most {most} numbers about its experts: coordinates or bits of \
                 sketches with their counts, or scores."
                ),
            },
        ),
    ]
}

/// How sums are made.
fn sums(policy: &Policy) -> Vec<Sentence> {
    vec![
        (
            "maximum_weight",
            policy.maximum_weight.to_string(),
            match policy.maximum_weight {
                1 => "Every hospital counts once in a sum.".to_owned(),
                most => format!(
                    "A hospital may count up to {most} times in a sum. With weights above 1, only this party's own noise \
                 protects its part of a sum."
                ),
            },
        ),
        (
            "allow_fallback_to_everyone",
            policy.allow_fallback_to_everyone.to_string(),
            allowed(
                policy.allow_fallback_to_everyone,
                "An expert for which no cohort is aligned may be summed over every hospital.",
                "Plans that sum an expert over every hospital where no cohort is aligned are refused.",
            ),
        ),
        (
            "allow_late_sketches",
            policy.allow_late_sketches.to_string(),
            allowed(
                policy.allow_late_sketches,
                "A plan may ask for late sketches. They make false uploads visible, and show everybody 48 sums over each of \
             this party's uploads.",
                "Plans with late sketches are refused. Nobody sees sums over one upload of this party, and false uploads of \
             others are not detected.",
            ),
        ),
    ]
}

fn allowed(is_allowed: bool, yes: &str, no: &str) -> String {
    if is_allowed { yes.to_owned() } else { no.to_owned() }
}

/// What is trained, how, and how long the policy holds.
fn training(policy: &Policy) -> Vec<Sentence> {
    let multiplier = policy.minimum_noise_multiplier_milli;
    let times = f64::from(multiplier) / 1e3;
    let rules: Vec<&str> = policy.allowed_scoring_rules.iter().map(scoring_rule).collect();
    vec![
        (
            "require_private_training",
            policy.require_private_training.to_string(),
            allowed(
                policy.require_private_training,
                "Plans must train with DP-SGD: each record's gradient is clipped, and each step has noise.",
                "Plans may train without clipping and noise for each record. What they release then depends on single records.",
            ),
        ),
        (
            "minimum_noise_multiplier_milli",
            multiplier.to_string(),
            format!("If a plan trains with DP-SGD, the noise of a step is at least {times} times its clip."),
        ),
        (
            "allowed_scoring_rules",
            format!("[{}]", rules.join(", ")),
            match rules.is_empty() {
                true => "No rule for choosing cohorts is allowed, so every plan is refused.".to_owned(),
                false => format!("Cohorts are chosen by {}.", rules.join(" or by ")),
            },
        ),
        (
            "allowed_models",
            models(policy),
            match &policy.allowed_models {
                None => "Any task is trained that the consortium agrees on.".to_owned(),
                Some(allowed) if allowed.is_empty() => {
                    "No task is allowed, so every plan is refused.".to_owned()
                }
                Some(_) => {
                    "Only tasks with these digests are trained. `cloister task new` prints a task's digest."
                        .to_owned()
                }
            },
        ),
        (
            "expires",
            policy.expires.map_or_else(|| "never".to_owned(), |day| day.to_string()),
            match policy.expires {
                None => "The policy holds until it is changed.".to_owned(),
                Some(day) => {
                    format!("Plans are admitted until the end of {day} in UTC, and refused afterwards.")
                }
            },
        ),
    ]
}

fn scoring_rule(rule: &Threshold) -> &'static str {
    match rule {
        Threshold::MeanDeviation => "mean and deviation",
        Threshold::MedianDeviation => "medians",
    }
}

fn models(policy: &Policy) -> String {
    match &policy.allowed_models {
        None => "any".to_owned(),
        Some(allowed) => {
            let digests: Vec<String> = allowed.iter().map(ToString::to_string).collect();
            format!("[{}]", digests.join(", "))
        }
    }
}

/// The budget.
fn privacy(policy: &Policy) -> Vec<Sentence> {
    let Some(limits) = policy.privacy else {
        let meaning = "There is no privacy budget. What is released is counted in the ledger, and nothing is refused for its \
                       cost.";
        return vec![("privacy", "none".to_owned(), meaning.to_owned())];
    };
    let PrivacyLimits { unit, maximum_epsilon: epsilon, maximum_delta: delta, .. } = limits;
    let value = format!("ε = {epsilon} at δ = {delta:e}, unit {unit}");
    let mut meaning = format!(
        "Everything that is ever released of this party's data may cost ε = {epsilon} for each {unit}. Whoever sees all of \
         it can multiply the odds of a guess about a {unit} by at most {:.3e}, except with a probability of δ = {delta:e}. \
         What would cost more is refused.",
        epsilon.exp()
    );
    if epsilon > LARGEST_PROMISE {
        meaning += " An ε above 20 is no meaningful promise.";
    }
    let reserved = match limits.training {
        Some(TrainingLimits { noise_multiplier_milli, sampling_probability_micro, steps }) => format!(
            " The budget is for {steps} steps of DP-SGD with noise of at least {} times the clip, in which a record takes \
             part with a probability of at most {}. All of them count as spent from the beginning, and other training is \
             refused.",
            f64::from(noise_multiplier_milli) / 1e3,
            f64::from(sampling_probability_micro) / 1e6
        ),
        None => " No training is reserved, so any training is counted, less tightly.".to_owned(),
    };
    vec![("privacy", value, meaning + &reserved)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A setting that is added to policies needs a sentence here.
    #[test]
    fn every_setting_of_a_policy_has_a_sentence() {
        let sample = include_str!("../../../../deploy/config/policy.toml");
        let mut policy = Policy::parse(sample).expect("the sample parses");
        policy.allowed_models = Some(vec![]);
        let file: Table = policy.to_toml().expect("TOML").parse().expect("TOML");
        let explained: Vec<&str> = meanings(&policy, sample).iter().map(|meaning| meaning.setting).collect();
        let mut names: Vec<&str> = file.keys().map(String::as_str).collect();
        let mut sorted = explained.clone();
        names.sort_unstable();
        sorted.sort_unstable();
        assert_eq!(sorted, names);
    }
}
