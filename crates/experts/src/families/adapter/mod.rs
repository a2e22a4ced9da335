//! Adapters: what is trained of a model, apart from the model.
//!
//! For each module that it trains, an adapter has either two low-rank halves or the module's whole weight.
//! Routers and a head over classes are always trained whole; experts only if the settings ask for it. An
//! adapter is written and read in PEFT's format ([`Adapter::write`], [`Adapter::read`]), or merged into the
//! model's weights ([`write_merged`]).

mod attach;
pub mod blocks;
mod fresh;
mod labels;
mod merge;
mod peft;
mod write;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::Tensor;

pub use merge::write_merged;
pub use write::Layout;

use crate::error::ExpertsError;
use crate::families::config::names::HEAD;
use crate::families::layers::projection::Lora;
use crate::families::models::sites::{SiteKind, SiteShape};
use crate::files::notes::check_differ;
use crate::training::private::Recorder;

/// How experts are trained.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExpertTraining {
    /// Not at all.
    Frozen,
    /// By low-rank additions.
    #[default]
    LowRank,
    /// All of their weights, in 32-bit floats. Gradients and the optimizer's moments have the same size, so
    /// this is for small models.
    Whole,
}

/// What an adapter trains.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdapterSettings {
    /// Rank of the additions, at least 1.
    pub rank: usize,
    /// The addition to a weight is `alpha / rank · B · A`. Positive.
    pub alpha: f64,
    /// How experts are trained.
    pub experts: ExpertTraining,
    /// Further modules with additions, by the last parts of their names, such as `q_proj`.
    pub modules: Vec<String>,
    /// Whether routers are trained (as whole weights) or frozen.
    pub router: bool,
    /// The names of the classes into which a head, which is trained with the rest, sorts texts. Empty for a
    /// language model; otherwise at least two, all different.
    pub classes: Vec<String>,
}

impl Default for AdapterSettings {
    fn default() -> Self {
        let experts = ExpertTraining::default();
        Self { rank: 8, alpha: 16.0, experts, modules: vec![], router: false, classes: vec![] }
    }
}

impl AdapterSettings {
    /// Whether a module is trained.
    pub(crate) fn trains(&self, site: &SiteShape) -> bool {
        match site.kind {
            SiteKind::Experts => self.experts != ExpertTraining::Frozen,
            SiteKind::Router => self.router,
            SiteKind::Head => !self.classes.is_empty(),
            SiteKind::Linear => {
                let last = site.name.rsplit('.').next().unwrap_or(&site.name);
                self.modules.iter().any(|module| module == last)
            }
        }
    }

    /// Checks that the settings make sense, and that a model with these modules has what they train.
    pub(crate) fn check(&self, sites: &[SiteShape]) -> Result<(), ExpertsError> {
        self.fault(sites).map_err(ExpertsError::Settings)
    }

    /// The reason why [`check`](Self::check) fails, if it does.
    fn fault(&self, sites: &[SiteShape]) -> Result<(), String> {
        let (rank, alpha) = (self.rank, self.alpha);
        if rank == 0 || !(alpha.is_finite() && alpha > 0.0) {
            return Err(format!(
                "the adapter's rank must be at least 1, not {rank}, and its alpha a positive number, not {alpha}"
            ));
        }
        for module in &self.modules {
            // A misspelt module would otherwise train nothing, silently.
            let suffix = format!(".{module}");
            if !sites.iter().any(|site| site.name.ends_with(&suffix)) {
                return Err(format!("the model has no module {module} that an adapter can train"));
            }
        }
        check_classes(&self.classes, sites)?;
        match sites.iter().any(|site| self.trains(site)) {
            true => Ok(()),
            false => Err("the adapter trains nothing; set experts, modules, router or classes".to_owned()),
        }
    }
}

/// Checks the names of classes for a model with these modules.
fn check_classes(classes: &[String], sites: &[SiteShape]) -> Result<(), String> {
    if classes.is_empty() {
        return Ok(());
    }
    check_differ(classes)?;
    if classes.len() < 2 || classes.iter().any(String::is_empty) {
        return Err("there must be at least two classes, each with a name that is not empty".to_owned());
    }
    match sites.iter().any(|site| site.kind == SiteKind::Head) {
        true => Ok(()),
        false => Err("a Switch Transformer has no head over classes; use a decoder".to_owned()),
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
    /// A weight that is trained whole: `[experts, in]` for a router, `[experts, out, in]` for experts,
    /// `[classes, in]` for the head.
    Whole(Tensor),
}

/// What is trained of a model.
#[derive(Debug)]
pub struct Adapter {
    /// Factor of all low-rank additions, `alpha / rank`. One for all modules, as in PEFT without patterns.
    pub scale: f64,
    /// What is trained, by the names of the modules.
    pub modules: BTreeMap<String, Trained>,
    /// The biases that the trained routers of DeepSeek-V3 add to their choice, by the names of the routers.
    /// They are the model's and are not trained. PEFT saves them beside a router's weight, and requires them
    /// there.
    pub corrections: BTreeMap<String, Tensor>,
    /// The names of the classes of its head, in the order of the head's rows; empty without a head.
    pub classes: Vec<String>,
}

impl Adapter {
    /// An adapter that trains nothing, for a model that has what was trained in its weights.
    pub(crate) fn empty() -> Self {
        Self { scale: 1.0, modules: BTreeMap::new(), corrections: BTreeMap::new(), classes: vec![] }
    }

    /// The largest rank of any module; 0 if no module has a low-rank addition.
    pub fn rank(&self) -> usize {
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

    /// Whether experts are trained whole.
    pub(crate) fn has_whole_experts(&self) -> bool {
        self.modules.values().any(|trained| matches!(trained, Trained::Whole(weight) if weight.dim() == 3))
    }

    /// Ends training: no gradient reaches the tensors any more.
    pub(crate) fn freeze(&self) {
        for (_, tensor) in self.tensors() {
            let _ = tensor.set_requires_grad(false);
        }
    }

    /// How many parameters all tensors have together.
    pub fn parameters(&self) -> usize {
        self.tensors().iter().map(|(_, tensor)| tensor.numel()).sum()
    }

    /// The weight of its head over classes, `[classes, in]`, if it has a head.
    pub(crate) fn head(&self) -> Option<&Tensor> {
        match self.modules.get(HEAD) {
            Some(Trained::Whole(weight)) => Some(weight),
            _ => None,
        }
    }

    /// Checks that each module is one of the model's and that its tensors fit there.
    pub(crate) fn check(&self, sites: &[SiteShape]) -> Result<(), ExpertsError> {
        let rows = self.head().map_or(0, |weight| sizes(weight).first().copied().unwrap_or(0));
        if rows != self.classes.len() {
            let reason = format!("its head has {rows} classes, but {} names of classes", self.classes.len());
            return Err(ExpertsError::Adapter(reason));
        }
        for (name, trained) in &self.modules {
            let site = sites.iter().find(|site| &site.name == name);
            let Some(site) = site else {
                return Err(ExpertsError::Adapter(format!("the model has no module {name} to train")));
            };
            if !fits(site, trained) {
                let reason =
                    format!("the tensors of {name} do not fit the model's weight of shape {:?}", site.shape);
                return Err(ExpertsError::Adapter(reason));
            }
        }
        Ok(())
    }

    /// The low-rank addition to one module, if it has one.
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

/// The rank of a low-rank addition; 0 for a whole weight.
fn rank(trained: &Trained) -> usize {
    match trained {
        Trained::Low { b, .. } => *b.size().last().unwrap_or(&0) as usize,
        Trained::Whole(_) => 0,
    }
}

/// A tensor's shape.
fn sizes(tensor: &Tensor) -> Vec<usize> {
    tensor.size().iter().map(|&size| size as usize).collect()
}

/// Whether the tensors have the shapes that a module of the model needs.
fn fits(site: &SiteShape, trained: &Trained) -> bool {
    match (site.kind, trained) {
        (SiteKind::Router | SiteKind::Experts, Trained::Whole(weight)) => sizes(weight) == site.shape,
        // The model knows the width of a head only; the adapter determines its classes.
        (SiteKind::Head, Trained::Whole(weight)) => weight.dim() == 2 && sizes(weight)[1..] == site.shape,
        (SiteKind::Router | SiteKind::Head, _) | (SiteKind::Linear, Trained::Whole(_)) => false,
        (_, Trained::Low { a, b }) => {
            let rank = *sizes(b).last().unwrap_or(&0);
            rank > 0 && sizes(a) == site.first_half(rank) && sizes(b) == site.second_half(rank)
        }
    }
}
