//! Adapters: what is trained of a model, apart from the model.
//!
//! An adapter has, for each module that it trains, two low-rank halves, or its whole weight: for a router, and for
//! experts and a head over classes where that is asked for. It is written and read as PEFT does
//! ([`Adapter::write`], [`Adapter::read`]), or added to the weights for good ([`write_merged`]).

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
    /// All of their weights, in 32-bit floats, with gradients and the optimizer's moments of the same size: for small
    /// models.
    Whole,
}

/// What an adapter trains.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdapterSettings {
    /// Rank of the additions.
    pub rank: usize,
    /// The addition to a weight is `alpha / rank · B · A`.
    pub alpha: f64,
    /// How experts are trained.
    pub experts: ExpertTraining,
    /// Last parts of the names of further modules with additions, such as `q_proj`.
    pub modules: Vec<String>,
    /// Whether routers are trained, whole; else they are frozen.
    pub router: bool,
    /// The names of the classes that texts are sorted into, by a head that is trained with the rest; none for a language
    /// model.
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

    pub(crate) fn check(&self, sites: &[SiteShape]) -> Result<(), ExpertsError> {
        let fail = |reason: String| Err(ExpertsError::Settings(reason));
        if self.rank == 0 || !(self.alpha.is_finite() && self.alpha > 0.0) {
            return fail("the adapter's rank must be at least 1 and its alpha a positive number".to_owned());
        }
        let known = |module: &&String| !sites.iter().any(|site| site.name.ends_with(&format!(".{module}")));
        if let Some(unknown) = self.modules.iter().find(known) {
            return fail(format!("the model has no module {unknown} that an adapter can train"));
        }
        check_classes(&self.classes, sites).or_else(fail)?;
        match sites.iter().any(|site| self.trains(site)) {
            true => Ok(()),
            false => fail("the adapter trains nothing".to_owned()),
        }
    }
}

/// What is wrong with classes for a model with these modules.
fn check_classes(classes: &[String], sites: &[SiteShape]) -> Result<(), String> {
    if classes.is_empty() {
        return Ok(());
    }
    check_differ(classes)?;
    if classes.len() < 2 || classes.iter().any(String::is_empty) {
        return Err("there must be at least two classes, each with a name".to_owned());
    }
    match sites.iter().any(|site| site.kind == SiteKind::Head) {
        true => Ok(()),
        false => Err("a Switch Transformer has no head over classes; take a decoder".to_owned()),
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
    /// A weight that is trained whole: `[experts, in]` of a router, `[experts, out, in]` of experts, `[classes, in]` of
    /// the head.
    Whole(Tensor),
}

/// What is trained of a model.
#[derive(Debug)]
pub struct Adapter {
    /// Factor of all low-rank additions, `alpha / rank`.
    pub scale: f64,
    /// By the names of the modules.
    pub modules: BTreeMap<String, Trained>,
    /// By the names of the trained routers, the bias of their choice where the family has one (DeepSeek-V3): the model's own,
    /// which is not trained. PEFT saves it beside a router's weight, and asks for it.
    pub corrections: BTreeMap<String, Tensor>,
    /// The names of the classes of its head, in the order of its rows; none where it has no head.
    pub classes: Vec<String>,
}

impl Adapter {
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

    /// Whether experts are trained whole.
    pub(crate) fn has_whole_experts(&self) -> bool {
        let is_whole = |trained: &Trained| matches!(trained, Trained::Whole(weight) if weight.dim() == 3);
        self.modules.values().any(is_whole)
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

    /// The weight of its head over classes, `[classes, in]`.
    pub(crate) fn head(&self) -> Option<&Tensor> {
        match self.modules.get(HEAD) {
            Some(Trained::Whole(weight)) => Some(weight),
            _ => None,
        }
    }

    /// Checks that each module is one of the model's and that its tensors fit there.
    pub(crate) fn check(&self, sites: &[SiteShape]) -> Result<(), ExpertsError> {
        let rows = self.head().map_or(0, |weight| weight.size()[0] as usize);
        if rows != self.classes.len() {
            let reason = format!("its head has {rows} classes, of which {} have names", self.classes.len());
            return Err(ExpertsError::Adapter(reason));
        }
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
        (SiteKind::Router | SiteKind::Experts, Trained::Whole(weight)) => sizes(weight) == site.shape,
        (SiteKind::Head, Trained::Whole(weight)) => weight.dim() == 2 && sizes(weight)[1..] == site.shape,
        (SiteKind::Router | SiteKind::Head, _) | (SiteKind::Linear, Trained::Whole(_)) => false,
        (_, Trained::Low { a, b }) => {
            let rank = *sizes(b).last().unwrap_or(&0);
            rank > 0 && sizes(a) == site.first_half(rank) && sizes(b) == site.second_half(rank)
        }
    }
}
