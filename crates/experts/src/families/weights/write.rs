//! Writes folders of safetensors files.

// The safetensors library takes its metadata as a `HashMap`; ours has one entry, which has no order.
#![allow(clippy::disallowed_types)]

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use tch::{Kind, Tensor};

use super::PICKLED_INDEX;
use crate::error::ExpertsError;

/// Bytes that become one tensor of a file, or several tensors with equal values: upcycling copies each dense
/// map to every expert, and memory holds it once.
pub(crate) struct StoredTensor {
    names: Vec<String>,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl StoredTensor {
    /// The names of its tensors.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }
}

/// The bytes of a tensor, to be stored under each of these names.
pub(crate) fn stored(names: Vec<String>, tensor: &Tensor) -> StoredTensor {
    let shape = tensor.size().iter().map(|&size| size as usize).collect();
    StoredTensor { names, dtype: dtype(tensor.kind()), shape, bytes: bytes(tensor) }
}

/// Writes one safetensors file.
pub(crate) fn write(tensors: &[StoredTensor], path: &Path) -> Result<(), ExpertsError> {
    let broken = |error: safetensors::SafeTensorError| ExpertsError::unwritable(path, error);
    let mut views = Vec::new();
    for tensor in tensors {
        for name in &tensor.names {
            let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes).map_err(broken)?;
            views.push((name, view));
        }
    }
    // Releases of transformers 4 reject files without this entry.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(views, Some(metadata), path).map_err(broken)
}

/// Writes a JSON file with line breaks and indentation.
pub(crate) fn write_json(path: &Path, json: &Value) -> Result<(), ExpertsError> {
    let text = serde_json::to_string_pretty(json).expect("the value is plain data");
    fs::write(path, text + "\n").map_err(|source| ExpertsError::File { path: path.to_owned(), source })
}

/// The stored type of a kind of values.
pub(crate) fn dtype(kind: Kind) -> Dtype {
    match kind {
        Kind::Half => Dtype::F16,
        Kind::BFloat16 => Dtype::BF16,
        Kind::Int64 => Dtype::I64,
        _ => Dtype::F32,
    }
}

/// A tensor's values, row by row.
pub(crate) fn bytes(tensor: &Tensor) -> Vec<u8> {
    let tensor = tensor.contiguous();
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    bytes
}

/// Extensions of files that hold weights, of any format.
const WEIGHTS: [&str; 7] = ["safetensors", "bin", "pt", "pth", "gguf", "h5", "msgpack"];

/// Copies configuration, tokenizer and the like into a folder, which is created if it does not exist. Weights
/// of any format are not copied: beside the weights that are written there, they would be those of another
/// model.
pub(crate) fn copy_others(model: &Path, target: &Path) -> Result<(), ExpertsError> {
    let failed = |source| ExpertsError::File { path: target.to_owned(), source };
    fs::create_dir_all(target).map_err(failed)?;
    for entry in fs::read_dir(model).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let extension = path.extension().unwrap_or_default();
        let name = path.file_name().unwrap_or_default();
        // The index of safetensors is copied. A merged model has the same files; upcycling a model of several
        // files overwrites it.
        let is_weights = WEIGHTS.iter().any(|weights| extension == *weights) || name == PICKLED_INDEX;
        if path.is_file() && !is_weights {
            fs::copy(&path, target.join(name)).map_err(failed)?;
        }
    }
    Ok(())
}
