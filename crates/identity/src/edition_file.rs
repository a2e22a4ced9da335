//! The newest edition of the consortium file that a party knows, in its data folder (`CONS-11`).

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cloister_crypto::consortium::Epoch;

/// The file in a party's data folder. The signature is in the file of the same name with `.sig` appended.
pub fn edition_path(folder: &Path) -> PathBuf {
    folder.join("edition.toml")
}

/// Keeps an edition, so that the next start of the program begins with it.
///
/// # Errors
/// The system's error.
pub fn keep_edition(folder: &Path, epoch: &Epoch) -> io::Result<()> {
    let path = edition_path(folder);
    let signature = hex::encode(epoch.signature());
    // The signature first: between the two writes the old file has a signature that does not fit, and the
    // program falls back to the file that its operator gave it.
    cloister_storage::replace(&path.with_added_extension("sig"), |file| {
        file.write_all(signature.as_bytes())
    })?;
    cloister_storage::replace(&path, |file| file.write_all(epoch.text().as_bytes())).map(|_| ())
}
