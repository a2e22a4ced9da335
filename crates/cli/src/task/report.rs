//! What `cloister task new` prints.

use std::fmt;

use cloister_params::limits::PrivacyLimits;
use serde::Serialize;

use super::Request;
use super::agreement::AgreedFiles;
use crate::failure::Failure;
use crate::privacy::rounds::Cost;
use crate::sketch_flag::in_words;
use crate::whole_number::whole;

/// What was written, and what it costs.
#[derive(Serialize)]
pub(super) struct Report {
    /// Digest of the task, for `allowed_models` in policies.
    task: String,
    blocks: usize,
    /// Numbers that a hospital uploads in a round.
    numbers: usize,
    /// The fewest organisations of a cohort.
    cohort_floor: u16,
    /// What hospitals announce of their experts, and what it tells.
    sketches: &'static str,
    /// None if there is no privacy budget.
    privacy: Option<Privacy>,
    folder: String,
    files: Vec<&'static str>,
}

/// The privacy budget, and what the rounds cost of it.
#[derive(Serialize)]
struct Privacy {
    limits: PrivacyLimits,
    /// Noise over the clip, in thousandths: of each step of private training, or for unit `member` of each sum.
    noise_milli: u32,
    /// The length of the noise over the longest that what it covers can be: the sum of a step's gradients, or for unit
    /// `member` the mean of an update of the longest block. Well above 1, little is learned.
    noise_over_signal: f64,
    /// The ε that ledgers will count.
    epsilon_by_filter: Option<f64>,
    #[serde(flatten)]
    cost: Cost,
}

impl Report {
    pub(super) fn new(request: &Request<'_>, files: &AgreedFiles) -> Result<Self, Failure> {
        let privacy = match (&request.budget, files.limits) {
            (Some(budget), Some(limits)) => Some(Privacy {
                limits,
                noise_milli: noise_milli(files),
                noise_over_signal: noise_over_signal(files, request.roster.members),
                epsilon_by_filter: files.counted,
                cost: Cost::new(&files.settings, budget.unit, budget.rounds, budget.delta)?,
            }),
            _ => None,
        };
        Ok(Self {
            task: files.digest.to_string(),
            blocks: files.settings.blocks.len(),
            numbers: files.numbers,
            cohort_floor: files.settings.cohort_floor,
            sketches: in_words(files.settings.scoring.sketches),
            privacy,
            folder: request.target.display().to_string(),
            files: files.by_name().into_iter().map(|(name, _)| name).collect(),
        })
    }
}

fn noise_milli(files: &AgreedFiles) -> u32 {
    if let Some(private) = files.settings.training.private {
        return private.noise_multiplier_milli;
    }
    // Equal for all blocks but for rounding up, of which the largest block loses least.
    let relative = files
        .settings
        .blocks
        .iter()
        .map(|block| 1000.0 * f64::from(block.noise_steps) / f64::from(block.scale.clip_steps.max(1)));
    relative.fold(0.0, f64::max).round() as u32
}

fn noise_over_signal(files: &AgreedFiles, members: usize) -> f64 {
    let noise = f64::from(noise_milli(files)) / 1e3;
    let updates = files.settings.blocks.iter().map(|block| block.shape);
    let updates = updates.filter(|shape| shape.kind.is_trained());
    let lengths: Vec<u64> = updates.map(|shape| shape.length).collect();
    let training = &files.settings.training;
    match training.private {
        // The gradients of a batch, each at the clip and all in one direction.
        Some(_) => noise * (lengths.iter().sum::<u64>() as f64).sqrt() / f64::from(training.batch_size),
        None => {
            let longest = lengths.into_iter().max().unwrap_or(0);
            noise * (longest as f64 / members as f64).sqrt()
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "task       {}, for `allowed_models` in policies", self.task)?;
        let (blocks, numbers) = (whole(self.blocks), whole(self.numbers));
        writeln!(f, "blocks     {blocks}, {numbers} numbers that a hospital uploads a round")?;
        writeln!(f, "cohorts    at least {} organisations in each sum", self.cohort_floor)?;
        writeln!(f, "sketches   {}", self.sketches)?;
        match &self.privacy {
            Some(privacy) => privacy.fmt(f)?,
            None => writeln!(f, "privacy    no budget: nothing is promised for a record or a member")?,
        }
        writeln!(f, "written    {} in {}", self.files.join(", "), self.folder)
    }
}

impl fmt::Display for Privacy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noise = f64::from(self.noise_milli) / 1e3;
        let PrivacyLimits { unit, maximum_epsilon, maximum_delta, training } = self.limits;
        match training {
            Some(training) => writeln!(
                f,
                "noise      {noise:.3} of the clip in each of {} steps of private training; a record is in a step with \
                 probability {:.4}",
                training.steps,
                f64::from(training.sampling_probability_micro) / 1e6
            )?,
            None => writeln!(f, "noise      {noise:.3} of the clip on each sum")?,
        }
        let over = self.noise_over_signal;
        match training {
            Some(_) => {
                writeln!(f, "           {over:.1} times as long as the sum of a step's gradients can be")?
            }
            None => writeln!(
                f,
                "           up to {over:.1} times as long as the mean of a block's updates can be"
            )?,
        }
        let counted = self
            .epsilon_by_filter
            .map_or_else(String::new, |counted| format!("; ledgers will count ε = {counted:.3}"));
        writeln!(f, "budget     ε = {maximum_epsilon} at δ = {maximum_delta:e}, unit {unit}{counted}\n")?;
        writeln!(f, "{}", self.cost)
    }
}
