//! Fresh adapters, which change nothing: from a model, or from the files of one.

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Device, Kind, Tensor};

use crate::device::Precision;
use crate::draw::{Draw, DrawPurpose};
use crate::error::ExpertsError;
use crate::families::adapter::{Adapter, AdapterSettings, ExpertTraining, Trained};
use crate::families::config::Family;
use crate::families::config::names::{CORRECTION, expert_maps, expert_module};
use crate::families::models::any_config::AnyConfig;
use crate::families::models::loader::Loader;
use crate::families::models::published::PublishedModel;
use crate::families::models::sites::{SiteKind, SiteShape};

impl Adapter {
    /// A fresh adapter, which changes nothing: `B` is 0; `A` is uniform in ±1/√in as PEFT has it, drawn from the seed,
    /// with equal bits on every machine. What is trained whole starts as the model's own, and a head over classes as 0.
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

    /// As [`new`](Self::new), for the model of a folder of which only what is trained whole is read.
    ///
    /// # Errors
    /// [`ExpertsError::File`], [`ExpertsError::Content`] or [`ExpertsError::Settings`].
    pub fn of_folder(folder: &Path, settings: &AdapterSettings, seed: u64) -> Result<Self, ExpertsError> {
        let config = AnyConfig::read(folder)?;
        let loader = Loader::open(folder, Precision::Float32, Device::Cpu)?;
        let sites = config.sites();
        let mut model_weight = |site: &SiteShape| own_weight(&loader, config.family(), site);
        let mut adapter = Self::fresh(&sites, settings, seed, Device::Cpu, &mut model_weight)?;
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

    fn fresh(
        sites: &[SiteShape],
        settings: &AdapterSettings,
        seed: u64,
        device: Device,
        model_weight: &mut dyn FnMut(&SiteShape) -> Result<Tensor, ExpertsError>,
    ) -> Result<Self, ExpertsError> {
        settings.check(sites)?;
        let mut modules = BTreeMap::new();
        for (index, site) in sites.iter().enumerate().filter(|(_, site)| settings.trains(site)) {
            let trained = match site.kind {
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

/// A head to which all classes are alike.
fn head(site: &SiteShape, settings: &AdapterSettings, device: Device) -> Tensor {
    let shape = [settings.classes.len() as i64, site.shape[0] as i64];
    Tensor::zeros(shape, (Kind::Float, device))
}

/// A module's own weight in 32-bit floats; that of experts is stacked as the model has it, expert by expert.
fn own_weight(loader: &Loader, family: Family, site: &SiteShape) -> Result<Tensor, ExpertsError> {
    let module = loader.checkpoint.module(family, &site.name);
    let &[experts, outputs, inputs] = site.shape.as_slice() else {
        return Ok(loader.tensor(&format!("{module}.weight"), &site.shape)?.copy());
    };
    let (block, map) = module.rsplit_once('.').unwrap_or((&module, ""));
    let maps = expert_maps(family, map);
    let name = |expert, map| format!("{}.weight", expert_module(family, block, expert, map));
    let names = |expert| maps.iter().map(|map| name(expert, map)).collect();
    Ok(loader.experts(&site.name, experts, names, (outputs / maps.len(), inputs))?.copy())
}

fn initial(site: &SiteShape, rank: usize, mut draw: Draw, device: Device) -> Trained {
    let sizes = |shape: Vec<usize>| shape.into_iter().map(|size| size as i64).collect::<Vec<_>>();
    let (first, second) = (site.first_half(rank), site.second_half(rank));
    let inputs = site.shape[site.shape.len() - 1];
    let a = Tensor::from_slice(&draw.symmetric(first.iter().product(), 1.0 / (inputs as f32).sqrt()));
    Trained::Low {
        a: a.view(sizes(first).as_slice()).to_device(device),
        b: Tensor::zeros(sizes(second).as_slice(), (Kind::Float, device)),
    }
}
