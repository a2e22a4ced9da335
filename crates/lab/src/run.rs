//! A run from its configuration to its results.

use std::fs;
use std::path::{Path, PathBuf};

use cloister_experts::Device;
use cloister_experts::notes::Twins;
use serde_json::json;

use crate::checkpoint::Checkpoints;
use crate::config::{Config, HeadKind};
use crate::data::Files;
use crate::digest;
use crate::error::LabError;
use crate::questions::QuestionStage;
use crate::results::{Measured, Outcome, Round, Summary, resume, write_json};
use crate::sketching::{Degradation, mean};
use crate::stage::Stage;

/// Where a run reads, computes and writes.
#[derive(Clone, Debug)]
pub struct Folders {
    /// What the configuration's files are relative to.
    pub data: PathBuf,
    /// MiniLM's files.
    pub minilm: PathBuf,
    /// Where models compute.
    pub device: Device,
    /// Where frozen features are kept for the next run.
    pub cache: PathBuf,
    /// Where results are written.
    pub out: PathBuf,
}

/// How far a run is.
#[derive(Clone, PartialEq, Debug)]
pub enum Progress {
    /// Texts pass through the frozen layers, in windows.
    Embedding {
        /// Windows that have.
        done: usize,
        /// All windows.
        of: usize,
    },
    /// A seed begins.
    Seed {
        /// Which.
        seed: u64,
        /// Whether an earlier run has measured it.
        resumed: bool,
    },
    /// A member has trained.
    Training {
        /// The round, from 1.
        round: usize,
        /// The member, from 1.
        member: usize,
        /// Members.
        of: usize,
    },
    /// Members' updates of some blocks were longer than what masks leave room for.
    Clipped {
        /// The round, from 1.
        round: usize,
        /// Blocks that were clipped, of all members.
        blocks: usize,
        /// All blocks of all members.
        of: usize,
    },
    /// Classes of the texts may be meant to be one.
    Twins(Twins),
    /// A round was measured.
    Measured(Round),
}

/// Runs every seed of a configuration, or reads what an earlier run of it has measured (a seed that was interrupted goes on
/// with the round that it was at), and writes `results.csv`,
/// `manifest.json` and a file a seed into the folder of results. `test` replaces the file that is measured on.
///
/// # Errors
/// [`LabError`], which says what to change.
pub fn run(
    config: &Config,
    folders: &Folders,
    test: Option<&Path>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, LabError> {
    let files = Files::of(config, &folders.data, test);
    fs::create_dir_all(&folders.out).map_err(LabError::file(&folders.out))?;
    let digests = file_digests(&files)?;
    let text = toml::to_string(config).map_err(|error| LabError::config("the configuration", error))?;
    let run = run_digest(config, &digests)?;
    let mut bench = None;
    let mut measured = Vec::new();
    for &seed in &config.partition.seeds {
        let path = folders.out.join(format!("seed-{seed}.json"));
        let earlier = resume(&path, &run);
        progress(Progress::Seed { seed, resumed: earlier.is_some() });
        if let Some(own) = earlier {
            measured.push(own);
            continue;
        }
        let bench = match &mut bench {
            Some(bench) => bench,
            empty => empty.insert(Bench::set(config, &files, folders, progress)?),
        };
        let checkpoints = Checkpoints::new(folders.out.join(format!("seed-{seed}.rounds")), &run);
        let Outcome { labels, rounds, epsilon_of_head } = bench.measure(seed, &checkpoints, progress)?;
        let own = Measured { seed, run: run.clone(), labels, rounds, epsilon_of_head };
        write_json(&path, &own)?;
        checkpoints.remove()?;
        measured.push(own);
    }
    let summary = Summary::new(measured);
    write_results(config, folders, &summary, &text, &digests)?;
    Ok(summary)
}

/// What all seeds share, by what the model does.
enum Bench<'a> {
    Texts(Box<Stage<'a>>),
    Questions(Box<QuestionStage<'a>>),
}

impl<'a> Bench<'a> {
    fn set(
        config: &'a Config,
        files: &Files,
        folders: &'a Folders,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, LabError> {
        Ok(match config.model.folder {
            Some(_) => Self::Questions(Box::new(QuestionStage::set(config, files, folders)?)),
            None => Self::Texts(Box::new(Stage::set(config, files, folders, progress)?)),
        })
    }

    fn measure(
        &mut self,
        seed: u64,
        checkpoints: &Checkpoints,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Outcome, LabError> {
        match self {
            Self::Texts(stage) => stage.measure(seed, checkpoints, progress),
            Self::Questions(stage) => stage.measure(seed, checkpoints, progress),
        }
    }
}

/// How the choice of cohorts degrades with the size and noise of sketches: the mean over the configuration's seeds,
/// each after its rounds of training in the clear.
///
/// # Errors
/// [`LabError`], which says what to change.
pub fn sketches(
    config: &Config,
    folders: &Folders,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Degradation>, LabError> {
    let mut config = config.clone();
    config.head.kind = HeadKind::None;
    let files = Files::of(&config, &folders.data, None);
    let stage = Stage::set(&config, &files, folders, progress)?;
    let mut comparisons = Vec::new();
    for &seed in &config.partition.seeds {
        progress(Progress::Seed { seed, resumed: false });
        comparisons.push(stage.compare_sketches(seed, progress)?);
    }
    Ok(mean(&comparisons))
}

fn file_digests(files: &Files) -> Result<Vec<(String, String)>, LabError> {
    let of = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok((name, digest::of_file(path)?))
    };
    files.all().iter().map(of).collect()
}

/// What decides a seed's result: the configuration but for the list of seeds, the files, and the program's version.
fn run_digest(config: &Config, files: &[(String, String)]) -> Result<String, LabError> {
    let mut config = config.clone();
    config.partition.seeds.clear();
    let text = toml::to_string(&config).map_err(|error| LabError::config("the configuration", error))?;
    let digests = files.iter().map(|(_, digest)| digest.as_bytes());
    let own = [text.as_bytes(), env!("CARGO_PKG_VERSION").as_bytes()];
    Ok(digest::of_bytes(&digests.chain(own).collect::<Vec<_>>()))
}

fn write_results(
    config: &Config,
    folders: &Folders,
    summary: &Summary,
    text: &str,
    files: &[(String, String)],
) -> Result<(), LabError> {
    let csv = summary.to_csv();
    let path = folders.out.join("results.csv");
    fs::write(&path, &csv).map_err(LabError::file(&path))?;
    let files = files.iter().map(|(name, digest)| json!({ "file": name, "sha256": digest }));
    let manifest = json!({
        "cloister": env!("CARGO_PKG_VERSION"),
        "summary": summary.to_json(config),
        "configuration": text,
        "device": format!("{:?}", folders.device),
        "data": files.collect::<Vec<_>>(),
        "results.csv": digest::of_file(&path)?,
    });
    write_json(&folders.out.join("manifest.json"), &manifest)
}
