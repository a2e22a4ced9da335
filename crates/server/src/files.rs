//! The files of a round that the coordinator writes into its folder.

use std::fs;
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

/// The end of the name of a file with opened sums, behind the round's number.
pub(crate) const SUMS: &str = "sums";

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

/// Writes a round's log, its opened sums (`LOG-07`), the certificate of its ending, and the model after it. Each file is
/// replaced as a whole.
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
    if !report.sums.is_empty() {
        write_whole(&path(SUMS), &report.packed_sums())?;
    }
    write_whole(&path(ENDING), &codec::encode(&report.ending))?;
    write_whole(&folder.join("model.parameters"), &report.model.to_bytes())
}

/// Erases the oldest files of opened sums, over all editions, so that at most `most` stay.
pub(crate) fn erase_old_sums(folder: &Path, most: usize) -> io::Result<()> {
    let rounds = folder.join(ROUNDS);
    let mut folders = vec![rounds.clone()];
    for entry in fs::read_dir(&rounds)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    // By name: that of the first edition, which begins the names of the others, and those by number.
    folders.sort();
    let mut files = Vec::new();
    for folder in folders {
        let mut here = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|kind| kind == SUMS) {
                here.push(path);
            }
        }
        here.sort();
        files.append(&mut here);
    }
    for path in &files[..files.len().saturating_sub(most)] {
        cloister_storage::remove(path)?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// LOG-07
    #[test]
    fn the_sums_of_the_last_rounds_stay_over_editions() {
        let folder = std::env::temp_dir().join(format!("cloister-sums-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let write = |edition, round, kind| {
            let path = round_path(&folder, edition, Round(round), kind);
            cloister_storage::create_folder(path.parent().expect("it is in a folder")).expect("writable");
            fs::write(&path, "sums").expect("writable");
            path
        };
        let (ending, oldest) = (write(1, 1, ENDING), write(1, 1, SUMS));
        let kept = [write(1, 2, SUMS), write(2, 1, SUMS), write(10, 1, SUMS)];
        erase_old_sums(&folder, 4).expect("readable");
        assert!(oldest.exists(), "control: four may stay");
        erase_old_sums(&folder, 3).expect("readable");
        assert!(!oldest.exists() && ending.exists() && kept.iter().all(|path| path.exists()));
        erase_old_sums(&folder, 1).expect("readable");
        assert!(!kept[1].exists() && kept[2].exists());
        fs::remove_dir_all(folder).expect("it was made");
    }
}
