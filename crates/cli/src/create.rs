//! Writes files of a consortium and of a party.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use cloister_params::policy::Policy;
use cloister_transport::Identity;

use crate::failure::Failure;
use crate::folder::{POLICY, SIGNING_KEY};

/// Writes a new party's folder. Only the owner can read its keys.
pub(crate) fn create_party(
    folder: &Path,
    identity: &Identity,
    signing_seed: &[u8; 32],
    policy: &Policy,
) -> Result<(), Failure> {
    create_folder(folder)?;
    identity.save(folder).map_err(Failure::error)?;
    write_secret(&folder.join(SIGNING_KEY), &hex::encode(signing_seed))?;
    write(&folder.join(POLICY), policy.to_toml().map_err(Failure::error)?.as_bytes())
}

pub(crate) fn create_folder(folder: &Path) -> Result<(), Failure> {
    cloister_storage::create_folder(folder)
        .map_err(|error| Failure::error(format!("cannot create {}: {error}", folder.display())))
}

pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(path, bytes).map_err(|error| unwritable(path, &error))
}

fn write_secret(path: &Path, text: &str) -> Result<(), Failure> {
    // `create_new` never overwrites a key. The mode is set at creation, because a later chmod would leave the
    // key readable for a moment.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::error(format!("cannot write {}: {error}", path.display()))
}
