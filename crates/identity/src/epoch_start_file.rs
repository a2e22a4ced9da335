//! What the next edition of the consortium file continues from, in a party's data folder (`CONS-06`).
//!
//! The coordinator writes it, and every other party too: if the coordinator's folder is lost, the consortium goes on from
//! a party's.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cloister_params::consortium::EpochStart;
use cloister_wire::codec;
use cloister_wire::message::Ending;

/// The file in a data folder. The ending's certificate is in the file of the same name with `.ending` for `.toml`.
pub fn epoch_start_path(folder: &Path) -> PathBuf {
    folder.join("epoch-start.toml")
}

/// Writes what the next edition continues from, with the certificate of the ending that it names.
///
/// # Errors
/// The system's error.
pub fn keep_epoch_start(folder: &Path, start: &EpochStart, ending: Option<&Ending>) -> io::Result<()> {
    let path = epoch_start_path(folder);
    let text = start.to_toml().map_err(io::Error::other)?;
    // The certificate first: whoever signs the next edition checks the start by it.
    if let Some(ending) = ending {
        let bytes = codec::encode(ending);
        cloister_storage::replace(&path.with_extension("ending"), |file| file.write_all(&bytes))?;
    }
    cloister_storage::replace(&path, |file| file.write_all(text.as_bytes())).map(|_| ())
}
