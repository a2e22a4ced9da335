//! `cloister audit`: checks what a coordinator kept of its rounds. It needs no network, no secret and no libtorch.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use cloister_audit::{AuditOutcome, AuditRequest};

use crate::consortium::TrustArguments;
use crate::failure::{Failure, FailureKind};
use crate::output;

/// The arguments of `audit`.
#[derive(Debug, Args)]
pub(crate) struct EvidenceArguments {
    #[command(subcommand)]
    command: AuditCommand,
}

/// What to do with the evidence.
#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Check a coordinator's folder, or a copy of it, claim by claim. Exits with 3 if a claim does not hold, and with 4 if
    /// one was not checked.
    Verify(VerifyArguments),
}

#[derive(Debug, Args)]
struct VerifyArguments {
    /// The coordinator's --data, or a copy of it.
    folder: PathBuf,
    /// The consortium file of the edition to check. Its signature is in the file of the same name with `.sig` appended.
    #[arg(long)]
    consortium: PathBuf,
    /// The --data folder of a hospital or a custodian, or a copy of it, to compare with. May be repeated.
    #[arg(long, value_name = "FOLDER")]
    party: Vec<PathBuf>,
    #[command(flatten)]
    trust: TrustArguments,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs a subcommand of `audit`.
///
/// # Errors
/// A file that cannot be read; a claim that does not hold or was not checked, after the report.
pub(crate) fn run(arguments: &EvidenceArguments) -> Result<(), Failure> {
    let AuditCommand::Verify(arguments) = &arguments.command;
    let request = AuditRequest {
        folder: arguments.folder.clone(),
        consortium: arguments.consortium.clone(),
        governance_key: arguments.trust.key()?,
        parties: arguments.party.clone(),
    };
    let report = request.run().map_err(Failure::config)?;
    if arguments.json {
        output::line(serde_json::to_string(&report).map_err(Failure::error)?)?;
    } else {
        output::print(&report)?;
    }
    let outcome = report.outcome();
    match outcome {
        AuditOutcome::Proved => Ok(()),
        AuditOutcome::NotChecked(_) => Err(Failure::new(FailureKind::NotChecked, outcome)),
        AuditOutcome::Refuted(_) => Err(Failure::new(FailureKind::Refuted, outcome)),
    }
}
