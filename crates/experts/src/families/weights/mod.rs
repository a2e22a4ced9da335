//! Checkpoints in safetensors files, one or many, mapped into memory.
//!
//! libtorch maps the file (`torch.from_file`, private to this process), so nothing here is `unsafe`, and a
//! tensor that is used in its stored precision is never copied. As with every memory map, if another program
//! truncates the file while it is in use, the operating system ends this process. Model folders must
//! therefore not be written to.

pub(crate) mod target;
pub(crate) mod write;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::error::ExpertsError;
use crate::families::config::Family;
use crate::families::config::names::on_disk;
use crate::model_files::{read_file, unsupported, unusable};

/// The weights of a folder with one file of weights.
pub(crate) const SINGLE: &str = "model.safetensors";
/// The file that names, in folders with several files of weights, the file of each tensor.
pub(crate) const INDEX: &str = "model.safetensors.index.json";
/// The weights of a folder with one file of pickled weights.
pub(crate) const PICKLED: &str = "pytorch_model.bin";
/// As [`INDEX`], for pickled weights.
pub(crate) const PICKLED_INDEX: &str = "pytorch_model.bin.index.json";
/// The most bytes of a header. No real checkpoint comes near it; a damaged length would otherwise allocate
/// any size.
const MAX_HEADER: u64 = 100 << 20;

/// Whether the weights of a folder are pickled.
pub(crate) fn is_pickled(folder: &Path) -> bool {
    [PICKLED, PICKLED_INDEX].iter().any(|name| folder.join(name).is_file())
}

/// Where a tensor is stored.
struct Location {
    /// Index of its file.
    shard: usize,
    dtype: Dtype,
    shape: Vec<i64>,
    /// First byte in the file.
    start: usize,
    /// Bytes.
    length: usize,
}

struct Shard {
    path: PathBuf,
    /// The whole file, `[bytes]`, mapped.
    bytes: Tensor,
}

/// The tensors of a model folder: `model.safetensors`, or the files that `model.safetensors.index.json`
/// names.
pub(crate) struct Checkpoint {
    folder: PathBuf,
    shards: Vec<Shard>,
    tensors: BTreeMap<String, Location>,
    /// Names of the tensors that were asked for, so that the rest can be reported.
    taken: RefCell<BTreeSet<String>>,
}

impl Checkpoint {
    /// Maps the files and reads their headers.
    ///
    /// # Errors
    /// [`ExpertsError::File`] or [`ExpertsError::Content`].
    pub(crate) fn open(folder: &Path) -> Result<Self, ExpertsError> {
        let mut checkpoint = Self {
            folder: folder.to_owned(),
            shards: vec![],
            tensors: BTreeMap::new(),
            taken: RefCell::default(),
        };
        for path in shard_paths(folder)? {
            checkpoint.add(path)?;
        }
        Ok(checkpoint)
    }

    /// Maps one safetensors file on its own.
    pub(crate) fn open_file(path: &Path) -> Result<Self, ExpertsError> {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let mut checkpoint =
            Self { folder, shards: vec![], tensors: BTreeMap::new(), taken: RefCell::default() };
        checkpoint.add(path.to_owned())?;
        Ok(checkpoint)
    }

    fn add(&mut self, path: PathBuf) -> Result<(), ExpertsError> {
        // The header is checked against the length of the file before the file is mapped: a read behind the
        // end of a mapped file would end the process.
        let (data_start, tensors, length) = read_header(&path)?;
        for (name, info) in tensors {
            let location = Location {
                shard: self.shards.len(),
                dtype: info.dtype,
                shape: info.shape.iter().map(|&size| size as i64).collect(),
                start: data_start + info.data_offsets.0,
                length: info.data_offsets.1 - info.data_offsets.0,
            };
            if self.tensors.contains_key(&name) {
                return Err(in_two_files(&self.folder, &name));
            }
            self.tensors.insert(name, location);
        }
        let name = path.to_str().ok_or_else(|| unusable(&path, "its path is not valid UTF-8".to_owned()))?;
        // `false`: private to this process, so nothing that is written to a tensor reaches the file.
        let bytes = Tensor::f_from_file(name, false, length, (Kind::Uint8, Device::Cpu))
            .map_err(|error| unusable(&path, format!("it cannot be mapped into memory: {error}")))?;
        self.shards.push(Shard { path, bytes });
        Ok(())
    }

    /// The files, in order, each with the names of its tensors.
    pub(crate) fn shards(&self) -> Vec<(&Path, Vec<&str>)> {
        let mut shards: Vec<(&Path, Vec<&str>)> =
            self.shards.iter().map(|shard| (shard.path.as_path(), Vec::new())).collect();
        for (name, location) in &self.tensors {
            shards[location.shard].1.push(name);
        }
        shards
    }

    /// How many values all tensors have together.
    pub(crate) fn parameters(&self) -> usize {
        self.tensors.values().map(|location| location.shape.iter().product::<i64>() as usize).sum()
    }

    /// Names of the tensors that were never asked for. A model reports them as ignored; in an adapter they
    /// are an error, because each should have changed the model.
    pub(crate) fn untaken(&self) -> Vec<String> {
        self.tensors.keys().filter(|name| !self.taken.borrow().contains(*name)).cloned().collect()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The shape of a tensor, if there is one of this name.
    pub(crate) fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let location = self.tensors.get(name)?;
        Some(location.shape.iter().map(|&size| size as usize).collect())
    }

    /// The name of a module in these files: the name that it has at run time in transformers 5, if the files
    /// use it, or the family's name on disk. Adapters and block tables use run-time names only.
    pub(crate) fn module(&self, family: Family, module: &str) -> String {
        match self.has(module) || self.has(&format!("{module}.weight")) {
            true => module.to_owned(),
            false => on_disk(family, module),
        }
    }

    /// A tensor of this shape, as it is stored.
    ///
    /// # Errors
    /// [`ExpertsError::Content`] if it is missing or has another shape, [`ExpertsError::Unsupported`] if it
    /// is stored in a format that cannot be read.
    pub(crate) fn take(&self, name: &str, shape: &[usize]) -> Result<Tensor, ExpertsError> {
        let expected: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
        let tensor =
            self.take_any(name).map_err(|error| match (self.has(name), self.is_quantised(name)) {
                (true, _) => error,
                (_, true) => {
                    self.unsupported(format!(
                        "{name} is quantised; only F32, F16 and BF16 are read, so use the model's unquantised release"
                    ))
                }
                _ => unusable(&self.folder, format!("the tensor {name} of shape {expected:?} is missing")),
            })?;
        match tensor.size() == expected {
            true => Ok(tensor),
            false => {
                let reason = format!("{name} must have the shape {expected:?}, not {:?}", tensor.size());
                Err(unusable(&self.path_of(name), reason))
            }
        }
    }

    /// A tensor of any shape, as it is stored.
    pub(crate) fn take_any(&self, name: &str) -> Result<Tensor, ExpertsError> {
        let location = self
            .tensors
            .get(name)
            .ok_or_else(|| unusable(&self.folder, format!("the tensor {name} is missing")))?;
        let kind = kind(location.dtype).ok_or_else(|| {
            let reason = format!("{name} is stored as {:?}; only F32, F16 and BF16 are read", location.dtype);
            unsupported(&self.path_of(name), reason)
        })?;
        self.taken.borrow_mut().insert(name.to_owned());
        let bytes = &self.shards[location.shard].bytes;
        // A view: pages of the file are read when the values are first used.
        let stored = bytes.narrow(0, location.start as i64, location.length as i64);
        // A view needs its values aligned in the file, which the format only recommends.
        let aligned = location.start.is_multiple_of(kind.elt_size_in_bytes());
        let stored = if aligned { stored } else { stored.copy() };
        Ok(stored.view_dtype(kind).view(location.shape.as_slice()))
    }

    /// The error that the folder is sound, but holds something that is not implemented.
    pub(crate) fn unsupported(&self, reason: String) -> ExpertsError {
        unsupported(&self.folder, reason)
    }

    /// Whether a weight is stored as integers of few bits, in the way of GPTQ and AWQ.
    fn is_quantised(&self, name: &str) -> bool {
        name.strip_suffix(".weight").is_some_and(|module| self.has(&format!("{module}.qweight")))
    }

    fn path_of(&self, name: &str) -> PathBuf {
        self.tensors.get(name).map_or(self.folder.clone(), |at| self.shards[at.shard].path.clone())
    }
}

/// libtorch's kind for a stored type; `None` for types that cannot be read.
fn kind(dtype: Dtype) -> Option<Kind> {
    match dtype {
        Dtype::F32 => Some(Kind::Float),
        Dtype::F16 => Some(Kind::Half),
        Dtype::BF16 => Some(Kind::BFloat16),
        Dtype::I64 => Some(Kind::Int64),
        _ => None,
    }
}

/// The files of a folder's weights. A single `model.safetensors` has precedence over an index, as in
/// transformers. If there is neither, the single file is returned, and opening it reports which file is
/// missing.
pub(crate) fn shard_paths(folder: &Path) -> Result<Vec<PathBuf>, ExpertsError> {
    let single = folder.join(SINGLE);
    let index = folder.join(INDEX);
    if !single.is_file() && !index.is_file() && is_pickled(folder) {
        let reason = "its weights are pickled, and a pickle is a program that loading would run; `cloister experts convert \
                      FOLDER TARGET` writes them as safetensors without running it";
        return Err(unsupported(folder, reason.to_owned()));
    }
    if single.is_file() || !index.is_file() {
        return Ok(vec![single]);
    }
    indexed_files(&index)
}

/// The error that two files of a folder have a tensor of the same name. The index does not decide: programs
/// that read whole files take the later one, whatever the index says.
pub(crate) fn in_two_files(folder: &Path, tensor: &str) -> ExpertsError {
    unusable(folder, format!("two of its files of weights have a tensor {tensor}, and only one may"))
}

/// The files that the index of a folder with several files of weights names, in order, at least one.
pub(crate) fn indexed_files(index: &Path) -> Result<Vec<PathBuf>, ExpertsError> {
    let json: Value =
        serde_json::from_slice(&read_file(index)?).map_err(|error| unusable(index, error.to_string()))?;
    let map =
        json["weight_map"].as_object().ok_or_else(|| unusable(index, "it has no weight_map".to_owned()))?;
    let mut names = BTreeSet::new();
    for (tensor, file) in map {
        let is_name = |name: &&str| Path::new(name).components().eq([Component::Normal(name.as_ref())]);
        // Names with folders in them could lead out of the model folder.
        let Some(name) = file.as_str().filter(is_name) else {
            return Err(unusable(
                index,
                format!(
                    "its weight_map must hold plain file names, but {file}, for {tensor}, is no file name"
                ),
            ));
        };
        names.insert(name);
    }
    if names.is_empty() {
        return Err(unusable(index, "its weight_map names no file".to_owned()));
    }
    Ok(names.into_iter().map(|name| index.with_file_name(name)).collect())
}

type Header = (usize, BTreeMap<String, TensorInfo>, i64);

/// Where the data of a file starts, what is in it, and how long the file is, both in bytes.
fn read_header(path: &Path) -> Result<Header, ExpertsError> {
    let failed = |source| ExpertsError::File { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut size = [0; 8];
    file.read_exact(&mut size).map_err(failed)?;
    let header_size = u64::from_le_bytes(size);
    // Checked before the buffer is allocated: a damaged file claims any size.
    if header_size > MAX_HEADER.min(length.saturating_sub(8)) {
        return Err(unusable(path, "it is no safetensors file, or it was cut short".to_owned()));
    }
    let mut header = vec![0; header_size as usize];
    file.read_exact(&mut header).map_err(failed)?;
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|error| unusable(path, error.to_string()))?;
    let data_start = size.len() + header.len();
    if (data_start + metadata.data_len()) as u64 != length {
        let expected = data_start + metadata.data_len();
        return Err(unusable(
            path,
            format!("it must have {expected} bytes by its header, but it has {length}"),
        ));
    }
    let tensors = metadata.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
    Ok((data_start, tensors, length as i64))
}
