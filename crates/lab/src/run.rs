//! A run from its configuration to its results.

use std::fs;
use std::path::Path;

use cloister_trainer::TrainerProgram;
use serde_json::json;

use crate::checkpoint::Checkpoints;
use crate::config::{Config, HeadKind};
use crate::data::Files;
use crate::digest;
use crate::environment::RunEnvironment;
use crate::error::LabError;
use crate::program;
use crate::progress::RunProgress;
use crate::questions::QuestionRun;
use crate::results::{RunSummary, SeedOutcome, resume, write_json};
use crate::sketching::{Degradation, mean};
use crate::text_run::TextRun;

/// Runs every seed of a configuration, and writes `results.csv`, `manifest.json` and a file for each seed into the folder
/// of results. A seed that an earlier run has measured is read, and one that was interrupted continues from its last
/// round. `test` replaces the file that is measured on.
///
/// # Errors
/// [`LabError`], which says what to change.
pub fn run(
    config: &Config,
    environment: &RunEnvironment,
    test: Option<&Path>,
    progress: &mut dyn FnMut(RunProgress),
) -> Result<RunSummary, LabError> {
    if environment.trainer.is_some() {
        program::check(config)?;
    }
    let files = Files::from_config(config, &environment.data, test);
    fs::create_dir_all(&environment.out).map_err(LabError::file(&environment.out))?;
    let digests = file_digests(&files)?;
    let text = toml::to_string(config).map_err(|error| LabError::config("the configuration", error))?;
    let run = run_digest(config, environment.trainer.as_ref(), &digests)?;
    let mut prepared = None;
    let mut measured = Vec::new();
    for &seed in &config.partition.seeds {
        let path = environment.out.join(format!("seed-{seed}.json"));
        let earlier = resume(&path, &run);
        progress(RunProgress::Seed { seed, resumed: earlier.is_some() });
        if let Some(earlier) = earlier {
            measured.push(earlier);
            continue;
        }
        // Prepared only when it is needed: a run that was measured completely loads no model.
        let prepared = match &mut prepared {
            Some(prepared) => prepared,
            empty => empty.insert(PreparedRun::new(config, &files, environment, progress)?),
        };
        let checkpoints = Checkpoints::new(environment.out.join(format!("seed-{seed}.rounds")), &run);
        let result = prepared.measure(seed, &checkpoints, progress)?.labelled(seed, &run);
        // The result before the checkpoint goes: an interruption in between costs nothing.
        write_json(&path, &result)?;
        checkpoints.remove()?;
        measured.push(result);
    }
    let summary = RunSummary::new(measured);
    write_results(config, environment, &summary, &text, &digests)?;
    Ok(summary)
}

/// What all seeds share, by the kind of model.
enum PreparedRun<'a> {
    Texts(Box<TextRun<'a>>),
    Questions(Box<QuestionRun<'a>>),
}

impl<'a> PreparedRun<'a> {
    fn new(
        config: &'a Config,
        files: &Files,
        environment: &'a RunEnvironment,
        progress: &mut dyn FnMut(RunProgress),
    ) -> Result<Self, LabError> {
        Ok(match config.model.folder {
            Some(_) => Self::Questions(Box::new(QuestionRun::new(config, files, environment)?)),
            None => Self::Texts(Box::new(TextRun::new(config, files, environment, progress)?)),
        })
    }

    fn measure(
        &mut self,
        seed: u64,
        checkpoints: &Checkpoints,
        progress: &mut dyn FnMut(RunProgress),
    ) -> Result<SeedOutcome, LabError> {
        match self {
            Self::Texts(texts) => texts.measure(seed, checkpoints, progress),
            Self::Questions(questions) => questions.measure(seed, checkpoints, progress),
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
    environment: &RunEnvironment,
    progress: &mut dyn FnMut(RunProgress),
) -> Result<Vec<Degradation>, LabError> {
    let mut config = config.clone();
    config.head.kind = HeadKind::None;
    let files = Files::from_config(&config, &environment.data, None);
    let texts = TextRun::new(&config, &files, environment, progress)?;
    let mut comparisons = Vec::new();
    for &seed in &config.partition.seeds {
        progress(RunProgress::Seed { seed, resumed: false });
        comparisons.push(texts.compare_sketches(seed, progress)?);
    }
    Ok(mean(&comparisons))
}

fn file_digests(files: &Files) -> Result<Vec<(String, String)>, LabError> {
    let mut digests = Vec::new();
    for path in files.all() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        digests.push((name, digest::file_digest(&path)?));
    }
    Ok(digests)
}

/// What decides a seed's result: the configuration but for the list of seeds, the files, this program's version, and a
/// training program with those of its arguments that are files.
fn run_digest(
    config: &Config,
    trainer: Option<&TrainerProgram>,
    files: &[(String, String)],
) -> Result<String, LabError> {
    let mut config = config.clone();
    // A seed's result does not depend on which other seeds are listed, so more can be added later.
    config.partition.seeds.clear();
    let text = toml::to_string(&config).map_err(|error| LabError::config("the configuration", error))?;
    let mut parts: Vec<Vec<u8>> = files.iter().map(|(_, digest)| digest.clone().into_bytes()).collect();
    parts.push(text.into_bytes());
    parts.push(env!("CARGO_PKG_VERSION").into());
    for argument in trainer.into_iter().flat_map(|trainer| &trainer.command) {
        let path = Path::new(argument);
        parts.push(argument.clone().into_bytes());
        // A script that was edited between two runs is another program.
        if path.is_file() {
            parts.push(digest::file_digest(path)?.into_bytes());
        }
    }
    Ok(digest::bytes_digest(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>()))
}

fn write_results(
    config: &Config,
    environment: &RunEnvironment,
    summary: &RunSummary,
    text: &str,
    files: &[(String, String)],
) -> Result<(), LabError> {
    let csv = summary.to_csv(config);
    let path = environment.out.join("results.csv");
    fs::write(&path, &csv).map_err(LabError::file(&path))?;
    let files = files.iter().map(|(name, digest)| json!({ "file": name, "sha256": digest }));
    let manifest = json!({
        "cloister": env!("CARGO_PKG_VERSION"),
        "summary": summary.to_json(config),
        "configuration": text,
        // The same once more, for programs that compare runs (`PRIV-09`).
        "settings": config,
        "device": format!("{:?}", environment.device),
        "trainer": environment.trainer.as_ref().map(|trainer| &trainer.command),
        "data": files.collect::<Vec<_>>(),
        "results.csv": digest::file_digest(&path)?,
    });
    write_json(&environment.out.join("manifest.json"), &manifest)
}
