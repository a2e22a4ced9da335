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

/// Asks `nvidia-smi`, which answers in MiB.
fn free_of_gpu(number: usize) -> Option<usize> {
    let query = ["--query-gpu=memory.free", "--format=csv,noheader,nounits", "--id"];
    let output =
        std::process::Command::new("nvidia-smi").args(query).arg(number.to_string()).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().parse::<usize>().ok()? << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

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
