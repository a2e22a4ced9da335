//! Strategies of federated training: what members start from, how they train, and what becomes of their updates.
//!
//! A strategy decides with which share each member's update enters each block ([`Strategy::shares`]); those that use
//! sums alone also run behind masks, where the protocol takes the place of the shares.

use std::collections::BTreeMap;

use cloister_alignment::consistency;
use cloister_alignment::reference::{Role, Scores, common_direction, score, soft_weights};
use cloister_experts::{BlockVectors, Frozen, LocalResult, LocalTraining};
use cloister_params::block::{BlockKind, BlockShape};
use cloister_params::plan::ScoringRule;

use crate::config::{self, CohortRule, ConsistencyOf, Signal, StrategyName};
use crate::partition::shuffled;

/// What members trained in one round, in their order.
pub struct Gathered<'a> {
    /// The model that they started from.
    pub global: &'a BlockVectors,
    /// Texts of each member, divided by the mean over members.
    pub sizes: &'a [f64],
    /// What each member's training yielded.
    pub results: &'a [LocalResult],
    /// Numbers the rounds, from 1.
    pub round: usize,
}

impl Gathered<'_> {
    /// The share of FedAvg: the mean over members of updates that are scaled by their texts.
    fn by_texts(&self) -> Vec<f64> {
        self.sizes.iter().map(|size| size / self.sizes.len() as f64).collect()
    }

    /// What each member knows of one expert.
    pub fn roles(&self, block: &BlockShape, layer: u16, expert: u16) -> Vec<Role> {
        let floats = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect();
        let role = |result: &LocalResult| {
            let region = result.regions.iter().find(|own| (own.layer, own.expert) == (layer, expert));
            Role {
                region: region.map_or_else(Vec::new, |own| floats(&own.mean_hidden)),
                update: floats(&result.updates.values()[block.id.0 as usize]),
                tokens: region.map_or(0.0, |own| own.tokens as f64),
            }
        };
        self.results.iter().map(role).collect()
    }
}

/// What a strategy remembers: vectors by the member (or the moment) and the block that they belong to.
pub type Memory = BTreeMap<(usize, u32), Vec<f64>>;

/// A way of training together.
pub trait Strategy {
    /// How members train.
    fn training(&self, settings: &config::Strategy) -> LocalTraining {
        LocalTraining { routing_penalty: 0.0, ..base(settings) }
    }

    /// What a member trains from, and what it is measured with.
    fn start(&self, _member: usize, global: &BlockVectors) -> BlockVectors {
        global.clone()
    }

    /// Takes note of what a member trained.
    fn keep(&mut self, _member: usize, _start: &BlockVectors, _updates: &BlockVectors) {}

    /// What it remembers from one round to the next.
    fn memory(&self) -> Memory {
        Memory::new()
    }

    /// Goes on with what [`memory`](Self::memory) gave.
    fn recall(&mut self, _memory: Memory) {}

    /// Whether members end with models of their own.
    fn is_personal(&self) -> bool {
        false
    }

    /// The share with which each member's update enters this block.
    fn shares(&mut self, block: &BlockShape, gathered: &Gathered<'_>) -> Vec<f64>;

    /// What is added to a block, given the sum of updates by their shares.
    fn step(&mut self, _block: &BlockShape, sum: Vec<f64>) -> Vec<f64> {
        sum
    }

    /// Whether experts' cohorts are chosen behind masks, rather than everyone.
    fn aligns(&self) -> bool {
        false
    }

    /// Whether routers' updates are weighted by their consistency behind masks.
    fn weighs_consistency(&self) -> bool {
        false
    }
}

fn base(settings: &config::Strategy) -> LocalTraining {
    LocalTraining {
        epochs: settings.local_epochs,
        batch_size: settings.batch_size,
        learning_rate: settings.learning_rate,
        routing_penalty: settings.routing_penalty,
        routing_form: settings.routing_form,
        frozen: Frozen { routers: false, head: settings.freeze_head },
        ..LocalTraining::default()
    }
}

/// The strategy that the settings name; [`StrategyName::Head`] trains nothing, and is FedAvg over no rounds.
pub fn named(settings: &config::Strategy, rule: ScoringRule, seed: u64) -> Box<dyn Strategy> {
    match settings.name {
        StrategyName::Head | StrategyName::Centralised | StrategyName::FedAvg => Box::new(FedAvg::default()),
        StrategyName::FedProx => Box::new(FedAvg { proximal: settings.proximal, ..FedAvg::default() }),
        StrategyName::FrozenRouter => Box::new(FedAvg { freezes_routers: true, ..FedAvg::default() }),
        StrategyName::LocalOnly => Box::new(Alone::default()),
        StrategyName::FedAdam => Box::new(FedAdam::new(settings.server_learning_rate)),
        StrategyName::LocalRouters => Box::new(OwnRouters::keeping(1.0)),
        StrategyName::PflMoE => Box::new(OwnRouters::keeping(0.5)),
        StrategyName::FedMoE => Box::new(FedMoE),
        StrategyName::FedAlignMoE => Box::new(FedAlignMoE { settings: settings.clone(), rule, seed }),
    }
}

/// The mean of the updates by texts; with a proximal term it is FedProx.
#[derive(Default)]
struct FedAvg {
    proximal: f64,
    freezes_routers: bool,
}

impl Strategy for FedAvg {
    fn training(&self, settings: &config::Strategy) -> LocalTraining {
        let frozen = Frozen { routers: self.freezes_routers, head: settings.freeze_head };
        LocalTraining { proximal: self.proximal, frozen, routing_penalty: 0.0, ..base(settings) }
    }

    fn shares(&mut self, _block: &BlockShape, gathered: &Gathered<'_>) -> Vec<f64> {
        gathered.by_texts()
    }
}

/// Each member for itself.
#[derive(Default)]
struct Alone {
    models: Memory,
}

impl Strategy for Alone {
    fn start(&self, member: usize, global: &BlockVectors) -> BlockVectors {
        global.map(|shape, values| match self.models.get(&(member, shape.id.0)) {
            Some(own) => own.iter().map(|value| *value as f32).collect(),
            None => values.to_vec(),
        })
    }

    fn keep(&mut self, member: usize, start: &BlockVectors, updates: &BlockVectors) {
        for ((shape, values), update) in start.iter().zip(updates.values()) {
            if !matches!(shape.kind, BlockKind::Routing { .. }) {
                self.models.insert((member, shape.id.0), added(values, update));
            }
        }
    }

    fn memory(&self) -> Memory {
        self.models.clone()
    }

    fn recall(&mut self, memory: Memory) {
        self.models = memory;
    }

    fn is_personal(&self) -> bool {
        true
    }

    fn shares(&mut self, _block: &BlockShape, gathered: &Gathered<'_>) -> Vec<f64> {
        vec![0.0; gathered.sizes.len()]
    }
}

/// FedAvg whose mean update is a gradient to Adam at the server (Reddi et al. 2021, with their moments and `tau`).
struct FedAdam {
    rate: f64,
    /// Means and mean squares.
    moments: [BTreeMap<u32, Vec<f64>>; 2],
}

impl FedAdam {
    const BETA_1: f64 = 0.9;
    const BETA_2: f64 = 0.99;
    const TAU: f64 = 1e-3;

    fn new(rate: f64) -> Self {
        Self { rate, moments: [BTreeMap::new(), BTreeMap::new()] }
    }
}

impl Strategy for FedAdam {
    fn shares(&mut self, _block: &BlockShape, gathered: &Gathered<'_>) -> Vec<f64> {
        gathered.by_texts()
    }

    fn step(&mut self, block: &BlockShape, sum: Vec<f64>) -> Vec<f64> {
        let zeros = || vec![0.0; sum.len()];
        let [means, squares] = self.moments.each_mut().map(|all| all.entry(block.id.0).or_insert_with(zeros));
        let mut step = |(at, value): (usize, &f64)| {
            means[at] = Self::BETA_1 * means[at] + (1.0 - Self::BETA_1) * value;
            squares[at] = Self::BETA_2 * squares[at] + (1.0 - Self::BETA_2) * value * value;
            self.rate * means[at] / (squares[at].sqrt() + Self::TAU)
        };
        sum.iter().enumerate().map(&mut step).collect()
    }

    fn memory(&self) -> Memory {
        let of = |moment: usize| self.moments[moment].iter().map(move |(block, own)| ((moment, *block), own));
        [0, 1].into_iter().flat_map(of).map(|(key, own)| (key, own.clone())).collect()
    }

    fn recall(&mut self, memory: Memory) {
        for ((moment, block), values) in memory {
            self.moments[moment].insert(block, values);
        }
    }
}

/// FedAvg of everything but the routers, of which each member keeps a part of its own.
struct OwnRouters {
    /// How much of a member's router is its own; the rest is the common one.
    own_part: f32,
    routers: Memory,
}

impl OwnRouters {
    fn keeping(own_part: f32) -> Self {
        Self { own_part, routers: Memory::new() }
    }
}

impl Strategy for OwnRouters {
    fn start(&self, member: usize, global: &BlockVectors) -> BlockVectors {
        global.map(|shape, values| match self.routers.get(&(member, shape.id.0)) {
            Some(own) => {
                let mix = |(own, common): (&f64, &f32)| {
                    *own as f32 * self.own_part + common * (1.0 - self.own_part)
                };
                own.iter().zip(values).map(mix).collect()
            }
            None => values.to_vec(),
        })
    }

    fn keep(&mut self, member: usize, start: &BlockVectors, updates: &BlockVectors) {
        for ((shape, values), update) in start.iter().zip(updates.values()) {
            if matches!(shape.kind, BlockKind::Router { .. }) {
                self.routers.insert((member, shape.id.0), added(values, update));
            }
        }
    }

    fn memory(&self) -> Memory {
        self.routers.clone()
    }

    fn recall(&mut self, memory: Memory) {
        self.routers = memory;
    }

    fn is_personal(&self) -> bool {
        true
    }

    fn shares(&mut self, _block: &BlockShape, gathered: &Gathered<'_>) -> Vec<f64> {
        gathered.by_texts()
    }
}

fn added(values: &[f32], update: &[f32]) -> Vec<f64> {
    values.iter().zip(update).map(|(value, change)| f64::from(value + change)).collect()
}

/// Experts by the tokens that each member routed to them, the rest by texts.
struct FedMoE;

impl Strategy for FedMoE {
    fn shares(&mut self, block: &BlockShape, gathered: &Gathered<'_>) -> Vec<f64> {
        let BlockKind::Expert { layer, expert } = block.kind else {
            return gathered.by_texts();
        };
        let tokens: Vec<f64> = gathered.roles(block, layer, expert).iter().map(|role| role.tokens).collect();
        let total = tokens.iter().sum::<f64>().max(1.0);
        tokens.iter().map(|own| own / total).collect()
    }
}

/// FedAlign-MoE (Fang et al., arXiv 2603.21276), in the form of `protocols/alignment.md` or an ablation of it.
struct FedAlignMoE {
    settings: config::Strategy,
    rule: ScoringRule,
    seed: u64,
}

impl FedAlignMoE {
    fn scores(&self, roles: &[Role], layer: u16, gathered: &Gathered<'_>) -> Scores {
        let of_layer = gathered.global.table().iter().filter_map(|shape| match shape.kind {
            BlockKind::Expert { layer: own, expert } if own == layer => {
                Some(gathered.roles(shape, layer, expert))
            }
            _ => None,
        });
        let all: Vec<Role> = of_layer.flatten().filter(|role| !role.region.is_empty()).collect();
        score(roles, &common_direction(all.iter(), &self.rule), &self.rule, self.settings.signal.gate())
    }

    fn expert_shares(
        &self,
        block: &BlockShape,
        layer: u16,
        expert: u16,
        gathered: &Gathered<'_>,
    ) -> Vec<f64> {
        let roles = gathered.roles(block, layer, expert);
        let scores = self.scores(&roles, layer, gathered);
        let everyone = vec![true; roles.len()];
        let cohort = match self.settings.cohorts {
            CohortRule::Soft => return soft_weights(&roles, &scores),
            CohortRule::Everyone => everyone,
            CohortRule::Aligned => scores.aligned,
            CohortRule::Random => self.random(&scores.aligned, block, gathered.round),
        };
        let members = cohort.iter().filter(|is_in| **is_in).count();
        // As in the protocol, a cohort below the floor falls back to everyone.
        let floor = cloister_params::floors::Floors::of(roles.len(), roles.len()).map_or(1, |f| f.cohort);
        if members < floor {
            return gathered.by_texts();
        }
        let share = |(size, is_in): (&f64, &bool)| if *is_in { size / members as f64 } else { 0.0 };
        gathered.sizes.iter().zip(&cohort).map(share).collect()
    }

    /// As many members as align, drawn for each block and round.
    fn random(&self, aligned: &[bool], block: &BlockShape, round: usize) -> Vec<bool> {
        let seed = self.seed ^ (u64::from(block.id.0) << 32) ^ round as u64;
        let count = aligned.iter().filter(|is_in| **is_in).count();
        let drawn: Vec<usize> =
            shuffled((0..aligned.len()).collect(), seed).into_iter().take(count).collect();
        (0..aligned.len()).map(|member| drawn.contains(&member)).collect()
    }

    /// Members' routers by texts and consistency, divided by the sum of consistency weights (`ALIGN-12`).
    fn router_shares(&self, layer: u16, gathered: &Gathered<'_>) -> Vec<f64> {
        let of = |own| consistency_of(own, layer, gathered.global, self.settings.consistency_of);
        let weights: Vec<f64> = gathered.results.iter().map(of).collect();
        let total: f64 = weights.iter().sum();
        gathered.sizes.iter().zip(&weights).map(|(size, weight)| size * weight / total).collect()
    }
}

/// The consistency weight `omega` of a member's router (`ALIGN-11`), or what is left of it without margins (all of them 1)
/// or without overlap (the member's distribution is the published one).
fn consistency_of(own: &LocalResult, layer: u16, global: &BlockVectors, of: ConsistencyOf) -> f64 {
    let routing = BlockKind::Routing { layer };
    let distribution = own.updates.get(routing).unwrap_or_default();
    let published = global.get(routing).unwrap_or_default();
    let margins = &own.margins[usize::from(layer)];
    f64::from(match of {
        ConsistencyOf::Both => consistency::weight(distribution, published, margins),
        ConsistencyOf::Overlap => consistency::weight(distribution, published, &vec![1.0; margins.len()]),
        ConsistencyOf::Margin => consistency::weight(published, published, margins),
    })
}

impl Strategy for FedAlignMoE {
    fn training(&self, settings: &config::Strategy) -> LocalTraining {
        base(settings)
    }

    fn shares(&mut self, block: &BlockShape, gathered: &Gathered<'_>) -> Vec<f64> {
        match block.kind {
            BlockKind::Expert { layer, expert } => self.expert_shares(block, layer, expert, gathered),
            BlockKind::Router { layer } if self.settings.consistency => self.router_shares(layer, gathered),
            _ => gathered.by_texts(),
        }
    }

    fn aligns(&self) -> bool {
        self.settings.cohorts == CohortRule::Aligned && self.settings.signal == Signal::Both
    }

    fn weighs_consistency(&self) -> bool {
        self.settings.consistency
    }
}

#[cfg(test)]
mod tests;
