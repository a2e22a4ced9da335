//! A `config.json` whose fields have had different names over the years.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::ExpertsError;
use crate::minilm::{read_file, unusable};

/// An object of a configuration file. Each field is asked for by all its spellings; `null` counts as absent.
pub(crate) struct Fields {
    path: PathBuf,
    object: Map<String, Value>,
}

impl Fields {
    /// Reads a file that holds one JSON object.
    pub(crate) fn read(path: &Path) -> Result<Self, ExpertsError> {
        match serde_json::from_slice(&read_file(path)?) {
            Ok(Value::Object(object)) => Ok(Self { path: path.to_owned(), object }),
            Ok(_) => Err(unusable(path, "it is no JSON object".to_owned())),
            Err(error) => Err(unusable(path, error.to_string())),
        }
    }

    /// The object in the first of these fields that is there.
    pub(crate) fn inner(&self, names: &[&str]) -> Option<Self> {
        let object = self.find(names)?.1.as_object()?.clone();
        Some(Self { path: self.path.clone(), object })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.object.is_empty()
    }

    fn find(&self, names: &[&str]) -> Option<(String, &Value)> {
        names
            .iter()
            .filter_map(|&name| Some((name.to_owned(), self.object.get(name)?)))
            .find(|(_, value)| !value.is_null())
    }

    /// A value, if one of these fields is there; `kind` says what it must be.
    fn get<T>(
        &self,
        names: &[&str],
        kind: &str,
        convert: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, ExpertsError> {
        match self.find(names) {
            None => Ok(None),
            Some((name, value)) => match convert(value) {
                Some(value) => Ok(Some(value)),
                None => Err(self.wrong(format!("{name} must be {kind}, not {value}"))),
            },
        }
    }

    pub(crate) fn integer(&self, names: &[&str]) -> Result<Option<usize>, ExpertsError> {
        self.get(names, "a whole number", |value| usize::try_from(value.as_u64()?).ok())
    }

    pub(crate) fn number(&self, names: &[&str]) -> Result<Option<f64>, ExpertsError> {
        self.get(names, "a number", Value::as_f64)
    }

    pub(crate) fn text(&self, names: &[&str]) -> Result<Option<String>, ExpertsError> {
        self.get(names, "a string", |value| value.as_str().map(str::to_owned))
    }

    /// A number that must be there.
    pub(crate) fn required(&self, name: &str) -> Result<f64, ExpertsError> {
        self.number(&[name])?.ok_or_else(|| self.wrong(format!("{name} is missing")))
    }

    /// A flag, with the value that it has where the field is absent.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, ExpertsError> {
        Ok(self.get(&[name], "true or false", Value::as_bool)?.unwrap_or(default))
    }

    /// Empty where the field is absent.
    pub(crate) fn integers(&self, name: &str) -> Result<Vec<usize>, ExpertsError> {
        let convert = |value: &Value| {
            value.as_array()?.iter().map(|entry| Some(entry.as_u64()? as usize)).collect::<Option<_>>()
        };
        Ok(self.get(&[name], "a list of whole numbers", convert)?.unwrap_or_default())
    }

    /// Empty where the field is absent; one string counts as a list of one.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, ExpertsError> {
        let convert = |value: &Value| match value {
            Value::String(text) => Some(vec![text.clone()]),
            other => other.as_array()?.iter().map(|entry| entry.as_str().map(str::to_owned)).collect(),
        };
        Ok(self.get(&[name], "a list of strings", convert)?.unwrap_or_default())
    }

    /// A whole number of at least 1 that must be there.
    pub(crate) fn size(&self, names: &[&str]) -> Result<usize, ExpertsError> {
        match self.integer(names)? {
            Some(0) => Err(self.wrong(format!("{} must be at least 1", names[0]))),
            Some(size) => Ok(size),
            None => Err(self.wrong(format!("{} is missing", names.join(" or ")))),
        }
    }

    /// Refuses a field that is set to anything but these values.
    pub(crate) fn demand(&self, name: &str, accepted: &[&str]) -> Result<(), ExpertsError> {
        match self.text(&[name])? {
            Some(value) if !accepted.contains(&value.as_str()) => {
                Err(self.wrong(format!("{name} is “{value}”; only {} is supported", accepted.join(" or "))))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a field that is true.
    pub(crate) fn demand_false(&self, name: &str) -> Result<(), ExpertsError> {
        match self.flag(name, false)? {
            true => Err(self.wrong(format!("{name} is true, which is not supported"))),
            false => Ok(()),
        }
    }

    /// The error that this file is not usable.
    pub(crate) fn wrong(&self, reason: String) -> ExpertsError {
        unusable(&self.path, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Fields {
        let object = serde_json::from_str(json).expect("an object");
        Fields { path: "config.json".into(), object }
    }

    #[test]
    fn the_first_spelling_that_is_there_counts() {
        let fields = fields(r#"{"num_experts": null, "num_local_experts": 8, "list": [1, 2], "name": "a"}"#);
        assert_eq!(fields.size(&["num_experts", "num_local_experts"]).ok(), Some(8));
        assert_eq!(fields.integers("list").ok(), Some(vec![1, 2]));
        assert_eq!(fields.texts("name").ok(), Some(vec!["a".to_owned()]));
        assert!(fields.texts("absent").is_ok_and(|texts| texts.is_empty()));
    }

    #[test]
    fn wrong_values_are_named() {
        let fields = fields(r#"{"width": "wide", "zero": 0, "act": "gelu"}"#);
        let text = |error: ExpertsError| error.to_string();
        assert!(
            text(fields.size(&["width"]).expect_err("a string")).contains("width must be a whole number")
        );
        assert!(text(fields.size(&["zero"]).expect_err("zero")).contains("zero must be at least 1"));
        assert!(text(fields.size(&["a", "b"]).expect_err("absent")).contains("a or b is missing"));
        assert!(text(fields.demand("act", &["silu"]).expect_err("gelu")).contains("act is “gelu”"));
    }
}
