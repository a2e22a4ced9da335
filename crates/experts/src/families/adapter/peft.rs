//! Adapters as PEFT writes them: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! PEFT has two layouts for experts. Since 0.19 it stores those of a layer together (`target_parameters`):
//! `mlp.experts.base_layer.lora_A` `[experts · rank, in]`, expert by expert, and `lora_B` `[out, rank ·
//! experts]`, rank by rank, belong to gate and up; the same names without `base_layer` belong to down. The
//! reason is that PEFT wraps one parameter at a time (`ParamWrapper`): the wrapper of down has the wrapper of
//! gate and up as its base layer. Before 0.19, and still for models of transformers 4, each map of each
//! expert has tensors of its own: `mlp.experts.3.gate_proj.lora_A` `[rank, in]`.

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Device, Kind, Tensor};

use crate::error::ExpertsError;
use crate::families::adapter::{Adapter, Trained, labels};
use crate::families::config::Family;
use crate::families::config::fields::Fields;
use crate::families::config::names::{CORRECTION, expert_maps, expert_module, on_disk};
use crate::families::models::published::PublishedModel;
use crate::families::models::sites::{SiteKind, SiteShape};
use crate::families::weights::Checkpoint;
use crate::model_files::unsupported;

/// PEFT's prefix of every tensor name.
pub(super) const PREFIX: &str = "base_model.model.";
pub(super) const CONFIG: &str = "adapter_config.json";
pub(super) const WEIGHTS: &str = "adapter_model.safetensors";

impl Adapter {
    /// Reads a folder that PEFT, or [`Adapter::write`], has written for this model.
    ///
    /// # Errors
    /// [`ExpertsError::File`]; [`ExpertsError::Content`] for settings that make no sense;
    /// [`ExpertsError::Unsupported`] for an adapter that is not LoRA, that is more than its matrices, that
    /// belongs to another model, or that has tensors for which the model has no place;
    /// [`ExpertsError::WholeExperts`] for one that has whole experts.
    pub fn read(folder: &Path, model: &mut PublishedModel) -> Result<Self, ExpertsError> {
        let fields = Fields::read(&folder.join(CONFIG))?;
        // First, because the error for whole experts names the way out: the merged model.
        if fields.texts("modules_to_save")?.iter().any(|module| module.ends_with("experts")) {
            return Err(ExpertsError::WholeExperts { path: folder.to_owned() });
        }
        let settings = Settings::read(&fields)?;
        let path = folder.join(WEIGHTS);
        let file = Checkpoint::open_file(&path)?;
        let reader =
            Reader { file: &file, family: model.family(), settings: &settings, device: model.device() };
        let mut modules = BTreeMap::new();
        let sites = model.sites();
        for site in &sites {
            if let Some(trained) = reader.trained(site)? {
                modules.insert(site.name.clone(), trained);
            }
        }
        let corrections = model.corrections(&modules);
        corrections.iter().try_for_each(|(module, bias)| reader.check_correction(module, bias))?;
        // Ignored tensors would make it another adapter than the one that was trained.
        if let Some(unused) = file.untaken().first() {
            return Err(unsupported(
                &path,
                format!("the model has no place for its tensor {unused}; is the adapter another model's?"),
            ));
        }
        let mut adapter = Self { scale: settings.scale, modules, corrections, classes: vec![] };
        adapter.classes = labels::read(folder, adapter.head().map_or(0, |weight| weight.size()[0] as usize))?;
        adapter.check(&sites).map_err(|error| unsupported(&path, error.to_string()))?;
        Ok(adapter)
    }
}

/// Settings of `adapter_config.json` that must be absent or empty: with them, an adapter is more than its
/// matrices and one scale. `alpha_pattern` and `rank_pattern`, for example, give modules scales of their own.
const CHANGING: [&str; 12] = [
    "alora_invocation_tokens",
    "alpha_pattern",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "loftq_config",
    "megatron_config",
    "monteclora_config",
    "rank_pattern",
    "trainable_token_indices",
    "use_bdlora",
    "velora_config",
];

/// Settings that do not change what a trained adapter computes: names and versions, how the matrices were
/// initialised, which modules were targeted (the tensors themselves tell), and what acts only in PEFT's own
/// training.
const HARMLESS: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "modules_to_save",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
];

/// What `adapter_config.json` says that the tensors do not.
struct Settings {
    /// Factor of all additions.
    scale: f64,
    /// Whether down is the only fused parameter that is trained. Then gate and up have no tensors.
    down_only: bool,
    /// Whether gate and up are the only fused parameters that are trained. Then their names have no
    /// `base_layer`.
    up_only: bool,
}

impl Settings {
    /// Reads the settings, and rejects those that change what the adapter computes in a way that is not
    /// implemented.
    fn read(fields: &Fields) -> Result<Self, ExpertsError> {
        fields.demand("peft_type", &["LORA"])?;
        fields.demand("bias", &["none"])?;
        for off in ["use_dora", "lora_bias", "fan_in_fan_out", "use_qalora"] {
            fields.demand_false(off)?;
        }
        for empty in CHANGING {
            fields.demand_empty(empty)?;
        }
        check_start(fields)?;
        let rank = fields.size(&["r"])? as f64;
        let alpha = fields.required("lora_alpha")?;
        let fused = fields.texts("target_parameters")?;
        // PEFT 0.19 changed this layout only.
        if !fused.is_empty() {
            check_orientation(fields)?;
        }
        // Rank-stabilised LoRA divides by the root of the rank.
        let rank_or_root = if fields.flag("use_rslora", false)? { rank.sqrt() } else { rank };
        fields.refuse_others(&[HARMLESS])?;
        let down = fused.iter().any(|target| target.ends_with("down_proj"));
        let up = fused.iter().any(|target| target.ends_with("gate_up_proj"));
        Ok(Self { scale: alpha / rank_or_root, down_only: down && !up, up_only: up && !down })
    }
}

/// Rejects additions that were initialised from the model's weights. PEFT subtracts them from its copy of the
/// weights first, so adding them to the published weights gives a different model.
fn check_start(fields: &Fields) -> Result<(), ExpertsError> {
    let kind = fields.text_or_flag("init_lora_weights")?;
    match kind.as_deref() {
        // These fill the two matrices and leave the model's weights as they are.
        None | Some("true" | "false" | "gaussian" | "eva" | "orthogonal") => Ok(()),
        Some(kind) => Err(fields.unsupported(format!(
            "its init_lora_weights is “{kind}”, for which PEFT changes the model's weights too; convert it with PEFT \
             (save_pretrained with path_initial_model_for_weight_conversion)"
        ))),
    }
}

/// Rejects fused experts from PEFT before 0.19, whose halves are stored the other way round.
fn check_orientation(fields: &Fields) -> Result<(), ExpertsError> {
    let version = fields.text(&["peft_version"])?.unwrap_or_default();
    // A version that is absent or that cannot be read counts as 0.0, and is rejected.
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let release = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if release >= (0, 19) {
        return Ok(());
    }
    Err(fields.unsupported(format!(
        "its peft_version is “{version}”, which stores the adapters of experts in another layout; load the adapter with \
         PEFT 0.19 or newer and save it again"
    )))
}

/// Reads the tensors of one adapter file.
struct Reader<'a> {
    file: &'a Checkpoint,
    family: Family,
    settings: &'a Settings,
    device: Device,
}

impl Reader<'_> {
    /// What the file has for a module of the model; `None` if the module is not trained.
    fn trained(&self, site: &SiteShape) -> Result<Option<Trained>, ExpertsError> {
        match site.kind {
            SiteKind::Linear => self.pair(&site.name),
            SiteKind::Router => self.router(&site.name),
            SiteKind::Head => Ok(self.tensor(&format!("{}.weight", site.name))?.map(Trained::Whole)),
            SiteKind::Experts => match self.fused(site)? {
                None => self.one_by_one(site),
                found => Ok(found),
            },
        }
    }

    /// The tensor with this name (without PEFT's prefix) in 32-bit floats, if the file has it.
    fn tensor(&self, name: &str) -> Result<Option<Tensor>, ExpertsError> {
        let name = format!("{PREFIX}{name}");
        if !self.file.has(&name) {
            return Ok(None);
        }
        let tensor = self.file.take_any(&name)?;
        Ok(Some(tensor.to_kind(Kind::Float).to_device(self.device).copy()))
    }

    /// The two halves for a module, if the file has both.
    fn pair(&self, module: &str) -> Result<Option<Trained>, ExpertsError> {
        let a = self.tensor(&format!("{module}.lora_A.weight"))?;
        let b = self.tensor(&format!("{module}.lora_B.weight"))?;
        Ok(a.zip(b).map(|(a, b)| Trained::Low { a, b }))
    }

    /// A router's weight, under the name of transformers 5 or the family's name on disk.
    fn router(&self, module: &str) -> Result<Option<Trained>, ExpertsError> {
        let weight = match self.tensor(&format!("{module}.weight"))? {
            None => self.tensor(&format!("{}.weight", on_disk(self.family, module)))?,
            found => found,
        };
        Ok(weight.map(Trained::Whole))
    }

    /// Checks that a router's bias in the file, if there is one, is the model's: it is not trained. It is
    /// compared in bfloat16: finer differences do not count.
    fn check_correction(&self, module: &str, bias: &Tensor) -> Result<(), ExpertsError> {
        let names = [module.to_owned(), on_disk(self.family, module)]
            .map(|name| format!("{PREFIX}{name}.{CORRECTION}"));
        let Some(name) = names.iter().find(|name| self.file.has(name)) else { return Ok(()) };
        let saved = self.file.take_any(name)?.to_kind(Kind::BFloat16);
        match saved.size() == bias.size() && saved.equal(&bias.to_kind(Kind::BFloat16)) {
            true => Ok(()),
            false => {
                Err(self.file.unsupported(format!(
                    "its {name} differs from the model's, which is not trained; was the adapter made for another model?"
                )))
            }
        }
    }

    /// The halves of all experts, if the file stores them together.
    fn fused(&self, site: &SiteShape) -> Result<Option<Trained>, ExpertsError> {
        let Some((module, map)) = site.name.rsplit_once('.') else { return Ok(None) };
        let inner = match map {
            "gate_up_proj" if self.settings.down_only => return Ok(None),
            "gate_up_proj" if !self.settings.up_only => ".base_layer",
            "down_proj" if self.settings.up_only => return Ok(None),
            "gate_up_proj" | "down_proj" => "",
            _ => return Ok(None),
        };
        let Some(Trained::Low { a, b }) = self.pair(&format!("{module}{inner}"))? else { return Ok(None) };
        let experts = site.shape[0] as i64;
        if a.size()[0] % experts != 0 || b.size()[1] != a.size()[0] {
            // Handed on in their wrong shapes: `Adapter::check` names the module in its error.
            return Ok(Some(Trained::Low { a, b }));
        }
        Ok(Some(Trained::Low {
            a: a.view([experts, -1, a.size()[1]]),
            // PEFT's `lora_B` has the experts as its fastest dimension, unlike `lora_A`.
            b: b.view([b.size()[0], -1, experts]).permute([2, 0, 1]).contiguous(),
        }))
    }

    /// The halves of each expert's maps, stacked. An expert without halves counts as 0.
    fn one_by_one(&self, site: &SiteShape) -> Result<Option<Trained>, ExpertsError> {
        let Some((module, map)) = site.name.rsplit_once('.') else { return Ok(None) };
        let maps = expert_maps(self.family, map);
        let mut all = Vec::new();
        for expert in 0..site.shape[0] {
            let mut maps_of_expert = Vec::new();
            for map in &maps {
                let experts = on_disk(self.family, module);
                maps_of_expert.push(self.pair(&expert_module(self.family, &experts, expert, map))?);
            }
            all.push(maps_of_expert);
        }
        Ok(stack(&all, site, self.device))
    }
}

/// Stacks the pairs of each expert's maps, by expert and map. If gate and up have the same `A`, they share
/// it. Otherwise the rank of the fused pair is twice the largest rank, and `B` is block diagonal, so that the
/// fused product is exactly the two products one below the other. `None` if no expert has a pair.
fn stack(all: &[Vec<Option<Trained>>], site: &SiteShape, device: Device) -> Option<Trained> {
    let found: Vec<&Trained> = all.iter().flatten().flatten().collect();
    let [outputs, inputs] = [site.shape[1], site.shape[2]].map(|size| size as i64);
    let rank = found.iter().filter_map(|trained| rank(trained)).max()?;
    let maps = all[0].len() as i64;
    let shares = all.iter().all(|maps| same_first_half(maps));
    let width = if shares { rank } else { rank * maps };
    let experts = all.len() as i64;
    let a = Tensor::zeros([experts, width, inputs], (Kind::Float, device));
    let b = Tensor::zeros([experts, outputs, width], (Kind::Float, device));
    for (expert, maps_of_expert) in all.iter().enumerate() {
        for (map, trained) in maps_of_expert.iter().enumerate() {
            let Some(Trained::Low { a: map_a, b: map_b }) = trained else { continue };
            let start = if shares { 0 } else { map as i64 * rank };
            let map_rank = map_a.size()[0];
            let rows = outputs / maps;
            a.get(expert as i64).narrow(0, start, map_rank).copy_(map_a);
            b.get(expert as i64).narrow(0, map as i64 * rows, rows).narrow(1, start, map_rank).copy_(map_b);
        }
    }
    Some(Trained::Low { a, b })
}

/// The rank of a single pair.
fn rank(trained: &Trained) -> Option<i64> {
    match trained {
        Trained::Low { a, .. } => Some(a.size()[0]),
        Trained::Whole(_) => None,
    }
}

/// Whether all maps of an expert that have an `A` have the same one.
fn same_first_half(maps_of_expert: &[Option<Trained>]) -> bool {
    let halves: Vec<&Tensor> = maps_of_expert
        .iter()
        .flatten()
        .filter_map(|trained| match trained {
            Trained::Low { a, .. } => Some(a),
            Trained::Whole(_) => None,
        })
        .collect();
    halves.windows(2).all(|pair| pair[0].size() == pair[1].size() && pair[0].equal(pair[1]))
}
