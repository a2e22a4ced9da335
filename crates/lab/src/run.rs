//! A run from its configuration to its results.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::checkpoint::Checkpoints;
use crate::config::{Config, HeadKind};
use crate::data::Files;
use crate::digest;
use crate::error::LabError;
use crate::folders::RunFolders;
use crate::progress::RunProgress;
use crate::questions::QuestionRun;
use crate::results::{RunSummary, SeedOutcome, SeedResult, resume, write_json};
use crate::sketching::{Degradation, mean};
use crate::text_run::TextRun;

/// Runs every seed of a configuration, or reads what an earlier run of it has measured (a seed that was interrupted goes on
/// with the round that it was at), and writes `results.csv`,
/// `manifest.json` and a file a seed into the folder of results. `test` replaces the file that is measured on.
///
/// # Errors
/// [`LabError`], which says what to change.
pub fn run(
    config: &Config,
    folders: &RunFolders,
    test: Option<&Path>,
    progress: &mut dyn FnMut(RunProgress),
) -> Result<RunSummary, LabError> {
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
        progress(RunProgress::Seed { seed, resumed: earlier.is_some() });
        if let Some(own) = earlier {
            measured.push(own);
            continue;
        }
        let bench = match &mut bench {
            Some(bench) => bench,
            empty => empty.insert(PreparedRun::set(config, &files, folders, progress)?),
        };
        let checkpoints = Checkpoints::new(folders.out.join(format!("seed-{seed}.rounds")), &run);
        let SeedOutcome { labels, rounds, epsilon_of_head } = bench.measure(seed, &checkpoints, progress)?;
        let own = SeedResult { seed, run: run.clone(), labels, rounds, epsilon_of_head };
        write_json(&path, &own)?;
        checkpoints.remove()?;
        measured.push(own);
    }
    let summary = RunSummary::new(measured);
    write_results(config, folders, &summary, &text, &digests)?;
    Ok(summary)
}

/// What all seeds share, by what the model does.
enum PreparedRun<'a> {
    Texts(Box<TextRun<'a>>),
    Questions(Box<QuestionRun<'a>>),
}

impl<'a> PreparedRun<'a> {
    fn set(
        config: &'a Config,
        files: &Files,
        folders: &'a RunFolders,
        progress: &mut dyn FnMut(RunProgress),
    ) -> Result<Self, LabError> {
        Ok(match config.model.folder {
            Some(_) => Self::Questions(Box::new(QuestionRun::set(config, files, folders)?)),
            None => Self::Texts(Box::new(TextRun::set(config, files, folders, progress)?)),
        })
    }

    fn measure(
        &mut self,
        seed: u64,
        checkpoints: &Checkpoints,
        progress: &mut dyn FnMut(RunProgress),
    ) -> Result<SeedOutcome, LabError> {
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
    folders: &RunFolders,
    progress: &mut dyn FnMut(RunProgress),
) -> Result<Vec<Degradation>, LabError> {
    let mut config = config.clone();
    config.head.kind = HeadKind::None;
    let files = Files::of(&config, &folders.data, None);
    let stage = TextRun::set(&config, &files, folders, progress)?;
    let mut comparisons = Vec::new();
    for &seed in &config.partition.seeds {
        progress(RunProgress::Seed { seed, resumed: false });
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
    folders: &RunFolders,
    summary: &RunSummary,
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
