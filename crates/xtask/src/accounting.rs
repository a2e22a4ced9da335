//! The reference values of the accountant, which a Python program computes with PyPI `dp-accounting`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use crate::Failure;
use crate::python::Python;
use crate::workspace::root;

pub(crate) const REQUIREMENTS: &str = include_str!("../../privacy/tests/reference/requirements.txt");

/// The largest relative difference between machines: mathematical libraries round their last digits
/// differently.
const TOLERANCE: f64 = 1e-9;

/// Writes the reference values; with `--check`, fails if the committed ones differ.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode, Failure> {
    let check = match arguments {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => return Err("`cargo xtask accounting` takes `--check` or nothing".into()),
    };
    let fresh = generate()?;
    if check {
        let text =
            fs::read_to_string(committed()).map_err(|error| format!("cannot read the reference: {error}"))?;
        compare(&parse(&text)?, &parse(&fresh)?, "reference")?;
        println!("the committed reference values are those of dp-accounting");
    } else {
        fs::write(committed(), fresh).map_err(|error| format!("cannot write the reference: {error}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn folder() -> PathBuf {
    root().join("crates/privacy/tests/reference")
}

fn committed() -> PathBuf {
    folder().join("reference.json")
}

fn generate() -> Result<String, Failure> {
    let python =
        Python::ensure("accounting", "`dp-accounting` for the accountant's reference values", REQUIREMENTS)?;
    eprintln!("computing the accountant's reference values with dp-accounting (minutes)");
    let output = python.command().arg(folder().join("generate.py")).output();
    let output = output.map_err(|error| format!("cannot start Python: {error}"))?;
    if !output.status.success() {
        return Err(format!("generate.py failed:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout).map_err(|_| "generate.py printed no text".into())
}

fn parse(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| format!("the reference values are no JSON: {error}"))
}

/// Compares two JSON values, and names the first difference.
fn compare(committed: &Value, fresh: &Value, place: &str) -> Result<(), Failure> {
    match (committed, fresh) {
        // Element by element and not as text: numbers are compared with a tolerance.
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            let mut pairs = old.iter().zip(new).enumerate();
            pairs.try_for_each(|(index, (old, new))| compare(old, new, &format!("{place}[{index}]")))
        }
        (Value::Object(old), Value::Object(new)) if old.len() == new.len() => {
            let mut keys = old.iter();
            keys.try_for_each(|(key, old)| {
                compare(old, new.get(key).unwrap_or(&Value::Null), &format!("{place}.{key}"))
            })
        }
        _ if same(committed, fresh) => Ok(()),
        _ => Err(format!(
            "{place} is {committed}, dp-accounting says {fresh}; run `cargo xtask accounting` and look at the difference"
        )),
    }
}

fn same(committed: &Value, fresh: &Value) -> bool {
    match (committed.as_f64(), fresh.as_f64()) {
        (Some(old), Some(new)) => (old - new).abs() <= TOLERANCE * old.abs().max(new.abs()),
        _ => committed == fresh,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_that_differs_is_named() {
        let committed = json!([{"sigma": 1.0, "pld": 2.0}]);
        assert_eq!(compare(&committed, &json!([{"sigma": 1.0, "pld": 2.000_000_000_1}]), "r"), Ok(()));
        let error =
            compare(&committed, &json!([{"sigma": 1.0, "pld": 2.1}]), "r").expect_err("another value");
        assert!(error.contains("r[0].pld is 2.0"), "{error}");
        assert!(compare(&committed, &json!([]), "r").is_err());
        assert!(run(&["--chekc".to_owned()]).is_err());
    }
}
