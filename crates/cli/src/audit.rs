//! `cloister audit`: checks what a coordinator kept of its rounds. It needs no network, no secret and no libtorch.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use cloister_audit::{AuditedFolder, ComparedFolder, EvidenceReport, verify};

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
    let epoch = Arc::new(read_edition(&arguments.consortium, arguments.trust.key()?)?);
    check_is_folder(&arguments.folder, "a coordinator's")?;
    let folder = AuditedFolder::read(&arguments.folder, &epoch)
        .map_err(|error| cannot_read(&arguments.folder, &error))?;
    let mut parties = Vec::with_capacity(arguments.party.len());
    for path in &arguments.party {
        check_is_folder(path, "a hospital's or a custodian's")?;
        parties.push(ComparedFolder::read(path).map_err(|error| cannot_read(path, &error))?);
    }
    let report = verify(&folder, &parties, &epoch);
    if arguments.json {
        output::line(serde_json::to_string(&report).map_err(Failure::error)?)?;
    } else {
        output::print(&report)?;
    }
    outcome(&report)
}

fn check_is_folder(path: &Path, whose: &str) -> Result<(), Failure> {
    if path.is_dir() {
        return Ok(());
    }
    let place = path.display();
    Err(Failure::config(format!("{place} is no folder; give {whose} --data or a copy of it")))
}

fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    Failure::config(format!("cannot read {}: {error}", path.display()))
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
