//! `cloister canaries test`.

use std::path::PathBuf;

use clap::Args;
use cloister_experts::canaries::{CanaryList, CanaryReport, CanaryTester};

use super::{read_task, report};
use crate::compute_flags::TrainedModelFlags;
use crate::failure::Failure;
use crate::folder::read_text;
use crate::output;
use crate::progress::ProgressDisplay;

#[derive(Debug, Args)]
pub(super) struct TestArguments {
    #[command(flatten)]
    trained: TrainedModelFlags,
    /// The file of numbers that `cloister canaries plant` wrote.
    #[arg(long, value_name = "FILE")]
    secrets: PathBuf,
    /// How many other numbers each canary is compared with. The time that the test takes grows with it.
    #[arg(long, value_name = "N", default_value_t = 999)]
    candidates: usize,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &TestArguments) -> Result<(), Failure> {
    let (task, digest) = read_task(&arguments.trained.task)?;
    let text = read_text(&arguments.secrets)?;
    let secrets = CanaryList::parse(&text)
        .and_then(|secrets| secrets.check_task(&digest).map(|()| secrets))
        .map_err(|error| Failure::config(format!("{}: {error}", arguments.secrets.display())))?;
    let tester = CanaryTester::open(&task, &arguments.trained.model, &arguments.trained.settings())
        .map_err(Failure::experts)?;
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
