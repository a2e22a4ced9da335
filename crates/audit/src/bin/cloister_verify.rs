//! `cloister-verify`: checks a coordinator's folder, as `cloister audit verify` does, with few dependencies.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use cloister_audit::{AuditOutcome, AuditRequest, EvidenceReport};
use cloister_params::consortium::PublicBytes;

const USAGE: &str = "\
cloister-verify FOLDER --consortium FILE --governance-key HEX [--party FOLDER]… [--json]

  FOLDER            a coordinator's --data, or a copy of it
  --consortium      the consortium file of the edition to check, with its signature in the file of the same name and `.sig`
  --governance-key  the governance key that you trust, in 64 hexadecimal digits
  --party           the --data of a hospital or a custodian, or a copy of it, to compare with; may be repeated
  --json            print one JSON object

Exits with 3 if a claim does not hold, with 4 if one was not checked, and with 78 if a file cannot be used.
";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).peekable();
    if words.peek().is_none_or(|word| word == "--help") {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let (request, json) = match parse(words) {
        Ok(parsed) => parsed,
        Err(why) => {
            eprint!("cloister-verify: {why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let report = match request.run() {
        Ok(report) => report,
        Err(error) => {
            eprintln!("cloister-verify: {error}");
            return ExitCode::from(78);
        }
    };
    if let Err(error) = show(&report, json) {
        eprintln!("cloister-verify: {error}");
        return ExitCode::FAILURE;
    }
    let outcome = report.outcome();
    eprintln!("cloister-verify: {outcome}");
    match outcome {
        AuditOutcome::Proved => ExitCode::SUCCESS,
        AuditOutcome::Refuted(_) => ExitCode::from(3),
        AuditOutcome::NotChecked(_) => ExitCode::from(4),
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<(AuditRequest, bool), String> {
    let (mut folder, mut consortium, mut key, mut json) = (None, None, None, false);
    let mut parties = Vec::new();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--consortium" => consortium = Some(PathBuf::from(value()?)),
            "--governance-key" => key = Some(parse_key(&value()?)?),
            "--party" => parties.push(PathBuf::from(value()?)),
            "--json" => json = true,
            other if other.starts_with('-') => return Err(format!("{other} is no option")),
            _ if folder.is_some() => return Err(format!("{word} is one folder too many")),
            _ => folder = Some(PathBuf::from(word)),
        }
    }
    let request = AuditRequest {
        folder: folder.ok_or("a coordinator's folder is missing")?,
        consortium: consortium.ok_or("--consortium is missing")?,
        governance_key: key.ok_or("--governance-key is missing")?,
        parties,
    };
    Ok((request, json))
}

fn parse_key(text: &str) -> Result<PublicBytes, String> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| format!("--governance-key takes 64 hexadecimal digits, not {text:?}"))?;
    Ok(PublicBytes(bytes))
}

fn show(report: &EvidenceReport, json: bool) -> io::Result<()> {
    let mut output = io::stdout().lock();
    if json {
        return writeln!(output, "{}", serde_json::to_string(report).map_err(io::Error::other)?);
    }
    write!(output, "{report}")
}
