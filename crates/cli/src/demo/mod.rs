//! `cloister demo`: a coordinator and several hospitals as processes of this program, over QUIC on loopback.

mod consortium;
pub(crate) mod format;
mod processes;
mod report;
mod result;
mod screen;
mod settings;
mod summary;
mod text;
mod watch;

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use cloister_experts::files::notes::Encoding;
use serde_json::json;

use crate::create::{create_folder, write};
use crate::failure::Failure;
use crate::output;
use crate::sketch_flag::SketchFlag;
use processes::Processes;
use result::{DemoResult, WrittenFile};
use screen::{Screen, closing_table};
use watch::Watch;

/// Flags of `cloister demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// Number of hospitals. Each is a member, and the first 16 are custodians too.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(5..=40))]
    members: u32,
    /// Number of rounds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: u64,
    /// A file of notes with the columns `text` and `label`, instead of synthetic notes: JSON Lines, CSV or TSV (plain, gz or zst) or Parquet.
    #[arg(long)]
    notes: Option<PathBuf>,
    /// The encoding of that file, such as windows-1252. A byte-order mark in it overrides it.
    #[arg(long, default_value = "utf-8", requires = "notes")]
    encoding: Encoding,
    /// Number of tokens of a note that the model reads, 3 to 512. By default 64 for synthetic notes, which are short, and 256
    /// for a file.
    #[arg(long, value_parser = clap::value_parser!(u16).range(3..=512))]
    max_tokens: Option<u16>,
    /// The largest number of notes per hospital, on average.
    #[arg(long, default_value_t = 110)]
    notes_per_member: usize,
    /// Dirichlet parameter by which a file's notes are divided by label. A smaller one makes hospitals more unequal.
    #[arg(long, default_value_t = 0.5)]
    alpha: f64,
    /// Kill hospital M with SIGKILL in the middle of its upload in round R, given as M@R. May be repeated.
    #[arg(long, value_parser = parse_kill)]
    kill: Vec<Kill>,
    /// Kill the coordinator with SIGKILL in the middle of the uploads of round R, and start it again.
    #[arg(long, value_name = "R")]
    kill_coordinator: Option<u64>,
    /// Have hospital M train with a program of its own, given as M=COMMAND. May be repeated. `protocols/trainer.md` specifies
    /// what the program reads and writes.
    #[arg(long, value_name = "M=COMMAND", value_parser = parse_trainer)]
    trainer: Vec<HospitalTrainer>,
    /// Seed of the synthetic notes, their division and the model's initial values.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The folder to write everything into. What an earlier demo wrote there is removed.
    #[arg(long, default_value = "target/demo")]
    folder: PathBuf,
    /// The folder of MiniLM's files.
    #[arg(long, env = "CLOISTER_MINILM", required_unless_present = "base_model")]
    minilm: Option<PathBuf>,
    /// Train an adapter of the published model in this folder instead of MiniLM. Each note becomes a question whose choices are
    /// the classes.
    #[arg(long)]
    base_model: Option<PathBuf>,
    /// Port of the coordinator. 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Have each hospital prove by late sketches that it uploaded what it announced.
    #[arg(long)]
    late_sketches: bool,
    /// What hospitals announce of their experts, so that cohorts can be chosen.
    #[arg(long, value_enum, default_value_t = SketchFlag::Withheld)]
    sketches: SketchFlag,
    /// Have each hospital train with DP-SGD, with noise of this many clipping norms on each step.
    #[arg(long, value_parser = noise_multiplier)]
    noise_multiplier: Option<f64>,
    /// Print one JSON object on stdout at the end.
    #[arg(long)]
    json: bool,
    /// Show milestones instead of progress bars.
    #[arg(long)]
    quiet: bool,
}

/// Tokens of a note that the model reads, where no flag says it.
const TOKENS_OF_SYNTHETIC_NOTES: u16 = 64;
/// As many as MiniLM was trained with. Short notes cost no more for it.
const TOKENS_OF_NOTES: u16 = 256;

impl DemoArguments {
    /// Tokens of a note that the model reads.
    fn max_tokens(&self) -> usize {
        let default = if self.notes.is_some() { TOKENS_OF_NOTES } else { TOKENS_OF_SYNTHETIC_NOTES };
        self.max_tokens.unwrap_or(default).into()
    }

    /// The folder of the model that is trained.
    fn base(&self) -> &std::path::Path {
        self.base_model.as_deref().or(self.minilm.as_deref()).expect("the flags demand one of them")
    }
}

/// A hospital to kill, and in which round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Kill {
    party: u32,
    round: u64,
}

/// A hospital with a training program of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
struct HospitalTrainer {
    party: u32,
    command: String,
}

fn parse_trainer(text: &str) -> Result<HospitalTrainer, String> {
    let parsed = text.split_once('=').and_then(|(party, command)| Some((party.parse().ok()?, command)));
    let trainer = parsed.map(|(party, command)| HospitalTrainer { party, command: command.to_owned() });
    trainer.ok_or_else(|| "expected M=COMMAND, like 2='python3 train.py'".into())
}

fn noise_multiplier(text: &str) -> Result<f64, String> {
    let parsed = text.parse().ok().filter(|multiplier| (0.001..=1000.0).contains(multiplier));
    parsed.ok_or_else(|| "expected a number from 0.001 to 1000, like 1.0".into())
}

fn parse_kill(text: &str) -> Result<Kill, String> {
    let parsed = text
        .split_once('@')
        .and_then(|(party, round)| Some(Kill { party: party.parse().ok()?, round: round.parse().ok()? }));
    parsed.ok_or_else(|| "expected M@R, like 2@1".into())
}

pub(crate) fn run(arguments: DemoArguments) -> Result<(), Failure> {
    // Checked here and not by the parser, which does not know `--members`.
    if let Some(kill) = arguments.kill.iter().find(|kill| !(1..=arguments.members).contains(&kill.party)) {
        return Err(Failure::config(format!(
            "--kill {}@{}: there is no such hospital; they are 1 to {}",
            kill.party, kill.round, arguments.members
        )));
    }
    if let Some(trainer) =
        arguments.trainer.iter().find(|trainer| !(1..=arguments.members).contains(&trainer.party))
    {
        return Err(Failure::config(format!(
            "--trainer {}=…: there is no such hospital; they are 1 to {}",
            trainer.party, arguments.members
        )));
    }
    let started = Instant::now();
    // Before the folder is cleared: a file of notes that cannot be read must not cost the results of an
    // earlier demo.
    let text = text::prepare(&arguments)?;
    clear(&arguments.folder)?;
    let consortium = consortium::create(&arguments, &text)?;
    let names: Vec<(u32, String)> =
        text.hospitals.iter().map(|hospital| (hospital.party, hospital.name.clone())).collect();
    let screen = Screen::new(&names, arguments.quiet);
    screen.note(&format!(
        "{} hospitals, {}, {} notes held out; all files are under {}",
        arguments.members,
        text.description,
        text.held_out.len(),
        arguments.folder.display()
    ));
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::error)?;
    let watch = runtime.block_on(async {
        let mut processes = Processes::start(&arguments, &consortium).await?;
        let mut watch = Watch::new(&arguments, &consortium, &screen);
        while let Some(event) = processes.next().await {
            watch.handle(event, &mut processes).await?;
        }
        Ok(watch)
    })?;
    screen.finish();
    let result = watch.into_result(&text, started.elapsed().as_secs_f64())?;
    finish(&arguments, result)
}

/// The file that marks a folder as one that a demo made. Only a demo writes it: a real consortium's folder has
/// all other files of a demo.
const MARKER: &str = ".cloister-demo-may-delete-this-folder";
/// What the marker holds. The content is compared too, so that a file of the same name is not enough.
const MARKER_TEXT: &str =
    "cloister demo made this folder. The next demo with the same --folder deletes everything in it.\n";

/// Removes what an earlier demo wrote, and fails if the folder contains anything else.
fn clear(folder: &std::path::Path) -> Result<(), Failure> {
    let marker = folder.join(MARKER);
    let is_a_demos = std::fs::read(&marker).is_ok_and(|text| text == MARKER_TEXT.as_bytes());
    let is_empty = || folder.read_dir().is_ok_and(|mut entries| entries.next().is_none());
    if folder.exists() && !is_a_demos && !is_empty() {
        return Err(Failure::config(format!(
            "{} contains files and is not marked as a demo's folder, so that nothing in it is deleted; give an empty folder, or \
             one of an earlier demo, as --folder. If an older version's demo made it, delete it yourself",
            folder.display()
        )));
    }
    if is_a_demos {
        std::fs::remove_dir_all(folder)
            .map_err(|error| Failure::error(format!("cannot clear {}: {error}", folder.display())))?;
    }
    create_folder(folder)?;
    // First of all files, so that an interrupted demo's folder is marked.
    write(&marker, MARKER_TEXT.as_bytes())
}

/// Writes the report and the results, and prints the closing table or the JSON object.
fn finish(arguments: &DemoArguments, mut result: DemoResult) -> Result<(), Failure> {
    let report = arguments.folder.join("report.html");
    let results = arguments.folder.join("result.json");
    for (what, path) in [("report, one page", &report), ("all results", &results)] {
        // Before the report is rendered, which lists them.
        result.files.insert(0, WrittenFile::new(what, path));
    }
    write(&report, report::render(&result).as_bytes())?;
    write(&results, serde_json::to_string_pretty(&result).map_err(Failure::error)?.as_bytes())?;
    if !arguments.json {
        return output::print(closing_table(&result));
    }
    let opened: usize = result.rounds.iter().flat_map(|round| &round.experts).filter(|e| e.opened).count();
    let summary = json!({
        "rounds": result.rounds.iter().filter(|round| round.closed).count(),
        "members": result.members.len(),
        "accuracy": { "local": result.mean_local_accuracy(), "federated": result.federated_accuracy() },
        "experts_aggregated": opened,
        "dropped": result.members.iter().filter(|member| member.killed_in.is_some()).count(),
        "bytes_up": result.rounds.iter().map(|round| round.bytes_up).sum::<u64>(),
        "wall_s": result.wall_s,
        "report": report.display().to_string(),
    });
    output::line(summary)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_a_folder_that_a_demo_made_is_cleared() {
        let folder = std::env::temp_dir().join(format!("cloister-demo-clear-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).expect("a folder of the test's own");
        // A real consortium's folder, and one with a file that is only named like the marker.
        let consortium = folder.join("consortium.toml");
        fs::write(&consortium, "name = \"clinics\"").expect("it can be written");
        for marker in [None, Some("mine")] {
            marker
                .into_iter()
                .for_each(|text| fs::write(folder.join(MARKER), text).expect("it can be written"));
            let refused = clear(&folder).expect_err("no demo made it").to_string();
            assert!(refused.contains("not marked as a demo's") && refused.contains("yourself"), "{refused}");
            assert!(consortium.exists());
        }
        // Controls: an empty folder and a missing one are taken, and what a demo wrote is removed.
        fs::remove_dir_all(&folder).expect("it is there");
        fs::create_dir(&folder).expect("a folder of the test's own");
        clear(&folder).expect("it is empty");
        fs::write(&consortium, "name = \"demo\"").expect("it can be written");
        clear(&folder).expect("a demo made it");
        assert!(!consortium.exists());
        fs::remove_dir_all(&folder).expect("it is there");
        clear(&folder).expect("it is missing");
        fs::remove_dir_all(&folder).expect("it was made");
    }
}
