//! The names of classes: in a file beside an adapter, and in the configuration of a merged model, as in
//! transformers.

use std::path::Path;

use serde_json::{Value, json};

use crate::error::ExpertsError;
use crate::families::config::Family;
use crate::families::config::names::sequence_classifier;
use crate::families::weights::write::write_json;
use crate::model_files::{read_file, unusable};

/// The file beside an adapter's files. PEFT stores no names of classes. Without this file they get the names
/// that transformers gives them, `LABEL_0` and so on.
const FILE: &str = "id2label.json";

/// The object `id2label` of transformers: from the number of a class to its name.
fn by_number(classes: &[String]) -> Value {
    classes
        .iter()
        .enumerate()
        .map(|(number, name)| (number.to_string(), Value::from(name.as_str())))
        .collect()
}

/// Writes the names into an adapter's folder. Without classes it writes no file.
pub(super) fn write(classes: &[String], folder: &Path) -> Result<(), ExpertsError> {
    match classes {
        [] => Ok(()),
        _ => write_json(&folder.join(FILE), &by_number(classes)),
    }
}

/// The names of `count` classes in an adapter's folder, or `LABEL_0`, `LABEL_1`, … if the folder has no
/// names.
pub(super) fn read(folder: &Path, count: usize) -> Result<Vec<String>, ExpertsError> {
    let path = folder.join(FILE);
    // Adapters that PEFT itself wrote have no such file.
    if !path.exists() {
        return Ok((0..count).map(|number| format!("LABEL_{number}")).collect());
    }
    let json = parsed(&path)?;
    // More names would be those of a head with more rows, whose order may be another.
    if json.as_object().is_none_or(|names| names.len() != count) {
        let named = json.as_object().map_or(0, serde_json::Map::len);
        return Err(unusable(
            &path,
            format!("it must name the {count} classes of the adapter's head, and names {named}"),
        ));
    }
    let mut names = Vec::with_capacity(count);
    for number in 0..count {
        let Some(name) = json[number.to_string()].as_str() else {
            let last = count - 1;
            return Err(unusable(
                &path,
                format!("it must name the classes 0 to {last}, and class {number} has no name"),
            ));
        };
        names.push(name.to_owned());
    }
    Ok(names)
}

/// Writes the classes into the configuration of a merged model, and the architecture that has a head, if
/// transformers has one for the family.
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

/// Adds a tensor, and the file that has it, to the index of a model of several files.
pub(super) fn index(index: &Path, tensor: &str, file: &str) -> Result<(), ExpertsError> {
    let mut json = parsed(index)?;
    json["weight_map"][tensor] = file.into();
    write_json(index, &json)
}

/// The JSON value in a file.
fn parsed(path: &Path) -> Result<Value, ExpertsError> {
    serde_json::from_slice(&read_file(path)?).map_err(|error| unusable(path, error.to_string()))
}
