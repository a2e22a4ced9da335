//! The files of a round that the coordinator writes into its folder.

use std::io::{self, Write};
use std::path::Path;

use cloister_protocol::coordinator::RoundReport;
use cloister_wire::codec;

/// Writes a round's log, the certificate of its ending, and the model after it. Each file is replaced as a
/// whole.
pub(crate) fn write_round(folder: &Path, report: &RoundReport) -> io::Result<()> {
    let rounds = folder.join("rounds");
    cloister_storage::create_folder(&rounds)?;
    let number = report.round.0;
    let mut lines = String::new();
    for entry in report.log.entries() {
        lines.push_str(&entry.to_json_line());
        lines.push('\n');
    }
    // Four digits, so that the names sort as the rounds do.
    write_whole(&rounds.join(format!("{number:04}.log.jsonl")), lines.as_bytes())?;
    write_whole(&rounds.join(format!("{number:04}.ending")), &codec::encode(&report.ending))?;
    write_whole(&folder.join("model.parameters"), &report.model.to_bytes())
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    cloister_storage::replace(path, |file| file.write_all(bytes)).map(|_| ())
}
