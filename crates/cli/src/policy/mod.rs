//! `cloister policy`: what a party's policy means, and what it says of a consortium's settings.

mod sentences;

use std::fmt;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use cloister_params::limits::PrivacyUnit;
use cloister_params::plan::RoundSettings;
use serde::Serialize;

use crate::failure::Failure;
use crate::folder::read_text;
use crate::output;
use crate::privacy::rounds::{CheckedPolicy, Cost, Verdict, refused};
use crate::privacy::{DEFAULT_DELTA, print_json, read_settings};
use sentences::{Meaning, meanings};

/// Flags of `cloister policy`.
#[derive(Debug, Args)]
pub(crate) struct PolicyArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say in sentences what each setting of a policy means, and which settings are defaults. With --settings, also which
    /// rules refuse them, and what the rounds would cost.
    Explain(PolicyFlags),
    /// Check a policy: that it can be read, that its budget is possible, and that it has not expired. With --settings, also
    /// whether it admits them. The exit status is 5 if not.
    Check(PolicyFlags),
}

#[derive(Debug, Args)]
struct PolicyFlags {
    /// The policy file.
    policy: PathBuf,
    /// A file of round settings.
    #[arg(long, requires = "rounds")]
    settings: Option<PathBuf>,
    /// Number of rounds with these settings.
    #[arg(long, requires = "settings", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// The hospital's ledger, if it has released something already.
    #[arg(long, requires = "settings")]
    ledger: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What is printed.
#[derive(Serialize)]
struct Answer {
    settings: Vec<Meaning>,
    /// None without round settings.
    rounds: Option<JudgedRounds>,
}

/// What a policy says of rounds, and what they cost.
#[derive(Serialize)]
struct JudgedRounds {
    admitted: bool,
    #[serde(flatten)]
    verdict: Verdict,
    cost: Cost,
    #[serde(skip)]
    admission: String,
}

pub(crate) fn run(arguments: &PolicyArguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Explain(flags) => explain(flags),
        Command::Check(flags) => check(flags),
    }
}

fn explain(flags: &PolicyFlags) -> Result<(), Failure> {
    let policy = CheckedPolicy::read(&flags.policy)?;
    let answer = Answer {
        settings: meanings(&policy.policy, &read_text(&flags.policy)?),
        rounds: judged(flags, &policy)?,
    };
    match flags.json {
        true => print_json(&answer),
        false => output::print(answer),
    }
}

fn check(flags: &PolicyFlags) -> Result<(), Failure> {
    let policy = CheckedPolicy::read(&flags.policy)?;
    policy.check_expiry()?;
    let judged = judged(flags, &policy)?;
    if let Some(first) = judged.as_ref().and_then(|judged| judged.verdict.refusals.first()) {
        return Err(refused(first));
    }
    match (flags.json, judged) {
        (true, judged) => print_json(&judged),
        (false, Some(judged)) => output::line(judged.admission),
        (false, None) => output::line("the policy can be read, and admits plans today"),
    }
}

/// What the policy says of the rounds in the flags, if there are any.
fn judged(flags: &PolicyFlags, policy: &CheckedPolicy) -> Result<Option<JudgedRounds>, Failure> {
    let (Some(path), Some(rounds)) = (&flags.settings, flags.rounds) else { return Ok(None) };
    let settings: RoundSettings = read_settings(path)?;
    let verdict = policy.verdict(&settings, rounds, flags.ledger.as_deref())?;
    // Without a budget, what a record costs is what most policies would count.
    let unit = policy.policy.privacy.map_or(PrivacyUnit::Record, |limits| limits.unit);
    let delta = policy.budget.map_or(DEFAULT_DELTA, |budget| budget.delta);
    let cost = Cost::new(&settings, unit, rounds, delta)?;
    let admission = policy.admission_in_words(rounds, verdict.counted);
    Ok(Some(JudgedRounds { admitted: verdict.refusals.is_empty(), verdict, cost, admission }))
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.iter().try_for_each(|meaning| meaning.fmt(f))?;
        match &self.rounds {
            Some(rounds) => rounds.fmt(f),
            None => Ok(()),
        }
    }
}

impl fmt::Display for JudgedRounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.cost)?;
        match self.admitted {
            true => writeln!(f, "{}", self.admission),
            false => {
                writeln!(f, "the policy refuses these rounds:")?;
                self.verdict.refusals.iter().try_for_each(|refusal| writeln!(f, "- {refusal}"))
            }
        }
    }
}
