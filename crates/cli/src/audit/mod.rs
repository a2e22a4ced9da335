//! `cloister audit`: checks what a coordinator kept of its rounds. It needs no network, no secret and no libtorch.

mod export;
mod report;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use cloister_audit::{AuditOutcome, AuditRequest, EvidenceReport};

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
    /// Write the evidence of an edition as one zip file: what the coordinator keeps, what was checked, and a report to read.
    Export(export::ExportArguments),
}

#[derive(Debug, Args)]
struct VerifyArguments {
    #[command(flatten)]
    source: EvidenceSource,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What is audited, and by which key.
#[derive(Debug, Args)]
struct EvidenceSource {
    /// The coordinator's --data, a copy of it, or a bundle that `audit export` wrote.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// The consortium file of the edition to check. Its signature is in the file of the same name with `.sig` appended.
    #[arg(long)]
    consortium: PathBuf,
    /// The --data folder of a hospital or a custodian, or a copy of it, to compare with. May be repeated.
    #[arg(long, value_name = "FOLDER")]
    party: Vec<PathBuf>,
    #[command(flatten)]
    trust: TrustArguments,
}

impl EvidenceSource {
    fn request(&self) -> Result<AuditRequest, Failure> {
        Ok(AuditRequest {
            folder: self.folder.clone(),
            consortium: self.consortium.clone(),
            governance_key: self.trust.key()?,
            parties: self.party.clone(),
        })
    }
}

/// Runs a subcommand of `audit`.
///
/// # Errors
/// A file that cannot be read; a claim that does not hold or was not checked, after the report.
pub(crate) fn run(arguments: &EvidenceArguments) -> Result<(), Failure> {
    match &arguments.command {
        AuditCommand::Verify(arguments) => verify(arguments),
        AuditCommand::Export(arguments) => export::run(arguments),
    }
}

fn verify(arguments: &VerifyArguments) -> Result<(), Failure> {
    let report = arguments.source.request()?.run().map_err(Failure::config)?;
    if arguments.json {
        output::line(serde_json::to_string(&report).map_err(Failure::error)?)?;
    } else {
        output::print(&report)?;
    }
    outcome(&report)
}

/// The exit status of a report.
fn outcome(report: &EvidenceReport) -> Result<(), Failure> {
    let outcome = report.outcome();
    match outcome {
        AuditOutcome::Proved => Ok(()),
        AuditOutcome::NotChecked(_) => Err(Failure::new(FailureKind::NotChecked, outcome)),
        AuditOutcome::Refuted(_) => Err(Failure::new(FailureKind::Refuted, outcome)),
    }
}
