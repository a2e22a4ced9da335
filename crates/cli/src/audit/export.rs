//! `cloister audit export`: the evidence of an edition in one file, for those who have to answer for it later.

use std::path::{Path, PathBuf};

use clap::Args;
use cloister_audit::{BundledFile, EvidenceReport, evidence_files, write_bundle};
use cloister_crypto::consortium::Epoch;
use cloister_params::limits::PrivacyUnit;
use cloister_privacy::accuracy::AccuracyCost;
use cloister_privacy::ledger::History;
use cloister_privacy::statement::Statement;
use serde::Serialize;
use serde_json::json;

use super::report::{self, LedgerStatement};
use super::{EvidenceSource, outcome};
use crate::consortium::read_edition;
use crate::failure::Failure;
use crate::output;
use crate::privacy::{DEFAULT_DELTA, check_delta};

#[derive(Debug, Args)]
pub(super) struct ExportArguments {
    #[command(flatten)]
    source: EvidenceSource,
    /// The zip file to write. It must not exist.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The δ at which the report states ε.
    #[arg(long, default_value_t = DEFAULT_DELTA)]
    delta: f64,
}

/// Writes the bundle, whatever the report says, and then exits as `verify` does.
pub(super) fn run(arguments: &ExportArguments) -> Result<(), Failure> {
    let source = &arguments.source;
    if source.folder.is_file() {
        let place = source.folder.display();
        return Err(Failure::config(format!("{place} is a file; export takes a coordinator's --data")));
    }
    let delta = check_delta(arguments.delta)?;
    let epoch = read_edition(&source.consortium, source.trust.key()?)?;
    let report = source.request()?.run().map_err(Failure::config)?;
    let statements = statements(&source.folder, delta)?;
    let mut files =
        evidence_files(&source.folder, report.edition, &start(&report)).map_err(Failure::error)?;
    files.push(copy("consortium.toml", &source.consortium));
    files.push(copy("consortium.toml.sig", &source.consortium.with_added_extension("sig")));
    files.push(made("evidence.json", json(&report)?));
    files.push(made("model.intoto.json", json(&model_statement(&report, &epoch))?));
    for statement in &statements {
        files.push(made(&format!("dp-statement-{}.json", statement.unit), json(&statement.statement)?));
    }
    files.push(made("report.html", report::render(&report, &epoch, &statements).into_bytes()));
    files.sort_by(|one, other| one.name().cmp(other.name()));
    write_bundle(&arguments.out, &files).map_err(Failure::config)?;
    output::line(format!("wrote {} with {} files", arguments.out.display(), files.len() + 1))?;
    outcome(&report)
}

/// The privacy statements of the coordinator's ledgers that are there.
fn statements(data: &Path, delta: f64) -> Result<Vec<LedgerStatement>, Failure> {
    let mut statements = Vec::new();
    for unit in [PrivacyUnit::Record, PrivacyUnit::Member] {
        let path = data.join(format!("privacy-ledger-{unit}"));
        // One that cannot be read is a claim that does not hold, which the report says.
        let Ok(history) = History::read(&path) else { continue };
        let statement = Statement::from_history(&history, delta, None, AccuracyCost::not_named());
        statements.push(LedgerStatement { unit, statement });
    }
    Ok(statements)
}

/// The digest of the model before the first round, as names of kept models have it.
fn start(report: &EvidenceReport) -> String {
    report.rounds.first().map(|round| round.started_from.to_string()).unwrap_or_default()
}

/// What the present model is, in the form of in-toto. Nobody signs it: the closing that it names is signed.
fn model_statement(report: &EvidenceReport, epoch: &Epoch) -> serde_json::Value {
    let last = report.rounds.last();
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{
            "name": "coordinator/model.parameters",
            "digest": { "cloister-model-v1": last.map(|round| round.model.to_string()) },
        }],
        "predicateType": "urn:cloister:closing:v1",
        "predicate": {
            "consortium": epoch.consortium().name(),
            "epoch": report.epoch,
            "round": last.map(|round| round.round),
            "ending": last.map(|round| round.digest),
            "signed_by": last.map(|round| &round.signed_by),
        },
    })
}

fn copy(name: &str, source: &Path) -> BundledFile {
    BundledFile::Copy { name: name.to_owned(), source: source.to_path_buf() }
}

fn made(name: &str, content: Vec<u8>) -> BundledFile {
    BundledFile::Made { name: name.to_owned(), content }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, Failure> {
    let mut text = serde_json::to_vec_pretty(value).map_err(Failure::error)?;
    text.push(b'\n');
    Ok(text)
}
