//! `cloister audit`: checks what a coordinator kept of its rounds. It needs no network, no secret and no libtorch.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use cloister_audit::{AuditedFolder, EvidenceReport, verify};

use crate::consortium::{TrustArguments, read_edition};
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
    let epoch = Arc::new(read_edition(&arguments.consortium, arguments.trust.key()?)?);
    let place = arguments.folder.display();
    if !arguments.folder.is_dir() {
        return Err(Failure::config(format!(
            "{place} is no folder; give a coordinator's --data or a copy of it"
        )));
    }
    let folder = AuditedFolder::read(&arguments.folder, &epoch)
        .map_err(|error| Failure::config(format!("cannot read {place}: {error}")))?;
    let report = verify(&folder, &epoch);
    if arguments.json {
        output::line(serde_json::to_string(&report).map_err(Failure::error)?)?;
    } else {
        output::print(&report)?;
    }
    outcome(&report)
}

fn outcome(report: &EvidenceReport) -> Result<(), Failure> {
    let (refuted, left) = (report.refuted().count(), report.not_checked().count());
    match (refuted, left) {
        (0, 0) => Ok(()),
        (0, _) => {
            let sentence = format!("no claim is refuted, and {left} were not checked; the report says why");
            Err(Failure::new(FailureKind::NotChecked, sentence))
        }
        _ => {
            let sentence = format!("{refuted} claims do not hold; the report says where");
            Err(Failure::new(FailureKind::Refuted, sentence))
        }
    }
}
