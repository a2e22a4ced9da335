//! `cloister canaries plant`.

use std::path::{Path, PathBuf};

use clap::Args;
use cloister_experts::canaries::{CanaryList, DIGITS, Planting, PlantingSettings};
use cloister_experts::files::notes::{Encoding, NotesFile};
use getrandom::SysRng;
use rand_core::UnwrapErr;

use super::read_task;
use crate::create::{check_no_file, write_private};
use crate::failure::Failure;
use crate::output;
use crate::whole_number::counted;

#[derive(Debug, Args)]
pub(super) struct PlantArguments {
    /// The task file that the model will be trained for.
    #[arg(long)]
    task: PathBuf,
    /// The file of notes: JSON Lines, CSV or TSV (plain, gz or zst) or Parquet. It stays as it is.
    #[arg(long)]
    notes: PathBuf,
    /// The copy to write, as JSON Lines, which only its owner may read. It must not exist. Train on it instead of the notes.
    #[arg(long)]
    out: PathBuf,
    /// The file to write the numbers to, which only its owner may read. It must not exist. The test needs it.
    #[arg(long, value_name = "FILE")]
    secrets: PathBuf,
    /// How often canaries are planted, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "TIMES", default_values_t = [1, 4, 16])]
    repeats: Vec<usize>,
    /// How many canaries are planted each of these numbers of times. As many are drawn and not planted, as controls.
    #[arg(long, value_name = "N", default_value_t = 4)]
    of_each: usize,
    /// The encoding of the notes, such as windows-1252. A byte-order mark overrides it.
    #[arg(long, default_value = "utf-8")]
    encoding: Encoding,
    /// The column that groups rows into records, such as a patient's number. It is copied, and all copies of a canary are one
    /// record.
    #[arg(long, value_name = "COLUMN")]
    group_by: Option<String>,
}

pub(super) fn run(arguments: &PlantArguments) -> Result<(), Failure> {
    check_no_file(&arguments.out, "--out")?;
    check_no_file(&arguments.secrets, "--secrets")?;
    let (task, digest) = read_task(&arguments.task)?;
    let notes = NotesFile {
        path: arguments.notes.clone(),
        encoding: arguments.encoding,
        group_by: arguments.group_by.clone(),
    };
    let planting = Planting::open(&task, notes).map_err(Failure::experts)?;
    let settings =
        PlantingSettings { repeats: arguments.repeats.clone(), canaries: arguments.of_each, digits: DIGITS };
    // From the system: whoever could guess a seed could guess the numbers.
    let mut random = UnwrapErr(SysRng);
    let secrets = planting.draw(&task, &digest, &settings, &mut random).map_err(Failure::experts)?;
    write_private(&arguments.out, |file| {
        planting.write(&secrets, &mut random, &arguments.out, file).map_err(Failure::experts)?;
        // Before the copy has its name: a copy whose numbers nobody knows could not be tested, but would be trained on.
        write_secrets(&arguments.secrets, &secrets)?;
        // Two names of one file: the copy would replace the secrets.
        check_no_file(&arguments.out, "--out").inspect_err(|_| drop(std::fs::remove_file(&arguments.secrets)))
    })?;
    let planted = secrets.canaries().iter().filter(|canary| canary.repeats > 0).count();
    output::print(format_args!(
        "{} has {} and {} of {}.\nTrain on it instead of {}, and then test the model with `cloister canaries test`. Keep {} \
         until then, and show it to nobody who could train on it.\n",
        arguments.out.display(),
        counted(planting.rows(), "note"),
        counted(secrets.copies(), "row"),
        counted(planted, "canary").replace("canarys", "canaries"),
        arguments.notes.display(),
        arguments.secrets.display()
    ))
}

fn write_secrets(path: &Path, secrets: &CanaryList) -> Result<(), Failure> {
    cloister_storage::write_new_secret(path, &secrets.to_text()).map_err(|error| {
        Failure::error(format!(
            "cannot write {}: {error}; nothing was planted: check the folder, its permissions and the room on the disk",
            path.display()
        ))
    })
}
