//! `cloister consortium`: founds a consortium, changes its roster, and signs editions of its file.

mod draft;
mod edition;
mod floors;
mod governance;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use cloister_identity::ShortFingerprint;
use cloister_params::consortium::{MAX_WEIGHT, Role};

pub(crate) use edition::parse_governance_key;
pub(crate) use governance::{governance_fingerprint, read_edition};

use crate::failure::Failure;
use crate::output;

/// Flags of `cloister consortium`.
#[derive(Debug, Args)]
pub(crate) struct ConsortiumArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Found a consortium: make the governance key, and a draft with the coordinator.
    Init(InitArguments),
    /// Add a party to the draft, from the enrolment file that it sent.
    Add(AddArguments),
    /// Remove a party from the draft. Its number is never given again.
    Remove(RemoveArguments),
    /// Give a party, or the coordinator, the keys of a new enrolment file.
    Rotate(RotateArguments),
    /// Sign the draft with the governance key: it becomes the next edition of the consortium file.
    Sign(SignArguments),
    /// Show a consortium file: who takes part, with which roles and keys.
    Show(ShowArguments),
    /// Check a consortium file: signature, rules, and the changes since an earlier edition.
    Check(CheckArguments),
    /// Print the floors, quorums and tolerated losses of consortia with 3 to 20 members.
    Floors,
}

/// The folder of the governance key's holder.
#[derive(Debug, Args)]
struct FolderArguments {
    /// The folder of the governance key's holder.
    folder: PathBuf,
}

#[derive(Debug, Args)]
struct InitArguments {
    #[command(flatten)]
    folder: FolderArguments,
    /// The consortium's name.
    #[arg(long)]
    name: String,
    /// The coordinator's enrolment file, as `cloister identity new --role coordinator` writes it.
    #[arg(long)]
    coordinator: PathBuf,
    /// The fingerprint that the coordinator's operator read to you.
    #[arg(long)]
    fingerprint: ShortFingerprint,
    /// The file of the governance key. It is made if it does not exist. By default governance.key in the folder.
    #[arg(long)]
    governance_key: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct AddArguments {
    #[command(flatten)]
    folder: FolderArguments,
    /// The party's enrolment file.
    enrolment: PathBuf,
    /// The fingerprint that the party read to you, over a channel that you trust, such as a call to a number that you know.
    #[arg(long)]
    fingerprint: ShortFingerprint,
    /// Roles, if they are other than those that the party applies for. May be repeated.
    #[arg(long = "role", value_name = "ROLE", value_parser = role)]
    roles: Vec<Role>,
    /// The party's aggregation weight.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_WEIGHT)))]
    weight: u8,
}

#[derive(Debug, Args)]
struct RemoveArguments {
    #[command(flatten)]
    folder: FolderArguments,
    /// The party's number or name.
    party: String,
}

#[derive(Debug, Args)]
struct RotateArguments {
    #[command(flatten)]
    folder: FolderArguments,
    /// The party's number or name. The coordinator's number is 0.
    party: String,
    /// The enrolment file with the new keys.
    enrolment: PathBuf,
    /// The fingerprint that the party read to you.
    #[arg(long)]
    fingerprint: ShortFingerprint,
}

#[derive(Debug, Args)]
struct SignArguments {
    #[command(flatten)]
    folder: FolderArguments,
    /// What the edition continues from: the file epoch-start.toml of the coordinator's data folder, or of a party's if the
    /// coordinator lost its folder. From the second edition on.
    #[arg(long)]
    start: Option<PathBuf>,
    /// Start from the model in this file of parameters, and not from the one that the last ending left.
    #[arg(long, requires = "start", value_name = "FILE")]
    replace_model: Option<PathBuf>,
    /// Go back to the model of an earlier closing: the file `rounds/NNNN.ending` of the coordinator's data folder, or
    /// `rounds/edition-NNN/NNNN.ending`.
    #[arg(long, requires = "start", conflicts_with = "replace_model", value_name = "FILE")]
    back_to: Option<PathBuf>,
    /// For how many days parties act under this edition. Afterwards they wait for a later one.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    valid_days: u32,
    /// The file of the governance key. By default governance.key in the folder.
    #[arg(long)]
    governance_key: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ShowArguments {
    /// The consortium file. Its signature is in the file of the same name with `.sig` appended.
    file: PathBuf,
    #[command(flatten)]
    trust: TrustArguments,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct CheckArguments {
    #[command(flatten)]
    show: ShowArguments,
    /// An earlier edition, signed with the same key: print what has changed since.
    #[arg(long)]
    since: Option<PathBuf>,
}

/// Which governance key a signature must be by.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct TrustArguments {
    /// The governance key's public half, in 64 hexadecimal digits.
    #[arg(long)]
    governance_key: Option<String>,
    /// A policy file, which pins the governance key.
    #[arg(long)]
    policy: Option<PathBuf>,
}

fn role(text: &str) -> Result<Role, String> {
    match text {
        "member" => Ok(Role::Member),
        "custodian" => Ok(Role::Custodian),
        _ => Err("expected `member` or `custodian`".to_owned()),
    }
}

pub(crate) fn run(arguments: &ConsortiumArguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Init(arguments) => draft::init(arguments),
        Command::Add(arguments) => draft::add(arguments),
        Command::Remove(arguments) => draft::remove(arguments),
        Command::Rotate(arguments) => draft::rotate(arguments),
        Command::Sign(arguments) => edition::sign(arguments),
        Command::Show(arguments) => edition::show(arguments),
        Command::Check(arguments) => edition::check(arguments),
        Command::Floors => output::print(floors::floors_table()?),
    }
}
