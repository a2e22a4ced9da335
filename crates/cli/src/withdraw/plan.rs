//! What a withdrawal erases, keeps, and cannot erase.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use cloister_client::{DataKind, IdleDataFolder};
use cloister_identity::enrolment::Enrolment;
use cloister_identity::{KEY_FILE, edition_path};
use cloister_params::consortium::Consortium;
use cloister_params::id::PartyId;
use cloister_privacy::accuracy::AccuracyCost;
use cloister_privacy::ledger::History;
use cloister_privacy::statement::Statement;
use sha2::{Digest as _, Sha256};

use super::WithdrawArguments;
use super::words::{KEPT_KEY, NEW_OPENINGS, NOT_ERASED, next_steps, what, why_kept, why_link_kept};
use crate::byte_count::bytes;
use crate::failure::{Failure, FailureKind};
use crate::folder::{ENROLMENT, POLICY, SIGNING_KEY, read_text, unreadable};
use crate::privacy::check_delta;
use crate::privacy::rounds::CheckedPolicy;

/// A file, or the files of a folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) what: &'static str,
    pub(super) bytes: u64,
    /// SHA-256 of its bytes in hexadecimal digits, as `sha256sum` prints it. `None` if its bytes say something of the notes
    /// or are a key: whoever guesses a short text could recognise it by its digest.
    pub(super) sha256: Option<String>,
}

/// What stays, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Kept {
    pub(super) path: PathBuf,
    pub(super) what: &'static str,
    pub(super) why: String,
}

impl Kept {
    /// A symbolic link: what it names would stay if it were erased.
    fn link(path: PathBuf, what: &'static str) -> Result<Self, Failure> {
        let target = fs::read_link(&path).map_err(|error| unreadable(&path, &error))?;
        // A relative target is relative to the link's folder, and not to that of this process.
        let target = path.parent().map_or(target.clone(), |folder| folder.join(&target));
        Ok(Self { path, what, why: why_link_kept(&target) })
    }
}

/// What is known of the released data.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum ReleasedData {
    /// The statement of the ledger.
    Stated(Box<Statement>),
    /// Why there is none.
    Unknown(String),
}

/// What a withdrawal does.
#[derive(Debug)]
pub(super) struct WithdrawalPlan {
    kinds: Vec<DataKind>,
    keys: Vec<PathBuf>,
    pub(super) erased: Vec<Found>,
    pub(super) kept: Vec<Kept>,
    pub(super) released: ReleasedData,
    pub(super) name: String,
    /// The party's number in the newest edition that it was sent; `None` if the data folder has none that lists it.
    number: Option<PartyId>,
}

impl WithdrawalPlan {
    pub(super) fn new(arguments: &WithdrawArguments, idle: &IdleDataFolder) -> Result<Self, Failure> {
        let mut kinds = vec![DataKind::Journal, DataKind::Model, DataKind::TrainingJob];
        if arguments.erase_ledger {
            kinds.extend([DataKind::Openings, DataKind::Ledger, DataKind::Edition]);
        }
        let released = released(arguments, &idle.ledger())?;
        let name = name(&arguments.identity, &released);
        let number = number(&arguments.data, &name);
        let mut plan = Self { kinds, keys: vec![], erased: vec![], kept: vec![], released, name, number };
        for (kind, path) in idle.entries().map_err(super::failure)? {
            if plan.kinds.contains(&kind) {
                plan.add_erased(kind, path)?;
            } else if kind == DataKind::Link {
                plan.kept.push(Kept::link(path, what(kind))?);
            } else {
                plan.kept.push(Kept { path, what: what(kind), why: why_kept(kind).to_owned() });
            }
        }
        let path = idle.openings();
        // Openings behind a link stay, with one more record.
        if arguments.erase_ledger && !path.is_symlink() {
            let (what, why) = ("a new file of one record", NEW_OPENINGS.to_owned());
            plan.kept.push(Kept { path, what, why });
        }
        plan.add_keys(arguments)?;
        Ok(plan)
    }

    /// Lists the files of an entry of the data folder that is erased, and the links in it, which stay.
    fn add_erased(&mut self, kind: DataKind, entry: PathBuf) -> Result<(), Failure> {
        let (mut files, mut paths) = (Vec::new(), vec![entry]);
        while let Some(path) = paths.pop() {
            let kept = fs::symlink_metadata(&path).map_err(|error| unreadable(&path, &error))?;
            if kept.is_dir() {
                for entry in fs::read_dir(&path).map_err(|error| unreadable(&path, &error))? {
                    paths.push(entry.map_err(|error| unreadable(&path, &error))?.path());
                }
                continue;
            }
            if kept.is_symlink() {
                self.kept.push(Kept::link(path, what(kind))?);
                continue;
            }
            let has_digest = kept.is_file() && kind != DataKind::TrainingJob;
            let sha256 = has_digest.then(|| sha256(&path)).transpose()?;
            files.push(Found { path, what: what(kind), bytes: kept.len(), sha256 });
        }
        files.sort_by(|one, other| one.path.cmp(&other.path));
        self.erased.extend(files);
        Ok(())
    }

    fn add_keys(&mut self, arguments: &WithdrawArguments) -> Result<(), Failure> {
        for (file, what) in [(SIGNING_KEY, "this party's signing key"), (KEY_FILE, "this party's TLS key")] {
            let path = arguments.identity.join(file);
            let metadata = match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata.map_err(|error| unreadable(&path, &error))?,
            };
            if metadata.is_symlink() {
                self.kept.push(Kept::link(path, what)?);
            } else if arguments.erase_keys {
                self.erased.push(Found { path: path.clone(), what, bytes: metadata.len(), sha256: None });
                self.keys.push(path);
            } else {
                self.kept.push(Kept { path, what, why: KEPT_KEY.to_owned() });
            }
        }
        Ok(())
    }

    /// The kinds of entries of the data folder that are erased.
    pub(super) fn kinds(&self) -> &[DataKind] {
        &self.kinds
    }

    /// The keys that are erased.
    pub(super) fn keys(&self) -> &[PathBuf] {
        &self.keys
    }

    /// What people do after the withdrawal.
    pub(super) fn next_steps(&self) -> [String; 4] {
        next_steps(&self.name, self.number)
    }
}

fn sha256(path: &Path) -> Result<String, Failure> {
    let mut hash = Sha256::new();
    let mut file = fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    // A merged model is larger than memory may be.
    let mut part = vec![0; 1 << 20];
    loop {
        match file.read(&mut part).map_err(|error| unreadable(path, &error))? {
            0 => return Ok(hex::encode(hash.finalize())),
            length => hash.update(&part[..length]),
        }
    }
}

/// What the ledger says. A damaged ledger does not stop a withdrawal, and is not erased unseen: the reason is stated.
fn released(arguments: &WithdrawArguments, ledger: &Path) -> Result<ReleasedData, Failure> {
    if !ledger.exists() {
        return Ok(ReleasedData::Unknown("there is no privacy ledger".to_owned()));
    }
    let history = match History::read(ledger) {
        Ok(history) => history,
        Err(error) => return Ok(ReleasedData::Unknown(error.to_string())),
    };
    let policy = arguments.identity.join(POLICY);
    let budget = match policy.exists() {
        true => CheckedPolicy::read(&policy)?.budget,
        false => None,
    };
    // Without either there is no default: a statement's δ must be somebody's decision.
    let delta = arguments.delta.or(budget.map(|budget| budget.delta)).ok_or_else(|| {
        let why = "the policy has no privacy budget, so withdrawal.json needs the δ at which it states ε; give --delta";
        Failure::new(FailureKind::Usage, why)
    })?;
    let statement = Statement::from_history(&history, check_delta(delta)?, budget, AccuracyCost::not_named());
    Ok(ReleasedData::Stated(Box::new(statement)))
}

/// The party's name in the consortium file: that of its enrolment, or the ledger's holder.
fn name(identity: &Path, released: &ReleasedData) -> String {
    let enrolment = read_text(&identity.join(ENROLMENT)).ok().and_then(|text| Enrolment::read(&text).ok());
    match (enrolment, released) {
        (Some(enrolment), _) => enrolment.applicant().name.clone(),
        (None, ReleasedData::Stated(statement)) => statement.holder().to_owned(),
        (None, ReleasedData::Unknown(_)) => "NAME".to_owned(),
    }
}

/// The number of the party with this name. The signature of the edition is not checked: people only read the number.
fn number(data: &Path, name: &str) -> Option<PartyId> {
    let edition = Consortium::parse(&read_text(&edition_path(data)).ok()?).ok()?;
    edition.parties().find(|party| party.name == name).map(|party| party.id)
}

impl fmt::Display for WithdrawalPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Erases:")?;
        for Found { path, what, bytes: length, .. } in &self.erased {
            writeln!(f, "  {}: {what} ({})", path.display(), bytes(*length))?;
        }
        if self.erased.is_empty() {
            writeln!(f, "  nothing: none of it is here")?;
        }
        writeln!(f, "\nKeeps:")?;
        for Kept { path, what, why } in &self.kept {
            writeln!(f, "  {}: {what}; {why}", path.display())?;
        }
        writeln!(f, "\nCannot erase:")?;
        NOT_ERASED.iter().try_for_each(|sentence| writeln!(f, "  - {sentence}"))?;
        writeln!(f, "\nReleased so far:")?;
        match &self.released {
            ReleasedData::Stated(statement) => writeln!(f, "  {}", statement.in_plain_words())?,
            ReleasedData::Unknown(why) => writeln!(f, "  unknown: {why}")?,
        }
        writeln!(f, "\nNext:")?;
        (1..).zip(self.next_steps()).try_for_each(|(number, step)| writeln!(f, "  {number}. {step}"))
    }
}
