//! `cloister privacy`: plans noise for a target, reports costs and ledgers, and checks plans against
//! policies.

mod plan;
pub(crate) mod rounds;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use cloister_params::limits::PrivacyUnit;
use cloister_params::plan::RoundSettings;
use cloister_privacy::accuracy::AccuracyCost;
use cloister_privacy::budget::Budget;
use cloister_privacy::explanation::Explanation;
use cloister_privacy::ledger::History;
use cloister_privacy::statement::Statement;
use serde::Serialize;
use serde_json::json;

use crate::failure::{Failure, FailureKind};
use crate::folder::read_text;
use crate::output;
use rounds::{CheckedPolicy, Cost, warn_about_delta};

/// The δ of explanations where nothing else says one.
pub(crate) const DEFAULT_DELTA: f64 = 1e-6;

/// Flags of `cloister privacy`.
#[derive(Debug, Args)]
pub(crate) struct PrivacyArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Find the noise that stays within a target ε over a number of rounds.
    Plan(plan::PlanArguments),
    /// Report what rounds with given settings would cost.
    Cost(CostArguments),
    /// Check whether a hospital's policy, and its ledger if given, allow rounds with given settings. The exit status is 5 if not.
    Check(CheckArguments),
    /// Report what a hospital's ledger, or the coordinator's ledger of all rounds, has spent on what.
    Explain(LedgerArguments),
    /// Write the privacy statement of a hospital's ledger, `dp-statement.json`, to stdout.
    Statement(StatementArguments),
}

/// Whose data is protected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Unit {
    /// One record of one hospital: a row of its file, or all rows that `cloister client --group-by` groups.
    Record,
    /// Everything that one hospital contributes.
    Member,
}

impl From<Unit> for PrivacyUnit {
    fn from(unit: Unit) -> Self {
        match unit {
            Unit::Record => Self::Record,
            Unit::Member => Self::Member,
        }
    }
}

#[derive(Debug, Args)]
struct CostArguments {
    /// The file of round settings.
    #[arg(long)]
    settings: PathBuf,
    /// Number of rounds with these settings.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Whose data is protected.
    #[arg(long, value_enum, default_value_t = Unit::Record)]
    unit: Unit,
    /// The δ at which ε is taken.
    #[arg(long, default_value_t = DEFAULT_DELTA)]
    delta: f64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct CheckArguments {
    /// The file of round settings.
    #[arg(long)]
    settings: PathBuf,
    /// The hospital's policy.
    #[arg(long)]
    policy: PathBuf,
    /// Number of rounds with these settings.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The hospital's ledger, if it has released something already.
    #[arg(long)]
    ledger: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct LedgerArguments {
    /// The ledger: `privacy-ledger` in a hospital's data folder, `privacy-ledger-record` or `-member` in the coordinator's.
    ledger: PathBuf,
    /// The δ at which ε is taken.
    #[arg(long, default_value_t = DEFAULT_DELTA)]
    delta: f64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct StatementArguments {
    /// The hospital's ledger: `privacy-ledger` in its data folder.
    ledger: PathBuf,
    /// The hospital's policy, for its budget.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// The δ at which ε is taken. By default that of the policy.
    #[arg(long)]
    delta: Option<f64>,
    #[command(flatten)]
    runs: Runs,
    /// Print only the paragraph in plain language.
    #[arg(long)]
    plain: bool,
}

/// Two runs of the lab that differ in noise alone.
#[derive(Debug, Args)]
struct Runs {
    /// The manifest.json of a lab run with this noise, from which the cost in accuracy is taken.
    #[arg(long, value_name = "FILE", requires = "without_noise")]
    with_noise: Option<PathBuf>,
    /// The manifest.json of the same run without noise.
    #[arg(long, value_name = "FILE", requires = "with_noise")]
    without_noise: Option<PathBuf>,
}

impl Runs {
    fn accuracy_cost(&self) -> Result<AccuracyCost, Failure> {
        let (Some(with_noise), Some(without_noise)) = (&self.with_noise, &self.without_noise) else {
            return Ok(AccuracyCost::not_named());
        };
        AccuracyCost::from_runs(read_text(with_noise)?.as_bytes(), read_text(without_noise)?.as_bytes())
            .map_err(|error| file_error(with_noise, error))
    }
}

pub(crate) fn run(arguments: &PrivacyArguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Plan(arguments) => plan::run(arguments),
        Command::Cost(arguments) => cost(arguments),
        Command::Check(arguments) => check(arguments),
        Command::Explain(arguments) => explain(arguments),
        Command::Statement(arguments) => statement(arguments),
    }
}

pub(crate) fn read_settings(path: &Path) -> Result<RoundSettings, Failure> {
    RoundSettings::parse(&read_text(path)?).map_err(|error| file_error(path, error))
}

fn file_error(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::config(format!("{}: {error}", path.display()))
}

pub(crate) fn check_delta(delta: f64) -> Result<f64, Failure> {
    // Only δ is checked here, so the ε does not matter.
    Budget::new(1.0, delta)
        .map(|budget| budget.delta)
        .map_err(|error| Failure::new(FailureKind::Usage, error))
}

fn cost(arguments: &CostArguments) -> Result<(), Failure> {
    let (unit, delta) = (arguments.unit.into(), check_delta(arguments.delta)?);
    let settings = read_settings(&arguments.settings)?;
    warn_about_delta(&settings, delta);
    let cost = Cost::new(&settings, unit, arguments.rounds, delta)?;
    match arguments.json {
        true => print_json(&cost),
        false => output::print(&cost),
    }
}

fn check(arguments: &CheckArguments) -> Result<(), Failure> {
    let policy = CheckedPolicy::read(&arguments.policy)?;
    // Before the settings are read: an expired policy admits nothing, whatever they are.
    policy.check_expiry()?;
    let settings = read_settings(&arguments.settings)?;
    let counted = policy.admit(&settings, arguments.rounds, arguments.ledger.as_deref())?;
    output::line(policy.admission_in_words(arguments.rounds, counted))
}

fn explain(arguments: &LedgerArguments) -> Result<(), Failure> {
    let history = History::read(&arguments.ledger).map_err(Failure::config)?;
    let explanation = Explanation::from_history(&history, check_delta(arguments.delta)?, None);
    if arguments.json {
        return print_json(&explanation);
    }
    output::print(explanation)
}

fn statement(arguments: &StatementArguments) -> Result<(), Failure> {
    let history = History::read(&arguments.ledger).map_err(Failure::config)?;
    let budget =
        arguments.policy.as_deref().map(CheckedPolicy::read).transpose()?.and_then(|policy| policy.budget);
    // The flag wins. Without either there is no default: a statement's δ must be somebody's decision.
    let delta = arguments.delta.or(budget.map(|budget| budget.delta));
    let delta = delta.ok_or_else(|| {
        Failure::new(FailureKind::Usage, "give --delta, or a --policy that has a privacy budget")
    })?;
    let statement =
        Statement::from_history(&history, check_delta(delta)?, budget, arguments.runs.accuracy_cost()?);
    if arguments.plain {
        return output::line(statement.in_plain_words());
    }
    let text = serde_json::to_string_pretty(&statement).map_err(Failure::error)?;
    output::line(text)
}

pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    output::line(json!(value))
}
