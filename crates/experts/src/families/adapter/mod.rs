//! Adapters: what is trained of a model, apart from the model.
//!
//! An adapter has, for each module that it trains, two low-rank halves, or for a router its whole weight. It is
//! written and read as PEFT does ([`peft`]), or added to the weights for good ([`merge`]).

mod merge;
mod peft;
mod write;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

pub use merge::write_merged;
pub(crate) use merge::{bytes, copy_others, dtype};
pub use write::Layout;

use crate::draw::{Draw, Purpose};
use crate::error::ExpertsError;
use crate::families::model::Model;
use crate::families::names::sparse_names;
use crate::families::overview::AnyConfig;
use crate::families::projection::Lora;
use crate::families::sites::{SiteKind, SiteShape};
use crate::families::weights::Checkpoint;
use crate::private::Recorder;

/// What an adapter trains.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdapterSettings {
    /// Rank of the additions.
    pub rank: usize,
    /// The addition to a weight is `alpha / rank · B · A`.
    pub alpha: f64,
    /// Whether experts have additions.
    pub experts: bool,
    /// Last parts of the names of further modules with additions, such as `q_proj`.
    pub modules: Vec<String>,
    /// Whether routers are trained, whole; else they are frozen.
    pub router: bool,
}

impl Default for AdapterSettings {
    fn default() -> Self {
        Self { rank: 8, alpha: 16.0, experts: true, modules: vec![], router: false }
    }
}

impl AdapterSettings {
    /// Whether a module is trained.
    pub(crate) fn trains(&self, site: &SiteShape) -> bool {
        match site.kind {
            SiteKind::Experts => self.experts,
            SiteKind::Router => self.router,
            SiteKind::Linear => {
                let last = site.name.rsplit('.').next().unwrap_or(&site.name);
                self.modules.iter().any(|module| module == last)
            }
        }
    }

    pub(crate) fn check(&self, sites: &[SiteShape]) -> Result<(), ExpertsError> {
        let fail = |reason: String| Err(ExpertsError::Settings(reason));
        if self.rank == 0 || !(self.alpha.is_finite() && self.alpha > 0.0) {
            return fail("the adapter's rank must be at least 1 and its alpha a positive number".to_owned());
        }
        let known = |module: &&String| !sites.iter().any(|site| site.name.ends_with(&format!(".{module}")));
        if let Some(unknown) = self.modules.iter().find(known) {
            return fail(format!("the model has no module {unknown} that an adapter can train"));
        }
        match sites.iter().any(|site| self.trains(site)) {
            true => Ok(()),
            false => fail("the adapter trains nothing".to_owned()),
        }
    }
}

/// What is trained of one module, in 32-bit floats.
#[derive(Debug)]
pub enum Trained {
    /// The halves of a low-rank addition.
    Low {
        /// `[rank, in]`, or `[experts, rank, in]`.
        a: Tensor,
        /// `[out, rank]`, or `[experts, out, rank]`.
        b: Tensor,
    },
    /// A weight that is trained whole.
    Whole(Tensor),
}

/// What is trained of a model.
#[derive(Debug)]
pub struct Adapter {
    /// Factor of all low-rank additions, `alpha / rank`.
    pub scale: f64,
    /// By the names of the modules.
    pub modules: BTreeMap<String, Trained>,
}

impl Adapter {
    /// A fresh adapter, which changes nothing: `B` is 0; `A` is uniform in ±1/√in as PEFT has it, drawn from the seed,
    /// with equal bits on every machine. Routers start as the model's own.
    ///
    /// # Errors
    /// [`ExpertsError::Settings`].
    pub fn new(model: &mut Model, settings: &AdapterSettings, seed: u64) -> Result<Self, ExpertsError> {
        let (sites, device) = (model.sites(), model.device());
        Self::fresh(&sites, settings, seed, device, &mut |site| Ok(model.router(&site.name)))
    }

    /// As [`new`](Self::new), for the model of a folder of which only the routers are read.
    ///
    /// # Errors
    /// [`ExpertsError::File`], [`ExpertsError::Content`] or [`ExpertsError::Settings`].
    pub fn of_folder(folder: &Path, settings: &AdapterSettings, seed: u64) -> Result<Self, ExpertsError> {
        let config = AnyConfig::read(folder)?;
        let checkpoint = Checkpoint::open(folder)?;
        let block = format!(".{}.gate", sparse_names(config.family()).block);
        let mut router = |site: &SiteShape| {
            let name = format!("{}.weight", site.name.replace(".mlp.gate", &block));
            Ok(checkpoint.take(&name, &site.shape)?.to_kind(Kind::Float).copy())
        };
        Self::fresh(&config.sites(), settings, seed, Device::Cpu, &mut router)
    }

    fn fresh(
        sites: &[SiteShape],
        settings: &AdapterSettings,
        seed: u64,
        device: Device,
        router: &mut dyn FnMut(&SiteShape) -> Result<Tensor, ExpertsError>,
    ) -> Result<Self, ExpertsError> {
        settings.check(sites)?;
        let mut modules = BTreeMap::new();
        for (index, site) in sites.iter().enumerate().filter(|(_, site)| settings.trains(site)) {
            let trained = match site.kind {
                SiteKind::Router => Trained::Whole(router(site)?),
                _ => initial(site, settings.rank, Draw::new(seed, Purpose::Adapter, index), device),
            };
            modules.insert(site.name.clone(), trained);
        }
        Ok(Self { scale: settings.alpha / settings.rank as f64, modules })
    }

    /// The largest rank of any module; 0 where none has a low-rank addition.
    pub fn rank(&self) -> usize {
        let rank = |trained: &Trained| match trained {
            Trained::Low { b, .. } => *b.size().last().unwrap_or(&0) as usize,
            Trained::Whole(_) => 0,
        };
        self.modules.values().map(rank).max().unwrap_or(0)
    }

    /// All tensors with their names: `MODULE.lora_A`, `MODULE.lora_B`, `MODULE.weight`.
    pub fn tensors(&self) -> Vec<(String, &Tensor)> {
        let mut tensors = Vec::new();
        for (name, trained) in &self.modules {
            match trained {
                Trained::Low { a, b } => {
                    tensors.extend([(format!("{name}.lora_A"), a), (format!("{name}.lora_B"), b)]);
                }
                Trained::Whole(weight) => tensors.push((format!("{name}.weight"), weight)),
            }
        }
        tensors
    }

    /// Ends training: no gradient reaches the tensors any more.
    pub(crate) fn freeze(&self) {
        for (_, tensor) in self.tensors() {
            let _ = tensor.set_requires_grad(false);
        }
    }

    /// Numbers in all tensors.
    pub fn parameters(&self) -> usize {
        self.tensors().iter().map(|(_, tensor)| tensor.numel()).sum()
    }

    /// Checks that each module is one of the model's and that its tensors fit there.
    pub(crate) fn check(&self, sites: &[SiteShape]) -> Result<(), ExpertsError> {
        for (name, trained) in &self.modules {
            let site = sites.iter().find(|site| &site.name == name);
            let Some(site) = site else {
                return Err(ExpertsError::Adapter(format!("the model has no module {name} to train")));
            };
            if !fits(site, trained) {
                let reason = format!("the tensors of {name} do not fit a weight of shape {:?}", site.shape);
                return Err(ExpertsError::Adapter(reason));
            }
        }
        Ok(())
    }

    /// The addition to one module, if it has any.
    pub(crate) fn lora(&self, name: &str, dropout: f64, recorder: Recorder) -> Option<Lora> {
        match self.modules.get(name)? {
            Trained::Low { a, b } => {
                let (a, b) = (a.shallow_clone(), b.shallow_clone());
                Some(Lora { a, b, scale: self.scale, dropout, recorder })
            }
            Trained::Whole(_) => None,
        }
    }
}

fn fits(site: &SiteShape, trained: &Trained) -> bool {
    let sizes = |tensor: &Tensor| tensor.size().iter().map(|&size| size as usize).collect::<Vec<_>>();
    match (site.kind, trained) {
        (SiteKind::Router, Trained::Whole(weight)) => sizes(weight) == site.shape,
        (SiteKind::Router, _) | (_, Trained::Whole(_)) => false,
        (_, Trained::Low { a, b }) => {
            let rank = *sizes(b).last().unwrap_or(&0);
            rank > 0 && sizes(a) == site.first_half(rank) && sizes(b) == site.second_half(rank)
        }
    }
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
