//! Converts weights that PyTorch has pickled (`pytorch_model.bin`) to safetensors.
//!
//! A pickle is a program, and Python runs it. Here `candle-core` reads it: its interpreter builds lists,
//! names and descriptions of tensors and calls no function. It skips what it does not know.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::DType;
use candle_core::pickle::PthTensors;
use serde_json::{Value, json};
use tch::{Kind, Tensor};

use crate::error::ExpertsError;
use crate::families::convert::first_line;
use crate::families::weights::write::{StoredTensor, copy_others, stored, write, write_json};
use crate::families::weights::{INDEX, PICKLED, PICKLED_INDEX};
use crate::files::quiet::quietly;
use crate::model_files::{read_file, unsupported, unusable};

/// Writes a model whose weights are pickled into the folder `target`. The weights become safetensors of the
/// same precision, and all files that hold no weights are copied. The tensors of one file are in memory at a
/// time.
///
/// # Errors
/// [`ExpertsError::File`]; [`ExpertsError::Content`] for a file that is no pickle of tensors;
/// [`ExpertsError::Unsupported`] for tensors that are neither F32, F16 nor BF16.
pub fn convert(folder: &Path, target: &Path) -> Result<(), ExpertsError> {
    let files = files(folder)?;
    let several = files.len() > 1;
    let mut index = BTreeMap::new();
    for path in files {
        let parts = parts(&path)?;
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let name = name.replace("pytorch_model", "model").replace(".bin", ".safetensors");
        // After the first file was read, so that a damaged one leaves no folder behind.
        copy_others(folder, target)?;
        write(&parts, &target.join(&name))?;
        index.extend(parts.iter().flat_map(StoredTensor::names).map(|tensor| (tensor.clone(), name.clone())));
    }
    match several {
        true => write_json(&target.join(INDEX), &json!({"metadata": {}, "weight_map": index})),
        false => Ok(()),
    }
}

/// The files of a folder's pickled weights.
fn files(folder: &Path) -> Result<Vec<PathBuf>, ExpertsError> {
    let index = folder.join(PICKLED_INDEX);
    if !index.is_file() {
        return Ok(vec![folder.join(PICKLED)]);
    }
    let json: Value =
        serde_json::from_slice(&read_file(&index)?).map_err(|error| unusable(&index, error.to_string()))?;
    let map = json["weight_map"].as_object();
    let map = map.ok_or_else(|| unusable(&index, "it has no weight_map".to_owned()))?;
    let mut names: Vec<&str> = map.values().filter_map(Value::as_str).collect();
    names.sort_unstable();
    names.dedup();
    // A name with a folder in it could lead out of the model folder.
    if let Some(outside) = names.iter().find(|name| Path::new(name).components().count() != 1) {
        return Err(unusable(
            &index,
            format!("its weight_map must hold plain file names, but {outside} is no file name"),
        ));
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// The tensors of one file, in the order of their names.
fn parts(path: &Path) -> Result<Vec<StoredTensor>, ExpertsError> {
    // So that a missing file is reported as such, and not as a damaged pickle.
    fs::metadata(path).map_err(|source| ExpertsError::File { path: path.to_owned(), source })?;
    // candle panics on some damaged files; `quietly` makes `None` of a panic.
    let file = match quietly(|| PthTensors::new(path, None)) {
        Some(Ok(file)) => file,
        Some(Err(error)) => return Err(not_tensors(path, &first_line(&error))),
        None => return Err(not_tensors(path, "it is damaged")),
    };
    let mut names: Vec<&String> = file.tensor_infos().keys().collect();
    names.sort();
    if names.is_empty() {
        return Err(not_tensors(path, "it holds none"));
    }
    names.into_iter().map(|name| Ok(stored(vec![name.clone()], &tensor(&file, name, path)?))).collect()
}

fn not_tensors(path: &Path, reason: &str) -> ExpertsError {
    unusable(path, format!("it is no pickle of tensors: {reason}"))
}

/// One tensor of a file, in its precision.
fn tensor(file: &PthTensors, name: &str, path: &Path) -> Result<Tensor, ExpertsError> {
    let info = &file.tensor_infos()[name];
    let kind = match info.dtype {
        DType::F32 => Kind::Float,
        DType::F16 => Kind::Half,
        DType::BF16 => Kind::BFloat16,
        other => {
            let reason = format!("{name} is stored as {other:?}; only F32, F16 and BF16 are read");
            return Err(unsupported(path, reason));
        }
    };
    let shape: Vec<i64> = info.layout.dims().iter().map(|&size| size as i64).collect();
    let values = quietly(|| {
        // By way of 32-bit floats, which hold all values of both 16-bit types exactly.
        file.get(name)?.map(|tensor| tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()).transpose()
    });
    match values {
        Some(Ok(Some(values))) => Ok(Tensor::from_slice(&values).view(shape.as_slice()).to_kind(kind)),
        Some(Err(error)) => Err(unusable(path, format!("{name}: {}", first_line(&error)))),
        Some(Ok(None)) | None => Err(unusable(path, format!("{name} cannot be read"))),
    }
}
