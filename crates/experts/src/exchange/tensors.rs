//! Named tensors, files of them, and their conversion from and to blocks.

// The safetensors library takes its metadata as a `HashMap`; ours is empty.
#![allow(clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::path::Path;

use cloister_params::block::BlockKind;
use cloister_updates::BlockVectors;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::device::values;
use crate::error::ExpertsError;
use crate::families::adapter::blocks::Piece;
use crate::families::{Adapter, AdapterBlocks};
use crate::model_files::unusable;

/// A tensor of 32-bit floats.
#[derive(Clone, PartialEq, Debug)]
pub struct NamedTensor {
    /// Its name in the file, such as `layers.4.experts.3.up.lora_B`.
    pub name: String,
    /// Its shape, outermost dimension first.
    pub shape: Vec<usize>,
    /// Its values, row by row.
    pub values: Vec<f32>,
}

/// The names and shapes of the trained tensors. Where a layer's experts share one tensor, its first dimension is the
/// expert.
pub(super) fn shapes(blocks: &AdapterBlocks) -> BTreeMap<String, Vec<usize>> {
    let mut shapes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for piece in blocks.blocks().iter().flat_map(|block| &block.pieces) {
        let shape = shapes.entry(piece.tensor.clone()).or_insert_with(|| match piece.expert {
            Some(_) => [&[0], piece.shape.as_slice()].concat(),
            None => piece.shape.clone(),
        });
        if let Some(expert) = piece.expert {
            shape[0] = shape[0].max(expert + 1);
        }
    }
    shapes
}

/// The first halves of an adapter, which stay as they were drawn.
pub(super) fn first_halves(adapter: &Adapter) -> Vec<NamedTensor> {
    let mut halves = Vec::new();
    for (name, tensor) in adapter.tensors() {
        if name.ends_with("lora_A") {
            let shape = tensor.size().iter().map(|&size| size as usize).collect();
            halves.push(NamedTensor { name, shape, values: values(tensor) });
        }
    }
    halves
}

/// Where a piece's values lie in its tensor: experts of one tensor lie one after another, all of the same
/// length.
fn range(piece: &Piece) -> std::ops::Range<usize> {
    let length: usize = piece.shape.iter().product();
    let start = piece.expert.unwrap_or(0) * length;
    start..start + length
}

/// The tensors that blocks are made of.
pub(super) fn named_tensors(blocks: &AdapterBlocks, vectors: &BlockVectors) -> Vec<NamedTensor> {
    let mut tensors = BTreeMap::new();
    for (name, shape) in shapes(blocks) {
        let values = vec![0.0; shape.iter().product()];
        tensors.insert(name.clone(), NamedTensor { name, shape, values });
    }
    for (block, vector) in blocks.blocks().iter().zip(vectors.values()) {
        let mut start = 0;
        for piece in &block.pieces {
            let range = range(piece);
            if let Some(tensor) = tensors.get_mut(&piece.tensor) {
                tensor.values[range.clone()].copy_from_slice(&vector[start..start + range.len()]);
            }
            start += range.len();
        }
    }
    tensors.into_values().collect()
}

/// The blocks that tensors make up; reserved coordinates and routing blocks are 0.
pub(super) fn to_blocks(blocks: &AdapterBlocks, tensors: &BTreeMap<String, Vec<f32>>) -> Vec<Vec<f32>> {
    let mut vectors = Vec::new();
    for block in blocks.blocks() {
        let pieces = block.pieces.iter().filter_map(|piece| Some(&tensors.get(&piece.tensor)?[range(piece)]));
        let mut vector: Vec<f32> = pieces.flatten().copied().collect();
        debug_assert!(!vector.is_empty() || matches!(block.shape.kind, BlockKind::Routing { .. }));
        // No tensor has a router's reserved coordinate, nor a routing block.
        vector.resize(block.shape.length as usize, 0.0);
        vectors.push(vector);
    }
    vectors
}

/// Writes a file of tensors. Equal tensors give equal bytes, because there is no metadata, whose order is
/// random.
pub(super) fn write(path: &Path, tensors: &[NamedTensor]) -> Result<(), ExpertsError> {
    let broken = |error: safetensors::SafeTensorError| unusable(path, error.to_string());
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|tensor| tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect())
        .collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|(tensor, bytes)| Ok((&tensor.name, TensorView::new(Dtype::F32, tensor.shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(broken)?;
    let file = safetensors::serialize(views, None).map_err(broken)?;
    std::fs::write(path, file).map_err(|source| ExpertsError::File { path: path.to_owned(), source })
}

/// The tensors of a file, which must have exactly these names and shapes and finite values.
///
/// # Errors
/// The first thing that is wrong, as a sentence.
pub(super) fn parse(
    bytes: &[u8],
    expected: &BTreeMap<String, Vec<usize>>,
) -> Result<BTreeMap<String, Vec<f32>>, String> {
    let file =
        SafeTensors::deserialize(bytes).map_err(|error| format!("it is not a safetensors file: {error}"))?;
    // Before what is missing: a misspelt name is both, and this message shows it.
    if let Some(name) = file.names().into_iter().find(|name| !expected.contains_key(*name)) {
        return Err(format!("unexpected tensor {name}; the expected ones are {}", names(expected)));
    }
    let read = |(name, shape): (&String, &Vec<usize>)| {
        let view = file.tensor(name).map_err(|_| format!("the tensor {name} is missing"))?;
        if view.dtype() != Dtype::F32 || view.shape() != shape {
            let (dtype, got) = (view.dtype(), view.shape());
            return Err(format!("the tensor {name} must be F32 {shape:?}, not {dtype:?} {got:?}"));
        }
        let value = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let values: Vec<f32> = view.data().chunks_exact(4).map(value).collect();
        match values.iter().position(|value| !value.is_finite()) {
            Some(place) => Err(format!("value {place} of the tensor {name} is {}", values[place])),
            None => Ok((name.clone(), values)),
        }
    };
    expected.iter().map(read).collect()
}

fn names(expected: &BTreeMap<String, Vec<usize>>) -> String {
    let some: Vec<&str> = expected.keys().take(3).map(String::as_str).collect();
    format!("{}, … ({} in all)", some.join(", "), expected.len())
}
