//! Settings and policy that fit one another and the task.

use cloister_crypto::hash::{Domain, digest};
use cloister_params::block::BlockShape;
use cloister_params::consortium::PublicBytes;
use cloister_params::id::Digest;
use cloister_params::limits::PrivacyLimits;
use cloister_params::plan::{LateSketchMode, PrivateTrainingPlan, RoundSettings, TrainingPlan};
use cloister_params::policy::Policy;
use cloister_privacy::planning::{RoundsTarget, sampling_probability_micro};
use cloister_protocol::model::Model;

use super::model::NoiseOn;
use super::{BudgetRequest, Request, usage};
use crate::failure::Failure;
use crate::privacy::rounds::CheckedPolicy;
use crate::round_settings::{Agreement, round_settings};

/// The norm to which a record's gradient is clipped, in thousandths.
const CLIPPING_NORM_MILLI: u32 = 1000;
/// A plan's least sampling probability is one in this many (`PLAN-13`).
const MOST_RECORDS_PER_SAMPLED: u32 = 10_000;
/// A policy's least noise multiplier where nothing else is said, in thousandths.
const USUAL_NOISE_MULTIPLIER_MILLI: u32 = 300;

/// What is written, and what the report says of it.
pub(super) struct AgreedFiles {
    task: String,
    settings_text: String,
    policy: Option<String>,
    parameters: Vec<u8>,
    pub(super) digest: Digest,
    pub(super) settings: RoundSettings,
    pub(super) limits: Option<PrivacyLimits>,
    /// The ε that ledgers will count, if there are a policy and a budget.
    pub(super) counted: Option<f64>,
    /// Numbers of all blocks together.
    pub(super) numbers: usize,
}

impl AgreedFiles {
    /// Each file's name and bytes.
    pub(super) fn by_name(&self) -> Vec<(&'static str, &[u8])> {
        let mut files = vec![
            ("task.json", self.task.as_bytes()),
            ("initial.parameters", self.parameters.as_slice()),
            ("settings.toml", self.settings_text.as_bytes()),
        ];
        files.extend(self.policy.as_ref().map(|policy| ("policy.toml", policy.as_bytes())));
        files
    }
}

/// Makes all files in memory, and checks that they fit one another.
pub(super) fn agree(request: &Request<'_>) -> Result<AgreedFiles, Failure> {
    let noise = match &request.budget {
        None => NoiseOn::Nothing,
        Some(BudgetRequest { records: None, .. }) => NoiseOn::Sums,
        Some(BudgetRequest { records: Some(_), .. }) => NoiseOn::Training,
    };
    let task = request.model.task(noise)?;
    let text = serde_json::to_string_pretty(&task).map_err(Failure::error)? + "\n";
    let initial = task.initial(request.model.base()).map_err(Failure::experts)?;
    let (settings, limits) = plan(request, &text, initial.table())?;
    let rules = settings.check_for(&request.roster.floors, request.roster.members);
    rules.map_err(|error| Failure::config(format!("no round with these settings is possible: {error}")))?;
    let settings_text = settings.to_toml().map_err(Failure::error)?;
    let key = request.trust.map(super::TrustArguments::key).transpose()?;
    let policy = key.map(|key| policy(request, key, &settings, limits)).transpose()?;
    let counted = match &policy {
        Some(policy) => admitted(policy, &settings_text, request)?,
        None => None,
    };
    let numbers = initial.values().iter().map(Vec::len).sum();
    let parameters = Model::new(initial.into_values()).to_bytes();
    let digest = digest(Domain::Task, &[text.as_bytes()]);
    Ok(AgreedFiles {
        task: text,
        settings_text,
        policy,
        parameters,
        digest,
        settings,
        limits,
        counted,
        numbers,
    })
}

/// The settings, and with a budget the limits that a policy sets. The noise is the least with which everything that all
/// rounds release fits the budget.
fn plan(
    request: &Request<'_>,
    task: &str,
    table: &[BlockShape],
) -> Result<(RoundSettings, Option<PrivacyLimits>), Failure> {
    let floors = &request.roster.floors;
    let agreement = |training: TrainingPlan, noise_of_sums_milli: Option<u32>| Agreement {
        task,
        floors,
        table,
        training,
        late_sketches: LateSketchMode::Off,
        sketches: request.model.trained.sketches.into(),
        noise_of_sums_milli,
        held_out_records: request.model.trained.held_out_records.unwrap_or(0),
    };
    let Some(budget) = &request.budget else {
        let training = training(request, None)?;
        return Ok((round_settings(&agreement(training, None))?, None));
    };
    let training = training(request, budget.records)?;
    let with_noise = |milli: u32| {
        let agreement = match training.private {
            Some(private) => {
                let private = Some(PrivateTrainingPlan { noise_multiplier_milli: milli, ..private });
                agreement(TrainingPlan { private, ..training }, None)
            }
            None => agreement(training, Some(milli)),
        };
        round_settings(&agreement).ok()
    };
    let BudgetRequest { epsilon, delta, unit, rounds, .. } = *budget;
    let planned = RoundsTarget { epsilon, delta, unit, rounds }.plan(&with_noise).map_err(usage)?;
    Ok((planned.settings, Some(planned.limits)))
}

/// How hospitals train. With a number of records training is private, and its noise is not planned yet.
fn training(request: &Request<'_>, records: Option<u32>) -> Result<TrainingPlan, Failure> {
    let trained = request.model.trained;
    let is_private = records.is_some();
    let rate = if request.model.is_classifier() { 4_000 } else { 1_000 };
    // Steps of private training are few, and their gradients are clipped.
    let rate = if is_private { 5 * rate } else { rate };
    let batch_size = match (trained.batch_size, records) {
        (Some(batch_size), _) => batch_size,
        (None, Some(records)) => usual_private_batch(records)?,
        (None, None) => 8,
    };
    Ok(TrainingPlan {
        local_epochs: trained.local_epochs.unwrap_or(if is_private { 2 } else { 1 }),
        batch_size,
        learning_rate_micro: trained.learning_rate_micro.unwrap_or(rate),
        // With a budget the published routing is mostly noise, and routers should not be pulled towards it.
        routing_penalty_milli: if request.budget.is_some() { 0 } else { 100 },
        private: records.map(|records| private(records, batch_size)).transpose()?,
    })
}

/// 64 records in a step, more if that would be too rare a sample, and never more than there are.
fn usual_private_batch(records: u32) -> Result<u16, Failure> {
    let batch = 64.max(records.div_ceil(MOST_RECORDS_PER_SAMPLED)).min(records);
    u16::try_from(batch).map_err(|_| {
        usage(format_args!(
            "{records} records are more than private training samples from: a batch has at most {} records, and at least \
             one in {MOST_RECORDS_PER_SAMPLED} of all; give a smaller --records",
            u16::MAX
        ))
    })
}

/// Private training in which a step draws a batch in expectation at the smallest hospital.
fn private(records: u32, batch_size: u16) -> Result<PrivateTrainingPlan, Failure> {
    Ok(PrivateTrainingPlan {
        clipping_norm_milli: CLIPPING_NORM_MILLI,
        noise_multiplier_milli: 0,
        sampling_probability_micro: sampling_probability_micro(batch_size.into(), records).map_err(usage)?,
        // No hospital has fewer, so averages are not distorted, and one record moves them as little as possible.
        minimum_records: records,
    })
}

/// The policy that admits these settings, and nothing looser.
fn policy(
    request: &Request<'_>,
    governance_key: PublicBytes,
    settings: &RoundSettings,
    limits: Option<PrivacyLimits>,
) -> Result<String, Failure> {
    let noise_multiplier = settings.training.private.map(|private| private.noise_multiplier_milli);
    let policy = Policy {
        governance_key,
        minimum_cohort: settings.cohort_floor,
        minimum_sketch_noise: settings.announced_noise(),
        maximum_announced_numbers: Some(settings.announced_numbers()),
        maximum_weight: settings.max_weight,
        allow_fallback_to_everyone: true,
        allow_late_sketches: false,
        require_private_training: noise_multiplier.is_some(),
        minimum_noise_multiplier_milli: noise_multiplier.unwrap_or(USUAL_NOISE_MULTIPLIER_MILLI),
        allowed_scoring_rules: vec![settings.scoring.threshold],
        allowed_models: Some(vec![settings.task]),
        expires: request.expires,
        privacy: limits,
    };
    let head = match &request.budget {
        Some(BudgetRequest { rounds, unit, .. }) => format!(
            "# Admits {rounds} rounds of the task beside this file, with a privacy budget for each {unit}.\n"
        ),
        None => "# Admits rounds of the task beside this file. There is no privacy budget.\n".to_owned(),
    };
    let settings = policy.to_toml().map_err(Failure::error)?;
    Ok(format!("{head}# `cloister policy explain` says what each setting means.\n{settings}"))
}

/// The ε that a ledger will count, from the texts that are written and by the code of `cloister privacy check`.
fn admitted(policy: &str, settings: &str, request: &Request<'_>) -> Result<Option<f64>, Failure> {
    let policy = CheckedPolicy::parse(policy)?;
    let settings = RoundSettings::parse(settings).map_err(Failure::error)?;
    let rounds = request.budget.as_ref().map_or(1, |budget| budget.rounds);
    policy.admit(&settings, rounds, None)
}
