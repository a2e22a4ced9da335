//! `cloister lab`: federated runs on public data, in one process.

mod attacks;
mod audit;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, Subcommand};
use cloister_experts::{Device, device};
use cloister_lab::epsilons::RELEASED_DELTA;
use cloister_lab::sketching::{Degradation, plot};
use cloister_lab::{
    Config, LabError, Ladder, MeasuredRound, RunEnvironment, RunProgress, RunSummary, Sweep, ladder,
};
use cloister_transport::printable;
use indicatif::{ProgressBar, ProgressStyle};

use crate::client::TrainerFlags;
use crate::create::write;
use crate::failure::Failure;
use crate::output;

/// Flags of `cloister lab`.
#[derive(Debug, Args)]
pub(crate) struct LabArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run every seed of a configuration, or those that an earlier run has not finished.
    Run(Run),
    /// Run every row of a configuration: one strategy each, so that strategies can be compared.
    Ladder(Rows),
    /// Run every row of a configuration at every value of one setting, such as noise: what privacy costs in accuracy.
    ///
    /// The file's table `[sweep]` has the `key` of the setting and its `values`, or the `epsilons` that the noise of
    /// DP-SGD is solved for. A row may have a key and values of its own. Rows with `swept = false`, and rows whose
    /// strategy ignores the key, are baselines. The folder of results gets sweep.csv, sweep.parquet, sweep.vl.json,
    /// sweep.tex, sweep.svg and sweep.json. Without a file it is the sweep of what members announce.
    #[command(mut_arg("config", with_default_sweep))]
    Sweep(Rows),
    /// Compare cohorts chosen on sketches of several sizes and noises with those chosen without sketches.
    Sketches(Sketches),
    /// Test whether members release less noise than the privacy ledger counts.
    Audit(audit::AuditArguments),
    /// Attack members' training as a coordinator could: without masks, with masks, and with masks and noise.
    Attacks(attacks::AttackArguments),
}

/// The first use of `cloister lab sweep`, whose results are committed.
const DEFAULT_SWEEP: &str = "crates/lab/experiments/sweep-forms.toml";

fn with_default_sweep(config: clap::Arg) -> clap::Arg {
    config.required(false).default_value(DEFAULT_SWEEP)
}

/// Flags of every subcommand.
#[derive(Debug, Args)]
struct Common {
    /// The configuration, a TOML file.
    config: PathBuf,
    /// Set a value in place of the file's, such as strategy.num_rounds=3; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Run one seed with two rounds of 400 texts, or one round of 80 questions. It shows that the configuration runs; its
    /// figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Print JSON on stdout at the end.
    #[arg(long)]
    json: bool,
    /// The folder that the configuration's files are in.
    #[arg(long, env = "CLOISTER_DATA", default_value = "../shared/data")]
    data: PathBuf,
    /// The folder in which frozen features are stored for the next run.
    #[arg(long, default_value = "target/lab/cache")]
    cache: PathBuf,
    /// The folder of MiniLM's files.
    #[arg(long, env = "CLOISTER_MINILM")]
    minilm: PathBuf,
    /// The device to compute on: cpu, cuda, cuda:N, or auto for the first GPU if there is one.
    #[arg(long, default_value = "auto", value_parser = device::named)]
    device: Device,
    /// Show no progress on stderr.
    #[arg(long)]
    quiet: bool,
}

/// Flags of `cloister lab run`.
#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    common: Common,
    /// Evaluate on this file in place of the configuration's test file.
    #[arg(long, value_name = "FILE")]
    test: Option<PathBuf>,
    /// The folder of results. Seeds that it already has results of, from the same run, are not run again. By default it
    /// is a folder of the configuration's name under target/lab.
    #[arg(long)]
    out: Option<PathBuf>,
    /// A program as every member's local step.
    #[command(flatten)]
    trainer: TrainerFlags,
}

/// Flags of `cloister lab ladder` and `cloister lab sweep`.
#[derive(Debug, Args)]
struct Rows {
    #[command(flatten)]
    common: Common,
    /// Run only these rows, in the file's order.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    rows: Vec<String>,
    /// The folder of results, with a folder for each row, of a sweep for each row and value. Seeds that it already has
    /// results of, from the same run, are not run again. By default it is a folder of the configuration's name under
    /// target/lab.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Flags of `cloister lab sketches`.
#[derive(Debug, Args)]
struct Sketches {
    #[command(flatten)]
    common: Common,
    /// Write a plot into this file, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

pub(crate) fn run(arguments: LabArguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Run(arguments) => run_config(&arguments),
        Command::Ladder(arguments) => run_ladder(&arguments),
        Command::Sweep(arguments) => run_sweep(&arguments),
        Command::Sketches(arguments) => sketches(&arguments),
        Command::Audit(arguments) => audit::run(&arguments),
        Command::Attacks(arguments) => attacks::run(&arguments),
    }
}

fn run_config(arguments: &Run) -> Result<(), Failure> {
    let common = &arguments.common;
    let config = common.read()?;
    let mut environment = common.environment(arguments.out.clone());
    environment.trainer = arguments.trainer.clone().program(&environment.out)?;
    if environment.trainer.is_some() && arguments.out.is_none() {
        // A folder of its own, or the program's results would replace those of the built-in trainer.
        environment.out.as_mut_os_string().push("-trainer");
    }
    let screen = Screen::new(common.quiet, &config);
    if common.text()?.0.contains("[[rows]]") {
        screen.note("the file has rows; `cloister lab ladder` runs them, and this what they have in common");
        if arguments.out.is_none() {
            // The ladder writes its own files into the folder of the configuration's name.
            environment.out.push("without-rows");
        }
    }
    let test = arguments.test.as_deref();
    let summary = cloister_lab::run(&config, &environment, test, &mut |progress| screen.show(progress))
        .map_err(failure)?;
    screen.finish();
    print(&config, &summary, &environment.out, common.json)
}

fn run_ladder(arguments: &Rows) -> Result<(), Failure> {
    let common = &arguments.common;
    let (text, place) = common.text()?;
    let ladder = Ladder::parse(&text, &place, &common.set, &arguments.rows).map_err(failure)?;
    let ladder = if common.quick { ladder.quick() } else { ladder };
    let environment = common.environment(arguments.out.clone());
    let screen = Screen::new(common.quiet, &ladder.rows[0].1);
    let all = ladder
        .run(&environment, &mut |row| screen.note(&format!("row {row}")), &mut |progress| {
            screen.show(progress)
        })
        .map_err(failure)?;
    screen.finish();
    if common.json {
        output::line(ladder::to_json(&all))?;
        return Ok(());
    }
    output::print(ladder::to_table(&all))?;
    output::line(format_args!(
        "results.csv, manifest.json and plots over rounds are under {}",
        environment.out.display()
    ))?;
    Ok(())
}

fn run_sweep(arguments: &Rows) -> Result<(), Failure> {
    let common = &arguments.common;
    let (text, place) = common.text()?;
    let sweep = Sweep::parse(&text, &place, &common.set, &arguments.rows).map_err(failure)?;
    let sweep = if common.quick { sweep.quick() } else { sweep };
    let environment = common.environment(arguments.out.clone());
    let screen = Screen::new(common.quiet, &sweep.points[0].config);
    let start = Instant::now();
    let report = sweep
        .run(
            &environment,
            &mut || start.elapsed(),
            &mut |row| screen.note(&format!("row {row}")),
            &mut |progress| screen.show(progress),
        )
        .map_err(failure)?;
    screen.finish();
    if common.json {
        return output::line(serde_json::to_string(&report).map_err(Failure::error)?);
    }
    output::print(report.to_table())?;
    output::line(format_args!(
        "sweep.csv and the sweep's other files are under {}",
        environment.out.display()
    ))
}

fn sketches(arguments: &Sketches) -> Result<(), Failure> {
    let common = &arguments.common;
    let config = common.read()?;
    let screen = Screen::new(common.quiet, &config);
    let environment = common.environment(None);
    let rows = cloister_lab::sketches(&config, &environment, &mut |progress| screen.show(progress))
        .map_err(failure)?;
    screen.finish();
    if let Some(path) = &arguments.plot {
        write(path, plot(&rows).as_bytes())?;
    }
    if common.json {
        output::line(serde_json::to_string(&rows).map_err(Failure::error)?)?;
        return Ok(());
    }
    output::line("form      coordinates  noise  judged alike  overlap of cohorts")?;
    for row in &rows {
        let Degradation { form, coordinates, noise, judged_alike, overlap } = row;
        let form = format!("{form:?}");
        output::line(format_args!(
            "{form:8}  {coordinates:11}  {noise:5}  {judged_alike:12.3}  {overlap:18.3}"
        ))?;
    }
    output::line("0 coordinates: cohorts drawn at random, as large as those chosen without sketches")?;
    output::line("Withheld: groups of experts in place of coordinates, and the noise on each score")?;
    Ok(())
}

impl Common {
    /// The text of the configuration's file, and its path for messages.
    fn text(&self) -> Result<(String, String), Failure> {
        let place = self.config.display().to_string();
        let text = fs::read_to_string(&self.config)
            .map_err(|error| Failure::config(format!("cannot read {place}: {error}; give a TOML file")))?;
        Ok((text, place))
    }

    fn read(&self) -> Result<Config, Failure> {
        let (text, place) = self.text()?;
        let config = Config::parse(&text, &place, &self.set).map_err(failure)?;
        Ok(if self.quick { config.quick() } else { config })
    }

    /// The environment of a run. Runs with other settings get other folders, so that one does not replace
    /// another's results.
    fn environment(&self, out: Option<PathBuf>) -> RunEnvironment {
        let stem = self.config.file_stem().unwrap_or_default().to_string_lossy();
        let quick = if self.quick { "-quick" } else { "" };
        // A slash in a value must not name another folder.
        let set: String = self.set.iter().map(|setting| format!("-{}", setting.replace('/', "_"))).collect();
        RunEnvironment {
            data: self.data.clone(),
            minilm: self.minilm.clone(),
            device: self.device,
            cache: self.cache.clone(),
            trainer: None,
            out: out.unwrap_or_else(|| Path::new("target/lab").join(format!("{stem}{quick}{set}"))),
        }
    }
}

fn failure(error: LabError) -> Failure {
    match error {
        LabError::Config { .. }
        | LabError::File { .. }
        | LabError::Notes(_)
        | LabError::Partition(_)
        // What the researcher can change; everything else is an error of the run or of the program.
        | LabError::Plan(_) => Failure::config(error),
        _ => Failure::error(error),
    }
}

fn print(config: &Config, summary: &RunSummary, out: &Path, json: bool) -> Result<(), Failure> {
    if json {
        return output::line(summary.to_json(config));
    }
    let masks = if config.secure { "behind masks" } else { "in the clear" };
    output::line(format_args!(
        "{} {}, {masks}: {}",
        config.dataset,
        config.strategy.kind.name(),
        summary.estimate()
    ))?;
    output::line(summary.epsilons(config, RELEASED_DELTA))?;
    for note in summary.notes_on_head(config) {
        output::line(note)?;
    }
    output::line(format_args!("results.csv and manifest.json are under {}", out.display()))
}

/// A bar with the time left on stderr, and a line for each round above it.
struct Screen {
    bar: ProgressBar,
    quiet: bool,
    rounds: usize,
    seeds: usize,
}

impl Screen {
    fn new(quiet: bool, config: &Config) -> Self {
        let (rounds, seeds) = (config.strategy.training.num_rounds, config.partition.seeds.len());
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::no_length() };
        let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len}, {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        Self { bar, quiet, rounds, seeds }
    }

    fn show(&self, progress: RunProgress) {
        match progress {
            RunProgress::Embedding { done, all } => self.set("texts through the frozen layers", done, all),
            RunProgress::Seed { seed, resumed } => {
                let how = if resumed { "measured before" } else { "begins" };
                self.note(&format!("seed {seed} (of {}) {how}", self.seeds));
                self.bar.reset();
            }
            RunProgress::Training { round, member, members } => {
                // Over all rounds of a seed, so that the time left is that of the seed.
                let done = (round - 1) * members + member;
                self.set("members' training", done, self.rounds * members);
            }
            RunProgress::Clipped { round, blocks, all } => self.note(&format!(
                "round {round}: {blocks} of {all} members' updates of a block were clipped; \
                 `strategy.expert_clip` is what experts have"
            )),
            RunProgress::Twins(twins) => {
                self.note(&format!("warning: {}", printable(twins.to_string().as_bytes())))
            }
            RunProgress::Measured(round) => self.note(&line(&round)),
        }
    }

    fn set(&self, what: &'static str, done: usize, all: usize) {
        self.bar.set_message(what);
        self.bar.set_length(all as u64);
        self.bar.set_position(done as u64);
    }

    /// Prints a line above the bar; also if stderr is no terminal, where no bar is drawn.
    fn note(&self, text: &str) {
        if !self.quiet {
            self.bar.suspend(|| output::tell(text));
        }
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn line(round: &MeasuredRound) -> String {
    let loss = round.loss.map_or(String::new(), |loss| format!(", loss {loss:.3}"));
    let aligned = round
        .aligned
        .map_or(String::new(), |count| format!(", {count} experts with a cohort of aligned members"));
    let known: Vec<f64> = round.consensus.iter().flatten().flatten().copied().collect();
    let consensus = match known.len() {
        0 => String::new(),
        count => format!(", consensus {:.2}", known.iter().sum::<f64>() / count as f64),
    };
    let accuracy = round
        .accuracy
        .map_or("not measured".to_owned(), |accuracy| format!("accuracy {:.2} %", 100.0 * accuracy));
    format!("round {}: {accuracy}{loss}{aligned}{consensus}", round.round)
}
