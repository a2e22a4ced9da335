//! `cloister privacy`: plans noise for a target, reports costs and ledgers, and checks plans against
//! policies.

mod plan;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::{Args, Subcommand};
use cloister_params::limits::{Date, PrivacyUnit};
use cloister_params::plan::RoundSettings;
use cloister_params::policy::Policy;
use cloister_privacy::accountant::{Account, Mechanism};
use cloister_privacy::accuracy::AccuracyCost;
use cloister_privacy::budget::{Budget, warning_about_delta};
use cloister_privacy::explanation::{Explanation, KindSpent, Spent, kinds};
use cloister_privacy::ledger::History;
use cloister_privacy::release::{Release, releases};
use cloister_privacy::statement::Statement;
use serde::Serialize;
use serde_json::json;

use crate::failure::{Failure, FailureKind};
use crate::folder::read_text;
use crate::output;

/// The δ of explanations where nothing else says one.
const DEFAULT_DELTA: &str = "1e-6";

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
enum Unit {
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
    #[arg(long, default_value = DEFAULT_DELTA)]
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
    #[arg(long, default_value = DEFAULT_DELTA)]
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

fn read_settings(path: &Path) -> Result<RoundSettings, Failure> {
    RoundSettings::parse(&read_text(path)?).map_err(|error| file_error(path, error))
}

fn file_error(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::config(format!("{}: {error}", path.display()))
}

/// A policy, with its budget if it has one.
fn read_policy(path: &Path) -> Result<(Policy, Option<Budget>), Failure> {
    let policy = Policy::parse(&read_text(path)?).map_err(|error| file_error(path, error))?;
    let budget = policy.privacy.map(|limits| Budget::from(limits).checked());
    let budget = budget.transpose().map_err(|error| file_error(path, error))?;
    Ok((policy, budget))
}

fn check_delta(delta: f64) -> Result<f64, Failure> {
    // Only δ is checked here, so the ε does not matter.
    Budget::new(1.0, delta)
        .map(|budget| budget.delta)
        .map_err(|error| Failure::new(FailureKind::Usage, error))
}

/// Warns if δ promises nothing for the number of records. A plan does not name that number, only the least
/// number that averages divide by.
fn warn_about_delta(settings: &RoundSettings, delta: f64) {
    let records = settings.training.private.map(|private| private.minimum_records);
    if let Some(warning) = records.and_then(|records| warning_about_delta(delta, records.into())) {
        output::tell(format_args!("warning: {warning}"));
    }
}

fn account_of(releases: &[Release], rounds: u32) -> Account {
    let mut account = Account::default();
    for release in releases {
        match release.count.checked_mul(rounds.into()) {
            Some(count) => account.add(release.mechanism, count),
            // More steps than can be counted, in settings that nobody has checked: no ε may be claimed for
            // them.
            None => account.add(Mechanism::Unbounded, 1),
        }
    }
    account
}

/// What `cost` prints.
#[derive(Serialize)]
struct Cost {
    unit: PrivacyUnit,
    rounds: u32,
    delta: f64,
    spent: Spent,
    kinds_of_one_round: Vec<KindSpent>,
}

fn cost(arguments: &CostArguments) -> Result<(), Failure> {
    let (unit, delta) = (arguments.unit.into(), check_delta(arguments.delta)?);
    let settings = read_settings(&arguments.settings)?;
    warn_about_delta(&settings, delta);
    let all = releases(&settings, unit).map_err(Failure::error)?;
    let spent = Spent::from_account(&account_of(&all, arguments.rounds), delta);
    let kinds = kinds(all.iter(), delta);
    let cost = Cost { unit, rounds: arguments.rounds, delta, spent, kinds_of_one_round: kinds };
    if arguments.json {
        return print_json(&cost);
    }
    output::line(format_args!(
        "{:<36}{:>9}{:>12}{:>14}",
        "released in a round", "times", "no noise", "ε alone"
    ))?;
    for kind in &cost.kinds_of_one_round {
        let what = kind.released.in_words();
        output::line(format_args!("{what:<36}{:>9}{:>12}{:>14}", kind.count, kind.unbounded, kind.alone))?;
    }
    output::line(format_args!("\nε of {} rounds at δ = {delta:e}, unit {unit}: {spent}", cost.rounds))
}

fn refused(why: impl std::fmt::Display) -> Failure {
    Failure::new(FailureKind::PrivacyRefused, why)
}

fn check(arguments: &CheckArguments) -> Result<(), Failure> {
    let (policy, budget) = read_policy(&arguments.policy)?;
    // The expiry first: an expired policy admits nothing, whatever the settings.
    policy.check_expiry(Date::from_time(SystemTime::now())).map_err(refused)?;
    let settings = read_settings(&arguments.settings)?;
    policy.admit_settings(&settings).map_err(refused)?;
    let (Some(budget), Some(limits)) = (budget, policy.privacy) else {
        return output::line("the policy has no privacy budget and admits these settings");
    };
    warn_about_delta(&settings, budget.delta);
    let all = releases(&settings, limits.unit).map_err(Failure::error)?;
    let mut account = account_of(&all, arguments.rounds);
    if let Some(path) = &arguments.ledger {
        let history = History::read(path).map_err(Failure::config)?;
        history.releases().for_each(|release| account.add(release.mechanism, release.count));
    }
    // By the filter that the ledger uses, and not by the tighter accountant: the client would reject by it,
    // too.
    budget.admit(&account).map_err(refused)?;
    let (rounds, counted) = (arguments.rounds, budget.epsilon_by_filter(&account));
    output::line(format_args!(
        "the policy admits {rounds} rounds: ε would be {counted:.3} of {}",
        budget.epsilon
    ))
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
    let budget = arguments.policy.as_deref().map(read_policy).transpose()?.and_then(|(_, budget)| budget);
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

fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    output::line(json!(value))
}
