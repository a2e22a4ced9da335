//! `cloister identity`: makes and shows a party's keys.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::{Args, Subcommand, ValueEnum};
use cloister_crypto::sign::SigningKey;
use cloister_identity::enrolment::{Applicant, Enrolment, EnrolmentRole};
use cloister_identity::{Identity, Validity, read_signing_key, write_signing_key};
use getrandom::SysRng;
use rand_core::UnwrapErr;
use serde_json::json;

use crate::create::{create_folder, write};
use crate::failure::Failure;
use crate::folder::{ENROLMENT, SIGNING_KEY, read_text};
use crate::output;

/// Flags of `cloister identity`.
#[derive(Debug, Args)]
pub(crate) struct IdentityArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a party's keys, and the enrolment file that it sends to the consortium. The keys stay in the folder.
    New(NewArguments),
    /// Show the party's fingerprint, to read it out to the consortium, and the dates of its certificate.
    Show(ShowArguments),
}

#[derive(Debug, Args)]
struct NewArguments {
    /// The folder to make. It must not have keys.
    folder: PathBuf,
    /// The party's name, which no other party of the consortium has.
    #[arg(long)]
    name: String,
    /// The organisation to which the party belongs.
    #[arg(long)]
    organisation: String,
    /// What the party does. May be repeated. By default member and custodian.
    #[arg(long = "role", value_name = "ROLE", value_enum)]
    roles: Vec<RoleFlag>,
    /// For how many days the TLS certificate is valid.
    #[arg(long, default_value_t = 730, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    valid_days: u32,
}

#[derive(Debug, Args)]
struct ShowArguments {
    /// The party's folder.
    folder: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// A role, as a flag names it.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RoleFlag {
    /// Train and upload.
    Member,
    /// Hold shares and sign seals.
    Custodian,
    /// Run the coordinator.
    Coordinator,
}

impl From<RoleFlag> for EnrolmentRole {
    fn from(flag: RoleFlag) -> Self {
        match flag {
            RoleFlag::Member => Self::Member,
            RoleFlag::Custodian => Self::Custodian,
            RoleFlag::Coordinator => Self::Coordinator,
        }
    }
}

pub(crate) fn run(arguments: &IdentityArguments) -> Result<(), Failure> {
    // Before anything is written and before threads start, because the umask belongs to the whole process.
    cloister_storage::restrict_new_files();
    match &arguments.command {
        Command::New(arguments) => new(arguments),
        Command::Show(arguments) => show(arguments),
    }
}

/// The roles that flags name, in the order of enrolment files: member and custodian if they name none.
pub(crate) fn roles(flags: &[RoleFlag]) -> Vec<EnrolmentRole> {
    let mut roles: Vec<EnrolmentRole> = match flags.is_empty() {
        true => vec![EnrolmentRole::Member, EnrolmentRole::Custodian],
        false => flags.iter().map(|role| (*role).into()).collect(),
    };
    roles.sort_unstable();
    roles
}

fn new(arguments: &NewArguments) -> Result<(), Failure> {
    let folder = &arguments.folder;
    let applicant = Applicant {
        name: arguments.name.clone(),
        organisation: arguments.organisation.clone(),
        roles: roles(&arguments.roles),
    };
    make_keys(folder, &applicant, arguments.valid_days)?;
    output::line(format_args!(
        "wrote {}: send this file to the consortium",
        folder.join(ENROLMENT).display()
    ))?;
    output::line("The other files are private keys. They stay in the folder.")?;
    show_text(folder)
}

/// Makes a party's keys and its enrolment file in a folder without keys.
pub(crate) fn make_keys(folder: &Path, applicant: &Applicant, valid_days: u32) -> Result<(), Failure> {
    let validity = Validity::starting(SystemTime::now(), valid_days);
    let identity = Identity::generate(&applicant.name, validity).map_err(Failure::error)?;
    let (key, seed) = SigningKey::generate(&mut UnwrapErr(SysRng));
    // Before anything is written, so that a wrong name leaves no folder behind.
    let enrolment = Enrolment::write(applicant, &identity, &key).map_err(Failure::config)?;
    create_folder(folder)?;
    identity.save(folder).map_err(Failure::config)?;
    write_signing_key(&folder.join(SIGNING_KEY), &seed).map_err(Failure::config)?;
    write(&folder.join(ENROLMENT), enrolment.as_bytes())
}

fn show(arguments: &ShowArguments) -> Result<(), Failure> {
    if !arguments.json {
        return show_text(&arguments.folder);
    }
    let Enrolled { enrolment, .. } = Enrolled::load(&arguments.folder)?;
    let applicant = enrolment.applicant();
    output::line(json!({
        "name": applicant.name,
        "organisation": applicant.organisation,
        "roles": applicant.roles,
        "fingerprint": enrolment.fingerprint().to_string(),
        "signing_key": enrolment.signing_key().to_string(),
        "certificate": enrolment.certificate().to_string(),
        "valid_until": enrolment.validity().last_day(),
    }))
}

/// A folder's enrolment, whose keys are those of the folder.
#[derive(Debug)]
pub(crate) struct Enrolled {
    /// The TLS identity.
    pub(crate) identity: Identity,
    /// The enrolment file.
    pub(crate) enrolment: Enrolment,
    /// The enrolment file's text.
    pub(crate) text: String,
}

impl Enrolled {
    /// Reads them, and checks that they belong together.
    pub(crate) fn load(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(ENROLMENT);
        let text = read_text(&path)?;
        let enrolment = Enrolment::read(&text)
            .map_err(|error| Failure::config(format!("{}: {error}", path.display())))?;
        let identity = Identity::load(folder).map_err(Failure::config)?;
        let key = read_signing_key(&folder.join(SIGNING_KEY)).map_err(Failure::config)?;
        if enrolment.certificate() != identity.fingerprint() || enrolment.signing_key() != key.public() {
            return Err(Failure::config(format!(
                "{} belongs to other keys than those in the folder; put the files of one identity together",
                path.display()
            )));
        }
        Ok(Self { identity, enrolment, text })
    }
}

fn show_text(folder: &Path) -> Result<(), Failure> {
    let Enrolled { enrolment, .. } = Enrolled::load(folder)?;
    let (applicant, validity) = (enrolment.applicant(), enrolment.validity());
    output::line(format_args!("party        {} of {}", applicant.name, applicant.organisation))?;
    output::line(format_args!("signing key  {}", enrolment.signing_key()))?;
    output::line(format_args!("certificate  {}", enrolment.certificate()))?;
    output::line(format_args!("valid until  {}", validity.last_day()))?;
    output::line(format_args!("fingerprint  {}", enrolment.fingerprint()))?;
    if let Some(days) = validity.ends_soon(SystemTime::now()) {
        output::tell(format_args!(
            "the certificate ends in {days} days: make a new identity, and have the consortium list it with `cloister consortium \
             rotate`"
        ));
    }
    Ok(())
}
