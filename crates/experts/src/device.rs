//! Where a model computes, chosen when the program runs: one program serves machines with and without a GPU.
//!
//! The linker drops libtorch's CUDA half, as nothing in a program names it; it is opened by its name, from wherever
//! the dynamic linker finds libtorch. What is opened stays open.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use dlopen2::raw::Library;
use tch::{Cuda, Device, Kind, Tensor};

use crate::error::ExpertsError;

/// On a CPU, batches are padded to a multiple of this many rows. If almost every step had another number of
/// rows, oneDNN would compile new kernels in each, and memory would fragment.
pub(crate) const FILLED_ROWS: i64 = 64;

/// The library, below the folder of libtorch or of Python's torch.
const CPU_LIBRARY: &str = "/lib/libtorch_cpu.so";
const CUDA_LIBRARY: &str = "libtorch_cuda.so";
/// `RTLD_NOW | RTLD_GLOBAL`: missing symbols are reported at once, and libtorch sees the symbols of the
/// library.
const FLAGS: i32 = 0x2 | 0x100;

/// The device of this name: `cpu`, `cuda`, `cuda:N` counted from 0, or `auto`, the first GPU if one can be used.
///
/// # Errors
/// [`ExpertsError::Device`] for another name, or for a GPU that cannot be used, and why.
pub fn named(name: &str) -> Result<Device, ExpertsError> {
    let fail = |reason: String| ExpertsError::Device { name: name.to_owned(), reason };
    let number = match name {
        "cpu" => return Ok(Device::Cpu),
        // Why there is no GPU does not matter to a hospital that asks for none in particular.
        "auto" => return Ok(open_cuda().map_or(Device::Cpu, |_| Device::Cuda(0))),
        "cuda" => "0",
        // Without the prefix nothing is left, which is no number: other names get the same message.
        _ => name.strip_prefix("cuda:").unwrap_or_default(),
    };
    let number: usize = number.parse().map_err(|_| fail("expected cpu, auto, cuda or cuda:N".to_owned()))?;
    let devices = open_cuda().map_err(fail)?;
    match number < devices {
        true => Ok(Device::Cuda(number)),
        false => Err(fail(format!("this machine has {devices} of them, counted from 0"))),
    }
}

/// The folder of the libtorch that this process has loaded, if the system says it.
pub fn loaded_libtorch() -> Option<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let files = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    let file = files.into_iter().find(|path| path.ends_with(CPU_LIBRARY))?;
    Some(PathBuf::from(file.strip_suffix(CPU_LIBRARY)?))
}

/// A copy on this device of a tensor in the host's memory. For a GPU the source is pinned and the copy
/// asynchronous, so the host does not wait for the work that is queued before the copy. libtorch keeps the
/// pinned pages until it is done.
pub(crate) fn uploaded(tensor: &Tensor, device: Device) -> Tensor {
    match device {
        Device::Cuda(_) => {
            tensor.internal_pin_memory(device).to_dtype_layout((tensor.kind(), device), true, false)
        }
        _ => tensor.to_device(device),
    }
}

/// The values of a tensor, row by row.
pub(crate) fn values(tensor: &Tensor) -> Vec<f32> {
    let flat = tensor.detach().to_device(Device::Cpu).flatten(0, -1);
    Vec::try_from(flat).expect("every tensor read out is a non-empty f32 tensor")
}

/// The values of a vector of integers or truth values.
pub(crate) fn integers(tensor: &Tensor) -> Vec<i64> {
    Vec::try_from(tensor.to_kind(Kind::Int64)).expect("the tensor is a vector")
}

/// The type of the numbers that a model computes with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precision {
    /// 32-bit floats.
    Float32,
    /// bfloat16. What is trained is kept in 32-bit floats.
    Bfloat16,
}

impl Precision {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Float32 => Kind::Float,
            Self::Bfloat16 => Kind::BFloat16,
        }
    }

    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Self::Float32 => 4,
            Self::Bfloat16 => 2,
        }
    }
}

/// Sets how many threads libtorch uses on the CPU, in the whole process.
///
/// # Errors
/// [`ExpertsError::Config`] for 0.
pub fn set_threads(threads: usize) -> Result<(), ExpertsError> {
    match i32::try_from(threads) {
        Ok(threads @ 1..) => {
            tch::set_num_threads(threads);
            Ok(())
        }
        _ => Err(ExpertsError::Config("threads must be at least 1".to_owned())),
    }
}

/// Opens libtorch's CUDA half, once, and returns how many GPUs it finds, at least one.
fn open_cuda() -> Result<usize, String> {
    static OPENED: OnceLock<Result<Library, String>> = OnceLock::new();
    let opened = OPENED.get_or_init(|| {
        Library::open_with_flags(CUDA_LIBRARY, Some(FLAGS)).map_err(|error| {
            format!("{error}; install libtorch with CUDA, and name its folder in LD_LIBRARY_PATH")
        })
    });
    // Asked only after the library is open: before, libtorch has no CUDA half to ask.
    match (opened, Cuda::device_count()) {
        (Err(reason), _) => Err(reason.clone()),
        (Ok(_), devices) if devices > 0 && Cuda::is_available() => Ok(devices as usize),
        (Ok(_), _) => Err("libtorch finds no GPU with a driver that it can use".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libtorch_of_this_process_is_found() {
        set_threads(1).expect("libtorch is loaded");
        let folder = loaded_libtorch().expect("this process uses it");
        assert!(folder.join("lib/libtorch_cpu.so").exists(), "{}", folder.display());
    }

    #[test]
    fn names_are_read_and_what_is_no_device_is_refused() {
        assert_eq!(named("cpu").expect("every machine has one"), Device::Cpu);
        for wrong in ["", "gpu", "cuda:", "cuda:x", "cuda:-1"] {
            let error = named(wrong).expect_err(wrong).to_string();
            assert!(error.contains("expected cpu, auto, cuda or cuda:N"), "{error}");
        }
        assert!(named("cuda:99").is_err());
        assert!(matches!(named("auto"), Ok(Device::Cpu | Device::Cuda(0))));
    }
}
