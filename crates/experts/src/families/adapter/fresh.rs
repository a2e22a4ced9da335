//! Fresh adapters, which do not change what a model computes. They are made from a loaded model, or from its
//! files.

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Device, Kind, Tensor};

use crate::device::Precision;
use crate::draw::{Draw, DrawPurpose};
use crate::error::ExpertsError;
use crate::families::adapter::{Adapter, AdapterSettings, ExpertTraining, Trained};
use crate::families::config::Family;
use crate::families::config::names::{CORRECTION, HEAD, expert_maps, expert_module};
use crate::families::models::any_config::AnyConfig;
use crate::families::models::loader::Loader;
use crate::families::models::published::PublishedModel;
use crate::families::models::sites::{SiteKind, SiteShape};

impl Adapter {
    /// A fresh adapter, which changes nothing: `B` is 0, and `A` is uniform in ±1/√in, as in PEFT
    /// (`kaiming_uniform_` with a = √5). `A` is drawn from the seed, with equal bits on every machine. A
    /// weight that is trained whole starts as the model's weight, and a head over classes starts as 0.
    ///
    /// # Errors
    /// [`ExpertsError::Settings`].
    pub fn new(
        model: &mut PublishedModel,
        settings: &AdapterSettings,
        seed: u64,
    ) -> Result<Self, ExpertsError> {
        let (sites, device) = (model.sites(), model.device());
        let mut adapter =
            Self::fresh(&sites, settings, seed, device, &mut |site| Ok(model.weight(&site.name)))?;
        adapter.corrections = model.corrections(&adapter.modules);
        Ok(adapter)
    }

    /// As [`new`](Self::new), for the model of a folder. Only the weights that are trained whole are read
    /// from it.
    ///
    /// # Errors
    /// [`ExpertsError::File`], [`ExpertsError::Content`] or [`ExpertsError::Settings`].
    pub fn from_folder(folder: &Path, settings: &AdapterSettings, seed: u64) -> Result<Self, ExpertsError> {
        let config = AnyConfig::read(folder)?;
        let loader = Loader::open(folder, Precision::Float32, Device::Cpu)?;
        let sites = config.sites();
        let mut adapter = Self::fresh(&sites, settings, seed, Device::Cpu, &mut |site| {
            stored_weight(&loader, config.family(), site)
        })?;
        let has_corrections = config.moe().is_some_and(|moe| moe.correction);
        for site in sites.iter().filter(|site| has_corrections && site.kind == SiteKind::Router) {
            if adapter.modules.contains_key(&site.name) {
                let name = format!("{}.{CORRECTION}", loader.checkpoint.module(config.family(), &site.name));
                let correction = loader.tensor(&name, &site.shape[..1])?.copy();
                adapter.corrections.insert(site.name.clone(), correction);
            }
        }
        Ok(adapter)
    }

    /// The head over classes of a merged model, which [`write_merged`](super::write_merged) wrote into `folder`. Everything
    /// else that was trained is in the model's weights already.
    ///
    /// # Errors
    /// [`ExpertsError::File`], [`ExpertsError::Content`] if the folder has no head over so many classes, or
    /// [`ExpertsError::Settings`] if the model's family has none.
    pub fn merged_head(
        folder: &Path,
        classes: Vec<String>,
        model: &mut PublishedModel,
    ) -> Result<Self, ExpertsError> {
        let Some(site) = model.sites().into_iter().find(|site| site.kind == SiteKind::Head) else {
            return Err(ExpertsError::Settings("the model's family has no head over classes".to_owned()));
        };
        let loader = Loader::open(folder, Precision::Float32, model.device())?;
        let shape = [classes.len(), site.shape[0]];
        let head = loader.tensor(&format!("{HEAD}.weight"), &shape)?.copy();
        let modules = BTreeMap::from([(site.name, Trained::Whole(head))]);
        Ok(Self { scale: 1.0, modules, corrections: BTreeMap::new(), classes })
    }

    /// A fresh adapter without corrections; `model_weight` returns the weight of a module that is trained
    /// whole.
    fn fresh(
        sites: &[SiteShape],
        settings: &AdapterSettings,
        seed: u64,
        device: Device,
        model_weight: &mut dyn FnMut(&SiteShape) -> Result<Tensor, ExpertsError>,
    ) -> Result<Self, ExpertsError> {
        settings.check(sites)?;
        let mut modules = BTreeMap::new();
        // The index is that among all sites, so that a module's draw does not depend on which others are
        // trained.
        for (index, site) in sites.iter().enumerate().filter(|(_, site)| settings.trains(site)) {
            let trained = match site.kind {
                // Starts as 0 and needs no draw: unlike a product of two halves that are both 0, it has a
                // gradient there.
                SiteKind::Head => Trained::Whole(head(site, settings, device)),
                SiteKind::Router => Trained::Whole(model_weight(site)?),
                SiteKind::Experts if settings.experts == ExpertTraining::Whole => {
                    Trained::Whole(model_weight(site)?)
                }
                _ => initial(site, settings.rank, Draw::new(seed, DrawPurpose::Adapter, index), device),
            };
            modules.insert(site.name.clone(), trained);
        }
        let scale = settings.alpha / settings.rank as f64;
        Ok(Self { scale, modules, corrections: BTreeMap::new(), classes: settings.classes.clone() })
    }
}

/// A head that gives all classes the same logit.
fn head(site: &SiteShape, settings: &AdapterSettings, device: Device) -> Tensor {
    let shape = [settings.classes.len() as i64, site.shape[0] as i64];
    Tensor::zeros(shape, (Kind::Float, device))
}

/// A module's weight as stored in a checkpoint, in 32-bit floats. Weights of experts are stacked, expert by
/// expert.
fn stored_weight(loader: &Loader, family: Family, site: &SiteShape) -> Result<Tensor, ExpertsError> {
    // Copies, because a tensor that is stored in 32-bit floats is a view, and would keep the whole file
    // mapped.
    let module = loader.checkpoint.module(family, &site.name);
    let &[experts, outputs, inputs] = site.shape.as_slice() else {
        return Ok(loader.tensor(&format!("{module}.weight"), &site.shape)?.copy());
    };
    let (block, map) = module.rsplit_once('.').unwrap_or((&module, ""));
    let maps = expert_maps(family, map);
    let names = |expert| weight_names(family, block, expert, &maps);
    Ok(loader.experts(&site.name, experts, names, (outputs / maps.len(), inputs))?.copy())
}

/// The names of the weights of one expert's maps.
fn weight_names(family: Family, block: &str, expert: usize, maps: &[&str]) -> Vec<String> {
    maps.iter().map(|map| format!("{}.weight", expert_module(family, block, expert, map))).collect()
}

/// A low-rank addition of 0: the first half is random, the second half is 0.
fn initial(site: &SiteShape, rank: usize, mut draw: Draw, device: Device) -> Trained {
    let (first, second) = (site.first_half(rank), site.second_half(rank));
    let inputs = site.shape[site.shape.len() - 1];
    // Drawn on the host, not by libtorch, so that CPU and GPU members start from equal bits.
    let a = Tensor::from_slice(&draw.symmetric(first.iter().product(), 1.0 / (inputs as f32).sqrt()));
    Trained::Low {
        a: a.view(dimensions(&first).as_slice()).to_device(device),
        b: Tensor::zeros(dimensions(&second).as_slice(), (Kind::Float, device)),
    }
}

/// A shape as libtorch takes it.
fn dimensions(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&size| size as i64).collect()
}
