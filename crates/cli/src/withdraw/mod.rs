//! `cloister withdraw`: what a hospital or a custodian erases that leaves its consortium, and a statement of it.

mod plan;
mod statement;
mod words;

use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use cloister_client::{DataFolderError, IdleDataFolder, WITHDRAWAL};
use cloister_params::limits::Date;

use crate::failure::{Failure, FailureKind};
use crate::output;
use plan::WithdrawalPlan;
use statement::WithdrawalStatement;

/// Flags of `cloister withdraw`.
#[derive(Debug, Args)]
pub(crate) struct WithdrawArguments {
    /// This party's data folder, as `cloister client` or `cloister custodian` had it.
    #[arg(long)]
    data: PathBuf,
    /// This party's folder of keys.
    #[arg(long, env = "CLOISTER_IDENTITY")]
    identity: PathBuf,
    /// Erase the signing key and the TLS key too. Certificate, enrolment file and policy stay. A key that is a symbolic link
    /// stays.
    #[arg(long)]
    erase_keys: bool,
    /// Erase the privacy ledger, the record of openings and the edition of the consortium file too. Then nothing on this machine
    /// but withdrawal.json says what was released.
    #[arg(long)]
    erase_ledger: bool,
    /// The δ at which withdrawal.json states ε. By default that of the policy.
    #[arg(long)]
    delta: Option<f64>,
    /// Erase. Without this flag, the command says what it would erase, and changes nothing.
    #[arg(long)]
    yes: bool,
}

pub(crate) fn run(arguments: &WithdrawArguments) -> Result<(), Failure> {
    // Before anything is written and before threads start, because the umask belongs to the whole process.
    cloister_storage::restrict_new_files();
    let idle = IdleDataFolder::lock(&arguments.data).map_err(failure)?;
    let plan = WithdrawalPlan::new(arguments, &idle)?;
    let path = arguments.data.join(WITHDRAWAL);
    let earlier = WithdrawalStatement::read(&path)?;
    output::print(&plan)?;
    if !arguments.yes {
        return output::line("\nNothing was erased. The same command with --yes erases it.");
    }
    let today = Date::from_time(SystemTime::now());
    let mut statement = WithdrawalStatement::new(&plan, today, earlier);
    // Before anything is erased: a second run then continues this statement, whatever stops this one.
    statement.write(&path)?;
    idle.erase(plan.kinds()).map_err(failure)?;
    for key in plan.keys() {
        cloister_storage::remove(key)
            .map_err(|error| Failure::error(format!("cannot erase {}: {error}", key.display())))?;
    }
    statement.finish();
    statement.write(&path)?;
    output::line(format_args!(
        "\nErased what is listed under “Erases”. {} says so: give it to your data protection officer.",
        path.display()
    ))
}

fn failure(error: DataFolderError) -> Failure {
    let kind = match error {
        DataFolderError::InUse(_) => FailureKind::Unavailable,
        DataFolderError::NoParty(_) | DataFolderError::Openings(_) => FailureKind::Config,
        DataFolderError::Io { .. } => FailureKind::Error,
    };
    Failure::new(kind, error)
}
