//! The names of classes: beside an adapter, and in the configuration of a merged model as transformers has it.

use std::path::Path;

use serde_json::{Value, json};

use crate::error::ExpertsError;
use crate::families::config::Family;
use crate::families::config::names::sequence_classifier;
use crate::families::weights::write::write_json;
use crate::model_files::{read_file, unusable};

/// Beside an adapter's files. PEFT keeps no names of classes: without this file they are called as transformers does.
const FILE: &str = "id2label.json";

fn by_number(classes: &[String]) -> Value {
    classes
        .iter()
        .enumerate()
        .map(|(number, name)| (number.to_string(), Value::from(name.as_str())))
        .collect()
}

/// Writes the names into an adapter's folder; nothing where there are none.
pub(super) fn write(classes: &[String], folder: &Path) -> Result<(), ExpertsError> {
    match classes {
        [] => Ok(()),
        _ => write_json(&folder.join(FILE), &by_number(classes)),
    }
}

/// The names of so many classes that an adapter's folder has, or else `LABEL_0`, `LABEL_1`, ….
pub(super) fn read(folder: &Path, count: usize) -> Result<Vec<String>, ExpertsError> {
    let path = folder.join(FILE);
    if !path.exists() {
        return Ok((0..count).map(|number| format!("LABEL_{number}")).collect());
    }
    let names = parsed(&path)?;
    let name = |number: usize| {
        let name = names[number.to_string()].as_str().map(str::to_owned);
        name.ok_or_else(|| {
            unusable(&path, format!("it must name the classes 0 to {}", count.saturating_sub(1)))
        })
    };
    (0..count).map(name).collect()
}

/// Tells the configuration of a merged model of its classes, and the architecture that has a head where transformers has
/// one for the family.
pub(super) fn configure(config: &Path, family: Family, classes: &[String]) -> Result<(), ExpertsError> {
    let mut json = parsed(config)?;
    let by_name = classes.iter().enumerate().map(|(number, name)| (name.clone(), Value::from(number)));
    json["id2label"] = by_number(classes);
    json["label2id"] = by_name.collect();
    json["num_labels"] = classes.len().into();
    if let Some(name) = sequence_classifier(family) {
        json["architectures"] = json!([name]);
    }
    write_json(config, &json)
}

/// Names a further tensor, and the file that has it, in the index of a model of several files.
pub(super) fn index(index: &Path, tensor: &str, file: &str) -> Result<(), ExpertsError> {
    let mut json = parsed(index)?;
    json["weight_map"][tensor] = file.into();
    write_json(index, &json)
}

fn parsed(path: &Path) -> Result<Value, ExpertsError> {
    serde_json::from_slice(&read_file(path)?).map_err(|error| unusable(path, error.to_string()))
}
