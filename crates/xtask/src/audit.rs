//! The lab's audit, with bounds computed a second time by PyPI `jax-privacy` from the same scores.

use std::process::ExitCode;

use crate::Failure;
use crate::accounting::REQUIREMENTS;
use crate::commands::cloister;
use crate::python::Python;
use crate::setup;
use crate::workspace::{root, run_checked, target_dir};

/// Runs `cloister lab audit` with these arguments, or `--quick` without any, and bounds ε again from its
/// scores.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode, Failure> {
    let scores = target_dir().join("audit-scores.json");
    let quick = ["--quick".to_owned()];
    let mut all = vec!["audit".to_owned(), "--scores".to_owned(), scores.display().to_string()];
    all.extend_from_slice(if arguments.is_empty() { &quick } else { arguments });
    let status = cloister("lab", &all)?;
    // A failed audit is the result; scores of it need no second opinion.
    if status != ExitCode::SUCCESS {
        return Ok(status);
    }
    let auditor = setup::ensure_jax_privacy()?;
    let python = Python::ensure("accounting", "`dp-accounting`, NumPy and SciPy", REQUIREMENTS)?;
    let mut check = python.command();
    check.arg(root().join("crates/lab/tests/reference/jax_privacy.py")).arg(auditor).arg(scores);
    run_checked(&mut check, "the comparison with jax-privacy")?;
    Ok(ExitCode::SUCCESS)
}
