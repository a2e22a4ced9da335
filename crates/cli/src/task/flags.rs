//! Flags of `cloister task new`.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, ValueEnum};
use cloister_experts::files::notes::Encoding;
use cloister_experts::task::Objective;
use cloister_params::limits::Date;
use cloister_privacy::budget::Budget;

use super::{AdapterFlags, BudgetRequest, Roster, usage};
use crate::consortium::{TrustArguments, read_edition};
use crate::failure::Failure;
use crate::privacy::Unit;
use crate::sketch_flag::SketchFlag;

/// Flags of `cloister task new`. Whether there is a privacy budget must be said: neither is a default.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("privacy").required(true).args(["epsilon", "no_privacy_budget"]))]
pub(super) struct NewTask {
    /// The folder to write the files into. It must not exist, or be empty.
    pub(super) target: PathBuf,
    /// The folder of a published model of which an adapter is trained. Without it, a classifier is trained: MiniLM with
    /// experts.
    #[arg(long, requires = "objective")]
    base_model: Option<PathBuf>,
    /// What the published model learns.
    #[arg(long, value_enum, requires = "base_model")]
    objective: Option<ObjectiveFlag>,
    #[command(flatten)]
    roster: RosterFlags,
    #[command(flatten)]
    pub(super) trust: TrustArguments,
    #[command(flatten)]
    budget: BudgetFlags,
    /// The last day, in UTC, on which the policy admits a plan, such as 2027-12-31. By default it does not end.
    #[arg(long, value_parser = day)]
    pub(super) expires: Option<Date>,
    /// A classifier's number of upper layers that get experts. By default 2, and 1 with a privacy budget: the fewer numbers
    /// are trained, the less noise there is.
    #[arg(long, conflicts_with = "base_model")]
    moe_layers: Option<usize>,
    /// A classifier's number of experts in each of these layers. By default 8, and 4 with a privacy budget.
    #[arg(long, conflicts_with = "base_model")]
    experts_per_layer: Option<usize>,
    #[command(flatten)]
    pub(super) trained: TrainedFlags,
}

/// Who takes part.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct RosterFlags {
    /// Number of members of the consortium, each an organisation of its own. The smallest cohort is computed from it.
    #[arg(long)]
    members: Option<usize>,
    /// The signed consortium file. The smallest cohort is that of its roster.
    #[arg(long)]
    consortium: Option<PathBuf>,
}

/// What training may cost in privacy.
#[derive(Debug, Args)]
struct BudgetFlags {
    /// The largest ε of everything that all rounds release. Noise is planned for it.
    #[arg(long, requires_all = ["delta", "rounds"])]
    epsilon: Option<f64>,
    /// The δ at which ε is taken. It should be well below one divided by the number of records.
    #[arg(long, requires = "epsilon")]
    delta: Option<f64>,
    /// Train without noise: sums over cohorts alone hide a hospital, and nothing is promised for a record.
    #[arg(long)]
    no_privacy_budget: bool,
    /// Whose data the budget protects.
    #[arg(long, value_enum, default_value_t = Unit::Record)]
    unit: Unit,
    /// Number of rounds that the budget must last for.
    #[arg(long, requires = "epsilon", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// For unit `record`: number of records of the hospital that has the fewest.
    #[arg(long, requires = "epsilon", value_parser = clap::value_parser!(u32).range(1..))]
    records: Option<u32>,
}

/// What is trained, and how. Some flags are for a published model only.
#[derive(Debug, Args)]
pub(crate) struct TrainedFlags {
    #[command(flatten)]
    pub(super) adapter: AdapterFlags,
    /// A file of rows whose labels are the classes, in alphabetical order: JSON Lines, CSV or TSV (plain, gz or zst) or
    /// Parquet.
    #[arg(long, conflicts_with = "classes")]
    pub(super) classes_of: Option<PathBuf>,
    /// The encoding of that file, such as windows-1252. A byte-order mark in it overrides it.
    #[arg(long, default_value = "utf-8", requires = "classes_of")]
    pub(super) encoding: Encoding,
    /// The published model's name. By default that of its folder.
    #[arg(long)]
    pub(super) name: Option<String>,
    /// The largest number of tokens of a text that the model reads. By default 256 for a classifier, 128 for one with a
    /// privacy budget, and 512 for a published model.
    #[arg(long)]
    pub(super) max_tokens: Option<usize>,
    /// A published model's experts of each layer that are trained, such as `0,5`. By default all.
    #[arg(long, value_delimiter = ',')]
    pub(super) trained_experts: Vec<usize>,
    /// Learning rate, in millionths. By default 4000 for a classifier and 1000 for a published model, and five times as much
    /// for private training.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) learning_rate_micro: Option<u32>,
    /// Number of texts in a step. By default 8, and 64 for private training.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) batch_size: Option<u16>,
    /// Number of passes over a hospital's rows in a round. By default 1, and 2 for private training.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(super) local_epochs: Option<u16>,
    /// What hospitals announce of their experts, so that cohorts can be chosen.
    #[arg(long, value_enum, default_value_t = SketchFlag::Withheld)]
    pub(super) sketches: SketchFlag,
    /// Evaluate the model in every round on the members' held-out records, and publish the noised sum of their counts. No
    /// hospital has more held-out records than this number; the fewer, the less noise.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) held_out_records: Option<u32>,
    /// The date for chat templates that print today's, such as 2027-06-30, so that all members train with the same one. By
    /// default today.
    #[arg(long, value_parser = day)]
    pub(super) date: Option<Date>,
    /// Seed of the model's initial values, and of the projections for sketches.
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// Print one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

/// What a published model learns.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ObjectiveFlag {
    /// Write the completion of a prompt, or the assistant's part of a conversation.
    LanguageModel,
    /// Choose the right answer to a question.
    MultipleChoice,
    /// Sort texts into classes.
    Classification,
}

impl From<ObjectiveFlag> for Objective {
    fn from(flag: ObjectiveFlag) -> Self {
        match flag {
            ObjectiveFlag::LanguageModel => Self::LanguageModel,
            ObjectiveFlag::MultipleChoice => Self::MultipleChoice,
            ObjectiveFlag::Classification => Self::Classification,
        }
    }
}

/// The kind of model, with what only one kind has.
pub(super) enum Architecture<'a> {
    /// MiniLM with experts. Where the flags say nothing, the budget decides.
    Classifier {
        /// Layers with experts.
        moe_layers: Option<usize>,
        /// Experts of each of them.
        experts: Option<usize>,
    },
    /// An adapter of a published model.
    Published {
        /// The model's folder.
        base: &'a Path,
        /// What it learns.
        objective: ObjectiveFlag,
    },
}

fn day(text: &str) -> Result<Date, String> {
    Date::try_from(text.to_owned())
}

impl NewTask {
    /// What is trained. Flags that are for a published model alone are errors without one.
    pub(super) fn architecture(&self) -> Result<Architecture<'_>, Failure> {
        if let (Some(base), Some(objective)) = (&self.base_model, self.objective) {
            return Ok(Architecture::Published { base, objective });
        }
        if let Some(flag) = self.trained.for_published_models() {
            return Err(usage(format_args!(
                "{flag} is for a published model; name its folder with --base-model, or leave {flag} out"
            )));
        }
        Ok(Architecture::Classifier { moe_layers: self.moe_layers, experts: self.experts_per_layer })
    }

    pub(super) fn roster(&self) -> Result<Roster, Failure> {
        match (&self.roster.consortium, self.roster.members) {
            (Some(path), _) => {
                // Floors of a file that nobody signed would promise nothing.
                let edition = read_edition(path, self.trust.key()?)?;
                let consortium = edition.consortium();
                Ok(Roster { floors: consortium.floors(), members: consortium.members().count() })
            }
            (None, members) => Roster::with_members(members.unwrap_or_default()),
        }
    }

    /// The budget to plan for; none only if --no-privacy-budget says so.
    pub(super) fn budget(&self) -> Result<Option<BudgetRequest>, Failure> {
        let BudgetFlags { epsilon, delta, rounds, records, unit, .. } = self.budget;
        let (Some(epsilon), Some(delta), Some(rounds)) = (epsilon, delta, rounds) else { return Ok(None) };
        Budget::new(epsilon, delta).map_err(usage)?;
        match (unit, records) {
            (Unit::Record, None) => Err(usage(
                "unit `record` needs --records, the number of records of the hospital that has the fewest: noise depends on it",
            )),
            (Unit::Member, Some(_)) => Err(usage(
                "--records is for unit `record`; for unit `member` the number of records does not matter, so leave it out",
            )),
            _ => Ok(Some(BudgetRequest { epsilon, delta, unit: unit.into(), rounds, records })),
        }
    }
}

impl TrainedFlags {
    /// The first flag given that a classifier does not have.
    fn for_published_models(&self) -> Option<&'static str> {
        let given = [
            ("--name", self.name.is_some()),
            ("--trained-experts", !self.trained_experts.is_empty()),
            ("--date", self.date.is_some()),
            ("--modules", !self.adapter.modules.is_empty()),
            ("--router", self.adapter.router),
            ("--experts", self.adapter.experts.is_some()),
        ];
        given.into_iter().find(|(_, is_given)| *is_given).map(|(flag, _)| flag)
    }
}
