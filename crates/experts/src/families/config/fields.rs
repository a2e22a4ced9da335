//! The fields of a `config.json`, some of which have had different names over the years.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::ExpertsError;
use crate::model_files::{read_file, unsupported, unusable};

/// An object of a configuration file. Each field is asked for by all its spellings; `null` counts as absent,
/// because transformers writes Python's `None` as `null`. A field that is never asked for would silently have
/// no effect, so [`refuse_others`](Self::refuse_others) rejects it.
pub(crate) struct Fields {
    path: PathBuf,
    object: Map<String, Value>,
    /// The names that were asked for.
    asked: RefCell<BTreeSet<String>>,
}

impl Fields {
    /// Reads a file that holds one JSON object.
    pub(crate) fn read(path: &Path) -> Result<Self, ExpertsError> {
        match serde_json::from_slice(&read_file(path)?) {
            Ok(Value::Object(object)) => Ok(Self::from_object(path, object)),
            Ok(_) => Err(unusable(path, "it must hold a JSON object, but it holds another value".to_owned())),
            Err(error) => Err(unusable(path, error.to_string())),
        }
    }

    /// The fields of an object that was read from a file.
    pub(crate) fn from_object(path: &Path, object: Map<String, Value>) -> Self {
        Self { path: path.to_owned(), object, asked: RefCell::default() }
    }

    /// The object in the first of these fields that is present.
    pub(crate) fn inner(&self, names: &[&str]) -> Result<Option<Self>, ExpertsError> {
        let object = self.get(names, "an object", |value| value.as_object().cloned())?;
        Ok(object.map(|object| Self::from_object(&self.path, object)))
    }

    /// Rejects a field that is present, that was never asked for, and that is not one of the harmless ones.
    pub(crate) fn refuse_others(&self, harmless: &[&[&str]]) -> Result<(), ExpertsError> {
        let asked = self.asked.borrow();
        let harmless = harmless.concat();
        for (name, value) in &self.object {
            // A setting that is `null` has its default, so it changes nothing even if its name is unknown.
            if !value.is_null() && !asked.contains(name) && !harmless.contains(&name.as_str()) {
                return Err(self.unsupported(format!(
                    "nothing is known of its setting {name}, so its effect would not be computed; remove the setting if it \
                     changes nothing"
                )));
            }
        }
        Ok(())
    }

    /// Whether a field is present, even if it is `null`. Needed where Python's default is not `None`, so that
    /// an explicit `null` has another meaning than a missing field.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.object.contains_key(name)
    }

    /// The first of these fields that is present, with the name that it has in the file. All names count as
    /// asked for, because a file may have an old name beside the new one.
    fn find(&self, names: &[&str]) -> Option<(String, &Value)> {
        self.asked.borrow_mut().extend(names.iter().map(|&name| name.to_owned()));
        names
            .iter()
            .filter_map(|&name| Some((name.to_owned(), self.object.get(name)?)))
            .find(|(_, value)| !value.is_null())
    }

    /// A value, if one of these fields is present; `kind` names in an error what it must be.
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

    /// A text, or a flag as `true` or `false`: PEFT's `init_lora_weights` may be either.
    pub(crate) fn text_or_flag(&self, name: &str) -> Result<Option<String>, ExpertsError> {
        self.get(&[name], "a string, true or false", |value| match value {
            Value::Bool(flag) => Some(flag.to_string()),
            other => other.as_str().map(str::to_owned),
        })
    }

    /// A number that must be present.
    pub(crate) fn required(&self, name: &str) -> Result<f64, ExpertsError> {
        self.number(&[name])?.ok_or_else(|| self.wrong(format!("{name} is missing")))
    }

    /// A flag; `default` if the field is absent.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, ExpertsError> {
        Ok(self.get(&[name], "true or false", Value::as_bool)?.unwrap_or(default))
    }

    /// A list of whole numbers; empty if the field is absent.
    pub(crate) fn integers(&self, name: &str) -> Result<Vec<usize>, ExpertsError> {
        Ok(self.get(&[name], "a list of whole numbers", whole_numbers)?.unwrap_or_default())
    }

    /// A list of strings; empty if the field is absent. One string counts as a list of one.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, ExpertsError> {
        Ok(self.get(&[name], "a list of strings", strings)?.unwrap_or_default())
    }

    /// A whole number of at least 1 that must be present.
    pub(crate) fn size(&self, names: &[&str]) -> Result<usize, ExpertsError> {
        match self.integer(names)? {
            Some(0) => Err(self.wrong(format!("{} must be at least 1", names[0]))),
            Some(size) => Ok(size),
            None => Err(self.wrong(format!("{} is missing", names.join(" or ")))),
        }
    }

    /// Rejects a field that is present with another value than these. An absent field is accepted: its
    /// default in transformers must be one of them.
    pub(crate) fn demand(&self, name: &str, accepted: &[&str]) -> Result<(), ExpertsError> {
        match self.text(&[name])? {
            Some(value) if !accepted.contains(&value.as_str()) => {
                let accepted = accepted.join(" or ");
                Err(self.unsupported(format!("its {name} is “{value}”, but only {accepted} is supported")))
            }
            _ => Ok(()),
        }
    }

    /// Rejects a field that is true.
    pub(crate) fn demand_false(&self, name: &str) -> Result<(), ExpertsError> {
        match self.flag(name, false)? {
            true => Err(self.unsupported(format!("its {name} is true, but only false is supported"))),
            false => Ok(()),
        }
    }

    /// Rejects a field that is present with another number than this.
    pub(crate) fn demand_number(&self, name: &str, accepted: f64) -> Result<(), ExpertsError> {
        match self.number(&[name])? {
            Some(value) if value != accepted => {
                Err(self.unsupported(format!("its {name} is {value}, but only {accepted} is supported")))
            }
            _ => Ok(()),
        }
    }

    /// Whether a field is present and holds something: neither `null`, `false` nor an empty list or object.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.find(&[name]).is_some_and(|(_, value)| !is_empty(value))
    }

    /// Rejects a field that is present and holds something: neither `false` nor an empty list or object.
    pub(crate) fn demand_empty(&self, name: &str) -> Result<(), ExpertsError> {
        match self.is_set(name) {
            true => Err(self.unsupported(format!("its {name} is set, but it is not supported"))),
            false => Ok(()),
        }
    }

    /// The error that this file is sound, but asks for something that is not implemented.
    pub(crate) fn unsupported(&self, reason: String) -> ExpertsError {
        unsupported(&self.path, reason)
    }

    /// The error that this file is damaged or contradicts itself.
    pub(crate) fn wrong(&self, reason: String) -> ExpertsError {
        unusable(&self.path, reason)
    }
}

/// A list of whole numbers of at least 0.
fn whole_numbers(value: &Value) -> Option<Vec<usize>> {
    value.as_array()?.iter().map(|entry| Some(entry.as_u64()? as usize)).collect()
}

/// A list of strings, or one string.
fn strings(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        other => other.as_array()?.iter().map(|entry| entry.as_str().map(str::to_owned)).collect(),
    }
}

/// Whether a value sets nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(entries) => entries.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        other => *other == Value::Bool(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Fields {
        let object = serde_json::from_str(json).expect("an object");
        Fields::from_object(Path::new("config.json"), object)
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

    #[test]
    fn what_nobody_asks_for_is_refused_unless_it_is_harmless() {
        let fields = fields(r#"{"read": 1, "harmless": 2, "absent": null, "other": false}"#);
        assert_eq!(fields.integer(&["spelt_otherwise", "read"]).ok(), Some(Some(1)));
        let error = fields.refuse_others(&[&["harmless"]]).expect_err("nothing reads it").to_string();
        assert!(error.contains("nothing is known of its setting other"), "{error}");
        fields.refuse_others(&[&["harmless"], &["other"]]).expect("the rest is read or harmless");
        assert!(fields.refuse_others(&[&["other"]]).is_err(), "a harmless setting is named as such");
    }

    #[test]
    fn demands_hold_for_what_is_there() {
        let fields = fields(r#"{"one": 1, "two": 2, "list": [], "full": [1], "on": true, "off": false}"#);
        let all = [
            fields.demand_number("one", 1.0),
            fields.demand_number("absent", 1.0),
            fields.demand_empty("list"),
            fields.demand_empty("off"),
            fields.demand_false("off"),
        ];
        assert!(all.iter().all(Result::is_ok));
        let none = [
            fields.demand_number("two", 1.0),
            fields.demand_empty("full"),
            fields.demand_empty("on"),
            fields.demand_false("on"),
        ];
        assert!(none.iter().all(Result::is_err));
    }
}
