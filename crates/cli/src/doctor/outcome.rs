//! What a check found, for people and as JSON.

use std::fmt;

use cloister_transport::printable;
use serde::Serialize;

use crate::failure::{Failure, FailureKind};

/// Columns of a state and of a check's name in the text.
const STATE_WIDTH: usize = 13;
const NAME_WIDTH: usize = 20;

/// How a check ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CheckState {
    /// As it should be.
    Ok,
    /// The party works, and an operator should look at it.
    Warning,
    /// The party does not work, or soon will not.
    Fault,
    /// It could not be examined, or does not apply.
    NotChecked,
}

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CheckOutcome {
    state: CheckState,
    /// What was found and, unless it is as it should be, what was expected.
    found: String,
    /// What to do next; empty if nothing is.
    advice: String,
    /// The kind of a fault, which has the documented exit code.
    kind: Option<FailureKind>,
}

impl CheckOutcome {
    pub(super) fn ok(found: impl Into<String>) -> Self {
        Self { state: CheckState::Ok, found: found.into(), advice: String::new(), kind: None }
    }

    pub(super) fn warning(found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { state: CheckState::Warning, advice: advice.into(), ..Self::ok(found) }
    }

    pub(super) fn fault(kind: FailureKind, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { state: CheckState::Fault, kind: Some(kind), ..Self::warning(found, advice) }
    }

    pub(super) fn not_checked(reason: impl Into<String>) -> Self {
        Self { state: CheckState::NotChecked, ..Self::ok(reason) }
    }

    /// The failure that the service would end with.
    pub(super) fn failure(failure: &Failure) -> Self {
        let sentence = failure.to_string();
        let (found, advice) = split_advice(&sentence);
        Self::fault(failure.kind(), found, advice)
    }

    /// A sentence of the service that is a warning.
    pub(super) fn warning_in(sentence: &str) -> Self {
        let (found, advice) = split_advice(sentence);
        Self::warning(found, advice)
    }

    /// All failures of one check, of which there is at least one.
    pub(super) fn failures(failures: &[Failure]) -> Self {
        let (mut found, mut advice) = (Vec::new(), Vec::new());
        for outcome in failures.iter().map(Self::failure) {
            found.push(outcome.found);
            advice.push(outcome.advice);
        }
        advice.retain(|text| !text.is_empty());
        let worst = failures.iter().map(Failure::kind).max_by_key(|kind| severity(*kind));
        Self::fault(worst.unwrap_or(FailureKind::Error), found.join("; "), advice.join("; "))
    }

    /// The same, with something else that was found.
    pub(super) fn with_found(mut self, more: &str) -> Self {
        self.found = format!("{}; {more}", self.found);
        self
    }

    /// A warning if it is as it should be; what is worse stays.
    pub(super) fn at_least_warning(self, advice: &str) -> Self {
        match self.state {
            CheckState::Ok => Self::warning(self.found, advice),
            _ => self,
        }
    }

    #[cfg(test)]
    pub(super) fn state(&self) -> CheckState {
        self.state
    }
}

/// What a sentence of the program found, and what to do next. By the rules for messages this follows the last semicolon.
fn split_advice(sentence: &str) -> (&str, &str) {
    sentence.rsplit_once("; ").unwrap_or((sentence, ""))
}

/// How much worse one kind of fault is than another. What trying again does not mend is worse than what it may mend.
pub(super) fn severity(kind: FailureKind) -> u8 {
    match kind {
        FailureKind::ReaderLeft => 0,
        FailureKind::Unavailable => 1,
        FailureKind::QuorumLost => 2,
        FailureKind::NotChecked => 3,
        FailureKind::Error => 4,
        FailureKind::Refuted => 5,
        FailureKind::PrivacyRefused => 6,
        FailureKind::Usage => 7,
        FailureKind::Config => 8,
    }
}

/// A check with what it found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct CheckFinding {
    /// The check's name, which scripts may rely on.
    pub(super) check: &'static str,
    #[serde(flatten)]
    printed: Printed,
    #[serde(skip)]
    pub(super) kind: Option<FailureKind>,
}

/// An outcome in which no byte commands a terminal: names and messages come from files and peers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Printed {
    state: CheckState,
    found: String,
    advice: String,
}

impl CheckFinding {
    pub(super) fn new(check: &'static str, outcome: CheckOutcome) -> Self {
        let CheckOutcome { state, found, advice, kind } = outcome;
        let [found, advice] = [found, advice].map(|text| printable(text.as_bytes()));
        Self { check, printed: Printed { state, found, advice }, kind }
    }

    /// Its name for people.
    pub(super) fn name(&self) -> String {
        self.check.replace('_', " ")
    }
}

impl fmt::Display for CheckFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Printed { state, found, advice } = &self.printed;
        let state = match state {
            CheckState::Ok => "ok",
            CheckState::Warning => "warning",
            CheckState::Fault => "fault",
            CheckState::NotChecked => "not checked",
        };
        writeln!(f, "{state:STATE_WIDTH$}{:NAME_WIDTH$}{found}", self.name())?;
        match advice.is_empty() {
            true => Ok(()),
            false => writeln!(f, "{:indent$}→ {advice}", "", indent = STATE_WIDTH + NAME_WIDTH),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_split_into_what_was_found_and_what_to_do() {
        let outcome = CheckOutcome::failure(&Failure::config("key.pem: others can read it; run `chmod 600`"));
        let text = CheckFinding::new("keys", outcome).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "fault        keys                key.pem: others can read it",
                "                                 → run `chmod 600`"
            ]
        );
        let two = [Failure::config("a; b"), Failure::new(FailureKind::Unavailable, "c")];
        let outcome = CheckOutcome::failures(&two);
        assert_eq!(
            (outcome.kind, &*outcome.found, &*outcome.advice),
            (Some(FailureKind::Config), "a; c", "b")
        );
    }

    #[test]
    fn findings_have_the_documented_keys_and_command_no_terminal() {
        let finding = CheckFinding::new("host_name", CheckOutcome::not_checked("no \u{1b}[2J"));
        let json = serde_json::to_value(&finding).expect("JSON");
        let expected = serde_json::json!({
            "check": "host_name", "state": "not_checked", "found": "no \\u{1b}[2J", "advice": ""
        });
        assert_eq!(json, expected);
    }
}
