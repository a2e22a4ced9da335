//! What the coordinator leaves in its folder.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use cloister_protocol::coordinator::RoundReport;
use cloister_transcript::Entry;
use cloister_wire::codec;

/// Writes a round's log, the certificate of its ending, and the model after it; each file appears whole.
pub(crate) fn write_round(folder: &Path, report: &RoundReport) -> io::Result<()> {
    let rounds = folder.join("rounds");
    fs::create_dir_all(&rounds)?;
    let number = report.round.0;
    let lines: String =
        report.log.entries().iter().map(Entry::to_json_line).flat_map(|line| [line, "\n".into()]).collect();
    write_whole(&rounds.join(format!("{number:04}.log.jsonl")), lines.as_bytes())?;
    write_whole(&rounds.join(format!("{number:04}.ending")), &codec::encode(&report.ending))?;
    write_whole(&folder.join("model.parameters"), &report.model.to_bytes())
}

/// Writes beside the file first, so that a reader never sees half of it.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = fs::File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(part, path)
}
