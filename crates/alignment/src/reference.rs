//! The paper's aggregation in the clear and in floats, written for readability. The integer scoring and the
//! secure rounds are tested against it, and the lab uses it for runs in the clear.
//!
//! Source: Fang et al., arXiv 2603.21276. What the paper leaves open is chosen as in
//! `protocols/alignment.md`, whose requirements are named here. Every function is about one expert of one
//! layer, over the members in their order, unless it says otherwise.
//!
//! # Leakage
//! The program that runs this sees each member's regions and updates. It is for tests and for research on
//! public data.

use cloister_params::plan::{ScoringRule, Threshold};

/// What one member knows about one of its experts after local training.
#[derive(Clone, PartialEq, Debug)]
pub struct TrainedExpert {
    /// `mu`: the mean hidden state of the tokens routed to the expert, or a sketch of it.
    pub region: Vec<f64>,
    /// `d`: the update of the expert's parameters, or a sketch of it.
    pub update: Vec<f64>,
    /// How many tokens were routed to the expert.
    pub tokens: f64,
}

/// Which of the paper's two signals open the gate between two members. All but [`Gate::Both`] are ablations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gate {
    /// Close regions and a shared direction: `[A >= tau]·max(0, D)`.
    Both,
    /// Close regions alone: `[A >= tau]`.
    Regions,
    /// A shared direction alone: `max(0, D)`.
    Directions,
}

/// How the members' versions of one expert agree.
#[derive(Clone, PartialEq, Debug)]
pub struct ExpertScores {
    /// `c_i = sum over j of g[i,j]`, for each member; `None` for a member with too few tokens or nothing to
    /// compare.
    pub consensus: Vec<Option<f64>>,
    /// Whether each member is aligned.
    pub aligned: Vec<bool>,
    /// How far the closest decision was from going the other way, as a cosine. Arithmetic with smaller errors
    /// gives the same aligned members.
    pub margin: f64,
}

/// The mean region of all members' experts of a layer that have enough tokens (`ALIGN-03`).
pub fn common_direction<'a>(layer: impl Iterator<Item = &'a TrainedExpert>, rule: &ScoringRule) -> Vec<f64> {
    let with_tokens = layer.filter(|role| role.tokens >= f64::from(rule.minimum_tokens));
    mean(with_tokens.map(|role| (role.region.as_slice(), 1.0)))
}

/// Scores one expert: centred regions, adaptive threshold, gate, consensus (`ALIGN-02` to `ALIGN-07`).
pub fn score(roles: &[TrainedExpert], common: &[f64], rule: &ScoringRule, gate: Gate) -> ExpertScores {
    let units: Vec<Option<Unit>> = roles.iter().map(|role| Unit::new(role, common, rule)).collect();
    let pairs = pairs(&units);
    let threshold = threshold(&pairs.iter().map(|pair| pair.regions).collect::<Vec<_>>(), rule);
    let mut consensus: Vec<Option<f64>> = units.iter().map(|unit| unit.as_ref().map(|_| 0.0)).collect();
    for pair in &pairs {
        for member in pair.members {
            consensus[member] = consensus[member].map(|sum| sum + open(pair, threshold, gate));
        }
    }
    let gates = pairs.iter().map(|pair| (pair.regions - threshold).abs());
    let scores = align(consensus, rule);
    ExpertScores { margin: gates.fold(scores.margin, f64::min), ..scores }
}

/// Scores one expert by signs, of which each is 1 or −1 (`ALIGN-15`); `None` for a member with too few tokens.
pub fn score_signs(signs: &[Option<Vec<f64>>], rule: &ScoringRule) -> ExpertScores {
    let mut consensus = Vec::with_capacity(signs.len());
    for (member, known) in signs.iter().enumerate() {
        let others = signs.iter().enumerate().filter(|(other, _)| *other != member);
        consensus.push(known.as_ref().map(|known| {
            let chance = (known.len() as f64).sqrt().floor();
            let products = others.filter_map(|(_, other)| Some(dot(known, other.as_ref()?)));
            products.map(|product| (product - chance).max(0.0) / known.len() as f64).sum()
        }));
    }
    align(consensus, rule)
}

/// The directions of an expert's update and of its centred region: a member's, or those that were published last.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ExpertDirections<'a> {
    /// The update `d`.
    pub update: &'a [f64],
    /// The region `mu` less the layer's mean.
    pub region: &'a [f64],
}

/// A member's score of its own expert, between −1 and 1: `cos(d, d')·(1 + cos(mu, mu'))/2`, where `d'` and `mu'` are
/// what was published last. An undefined cosine is 0.
pub fn own_score(trained: ExpertDirections<'_>, published: ExpertDirections<'_>) -> f64 {
    cosine(trained.update, published.update) * (1.0 + cosine(trained.region, published.region)) / 2.0
}

/// Who is aligned by scores that members computed themselves: as by consensus, where there are scores, and whoever has
/// none. Everyone is, if no score is above 0 (`ALIGN-17`).
pub fn align_by_scores(scores: Vec<Option<f64>>, rule: &ScoringRule) -> ExpertScores {
    let scored = align(scores, rule);
    let is_undecided = !scored.consensus.iter().flatten().any(|score| *score > 0.0);
    let aligned = scored.consensus.iter().zip(&scored.aligned);
    let aligned = aligned.map(|(score, is_aligned)| is_undecided || score.is_none() || *is_aligned).collect();
    ExpertScores { aligned, ..scored }
}

/// 0 if one of the vectors has no direction.
fn cosine(one: &[f64], other: &[f64]) -> f64 {
    let norms = (dot(one, one) * dot(other, other)).sqrt();
    if norms > 0.0 && norms.is_finite() { dot(one, other) / norms } else { 0.0 }
}

/// Who is aligned by its consensus (`ALIGN-07`).
fn align(consensus: Vec<Option<f64>>, rule: &ScoringRule) -> ExpertScores {
    let known: Vec<f64> = consensus.iter().flatten().copied().collect();
    let least = lower_median(&known) * f64::from(rule.consensus_fraction) / 256.0;
    let aligned = consensus.iter().map(|sum| sum.is_some_and(|sum| sum > 0.0 && sum >= least)).collect();
    let margin = known.iter().map(|sum| distance(*sum, least)).fold(f64::INFINITY, f64::min);
    ExpertScores { consensus, aligned, margin }
}

/// For each member, whether more than half of the experts with a consensus for it align it (`ALIGN-09`).
pub fn majority(experts: &[ExpertScores]) -> Vec<bool> {
    let members = experts.first().map_or(0, |scores| scores.aligned.len());
    let mut passes = Vec::with_capacity(members);
    for member in 0..members {
        let known = experts.iter().filter(|scores| scores.consensus[member].is_some()).count();
        let aligned = experts.iter().filter(|scores| scores.aligned[member]).count();
        passes.push(2 * aligned > known);
    }
    passes
}

/// The paper's soft weights `w_i = n_i·sum_j g[i,j]`, scaled to sum to 1. If no members agree, they are each
/// member's share of the tokens.
pub fn soft_weights(experts: &[TrainedExpert], scores: &ExpertScores) -> Vec<f64> {
    let mut weights = Vec::with_capacity(experts.len());
    for (expert, consensus) in experts.iter().zip(&scores.consensus) {
        weights.push(expert.tokens * consensus.unwrap_or(0.0));
    }
    let total: f64 = weights.iter().sum();
    if total > 0.0 {
        return weights.iter().map(|weight| weight / total).collect();
    }
    let tokens: f64 = experts.iter().map(|expert| expert.tokens).sum();
    experts.iter().map(|expert| expert.tokens / tokens.max(1.0)).collect()
}

/// The weighted mean of vectors of one length: a cohort's aggregate. Empty for no vectors or no weight.
pub fn mean<'a>(vectors: impl Iterator<Item = (&'a [f64], f64)>) -> Vec<f64> {
    let mut sums: Vec<f64> = Vec::new();
    let mut total = 0.0;
    for (vector, weight) in vectors {
        sums.resize(vector.len(), 0.0);
        sums.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value * weight);
        total += weight;
    }
    if total == 0.0 {
        return Vec::new();
    }
    sums.iter().map(|sum| sum / total).collect()
}

/// Two members and how they agree.
struct Pair {
    members: [usize; 2],
    /// `A`: cosine of the centred regions.
    regions: f64,
    /// `D`: cosine of the updates.
    directions: f64,
}

/// All pairs of members that have a unit.
fn pairs(units: &[Option<Unit>]) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (one, a) in units.iter().enumerate() {
        for (other, b) in units.iter().enumerate().skip(one + 1) {
            let (Some(a), Some(b)) = (a, b) else { continue };
            pairs.push(Pair {
                members: [one, other],
                regions: dot(&a.region, &b.region),
                directions: dot(&a.update, &b.update),
            });
        }
    }
    pairs
}

fn open(pair: &Pair, threshold: f64, gate: Gate) -> f64 {
    let close = if pair.regions >= threshold { 1.0 } else { 0.0 };
    match gate {
        Gate::Both => close * pair.directions.max(0.0),
        Gate::Regions => close,
        Gate::Directions => pair.directions.max(0.0),
    }
}

/// How far a consensus is from the other side of a decision: from the least consensus, and from 0. A
/// consensus of 0 would have to pass both, of which the least consensus is the farther.
fn distance(consensus: f64, least: f64) -> f64 {
    let cut = (consensus - least).abs();
    if consensus > 0.0 { cut.min(consensus) } else { cut }
}

/// A member's centred region and its update, each of norm 1.
struct Unit {
    region: Vec<f64>,
    update: Vec<f64>,
}

impl Unit {
    /// None for too few tokens or an empty direction (`ALIGN-02`).
    fn new(role: &TrainedExpert, common: &[f64], rule: &ScoringRule) -> Option<Self> {
        if role.tokens < f64::from(rule.minimum_tokens) {
            return None;
        }
        let centred: Vec<f64> =
            role.region.iter().zip(common).map(|(value, shared)| value - shared).collect();
        Some(Self { region: unit(&centred)?, update: unit(&role.update)? })
    }
}

fn unit(vector: &[f64]) -> Option<Vec<f64>> {
    let norm = dot(vector, vector).sqrt();
    (norm > 0.0).then(|| vector.iter().map(|value| value / norm).collect())
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

/// `tau = centre(A) - beta·spread(A)` (`ALIGN-04`).
fn threshold(agreements: &[f64], rule: &ScoringRule) -> f64 {
    let (centre, spread) = match rule.threshold {
        Threshold::MeanDeviation => {
            let centre = average(agreements);
            let squares: Vec<f64> = agreements.iter().map(|value| (value - centre).powi(2)).collect();
            (centre, average(&squares).sqrt())
        }
        Threshold::MedianDeviation => {
            let centre = lower_median(agreements);
            let distances: Vec<f64> = agreements.iter().map(|value| (value - centre).abs()).collect();
            (centre, lower_median(&distances))
        }
    };
    centre - f64::from(rule.spread_factor) / 256.0 * spread
}

fn average(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The lower median; 0 without values.
fn lower_median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}
