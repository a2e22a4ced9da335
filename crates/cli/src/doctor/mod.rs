//! `cloister doctor`: examines the machine of a party, before and while its service runs. It changes nothing, and goes on
//! after a fault, so that an operator learns of all of them at once.

mod clock;
mod coordinator;
mod custodian;
mod data_folder;
#[cfg(feature = "training")]
mod hospital;
mod linked_party;
mod links;
mod outcome;
mod party;
#[cfg(feature = "training")]
mod training;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use crate::failure::{Failure, FailureKind};
#[cfg(not(feature = "training"))]
use crate::launcher::PassedOn as HospitalFlags;
use crate::output;
use crate::service::config_command::service_command;
#[cfg(feature = "training")]
use crate::training_command::TrainingCommand;
use coordinator::ExaminedCoordinator;
use custodian::ExaminedCustodian;
#[cfg(feature = "training")]
use hospital::{ExaminedHospital, RoundsToJudge};
use outcome::{CheckFinding, CheckOutcome, severity};

/// The check that comes before all others.
const CONFIGURATION: &str = "configuration";

/// Flags of `cloister doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON object.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Examine a coordinator's machine: keys, files, disk and ports. A running coordinator goes on.
    Server(ServiceFile),
    /// Examine a hospital's machine: links to the coordinator, clock, keys, files, notes, memory and disk. A running client
    /// stays connected. A published base model is read whole.
    Client(HospitalFlags),
    /// Examine a custodian's machine: links to the coordinator, clock, keys, files and disk. A running custodian stays connected.
    Custodian(ServiceFile),
}

#[derive(Debug, Args)]
struct ServiceFile {
    /// The service's configuration file.
    file: PathBuf,
}

#[cfg(feature = "training")]
#[derive(Debug, Args)]
struct HospitalFlags {
    #[command(flatten)]
    service: ServiceFile,
    /// Round settings of the consortium, to be judged by the hospital's policy and ledger.
    #[arg(long)]
    settings: Option<PathBuf>,
    /// Number of rounds with these settings.
    #[arg(long, default_value_t = 1, requires = "settings", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// A check's name, which scripts may rely on, and the check.
type Check<Subject> = (&'static str, fn(&mut Subject) -> CheckOutcome);

/// Examines the machine that the flags name. `arguments` is the whole command line.
pub(crate) fn run(flags: &DoctorArguments, arguments: &[OsString]) -> Result<(), Failure> {
    let findings = match &flags.command {
        Command::Server(ServiceFile { file }) => {
            let checks = coordinator::CHECKS;
            examine(server(file), file, names(checks), |subject| carry_out(subject, checks))
        }
        Command::Custodian(ServiceFile { file }) => {
            let (shared, rest) = (linked_party::CHECKS, custodian::CHECKS);
            examine(custodian(file), file, names(shared).chain(names(rest)), |subject| {
                let first = carry_out(&mut subject.linked, shared);
                [first, carry_out(subject, rest)].concat()
            })
        }
        Command::Client(flags) => examine_hospital(flags, arguments)?,
    };
    match flags.json {
        true => output::line(json!({"checks": findings}))?,
        false => findings.iter().try_for_each(output::print)?,
    }
    verdict(&findings)
}

#[cfg(feature = "training")]
fn examine_hospital(flags: &HospitalFlags, _: &[OsString]) -> Result<Vec<CheckFinding>, Failure> {
    let (shared, rest) = (linked_party::CHECKS, hospital::CHECKS);
    let names = names(shared).chain(names(rest));
    Ok(examine(hospital(flags), &flags.service.file, names, |subject| {
        let first = carry_out(&mut subject.linked, shared);
        [first, carry_out(subject, rest)].concat()
    }))
}

/// Becomes the program with libtorch, which some of the checks need.
#[cfg(not(feature = "training"))]
fn examine_hospital(_: &HospitalFlags, arguments: &[OsString]) -> Result<Vec<CheckFinding>, Failure> {
    crate::launcher::run(arguments).map(|()| Vec::new())
}

#[cfg(feature = "training")]
fn hospital(flags: &HospitalFlags) -> Result<ExaminedHospital, Failure> {
    let rounds = flags.settings.clone().map(|settings| RoundsToJudge { settings, count: flags.rounds });
    match crate::parse_service(&service_command("client", &flags.service.file))? {
        crate::Command::Training(TrainingCommand::Client(arguments)) => {
            Ok(ExaminedHospital::new(arguments, rounds))
        }
        _ => unreachable!("the command line is that of a client"),
    }
}

fn custodian(file: &Path) -> Result<ExaminedCustodian, Failure> {
    match crate::parse_service(&service_command("custodian", file))? {
        crate::Command::Custodian(arguments) => Ok(ExaminedCustodian::new(arguments)),
        _ => unreachable!("the command line is that of a custodian"),
    }
}

fn server(file: &Path) -> Result<ExaminedCoordinator, Failure> {
    match crate::parse_service(&service_command("server", file))? {
        crate::Command::Server(arguments) => Ok(ExaminedCoordinator::new(arguments)),
        _ => unreachable!("the command line is that of a server"),
    }
}

fn names<Subject>(checks: &[Check<Subject>]) -> impl Iterator<Item = &'static str> {
    checks.iter().map(|(name, _)| *name)
}

fn carry_out<Subject>(subject: &mut Subject, checks: &[Check<Subject>]) -> Vec<CheckFinding> {
    checks.iter().map(|(name, check)| CheckFinding::new(name, check(subject))).collect()
}

/// Carries out the checks with these names. Without a configuration none of them is possible, and each is named all the same.
fn examine<Subject>(
    configured: Result<Subject, Failure>,
    file: &Path,
    names: impl Iterator<Item = &'static str>,
    checks: impl FnOnce(&mut Subject) -> Vec<CheckFinding>,
) -> Vec<CheckFinding> {
    let (configuration, rest) = match configured {
        Ok(mut subject) => {
            let read = format!("{} has every setting that is needed", file.display());
            (CheckOutcome::ok(read), checks(&mut subject))
        }
        Err(failure) => {
            let unknown = CheckOutcome::not_checked("the configuration cannot be used");
            let rest = names.map(|name| CheckFinding::new(name, unknown.clone())).collect();
            (CheckOutcome::failure(&failure), rest)
        }
    };
    [vec![CheckFinding::new(CONFIGURATION, configuration)], rest].concat()
}

/// A failure with the status of the worst fault, if there is one.
fn verdict(findings: &[CheckFinding]) -> Result<(), Failure> {
    let faults: Vec<(String, FailureKind)> =
        findings.iter().filter_map(|finding| Some((finding.name(), finding.kind?))).collect();
    let Some(worst) = faults.iter().map(|(_, kind)| *kind).max_by_key(|kind| severity(*kind)) else {
        return Ok(());
    };
    let names: Vec<&str> = faults.iter().map(|(name, _)| name.as_str()).collect();
    Err(Failure::new(
        worst,
        format!("{} of {} checks found a fault: {}", faults.len(), findings.len(), names.join(", ")),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_that_of_the_worst_fault() {
        let finding = |kind: Option<FailureKind>| {
            CheckFinding::new(
                "x",
                kind.map_or_else(|| CheckOutcome::ok(""), |kind| CheckOutcome::fault(kind, "", "")),
            )
        };
        let (unavailable, config) = (Some(FailureKind::Unavailable), Some(FailureKind::Config));
        assert!(verdict(&[finding(None)]).is_ok());
        for (kinds, worst) in [
            (vec![unavailable, None], FailureKind::Unavailable),
            (vec![unavailable, config, unavailable], FailureKind::Config),
            (vec![Some(FailureKind::PrivacyRefused), unavailable], FailureKind::PrivacyRefused),
        ] {
            let findings: Vec<CheckFinding> = kinds.into_iter().map(finding).collect();
            assert_eq!(verdict(&findings).map_err(|failure| failure.kind()), Err(worst));
        }
    }
}
