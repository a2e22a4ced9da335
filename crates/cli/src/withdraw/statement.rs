//! `withdrawal.json`: what was erased, what stays, and what was released before.

use std::io::Write;
use std::path::Path;

use cloister_params::limits::Date;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::plan::{Found, Kept, ReleasedData, WithdrawalPlan};
use super::words::NOT_ERASED;
use crate::failure::Failure;
use crate::folder::read_text;

/// The name of the format. A later one has a higher number.
const FORMAT: &str = "cloister/withdrawal/v1";

/// A statement for a data protection officer. The field names are those of the file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WithdrawalStatement {
    format: String,
    party: String,
    /// The day (UTC) of the last run of the command. An update of a round in progress may be summed later.
    date: Date,
    /// Whether everything in `erased` was erased. If not, the command was interrupted; a second run erases the rest.
    finished: bool,
    erased: Vec<ErasedFile>,
    kept: Vec<KeptFile>,
    cannot_be_erased: Vec<String>,
    /// The privacy statement of the ledger (`PRIV-09`), with the ε that was spent.
    released: Option<Value>,
    /// Why there is none.
    released_unknown: Option<String>,
    next_steps: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ErasedFile {
    path: String,
    what: String,
    bytes: u64,
    sha256: Option<String>,
    /// The day (UTC) on which it was erased.
    date: Date,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptFile {
    path: String,
    what: String,
    why: String,
}

impl WithdrawalStatement {
    /// The statement that an earlier run left, if any.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, Failure> {
        if !path.exists() {
            return Ok(None);
        }
        let text = read_text(path)?;
        let value: Value =
            serde_json::from_str(&text).map_err(|error| not_a_statement(path, &error.to_string()))?;
        match value["format"].as_str() {
            Some(FORMAT) => {}
            Some(other) if other.starts_with("cloister/withdrawal/") => {
                return Err(Failure::config(format!(
                    "{} has the format {other}, and this program writes {FORMAT}: a later version of the program wrote the file; \
                     install that version",
                    path.display()
                )));
            }
            _ => return Err(not_a_statement(path, "it names no format")),
        }
        serde_json::from_value(value).map(Some).map_err(|error| not_a_statement(path, &error.to_string()))
    }

    /// The statement of a withdrawal on this day, which goes on with an earlier one.
    pub(super) fn new(plan: &WithdrawalPlan, date: Date, earlier: Option<Self>) -> Self {
        let (released, released_unknown) = match &plan.released {
            ReleasedData::Stated(statement) => (serde_json::to_value(statement).ok(), None),
            ReleasedData::Unknown(why) => (None, Some(why.clone())),
        };
        let now: Vec<ErasedFile> = plan.erased.iter().map(|found| ErasedFile::new(found, date)).collect();
        let (mut erased, before) =
            earlier.map_or_else(Default::default, |earlier| (earlier.erased, earlier.released));
        // What an interrupted run did not erase is erased today.
        erased.retain(|file| now.iter().all(|again| again.path != file.path));
        erased.extend(now);
        // The ledger may have been erased since.
        let released = released.or(before);
        Self {
            format: FORMAT.to_owned(),
            party: plan.name.clone(),
            date,
            finished: false,
            erased,
            kept: plan.kept.iter().map(KeptFile::from).collect(),
            cannot_be_erased: NOT_ERASED.map(str::to_owned).to_vec(),
            released_unknown: released_unknown.filter(|_| released.is_none()),
            released,
            next_steps: plan.next_steps().to_vec(),
        }
    }

    /// Everything that it lists as erased is.
    pub(super) fn finish(&mut self) {
        self.finished = true;
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), Failure> {
        let mut text = serde_json::to_string_pretty(self).map_err(Failure::error)?;
        text.push('\n');
        cloister_storage::replace(path, |file| file.write_all(text.as_bytes()))
            .map(|_| ())
            .map_err(|error| Failure::error(format!("cannot write {}: {error}", path.display())))
    }
}

fn not_a_statement(path: &Path, why: &str) -> Failure {
    Failure::config(format!(
        "{} is not the statement of a withdrawal: {why}; move it away, and keep it",
        path.display()
    ))
}

impl ErasedFile {
    fn new(found: &Found, date: Date) -> Self {
        let Found { path, what, bytes, sha256 } = found.clone();
        Self { path: path.display().to_string(), what: what.to_owned(), bytes, sha256, date }
    }
}

impl From<&Kept> for KeptFile {
    fn from(kept: &Kept) -> Self {
        let Kept { path, what, why } = kept;
        Self { path: path.display().to_string(), what: (*what).to_owned(), why: why.clone() }
    }
}
