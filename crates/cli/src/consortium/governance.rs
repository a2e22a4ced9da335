//! The folder of the governance key's holder.
//!
//! | file | what it is |
//! |---|---|
//! | `governance.key` | the governance key, if it is kept here |
//! | `draft.toml` | the next edition, which nobody has signed |
//! | `consortium.toml`, `consortium.toml.sig` | the newest edition, to hand out |
//! | `editions/` | all editions with their signatures |
//! | `enrolments/` | the enrolment files from which parties were added, as evidence |

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cloister_crypto::consortium::{Epoch, sign_file};
use cloister_crypto::hash::{Domain, digest};
use cloister_crypto::sign::SigningKey;
use cloister_identity::enrolment::Enrolment;
use cloister_identity::{ShortFingerprint, read_signing_key, write_signing_key};
use cloister_params::consortium::{ConsortiumFile, PublicBytes};
use cloister_params::id::{Digest, PartyId};
use getrandom::SysRng;
use rand_core::UnwrapErr;

use crate::create::{create_folder, write};
use crate::failure::Failure;
use crate::folder::{hex_file, read_text, unreadable};

const GOVERNANCE_KEY: &str = "governance.key";
const DRAFT: &str = "draft.toml";
const CONSORTIUM: &str = "consortium.toml";

/// The folder.
#[derive(Debug)]
pub(super) struct GovernanceFolder {
    folder: PathBuf,
}

impl GovernanceFolder {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Makes the folder, and the governance key if the file does not exist.
    pub(super) fn found(&self, key: Option<&Path>) -> Result<SigningKey, Failure> {
        for existing in [DRAFT, CONSORTIUM].map(|name| self.folder.join(name)) {
            if existing.exists() {
                return Err(Failure::config(format!(
                    "{} exists: a consortium was founded in this folder; choose another folder",
                    existing.display()
                )));
            }
        }
        create_folder(&self.folder)?;
        let path = self.key_path(key);
        if !path.exists() {
            let (_, seed) = SigningKey::generate(&mut UnwrapErr(SysRng));
            write_signing_key(&path, &seed).map_err(Failure::error)?;
        }
        self.read_key(key)
    }

    /// Reads the governance key.
    pub(super) fn read_key(&self, key: Option<&Path>) -> Result<SigningKey, Failure> {
        read_signing_key(&self.key_path(key)).map_err(Failure::config)
    }

    fn key_path(&self, key: Option<&Path>) -> PathBuf {
        key.map_or_else(|| self.folder.join(GOVERNANCE_KEY), Path::to_owned)
    }

    /// The draft; if there is none, a new one from the newest edition.
    pub(super) fn draft(&self) -> Result<ConsortiumFile, Failure> {
        let path = self.folder.join(DRAFT);
        if path.exists() {
            return read_file(&path);
        }
        let newest = self.folder.join(CONSORTIUM);
        if !newest.exists() {
            return Err(Failure::config(format!(
                "{} has neither draft.toml nor consortium.toml; found a consortium with `cloister consortium init`",
                self.folder.display()
            )));
        }
        let mut draft = read_file(&newest)?;
        draft.epoch += 1;
        // What it continues from is known when it is signed.
        draft.start = None;
        Ok(draft)
    }

    /// The newest edition, if one was signed: its text and its contents.
    pub(super) fn newest(&self) -> Result<Option<(String, ConsortiumFile)>, Failure> {
        let path = self.folder.join(CONSORTIUM);
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some((read_text(&path)?, read_file(&path)?)))
    }

    /// The newest edition, as a party checks it.
    pub(super) fn newest_epoch(&self, key: PublicBytes) -> Result<Epoch, Failure> {
        read_edition(&self.folder.join(CONSORTIUM), key)
    }

    /// The edition with this digest, as a party checks it.
    pub(super) fn edition(&self, wanted: Digest, key: PublicBytes) -> Result<Epoch, Failure> {
        let editions = self.folder.join("editions");
        let entries = fs::read_dir(&editions).map_err(|error| unreadable(&editions, &error))?;
        for entry in entries {
            let path = entry.map_err(|error| unreadable(&editions, &error))?.path();
            let is_edition = path.extension().is_some_and(|extension| extension == "toml");
            if is_edition && digest(Domain::Epoch, &[read_text(&path)?.as_bytes()]) == wanted {
                return read_edition(&path, key);
            }
        }
        Err(Failure::config(format!(
            "no edition in {} has the epoch {wanted} that the closing names; give a closing of this consortium",
            editions.display()
        )))
    }

    pub(super) fn write_draft(&self, draft: &ConsortiumFile) -> Result<(), Failure> {
        replace(&self.folder.join(DRAFT), &draft.to_toml().map_err(Failure::error)?)
    }

    /// Keeps the enrolment file from which a party was added or got new keys.
    pub(super) fn keep_enrolment(&self, party: PartyId, epoch: u32, text: &str) -> Result<(), Failure> {
        let folder = self.folder.join("enrolments");
        create_folder(&folder)?;
        write(&folder.join(format!("party-{:03}-epoch-{epoch:03}.toml", party.0)), text.as_bytes())
    }

    /// Signs an edition's text, and makes it the newest one. The draft is removed.
    pub(super) fn publish(&self, text: &str, epoch: u32, key: &SigningKey) -> Result<PathBuf, Failure> {
        let signature = hex::encode(sign_file(text, key));
        let editions = self.folder.join("editions");
        create_folder(&editions)?;
        let newest = self.folder.join(CONSORTIUM);
        let archived = editions.join(format!("epoch-{epoch:03}.toml"));
        if archived.exists() {
            // Two signed files of one number could put parties into different rosters.
            return Err(Failure::config(format!(
                "{} exists: an edition with this number was signed before; found the next one on it",
                archived.display()
            )));
        }
        for path in [archived, newest.clone()] {
            // The signature first: a program that reads between the two writes sees a signature that does not
            // fit, and not a file without one.
            replace(&path.with_added_extension("sig"), &signature)?;
            replace(&path, text)?;
        }
        let draft = self.folder.join(DRAFT);
        match fs::remove_file(&draft) {
            // An edition that only prolongs the one before has no draft.
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Failure::error(format!("cannot remove {}: {error}", draft.display())));
            }
            _ => {}
        }
        Ok(newest)
    }
}

fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    cloister_storage::replace(path, |file| std::io::Write::write_all(file, text.as_bytes()))
        .map(|_| ())
        .map_err(|error| Failure::error(format!("cannot write {}: {error}", path.display())))
}

/// Reads a consortium file of this folder, whose owner is trusted.
fn read_file(path: &Path) -> Result<ConsortiumFile, Failure> {
    ConsortiumFile::read_draft(&read_text(path)?)
        .map_err(|error| Failure::config(format!("{}: {error}", path.display())))
}

/// Reads an enrolment file, and compares its fingerprint with the one that the party read out.
pub(super) fn read_enrolment(
    path: &Path,
    expected: ShortFingerprint,
) -> Result<(String, Enrolment), Failure> {
    let text = read_text(path)?;
    let enrolment =
        Enrolment::read(&text).map_err(|error| Failure::config(format!("{}: {error}", path.display())))?;
    let got = enrolment.fingerprint();
    if got != expected {
        return Err(Failure::config(format!(
            "{} has the fingerprint {got}, and the party read {expected}: it is another file than the party's; get the file \
             again, and ask the party for the output of `cloister identity show`",
            path.display()
        )));
    }
    enrolment.validity().check(SystemTime::now()).map_err(|why| {
        Failure::config(format!(
            "{}: {why}; ask the party for the enrolment of a new identity",
            path.display()
        ))
    })?;
    Ok((text, enrolment))
}

/// The public half of the governance key as people compare it.
pub(crate) fn governance_fingerprint(key: PublicBytes) -> ShortFingerprint {
    ShortFingerprint::new(digest(Domain::GovernanceKey, &[&key.0]))
}

/// A signed edition of the consortium file.
pub(crate) fn read_edition(path: &Path, key: PublicBytes) -> Result<Epoch, Failure> {
    let text = read_text(path)?;
    let signature = hex_file::<64>(&path.with_added_extension("sig"))?;
    Epoch::accept(&text, &signature, key)
        .map_err(|error| Failure::config(format!("{}: {error}", path.display())))
}
