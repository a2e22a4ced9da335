//! `cloister lab audit`.

use std::path::PathBuf;

use clap::Args;
use cloister_lab::audit::{AuditReport, AuditSettings, CanaryScores, audit};

use super::failure;
use crate::create::write;
use crate::failure::Failure;
use crate::output;

/// Canaries of each run without a fault. With the quick number every fault is still found.
const CANARIES: usize = 9000;
const QUICK_CANARIES: usize = 3000;

#[derive(Debug, Args)]
pub(super) struct AuditArguments {
    /// Number of canaries in a run without a fault, three in each round. A run with a fault has a quarter of them or fewer.
    /// At least 2,000 are needed to tell the noise from half of it. By default 9,000.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    canaries: Option<u32>,
    /// Seeds, separated by commas. Each has a run of its own.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 3])]
    seeds: Vec<u64>,
    /// The δ at which claims and measured bounds of ε are compared.
    #[arg(long, default_value_t = 1e-5)]
    delta: f64,
    /// Run one seed, with 3,000 canaries.
    #[arg(long)]
    quick: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Write the scores of every run into this file as JSON, so that other programs can compute bounds of ε from them.
    #[arg(long, value_name = "FILE")]
    scores: Option<PathBuf>,
    /// Show no progress on stderr.
    #[arg(long)]
    quiet: bool,
}

pub(super) fn run(arguments: &AuditArguments) -> Result<(), Failure> {
    if !(arguments.delta > 0.0 && arguments.delta < 1.0) {
        return Err(Failure::config(format!("δ = {} is not between 0 and 1", arguments.delta)));
    }
    let settings = arguments.settings();
    let mut kept = Vec::new();
    let mut found = |scores: &CanaryScores| {
        if !arguments.quiet {
            let finding = &scores.finding;
            let case = finding.case;
            output::tell(format_args!(
                "unit {}, {}, {}, seed {}: at least ε = {:.2}, {}",
                case.unit,
                finding.subject.in_words(),
                case.fault.in_words(),
                case.seed,
                finding.epsilon_lower_bound,
                finding.verdict()
            ));
        }
        if arguments.scores.is_some() {
            kept.push(scores.clone());
        }
    };
    let report = audit(&settings, &mut found).map_err(failure)?;
    if let Some(path) = &arguments.scores {
        let object = serde_json::json!({
            "settings": settings,
            "significance": report.significance,
            "runs": kept,
        });
        write(path, object.to_string().as_bytes())?;
    }
    let printed = print(&report, arguments.json);
    // A failed audit must fail the command, even if the reader closed the stream.
    verdict(&report).and(printed)
}

impl AuditArguments {
    fn settings(&self) -> AuditSettings {
        let canaries =
            self.canaries.map_or(if self.quick { QUICK_CANARIES } else { CANARIES }, |n| n as usize);
        let seeds = if self.quick { self.seeds[..1].to_vec() } else { self.seeds.clone() };
        AuditSettings { canaries, seeds, delta: self.delta, confidence: 0.95 }
    }
}

fn print(report: &AuditReport, json: bool) -> Result<(), Failure> {
    if json {
        return output::line(serde_json::to_string(report).map_err(Failure::error)?);
    }
    output::print(report.to_table())?;
    let confidence = 100.0 * report.settings.confidence;
    output::line(format_args!(
        "Where nothing is wrong, all bounds hold together with a probability of {confidence} %, at δ = \
         {:e}; each is wrong with a probability of at most {:.1e}.",
        report.settings.delta, report.significance
    ))
}

/// An error if the audit failed, so that scripts need not parse its report.
fn verdict(report: &AuditReport) -> Result<(), Failure> {
    if !report.claims_hold {
        return Err(Failure::error(
            "a claimed ε is refuted: do not rely on the noise before it is known why",
        ));
    }
    if !report.broken_caught {
        return Err(Failure::error("a fault was not noticed: take more --canaries"));
    }
    Ok(())
}
