//! `cloister predict`: sorts new notes with a trained model. Nothing leaves the machine.

mod format;

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use cloister_experts::files::notes::{Encoding, NotesFile};
use cloister_experts::prediction::Predictor;
use cloister_experts::task::Task;
use cloister_transport::printable;

use crate::compute_flags::TrainedModelFlags;
use crate::create::{check_no_file, unwritten, write_private};
use crate::failure::Failure;
use crate::folder::read_text;
use crate::output;
use crate::progress::ProgressDisplay;
use format::Format;

/// Rows without a prediction that are named; the others are counted.
const NAMED: usize = 20;

/// Flags of `cloister predict`.
#[derive(Debug, Args)]
pub(crate) struct PredictArguments {
    /// The file of notes: JSON Lines, CSV or TSV (plain, gz or zst) or Parquet, with the column `text`. No label is needed.
    notes: PathBuf,
    #[command(flatten)]
    trained: TrainedModelFlags,
    /// The encoding of the notes, such as windows-1252. A byte-order mark overrides it.
    #[arg(long, default_value = "utf-8")]
    encoding: Encoding,
    /// A column that names rows, such as a note's number. It is copied into the output.
    #[arg(long, value_name = "COLUMN")]
    id_column: Option<String>,
    /// The file to write, which only its owner may read. It must not exist. By default predictions are printed.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Write JSON Lines, one object for each row, instead of CSV. In CSV, cells that a spreadsheet would take for a formula
    /// get an apostrophe before them; in JSON, values are as they are.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &PredictArguments) -> Result<(), Failure> {
    arguments.out.as_ref().map_or(Ok(()), |out| check_no_file(out, "--out"))?;
    let task = Task::parse(&read_text(&arguments.trained.task)?)
        .map_err(|error| Failure::config(format!("{}: {error}", arguments.trained.task.display())))?;
    let predictor = Predictor::open(&task, &arguments.trained.model, &arguments.trained.settings())
        .map_err(Failure::experts)?;
    let without_prediction = match &arguments.out {
        None => write_predictions(arguments, &predictor, &mut |text| output::print(text))?,
        // Readable by its owner alone: predictions say as much of patients as notes do.
        Some(out) => write_private(out, |file| {
            write_predictions(arguments, &predictor, &mut |text| {
                file.write_all(text.as_bytes()).map_err(|error| unwritten(out, &error))
            })
        })?,
    };
    match without_prediction {
        0 => Ok(()),
        // After everything else is written: one bad row must not cost the predictions of all others.
        count => Err(Failure::config(format!(
            "{count} rows of {} have no prediction, for the reasons above; all others have one: correct these rows and \
             predict them again",
            arguments.notes.display()
        ))),
    }
}

/// Puts a line for each row that can be read, in their order. Names the others on stderr, and returns how many there are.
fn write_predictions(
    arguments: &PredictArguments,
    predictor: &Predictor,
    put: &mut dyn FnMut(&str) -> Result<(), Failure>,
) -> Result<usize, Failure> {
    let format = Format { is_json: arguments.json, id_column: arguments.id_column.as_deref() };
    let file = NotesFile { path: arguments.notes.clone(), encoding: arguments.encoding, group_by: None };
    let mut predictions =
        predictor.predictions(file, arguments.id_column.as_deref()).map_err(Failure::experts)?;
    let mut progress = ProgressDisplay::new();
    let mut without_prediction = 0;
    let mut is_first = true;
    loop {
        let rows = predictions.next_rows().map_err(Failure::experts)?;
        if rows.is_empty() {
            return Ok(without_prediction);
        }
        let mut text = if is_first { format.head(predictor.classes()) } else { String::new() };
        is_first = false;
        for row in rows {
            match row {
                Ok(row) => text += &format.line(predictor.classes(), &row),
                Err(error) => {
                    without_prediction += 1;
                    if without_prediction <= NAMED {
                        // Column names come from a file, so they must not command the terminal.
                        progress.above_bar(|| output::tell(printable(error.to_string().as_bytes())));
                    }
                }
            }
        }
        put(&text)?;
        let so_far = predictions.so_far();
        progress.step("predicting", so_far.done, so_far.total);
    }
}
