//! Adapters as PEFT writes them: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! PEFT has two layouts for experts. Since 0.19 it stores those of a layer together (`target_parameters`):
//! `mlp.experts.base_layer.lora_A` `[experts · rank, in]`, expert by expert, and `lora_B` `[out, rank ·
//! experts]`, rank by rank, belong to gate and up; the same names without `base_layer` belong to down. The
//! reason is that PEFT wraps one parameter at a time (`ParamWrapper`): the wrapper of down has the wrapper of
//! gate and up as its base layer. Before 0.19, and still for models of transformers 4, each map of each
//! expert has tensors of its own: `mlp.experts.3.gate_proj.lora_A` `[rank, in]`.
//!
//! The settings and the model determine the shape of every tensor, because `rank_pattern` is not supported.
//! A tensor that has another shape, that is missing, or that nothing uses is an error that names it.

mod settings;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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
use settings::Settings;

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
        let reader = Reader {
            file: &file,
            path: path.clone(),
            family: model.family(),
            settings: &settings,
            device: model.device(),
        };
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

/// Reads the tensors of one adapter file.
struct Reader<'a> {
    file: &'a Checkpoint,
    path: PathBuf,
    family: Family,
    settings: &'a Settings,
    device: Device,
}

/// The two halves of a low-rank addition.
struct Pair {
    /// `[rank, in]`; of fused experts `[experts · rank, in]`.
    a: Tensor,
    /// `[out, rank]`; of fused experts `[out, rank · experts]`.
    b: Tensor,
}

impl Reader<'_> {
    /// What the file has for a module of the model; `None` if the module is not trained.
    fn trained(&self, site: &SiteShape) -> Result<Option<Trained>, ExpertsError> {
        let name = &site.name;
        match site.kind {
            SiteKind::Linear => {
                let rank = self.settings.rank;
                let shapes = [site.first_half(rank), site.second_half(rank)];
                Ok(self.optional_pair(name, shapes)?.map(|Pair { a, b }| Trained::Low { a, b }))
            }
            SiteKind::Router => self.router(site),
            SiteKind::Head => self.head(site),
            SiteKind::Experts if self.settings.adds_to_fused(name) => self.fused(site).map(Some),
            SiteKind::Experts => self.one_by_one(site),
        }
    }

    /// The error that the settings or the file's other tensors require a tensor that the file does not have.
    fn missing(&self, name: &str) -> ExpertsError {
        let reason =
            format!("its tensor {name} is missing, which adapter_config.json or the other tensors require");
        unsupported(&self.path, format!("{reason}; was the file cut or changed?"))
    }

    /// The error that a tensor has another shape than the model and the settings require.
    fn misshapen(&self, name: &str, expected: &str) -> ExpertsError {
        let shape = self.file.shape(name).unwrap_or_default();
        unsupported(
            &self.path,
            format!(
                "its tensor {name} must have the shape {expected} for this model and the rank {}, not {shape:?}; is the \
                 adapter another model's?",
                self.settings.rank
            ),
        )
    }

    /// The tensor with this name in 32-bit floats.
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, ExpertsError> {
        match self.file.shape(name) {
            None => Err(self.missing(name)),
            Some(actual) if actual != shape => Err(self.misshapen(name, &format!("{shape:?}"))),
            Some(_) => Ok(self.file.take_any(name)?.to_kind(Kind::Float).to_device(self.device).copy()),
        }
    }

    /// The two halves for a module, of these shapes.
    fn pair(&self, module: &str, [a, b]: [Vec<usize>; 2]) -> Result<Pair, ExpertsError> {
        let [name_a, name_b] = half_names(module);
        Ok(Pair { a: self.tensor(&name_a, &a)?, b: self.tensor(&name_b, &b)? })
    }

    /// As [`pair`](Self::pair); `None` if the file has neither half and the settings do not say that it has.
    fn optional_pair(&self, module: &str, shapes: [Vec<usize>; 2]) -> Result<Option<Pair>, ExpertsError> {
        let is_expected =
            self.settings.adds_to(module) || half_names(module).iter().any(|name| self.file.has(name));
        is_expected.then(|| self.pair(module, shapes)).transpose()
    }

    /// The name in the file of a weight that is saved whole, under one of these names of its module; `None` if
    /// the file has none and need not have it.
    fn saved(&self, modules: &[String]) -> Result<Option<String>, ExpertsError> {
        let names = modules.iter().map(|module| format!("{PREFIX}{module}.weight"));
        match names.clone().find(|name| self.file.has(name)) {
            None if modules.iter().any(|module| self.settings.saves(module)) => {
                Err(self.missing(&names.collect::<Vec<_>>().join(" or ")))
            }
            found => Ok(found),
        }
    }

    /// The names of a router: that of transformers 5, and the family's on disk.
    fn router_names(&self, module: &str) -> Vec<String> {
        let mut names = vec![module.to_owned(), on_disk(self.family, module)];
        names.dedup();
        names
    }

    /// A router's weight.
    fn router(&self, site: &SiteShape) -> Result<Option<Trained>, ExpertsError> {
        let name = self.saved(&self.router_names(&site.name))?;
        name.map(|name| Ok(Trained::Whole(self.tensor(&name, &site.shape)?))).transpose()
    }

    /// The weight of a head over classes, of which the file determines how many there are.
    fn head(&self, site: &SiteShape) -> Result<Option<Trained>, ExpertsError> {
        let Some(name) = self.saved(std::slice::from_ref(&site.name))? else { return Ok(None) };
        match self.file.shape(&name).as_deref() {
            Some(shape @ &[classes, width]) if classes > 1 && width == site.shape[0] => {
                Ok(Some(Trained::Whole(self.tensor(&name, shape)?)))
            }
            _ => Err(self.misshapen(&name, &format!("[2 or more classes, {}]", site.shape[0]))),
        }
    }

    /// Checks that a router's bias in the file is the model's: it is not trained. It is compared in bfloat16:
    /// finer differences do not count.
    fn check_correction(&self, module: &str, bias: &Tensor) -> Result<(), ExpertsError> {
        let names = self.router_names(module);
        let mut names = names.iter().map(|name| format!("{PREFIX}{name}.{CORRECTION}"));
        // PEFT saves a module with all of its state, so a file without the bias was changed.
        let Some(name) = names.clone().find(|name| self.file.has(name)) else {
            return Err(self.missing(&names.next().unwrap_or_default()));
        };
        let saved = self.file.take_any(&name)?.to_kind(Kind::BFloat16);
        match saved.size() == bias.size() && saved.equal(&bias.to_kind(Kind::BFloat16)) {
            true => Ok(()),
            false => {
                Err(self.file.unsupported(format!(
                    "its {name} differs from the model's, which is not trained; was the adapter made for another model?"
                )))
            }
        }
    }

    /// The halves of all experts, which the file stores together.
    fn fused(&self, site: &SiteShape) -> Result<Trained, ExpertsError> {
        let (module, map) = site.name.rsplit_once('.').unwrap_or((&site.name, ""));
        // The wrapper of gate and up is inside that of down, if there is one.
        let is_inner = map == "gate_up_proj" && self.settings.adds_to_fused(&format!("{module}.down_proj"));
        let module = if is_inner { format!("{module}.base_layer") } else { module.to_owned() };
        let (experts, outputs, inputs) = (site.shape[0], site.shape[1], site.shape[2]);
        // Saturating, because `r` may be any number. No tensor has that many rows.
        let rows = experts.saturating_mul(self.settings.rank);
        let Pair { a, b } = self.pair(&module, [vec![rows, inputs], vec![outputs, rows]])?;
        let [experts, outputs, inputs] = [experts, outputs, inputs].map(|size| size as i64);
        Ok(Trained::Low {
            a: a.view([experts, -1, inputs]),
            // PEFT's `lora_B` has the experts as its fastest dimension, unlike `lora_A`.
            b: b.view([outputs, -1, experts]).permute([2, 0, 1]).contiguous(),
        })
    }

    /// The halves of each expert's maps, stacked. An expert without halves counts as 0.
    fn one_by_one(&self, site: &SiteShape) -> Result<Option<Trained>, ExpertsError> {
        let Some((module, map)) = site.name.rsplit_once('.') else { return Ok(None) };
        let experts = on_disk(self.family, module);
        let maps = expert_maps(self.family, map);
        let rank = self.settings.rank;
        let (rows, inputs) = (site.shape[1] / maps.len(), site.shape[2]);
        let mut all = Vec::new();
        for expert in 0..site.shape[0] {
            let mut maps_of_expert = Vec::new();
            for map in &maps {
                let name = expert_module(self.family, &experts, expert, map);
                let shapes = [vec![rank, inputs], vec![rows, rank]];
                maps_of_expert.push(self.optional_pair(&name, shapes)?);
            }
            all.push(maps_of_expert);
        }
        let is_trained = all.iter().flatten().any(Option::is_some);
        Ok(is_trained.then(|| stack(&all, site, rank as i64, self.device)))
    }
}

/// The names in the file of the two halves for a module.
fn half_names(module: &str) -> [String; 2] {
    ["lora_A", "lora_B"].map(|half| format!("{PREFIX}{module}.{half}.weight"))
}

/// Stacks the pairs of each expert's maps, by expert and map; all have the same rank. If gate and up have the
/// same `A`, they share it. Otherwise the rank of the fused pair is twice that of the maps, and `B` is block
/// diagonal, so that the fused product is exactly the two products one below the other.
fn stack(all: &[Vec<Option<Pair>>], site: &SiteShape, rank: i64, device: Device) -> Trained {
    let [outputs, inputs] = [site.shape[1], site.shape[2]].map(|size| size as i64);
    let maps = all[0].len() as i64;
    let shares = all.iter().all(|maps| same_first_half(maps));
    let width = if shares { rank } else { rank * maps };
    let experts = all.len() as i64;
    let a = Tensor::zeros([experts, width, inputs], (Kind::Float, device));
    let b = Tensor::zeros([experts, outputs, width], (Kind::Float, device));
    let rows = outputs / maps;
    for (expert, maps_of_expert) in all.iter().enumerate() {
        for (map, pair) in maps_of_expert.iter().enumerate() {
            let Some(pair) = pair else { continue };
            let (expert, map) = (expert as i64, map as i64);
            let start = if shares { 0 } else { map * rank };
            a.get(expert).narrow(0, start, rank).copy_(&pair.a);
            b.get(expert).narrow(0, map * rows, rows).narrow(1, start, rank).copy_(&pair.b);
        }
    }
    Trained::Low { a, b }
}

/// Whether all maps of an expert that have an `A` have the same one.
fn same_first_half(maps_of_expert: &[Option<Pair>]) -> bool {
    let halves: Vec<&Tensor> = maps_of_expert.iter().flatten().map(|pair| &pair.a).collect();
    halves.windows(2).all(|pair| pair[0].equal(pair[1]))
}
