//! An audit from files: which folders, and which key the reader trusts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cloister_crypto::consortium::{Epoch, RefusedConsortium};
use cloister_params::consortium::PublicBytes;
use thiserror::Error;

use crate::bundle::{EvidenceBundleError, UnpackedBundle};
use crate::claim::{AuditClaim, AuditedClaim, ClaimVerdict};
use crate::folder::AuditedFolder;
use crate::parties::ComparedFolder;
use crate::report::EvidenceReport;
use crate::verify::verify;

/// What to audit.
#[derive(Clone, Debug)]
pub struct AuditRequest {
    /// The coordinator's data folder, a copy of it, or a bundle.
    pub folder: PathBuf,
    /// The consortium file of the edition. Its signature is in the file of the same name with `.sig` appended.
    pub consortium: PathBuf,
    /// The governance key that the reader trusts.
    pub governance_key: PublicBytes,
    /// Data folders of hospitals and custodians to compare with.
    pub parties: Vec<PathBuf>,
}

/// Why an audit could not begin.
#[derive(Debug, Error)]
pub enum AuditError {
    /// Something else than a folder was given.
    #[error("{} is neither {whose} --data, nor a copy of it", path.display())]
    NoFolder {
        /// What was given.
        path: PathBuf,
        /// Whose folder it should be.
        whose: &'static str,
    },
    /// A file or folder cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The consortium file's signature is not one.
    #[error("{}: expected 128 hexadecimal digits", path.display())]
    NoSignature {
        /// The file with the signature.
        path: PathBuf,
    },
    /// A bundle that cannot be read.
    #[error(transparent)]
    Bundle(#[from] EvidenceBundleError),
    /// The key did not sign the consortium file, or the file breaks a rule.
    #[error("{}: {source}", path.display())]
    Consortium {
        /// The consortium file.
        path: PathBuf,
        /// What is wrong with it.
        source: RefusedConsortium,
    },
}

impl AuditRequest {
    /// Reads everything and checks it.
    ///
    /// # Errors
    /// A folder or file that cannot be read, or a consortium file that the key did not sign. What the evidence shows is in
    /// the report.
    pub fn run(&self) -> Result<EvidenceReport, AuditError> {
        let epoch = Arc::new(read_epoch(&self.consortium, self.governance_key)?);
        let bundle = match self.folder.is_file() {
            true => Some(UnpackedBundle::open(&self.folder)?),
            false => None,
        };
        let data = bundle.as_ref().map_or_else(|| self.folder.clone(), UnpackedBundle::coordinator);
        let data = existing(&data, "a coordinator's")?;
        let folder = AuditedFolder::read(data, &epoch).map_err(unreadable(&self.folder))?;
        let mut parties = Vec::with_capacity(self.parties.len());
        for path in &self.parties {
            let party = existing(path, "a hospital's or a custodian's")?;
            parties.push(ComparedFolder::read(party).map_err(unreadable(path))?);
        }
        let mut report = verify(&folder, &parties, &epoch);
        if let Some(bundle) = bundle {
            let verdict = bundle.difference.clone().map_or(ClaimVerdict::Proved, ClaimVerdict::Refuted);
            report.claims.insert(0, AuditedClaim { claim: AuditClaim::Bundle, verdict });
        }
        Ok(report)
    }
}

fn read_epoch(path: &Path, key: PublicBytes) -> Result<Epoch, AuditError> {
    let text = fs::read_to_string(path).map_err(unreadable(path))?;
    let beside = path.with_added_extension("sig");
    let written = fs::read_to_string(&beside).map_err(unreadable(&beside))?;
    let mut signature = [0; 64];
    hex::decode_to_slice(written.trim(), &mut signature)
        .map_err(|_| AuditError::NoSignature { path: beside })?;
    Epoch::accept(&text, &signature, key)
        .map_err(|source| AuditError::Consortium { path: path.to_path_buf(), source })
}

fn existing<'a>(path: &'a Path, whose: &'static str) -> Result<&'a Path, AuditError> {
    match path.is_dir() {
        true => Ok(path),
        false => Err(AuditError::NoFolder { path: path.to_path_buf(), whose }),
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> AuditError {
    move |source| AuditError::Read { path: path.to_path_buf(), source }
}
