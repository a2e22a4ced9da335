//! `cloister canaries test`.

use std::path::PathBuf;

use clap::Args;
use cloister_experts::canaries::{CanaryList, CanaryReport, CanaryTester};
use cloister_experts::prediction::PredictorSettings;

use super::{read_task, report};
use crate::compute_flags::{ComputeFlags, WindowFlags};
use crate::failure::Failure;
use crate::folder::read_text;
use crate::output;
use crate::progress::ProgressDisplay;

#[derive(Debug, Args)]
pub(super) struct TestArguments {
    /// The task file that the model was trained for.
    #[arg(long)]
    task: PathBuf,
    /// The trained model in the hospital's data folder: model.safetensors of a classifier; of a published model the folder
    /// `adapter`, or `merged`.
    #[arg(long)]
    model: PathBuf,
    /// The folder of the base model's files: MiniLM for tasks with classes of its own, otherwise the model that the task names.
    #[arg(long, env = "CLOISTER_BASE_MODEL")]
    base_model: PathBuf,
    /// The file of numbers that `cloister canaries plant` wrote.
    #[arg(long, value_name = "FILE")]
    secrets: PathBuf,
    /// How many other numbers each canary is compared with. The time that the test takes grows with it.
    #[arg(long, value_name = "N", default_value_t = 999)]
    candidates: usize,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    windows: WindowFlags,
    #[command(flatten)]
    compute: ComputeFlags,
}

pub(super) fn run(arguments: &TestArguments) -> Result<(), Failure> {
    let (task, digest) = read_task(&arguments.task)?;
    let text = read_text(&arguments.secrets)?;
    let secrets = CanaryList::parse(&text)
        .and_then(|secrets| secrets.check_task(&digest).map(|()| secrets))
        .map_err(|error| Failure::config(format!("{}: {error}", arguments.secrets.display())))?;
    let settings = PredictorSettings {
        base_model: arguments.base_model.clone(),
        windows: arguments.windows.into(),
        threads: arguments.compute.threads.into(),
        device: arguments.compute.device,
        precision: arguments.compute.precision.into(),
    };
    let tester = CanaryTester::open(&task, &arguments.model, &settings).map_err(Failure::experts)?;
    let mut progress = ProgressDisplay::new();
    let found = tester.test(&secrets, arguments.candidates, &mut |done, total| {
        progress.step("testing canaries", done as u64, total as u64);
    });
    let found = found.map_err(Failure::experts)?;
    let printed = print(&found, arguments.json);
    // A verdict must end the command, even if the reader closed the stream.
    report::outcome(&found).and(printed)
}

fn print(found: &CanaryReport, json: bool) -> Result<(), Failure> {
    match json {
        true => output::line(serde_json::to_string(&report::to_json(found)).map_err(Failure::error)?),
        false => output::print(report::to_text(found)),
    }
}
