//! `cloister lab attacks`.

use std::path::PathBuf;

use clap::Args;
use cloister_lab::attacks::{AttackProgress, AttackReport, AttackSettings, Sizes, attack};

use super::failure;
use crate::create::{create_folder, write};
use crate::failure::Failure;
use crate::output;

/// Public texts, in the folder of data.
const DATA: [(&str, &str); 2] =
    [("AG News", "agnews_train_subset.jsonl.zst"), ("MTSamples", "mtsamples_notes.jsonl.zst")];

#[derive(Debug, Args)]
pub(super) struct AttackArguments {
    /// Seeds, separated by commas. Each has a run of its own.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 3])]
    seeds: Vec<u64>,
    /// Run only AG News, with one seed and fewer trainings. This takes about two minutes.
    #[arg(long)]
    quick: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// The folder of the data sets.
    #[arg(long, env = "CLOISTER_DATA", default_value = "../shared/data")]
    data: PathBuf,
    /// The folder of MiniLM's files.
    #[arg(long, env = "CLOISTER_MINILM")]
    minilm: PathBuf,
    /// Write attacks.csv, attacks.json and attacks.svg into this folder.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Show no progress on stderr.
    #[arg(long)]
    quiet: bool,
}

pub(super) fn run(arguments: &AttackArguments) -> Result<(), Failure> {
    let report = attack(&arguments.settings(), &arguments.minilm, &mut |progress| {
        if !arguments.quiet {
            output::tell(line(&progress));
        }
    });
    let report = report.map_err(failure)?;
    let text = serde_json::to_string(&report).map_err(Failure::error)?;
    if let Some(folder) = &arguments.out {
        create_folder(folder)?;
        write(&folder.join("attacks.csv"), report.to_csv().as_bytes())?;
        write(&folder.join("attacks.json"), text.as_bytes())?;
        write(&folder.join("attacks.svg"), report.to_svg().as_bytes())?;
    }
    if arguments.json { output::line(text) } else { print(&report) }
}

impl AttackArguments {
    fn settings(&self) -> AttackSettings {
        let (data, seeds, sizes) = match self.quick {
            true => (&DATA[..1], &self.seeds[..1], Sizes::QUICK),
            false => (&DATA[..], &self.seeds[..], Sizes::FULL),
        };
        let files = data.iter().map(|(name, file)| ((*name).to_owned(), self.data.join(file)));
        AttackSettings { data: files.collect(), seeds: seeds.to_vec(), sizes }
    }
}

fn line(progress: &AttackProgress) -> String {
    match progress {
        AttackProgress::Trained { done, all } => format!("{done} of {all} trainings"),
        AttackProgress::Attacked(row) => {
            let (protection, seen) = (row.view.protection.in_words(), row.view.in_words());
            format!("{}, seed {}, {protection}, {seen}: AUC {:.3}", row.data, row.seed, row.membership.auc)
        }
    }
}

fn print(report: &AttackReport) -> Result<(), Failure> {
    output::print(report.to_table())?;
    output::line(format_args!(
        "In per cent. AUC, TPR@1, TPR@.1: was a text trained on, at false-positive rates of 1 and 0.1 %. \
         text, of 8: which of {} texts it was, alone or in a batch. words: frequent words found with ten \
         guesses. mix R²: of shares of classes. noise: over what it covers. ε of a round for a member: \
         {:.0} with slight noise, {:.2} with noise, δ = {:e}.",
        report.settings.sizes.candidates, report.epsilon_slight, report.epsilon, report.delta
    ))
}
