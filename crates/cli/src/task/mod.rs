//! `cloister task`: what a consortium agrees on before it trains.
//!
//! One request makes task, initial parameters, round settings and, where the governance key is known, the policy that
//! admits them. `cloister experts task` makes the same request with the flags that it has.

mod adapter_flags;
mod agreement;
mod flags;
mod model;
mod report;

use std::path::Path;

use clap::{Args, Subcommand};
use cloister_params::floors::{DEFAULT_CUSTODIANS, Floors};
use cloister_params::limits::{Date, PrivacyUnit};

pub(crate) use adapter_flags::AdapterFlags;
use agreement::agree;
use flags::{Architecture, NewTask};
pub(crate) use flags::{ObjectiveFlag, TrainedFlags};
use model::ModelRequest;
use report::Report;

use crate::consortium::TrustArguments;
use crate::create::{check_new, create_folder, write};
use crate::failure::{Failure, FailureKind};
use crate::output;

/// Flags of `cloister task`.
#[derive(Debug, Args)]
pub(crate) struct TaskArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write what a consortium agrees on: task.json, initial.parameters, settings.toml, and a policy.toml that admits them.
    New(Box<NewTask>),
}

/// What is written, whichever command asks for it.
struct Request<'a> {
    target: &'a Path,
    model: ModelRequest<'a>,
    roster: Roster,
    /// None if no policy is written.
    trust: Option<&'a TrustArguments>,
    budget: Option<BudgetRequest>,
    expires: Option<Date>,
    is_json: bool,
}

/// Who takes part, as far as settings depend on it.
struct Roster {
    floors: Floors,
    members: usize,
}

/// What the privacy budget must last for.
struct BudgetRequest {
    epsilon: f64,
    delta: f64,
    unit: PrivacyUnit,
    rounds: u32,
    /// Records of the smallest hospital; for unit `record` only.
    records: Option<u32>,
}

pub(crate) fn run(arguments: &TaskArguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::New(arguments) => found(&Request {
            target: &arguments.target,
            model: ModelRequest { architecture: arguments.architecture()?, trained: &arguments.trained },
            roster: arguments.roster()?,
            trust: Some(&arguments.trust),
            budget: arguments.budget()?,
            expires: arguments.expires,
            is_json: arguments.trained.json,
        }),
    }
}

/// Writes the task of a published model without a policy and without a privacy budget, for `cloister experts task`.
pub(crate) fn found_published(
    base: &Path,
    target: &Path,
    objective: ObjectiveFlag,
    members: usize,
    trained: &TrainedFlags,
) -> Result<(), Failure> {
    output::tell(
        "note: these settings have no privacy budget, and no policy is written; `cloister task new` plans for a budget and \
         writes the policy too",
    );
    found(&Request {
        target,
        model: ModelRequest { architecture: Architecture::Published { base, objective }, trained },
        roster: Roster::with_members(members)?,
        trust: None,
        budget: None,
        expires: None,
        is_json: trained.json,
    })
}

fn found(request: &Request<'_>) -> Result<(), Failure> {
    check_new(request.target)?;
    let files = agree(request)?;
    // Only now, so that rejected flags leave no folder behind.
    create_folder(request.target)?;
    for (name, bytes) in files.by_name() {
        write(&request.target.join(name), bytes)?;
    }
    let report = Report::new(request, &files)?;
    match request.is_json {
        true => output::line(serde_json::to_string(&report).map_err(Failure::error)?),
        false => output::print(report),
    }
}

impl Roster {
    /// The usual roster: every member is an organisation, and the first ones are custodians too.
    fn with_members(members: usize) -> Result<Self, Failure> {
        let floors = Floors::for_roster(members, members.min(DEFAULT_CUSTODIANS)).map_err(Failure::config)?;
        Ok(Self { floors, members })
    }
}

fn usage(sentence: impl std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Usage, sentence)
}
