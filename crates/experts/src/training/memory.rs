//! How much memory a training takes, estimated before anything is loaded, and how much is free.

use std::fs;

use serde::Serialize;
use tch::Device;

use crate::error::ExpertsError;

/// An environment variable that libtorch reads when it starts, and its value: how many compiled kernels
/// oneDNN caches. Batches differ in their numbers of tokens, so almost every step compiles new ones. By
/// default 1,024 are cached, which took 120 MiB over 20 rounds of training.
pub const BOUNDED_CACHE: (&str, &str) = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64");

/// What libtorch, the tokenizer and the rest of a program take, in bytes.
const PROGRAM: usize = 300 << 20;

/// Memory that training takes, in bytes: 25 to 60 % more than what is live at the peak (`tests/memory.rs`
/// measures it), because an allocator keeps a part of what training freed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct MemoryEstimate {
    /// The model's frozen weights.
    pub weights: usize,
    /// What is trained, in 32-bit floats.
    pub adapter: usize,
    /// Its gradients.
    pub gradients: usize,
    /// The optimizer's two moments of it.
    pub optimizer: usize,
    /// What the backward pass keeps of one batch; of the built-in classifier, its encoded notes too.
    pub activations: usize,
    /// The head's outputs.
    pub logits: usize,
}

impl MemoryEstimate {
    /// The sum of all parts, in bytes.
    pub fn total(&self) -> usize {
        self.weights + self.adapter + self.gradients + self.optimizer + self.activations + self.logits
    }

    /// Rejects a training that needs more memory than is free on the device.
    ///
    /// # Errors
    /// [`ExpertsError::Memory`] if less is free. If that cannot be found out, every training is accepted.
    pub fn check(&self, device: Device) -> Result<(), ExpertsError> {
        let needed = self.total() + PROGRAM;
        match available(device) {
            Some(available) if needed > available => Err(ExpertsError::Memory { needed, available }),
            _ => Ok(()),
        }
    }
}

/// Bytes that are free: of a GPU as its driver reports; of this machine as Linux reports, within the limit of
/// the container. Nothing if they cannot be found out.
pub fn available(device: Device) -> Option<usize> {
    match device {
        Device::Cpu => [free_of_machine(), free_of_container()].into_iter().flatten().min(),
        Device::Cuda(number) => free_of_gpu(number),
        _ => None,
    }
}

fn free_of_machine() -> Option<usize> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    // Not `MemFree`: Linux gives the page cache back when a program needs memory.
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<usize>().ok()? * 1024)
}

fn free_of_container() -> Option<usize> {
    // `current` counts the container's page cache too, so this may be less than what a training could get.
    Some(memory_of_container("max")?.saturating_sub(memory_of_container("current")?))
}

/// A number of bytes of the control group. `max` is a word, and so no number, where there is no limit.
fn memory_of_container(name: &str) -> Option<usize> {
    fs::read_to_string(format!("/sys/fs/cgroup/memory.{name}")).ok()?.trim().parse().ok()
}

/// A GPU as `nvidia-smi` lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Gpu {
    uuid: String,
    name: String,
    /// In bytes.
    free: usize,
}

/// Asks `nvidia-smi`, which does not read the variables that choose and order the GPUs of this process.
// CUDA reads these variables itself, so that they cannot be arguments.
#[allow(clippy::disallowed_methods)]
fn free_of_gpu(number: usize) -> Option<usize> {
    let query = ["--query-gpu=uuid,name,memory.free", "--format=csv,noheader,nounits"];
    let output = std::process::Command::new("nvidia-smi").args(query).output().ok()?;
    let gpus = gpus(&String::from_utf8_lossy(&output.stdout))?;
    let [visible, order] = ["CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"].map(|name| std::env::var(name).ok());
    Some(chosen_gpu(&gpus, number, visible.as_deref(), order.as_deref())?.free)
}

/// The GPUs in the answer of `nvidia-smi`, one on each line, with memory in MiB.
fn gpus(answer: &str) -> Option<Vec<Gpu>> {
    let gpu = |line: &str| {
        let [uuid, name, free] = line.split(',').map(str::trim).collect::<Vec<_>>()[..].try_into().ok()?;
        Some(Gpu {
            uuid: str::to_owned(uuid),
            name: str::to_owned(name),
            free: str::parse::<usize>(free).ok()? << 20,
        })
    };
    answer.lines().map(gpu).collect()
}

/// The GPU that CUDA gives this number in a process with these values of `CUDA_VISIBLE_DEVICES` and
/// `CUDA_DEVICE_ORDER`; none if that cannot be said for certain.
fn chosen_gpu<'a>(
    gpus: &'a [Gpu],
    number: usize,
    visible: Option<&str>,
    order: Option<&str>,
) -> Option<&'a Gpu> {
    let number = number.to_string();
    let entry = visible.map_or(Some(&*number), |list| list.split(',').nth(number.parse().ok()?))?.trim();
    if let Ok(index) = entry.parse::<usize>() {
        // By default CUDA numbers the fastest GPU first, and `nvidia-smi` lists them by their places on the bus.
        let is_one_order = order == Some("PCI_BUS_ID") || gpus.iter().all(|gpu| gpu.name == gpus[0].name);
        return gpus.get(index).filter(|_| is_one_order);
    }
    // CUDA takes the beginning of a UUID too. A part of a GPU (`MIG-…`) has less memory than the GPU.
    let mut named = gpus.iter().filter(|gpu| entry.starts_with("GPU-") && gpu.uuid.starts_with(entry));
    named.next().filter(|_| named.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gpu_whose_memory_counts_is_the_one_that_the_process_uses() {
        let answer = "GPU-aa1, NVIDIA A, 10\nGPU-aa2, NVIDIA A, 20\nGPU-bb3, NVIDIA A, 30\n";
        let same = gpus(answer).expect("three");
        let mixed = gpus(&answer.replace("aa1, NVIDIA A", "aa1, NVIDIA B")).expect("three");
        let free =
            |gpus, number, visible, order| chosen_gpu(gpus, number, visible, order).map(|gpu| gpu.free >> 20);
        assert_eq!(free(&same, 1, None, None), Some(20));
        assert_eq!(free(&same, 1, Some("2,0"), None), Some(10));
        assert_eq!(free(&same, 0, Some("GPU-bb, GPU-aa1"), None), Some(30));
        assert_eq!(free(&same, 1, Some("GPU-bb, GPU-aa1"), None), Some(10));
        assert_eq!(free(&mixed, 1, None, Some("PCI_BUS_ID")), Some(20));
        for (gpus, number, visible) in [
            (&mixed, 1, None),
            (&same, 3, None),
            (&same, 1, Some("2")),
            (&same, 0, Some("GPU-aa")),
            (&same, 0, Some("MIG-aa1")),
        ] {
            assert_eq!(free(gpus, number, visible, None), None, "{number} of {visible:?}");
        }
        assert_eq!(gpus("NVIDIA-SMI has failed"), None);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_numbers() {
        let fits = MemoryEstimate {
            weights: 1 << 20,
            adapter: 0,
            gradients: 0,
            optimizer: 0,
            activations: 0,
            logits: 0,
        };
        fits.check(Device::Cpu).expect("every machine has so much");
        let error =
            MemoryEstimate { weights: 1 << 50, ..fits }.check(Device::Cpu).expect_err("no machine has");
        assert!(error.to_string().contains("training takes about 1048576.3 GiB"), "{error}");
    }
}
