//! Writes adapters in the format that PEFT reads.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};
use tch::{Kind, Tensor};

use crate::error::ExpertsError;
use crate::families::adapter::peft::{CONFIG, PREFIX, WEIGHTS};
use crate::families::adapter::{Adapter, Trained, labels};
use crate::families::config::Family;
use crate::families::config::names::{CORRECTION, HEAD, expert_maps, expert_module, on_disk};
use crate::families::weights::write::{StoredTensor, stored, write as write_tensors};

/// The release of PEFT whose layout is written.
const PEFT_VERSION: &str = "0.21.2";

/// What PEFT writes as `target_modules` if no module has an addition and only whole modules are saved. It
/// rejects an empty list.
const NO_TARGETS: &str = "dummy-target-modules";

/// How the adapters of experts are stored in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// All experts of a layer together, as PEFT does since 0.19. Switch Transformers have no such layout:
    /// their experts are written one by one.
    #[default]
    PeftFused,
    /// Each map of each expert on its own, as models of transformers 4 have it. Experts of Qwen2-MoE are not
    /// written in this layout: PEFT 0.20 and 0.21 load it over transformers 5 without an error, and compute
    /// something else.
    PerExpert,
}

impl Adapter {
    /// Writes `adapter_config.json` and `adapter_model.safetensors` into a folder, which is created if it
    /// does not exist. For an adapter with a head over classes it also writes `id2label.json`, which
    /// [`Adapter::read`] reads.
    ///
    /// # Errors
    /// [`ExpertsError::File`], [`ExpertsError::Content`], [`ExpertsError::Layout`] for a layout that PEFT
    /// reads wrongly, or [`ExpertsError::WholeExperts`] if experts are trained whole: PEFT has no layout for
    /// them, so such an adapter is written by [`write_merged`](super::write_merged).
    pub fn write(&self, folder: &Path, family: Family, layout: Layout) -> Result<(), ExpertsError> {
        if self.has_whole_experts() {
            return Err(ExpertsError::WholeExperts { path: folder.to_owned() });
        }
        let has_experts =
            self.modules.values().any(|trained| matches!(trained, Trained::Low { a, .. } if a.dim() == 3));
        // Rejected rather than written: PEFT takes these tensors for the dense network's, without an error.
        if family == Family::Qwen2Moe && layout == Layout::PerExpert && has_experts {
            return Err(ExpertsError::Layout { path: folder.to_owned() });
        }
        fs::create_dir_all(folder)
            .map_err(|source| ExpertsError::File { path: folder.to_owned(), source })?;
        let writer = Writer { family, layout, rank: self.rank().max(1) as i64 };
        let mut tensors: BTreeMap<String, Tensor> =
            self.modules.iter().flat_map(|(name, trained)| writer.tensors(name, trained)).collect();
        for (name, bias) in &self.corrections {
            tensors.insert(format!("{PREFIX}{name}.{CORRECTION}"), plain(bias));
        }
        let parts: Vec<StoredTensor> =
            tensors.iter().map(|(name, tensor)| stored(vec![name.clone()], tensor)).collect();
        write_tensors(&parts, &folder.join(WEIGHTS))?;
        labels::write(&self.classes, folder)?;
        let path = folder.join(CONFIG);
        let config = serde_json::to_string_pretty(&writer.config(self)).expect("the settings are plain data");
        fs::write(&path, config + "\n").map_err(|source| ExpertsError::File { path, source })
    }
}

/// Turns modules into named tensors of one layout.
struct Writer {
    family: Family,
    layout: Layout,
    /// All modules are written with this rank, because the settings written beside them have one `r`. Smaller
    /// ranks are filled up with zeros, which changes no product.
    rank: i64,
}

impl Writer {
    /// Whether all experts of a layer are written together.
    fn fuses(&self) -> bool {
        self.layout == Layout::PeftFused && self.family != Family::SwitchTransformers
    }

    /// The tensors of one module.
    fn tensors(&self, name: &str, trained: &Trained) -> Vec<(String, Tensor)> {
        match trained {
            Trained::Whole(weight) => vec![(format!("{PREFIX}{name}.weight"), plain(weight))],
            Trained::Low { a, b } => {
                let (a, b) = (padded(&plain(a), -2, self.rank), padded(&plain(b), -1, self.rank));
                match a.dim() {
                    2 => pair(name, a, b),
                    // Three dimensions: the experts of a layer.
                    _ if self.fuses() => self.fused(name, &a, &b),
                    _ => self.one_by_one(name, &a, &b),
                }
            }
        }
    }

    /// The halves of all experts of a layer together; the layout is described in [`super::peft`].
    fn fused(&self, name: &str, a: &Tensor, b: &Tensor) -> Vec<(String, Tensor)> {
        let (module, map) = name.rsplit_once('.').unwrap_or((name, ""));
        let inner = if map == "gate_up_proj" { ".base_layer" } else { "" };
        let b = b.permute([1, 2, 0]).reshape([b.size()[1], -1]);
        pair(&format!("{module}{inner}"), a.reshape([-1, a.size()[2]]), b)
    }

    /// The halves of each expert's maps. Gate and up share `A` and have the rows of `B` that are theirs.
    fn one_by_one(&self, name: &str, a: &Tensor, b: &Tensor) -> Vec<(String, Tensor)> {
        let (module, map) = name.rsplit_once('.').unwrap_or((name, ""));
        let module = on_disk(self.family, module);
        let maps = expert_maps(self.family, map);
        let mut tensors = Vec::new();
        for expert in 0..a.size()[0] {
            let rows = b.get(expert).chunk(maps.len() as i64, 0);
            for (map, rows) in maps.iter().zip(rows) {
                let name = expert_module(self.family, &module, expert as usize, map);
                // Copied, because no two tensors of a file may share memory.
                tensors.extend(pair(&name, a.get(expert).copy(), rows.copy()));
            }
        }
        tensors
    }

    /// The content of `adapter_config.json`.
    fn config(&self, adapter: &Adapter) -> Value {
        let mut modules = last_parts(names_of_shape(adapter, TrainedShape::Linear));
        let experts = last_parts(names_of_shape(adapter, TrainedShape::Experts));
        let mut parameters = Vec::new();
        match self.fuses() {
            true => parameters = experts.iter().map(|map| format!("mlp.experts.{map}")).collect(),
            false => modules
                .extend(experts.iter().flat_map(|map| expert_maps(self.family, map)).map(str::to_owned)),
        }
        modules.sort();
        modules.dedup();
        let mut saved = Vec::new();
        if !names_of_shape(adapter, TrainedShape::Router).is_empty() {
            saved.push(match self.family {
                Family::SwitchTransformers => "router.classifier",
                _ => "mlp.gate",
            });
        }
        let targets = match modules.is_empty() && parameters.is_empty() {
            true => json!(NO_TARGETS),
            false => json!(modules),
        };
        // With this task, PEFT expects a model for sequence classification, which has the module `score`.
        let task = adapter.head().map(|_| "SEQ_CLS");
        saved.extend(task.map(|_| HEAD));
        json!({
            "peft_type": "LORA",
            "peft_version": PEFT_VERSION,
            "task_type": task,
            "inference_mode": true,
            "r": self.rank,
            // PEFT divides by `r`, which may be larger than the rank with which a module was trained.
            "lora_alpha": adapter.scale * self.rank as f64,
            // PEFT rejects dropout for fused experts, and a trained adapter needs none.
            "lora_dropout": 0.0,
            "bias": "none",
            "target_modules": targets,
            "target_parameters": (!parameters.is_empty()).then_some(parameters),
            "modules_to_save": (!saved.is_empty()).then_some(saved),
        })
    }
}

/// What is trained of a module: the halves for a linear map, those for all experts, or a router's weight.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TrainedShape {
    Linear,
    Experts,
    Router,
}

/// The names of the modules of one shape. The head over classes has an entry of its own in PEFT's settings,
/// so it is left out.
fn names_of_shape(adapter: &Adapter, shape: TrainedShape) -> Vec<&str> {
    let mut names = Vec::new();
    for (name, trained) in adapter.modules.iter().filter(|(name, _)| *name != HEAD) {
        let is_shape = match trained {
            Trained::Low { a, .. } if a.dim() == 3 => TrainedShape::Experts,
            Trained::Low { .. } => TrainedShape::Linear,
            // Adapters with whole experts are not written.
            Trained::Whole(_) => TrainedShape::Router,
        };
        if is_shape == shape {
            names.push(name.as_str());
        }
    }
    names
}

/// The last parts of names, sorted, each once.
fn last_parts(names: Vec<&str>) -> Vec<String> {
    let mut parts: Vec<String> =
        names.into_iter().filter_map(|name| name.rsplit('.').next()).map(str::to_owned).collect();
    parts.sort();
    parts.dedup();
    parts
}

/// The two halves of a module with their names in the file.
fn pair(module: &str, a: Tensor, b: Tensor) -> Vec<(String, Tensor)> {
    vec![
        (format!("{PREFIX}{module}.lora_A.weight"), a.contiguous()),
        (format!("{PREFIX}{module}.lora_B.weight"), b.contiguous()),
    ]
}

/// Fills a dimension, counted from the end as a negative number, up with zeros.
fn padded(tensor: &Tensor, dimension: i64, size: i64) -> Tensor {
    let mut missing = tensor.size();
    let index = (missing.len() as i64 + dimension) as usize;
    missing[index] = size - missing[index];
    match missing[index] {
        0 => tensor.shallow_clone(),
        _ => Tensor::cat(
            &[tensor, &Tensor::zeros(missing.as_slice(), (tensor.kind(), tensor.device()))],
            dimension,
        ),
    }
}

/// The same values in 32-bit floats on the CPU.
pub(crate) fn plain(tensor: &Tensor) -> Tensor {
    tensor.detach().to_kind(Kind::Float).to_device(tch::Device::Cpu).contiguous()
}
