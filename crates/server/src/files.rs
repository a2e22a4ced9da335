//! The files of a round that the coordinator writes into its folder.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cloister_crypto::consortium::Epoch;
use cloister_identity::keep_edition;
use cloister_params::id::Round;
use cloister_params::plan::RoundSettings;
use cloister_protocol::coordinator::RoundReport;
use cloister_wire::codec;

/// The folder of all rounds' files. That of the first edition has its files itself.
pub(crate) const ROUNDS: &str = "rounds";

/// The beginning of the names of later editions' folders, before their number: rounds are numbered from 1 in each
/// edition.
pub(crate) const LATER_EDITION: &str = "edition-";

/// The end of the name of a certificate's file, behind the round's number.
pub(crate) const ENDING: &str = "ending";

/// The path of a round's file of a kind.
pub(crate) fn round_path(folder: &Path, edition: u32, round: Round, kind: &str) -> PathBuf {
    let rounds = match edition {
        1 => folder.join(ROUNDS),
        later => folder.join(ROUNDS).join(format!("{LATER_EDITION}{later:03}")),
    };
    // Four digits, so that the names sort as the rounds do.
    rounds.join(format!("{:04}.{kind}", round.0))
}

/// Writes a round's log, the certificate of its ending, and the model after it. Each file is replaced as a
/// whole.
pub(crate) fn write_round(folder: &Path, edition: u32, report: &RoundReport) -> io::Result<()> {
    let path = |kind| round_path(folder, edition, report.round, kind);
    let log = path("log.jsonl");
    if let Some(rounds) = log.parent() {
        cloister_storage::create_folder(rounds)?;
    }
    let mut lines = String::new();
    for entry in report.log.entries() {
        lines.push_str(&entry.to_json_line());
        lines.push('\n');
    }
    write_whole(&log, lines.as_bytes())?;
    write_whole(&path(ENDING), &codec::encode(&report.ending))?;
    write_whole(&folder.join("model.parameters"), &report.model.to_bytes())
}

/// Keeps an edition and the settings of its rounds in the coordinator's folder.
pub(crate) fn keep_next(folder: &Path, epoch: &Epoch, settings: &RoundSettings) -> io::Result<()> {
    let settings = settings.to_toml().map_err(io::Error::other)?;
    cloister_storage::replace(&settings_path(folder), |file| file.write_all(settings.as_bytes()))?;
    keep_edition(folder, epoch)
}

/// The file in the coordinator's folder with the round settings of the edition that it keeps there.
pub fn settings_path(folder: &Path) -> PathBuf {
    folder.join("edition-settings.toml")
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    cloister_storage::replace(path, |file| file.write_all(bytes)).map(|_| ())
}
