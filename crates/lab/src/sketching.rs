//! How the choice of cohorts degrades with the size of sketches and their noise.
//!
//! After some rounds of training, every member's regions and updates are scored twice: as vectors (with
//! [`cloister_alignment::reference`]), and as the noised sketches that a member would announce. The two sets
//! of aligned members are compared.

use cloister_alignment::reference::{Gate, TrainedExpert, common_direction, score, score_signs};
use cloister_alignment::score::ExpertSketch;
use cloister_alignment::signs::sign;
use cloister_gate::prepare;
use cloister_params::block::{BlockKind, BlockShape};
use cloister_params::plan::{RoundSettings, SKETCH_CLIP_STEPS, ScoringRule, SketchForm, SketchValues};
use cloister_protocol::model::Model;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde::Serialize;

use crate::accounts::Accounts;
use crate::chart::ChartFrame;
use crate::error::LabError;
use crate::federation::plan;
use crate::seeds::{Purpose, seed_for};
use crate::shuffle::shuffled;
use crate::strategy::{MemberUpdates, SelfScores};
use crate::withheld_scores::WithheldScores;

/// Standard deviations of the noise on each coordinate, as shares of the sketch's clip.
pub const NOISE: [f64; 6] = [0.0, 0.003, 0.01, 0.03, 0.1, 0.3];

/// Coordinates of a sketch of pairs, and of one of signs.
pub const SIZES: [u16; 4] = [16, 32, 64, 128];
const SIGN_SIZES: [u16; 3] = [64, 128, 256];

/// How well cohorts from sketches of one size and noise agree with those from the vectors themselves.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Degradation {
    /// What members announce.
    pub form: SketchForm,
    /// Coordinates of a sketch, or groups of experts with a score each; 0 for cohorts drawn at random, as large as the true ones.
    pub coordinates: u16,
    /// Noise on each coordinate, as a share of the clip, or on each score.
    pub noise: f64,
    /// Share of members for which both decide the same, mean over experts.
    pub judged_alike: f64,
    /// Members in both cohorts over members in either, mean over experts.
    pub overlap: f64,
}

/// Numbers of groups of experts that have a score each, and standard deviations of the noise on a score.
const GROUPS: [usize; 3] = [1, 4, 8];
const SCORE_NOISE: [f64; 6] = [0.0, 0.01, 0.03, 0.1, 0.3, 1.0];

/// Compares every size and noise over what members trained in one round.
///
/// # Errors
/// [`LabError::Prepare`] for updates that are not finite.
pub(crate) fn compare(
    settings: &RoundSettings,
    updates: &MemberUpdates<'_>,
    published: &SelfScores,
    seed: u64,
) -> Result<Vec<Degradation>, LabError> {
    let experts: Vec<&BlockShape> =
        updates.global.table().iter().filter(|shape| shape.kind.is_scored()).collect();
    let truth = cohorts(settings, &experts, &true_roles(&experts, updates));
    let mut rows = vec![chance(&truth, seed)];
    let pairs = SIZES.map(|size| (SketchForm::Pairs, size));
    for (form, coordinates) in pairs.into_iter().chain(SIGN_SIZES.map(|size| (SketchForm::Signs, size))) {
        for noise in NOISE {
            // Everything else stays, projections included: a size's sketch has another length, not another
            // seed.
            let mut settings = settings.clone();
            let scoring = &mut settings.scoring;
            (scoring.sketches, scoring.groups, scoring.score_noise) = (form, 0, 0);
            settings.blocks.truncate(updates.global.table().len());
            settings.sketch.coordinates = coordinates;
            settings.sketch.noise_steps = (noise * f64::from(SKETCH_CLIP_STEPS)).round() as u16;
            let announced = announced(&settings, &experts, updates, seed)?;
            let chosen = match form == SketchForm::Signs {
                false => cohorts(&settings, &experts, &sketched_roles(&announced)),
                true => cohorts_by_signs(&settings, &announced),
            };
            let (judged_alike, overlap) = agreement(&truth, &chosen);
            rows.push(Degradation { form, coordinates, noise, judged_alike, overlap });
        }
    }
    for groups in GROUPS {
        for noise in SCORE_NOISE {
            let scores = published.with(WithheldScores { groups, noise });
            let chosen: Vec<Vec<bool>> =
                experts.iter().map(|shape| scores.scores(shape, updates).aligned).collect();
            let (judged_alike, overlap) = agreement(&truth, &chosen);
            let (form, coordinates) = (SketchForm::Withheld, groups as u16);
            rows.push(Degradation { form, coordinates, noise, judged_alike, overlap });
        }
    }
    Ok(rows)
}

/// The mean of several comparisons, row by row.
pub fn mean(comparisons: &[Vec<Degradation>]) -> Vec<Degradation> {
    let Some(first) = comparisons.first() else {
        return Vec::new();
    };
    let count = comparisons.len() as f64;
    let mut means = Vec::with_capacity(first.len());
    for (at, row) in first.iter().enumerate() {
        let judged_alike: f64 = comparisons.iter().map(|rows| rows[at].judged_alike).sum();
        let overlap: f64 = comparisons.iter().map(|rows| rows[at].overlap).sum();
        means.push(Degradation { judged_alike: judged_alike / count, overlap: overlap / count, ..*row });
    }
    means
}

/// What the members know of each expert, without sketches.
fn true_roles(experts: &[&BlockShape], updates: &MemberUpdates<'_>) -> Vec<Vec<TrainedExpert>> {
    let mut roles = Vec::with_capacity(experts.len());
    for shape in experts {
        roles.push(match shape.kind {
            BlockKind::Expert { layer, expert } => updates.roles(shape, layer, expert),
            _ => Vec::new(),
        });
    }
    roles
}

/// The members' noised sketches of each expert.
fn announced(
    settings: &RoundSettings,
    experts: &[&BlockShape],
    updates: &MemberUpdates<'_>,
    seed: u64,
) -> Result<Vec<Vec<ExpertSketch>>, LabError> {
    // The same draws for each size and amount of noise, so that rows differ in these alone.
    let mut random = ChaCha20Rng::seed_from_u64(seed_for(seed, Purpose::SketchNoise));
    let model = Model::new(updates.global.values().to_vec());
    let plan = plan(settings, &model, updates.round);
    let mut accounts = Accounts::open(updates.results.len())?;
    let mut sketches = vec![Vec::with_capacity(updates.results.len()); experts.len()];
    for (member, result) in updates.results.iter().enumerate() {
        let permit = accounts.permit(member, &plan)?;
        let (contribution, _) = prepare(&plan, &model, result, permit, &mut random)?;
        for (shape, members) in experts.iter().zip(&mut sketches) {
            members.extend(contribution.sketches.get(&shape.id).cloned());
        }
    }
    Ok(sketches)
}

/// What projections show of each expert.
fn sketched_roles(announced: &[Vec<ExpertSketch>]) -> Vec<Vec<TrainedExpert>> {
    announced.iter().map(|members| members.iter().map(sketched_role).collect()).collect()
}

/// Who aligns on each expert by signs.
fn cohorts_by_signs(settings: &RoundSettings, announced: &[Vec<ExpertSketch>]) -> Vec<Vec<bool>> {
    let mut cohorts = Vec::with_capacity(announced.len());
    for members in announced {
        let signs: Vec<Option<Vec<f64>>> =
            members.iter().map(|sketch| signs_of_sketch(sketch, &settings.scoring)).collect();
        cohorts.push(score_signs(&signs, &settings.scoring).aligned);
    }
    cohorts
}

/// A sketch's signs, 1 or −1; `None` for too few tokens.
fn signs_of_sketch(sketch: &ExpertSketch, rule: &ScoringRule) -> Option<Vec<f64>> {
    let SketchValues::Signs(bits) = &sketch.values else { return None };
    let is_counted = sketch.tokens >= rule.minimum_tokens;
    is_counted.then(|| (0..8 * bits.len()).map(|at| sign(bits, at) as f64).collect())
}

/// A sketch in place of its vector. Scores compare directions, so its unit does not matter.
fn sketched_role(sketch: &ExpertSketch) -> TrainedExpert {
    TrainedExpert {
        region: floats(sketch.region()),
        update: floats(sketch.update()),
        tokens: f64::from(sketch.tokens),
    }
}

fn floats(values: &[i16]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

/// Who aligns on each expert.
fn cohorts(
    settings: &RoundSettings,
    experts: &[&BlockShape],
    roles: &[Vec<TrainedExpert>],
) -> Vec<Vec<bool>> {
    let mut cohorts = Vec::with_capacity(experts.len());
    for (shape, members) in experts.iter().zip(roles) {
        let mut layer_experts: Vec<&TrainedExpert> = Vec::new();
        for (other, roles) in experts.iter().zip(roles) {
            if layer(other) == layer(shape) {
                layer_experts.extend(roles.iter().filter(|role| !role.region.is_empty()));
            }
        }
        let common = common_direction(layer_experts.into_iter(), &settings.scoring);
        cohorts.push(score(members, &common, &settings.scoring, Gate::Both).aligned);
    }
    cohorts
}

fn layer(shape: &BlockShape) -> Option<u16> {
    match shape.kind {
        BlockKind::Expert { layer, .. } => Some(layer),
        _ => None,
    }
}

/// The share of members decided alike, and the overlap of cohorts, both as means over experts.
fn agreement(truth: &[Vec<bool>], other: &[Vec<bool>]) -> (f64, f64) {
    let (mut judged_alike, mut overlap) = (0.0, 0.0);
    for (one, two) in truth.iter().zip(other) {
        let count =
            |holds: fn(bool, bool) -> bool| one.iter().zip(two).filter(|(a, b)| holds(**a, **b)).count();
        judged_alike += share(count(|a, b| a == b), one.len());
        overlap += share(count(|a, b| a && b), count(|a, b| a || b));
    }
    let experts = truth.len().max(1) as f64;
    (judged_alike / experts, overlap / experts)
}

/// A share of `total`; of nothing it is 1, because two empty cohorts agree.
fn share(hits: usize, total: usize) -> f64 {
    if total == 0 { 1.0 } else { hits as f64 / total as f64 }
}

/// Cohorts drawn at random, each as large as the true one.
fn chance(truth: &[Vec<bool>], seed: u64) -> Degradation {
    let mut drawn: Vec<Vec<bool>> = Vec::with_capacity(truth.len());
    for (expert, cohort) in truth.iter().enumerate() {
        let members = cohort.len();
        let order = shuffled((0..members).collect(), seed_for(seed, Purpose::ChanceCohort { expert }));
        let count = cohort.iter().filter(|is_in| **is_in).count();
        drawn.push((0..members).map(|member| order[..count].contains(&member)).collect());
    }
    let (judged_alike, overlap) = agreement(truth, &drawn);
    Degradation { form: SketchForm::Pairs, coordinates: 0, noise: 0.0, judged_alike, overlap }
}

const COLOURS: [&str; 4] = ["#9ecae1", "#6baed6", "#3182bd", "#08519c"];

/// A plot of the overlap over the noise, a line for each size of sketch, as SVG.
pub fn plot(rows: &[Degradation]) -> String {
    let frame = ChartFrame {
        range: (0.0, 1.0),
        width: 560.0,
        legend: 0.0,
        ticks: NOISE.map(|noise| noise.to_string()).to_vec(),
        entries: 0,
    };
    let title = "Overlap of cohorts from sketches with cohorts from the vectors, by size of sketch";
    let mut svg = frame.open(title, "noise on a coordinate, share of the clip");
    for (coordinates, colour) in SIZES.iter().zip(COLOURS) {
        let size_rows =
            rows.iter().filter(|row| (row.form, row.coordinates) == (SketchForm::Pairs, *coordinates));
        let overlaps: Vec<(usize, f64)> = size_rows.map(|row| row.overlap).enumerate().collect();
        frame.line(&mut svg, &overlaps, &format!("stroke=\"{colour}\""));
        frame.label(
            &mut svg,
            overlaps.first().map_or(0.0, |(_, overlap)| *overlap),
            &coordinates.to_string(),
            colour,
        );
    }
    for row in rows.iter().filter(|row| row.coordinates == 0) {
        let style = "stroke=\"#c33\" stroke-dasharray=\"4 4\"";
        let level: Vec<(usize, f64)> = (0..NOISE.len()).map(|step| (step, row.overlap)).collect();
        frame.line(&mut svg, &level, style);
        frame.label(&mut svg, row.overlap, "chance", "#c33");
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_is_1_of_equal_cohorts_and_0_of_opposite_ones() {
        let one = vec![vec![true, true, false, false]];
        let opposite = vec![vec![false, false, true, true]];
        assert_eq!(agreement(&one, &one), (1.0, 1.0));
        assert_eq!(agreement(&one, &opposite), (0.0, 0.0));
        let half = vec![vec![true, false, true, false]];
        assert_eq!(agreement(&one, &half), (0.5, 1.0 / 3.0));
        let nobody = vec![vec![false; 4]];
        assert_eq!(agreement(&nobody, &nobody), (1.0, 1.0));
    }

    #[test]
    fn the_plot_has_a_line_for_each_size() {
        let mut rows = Vec::new();
        for coordinates in SIZES {
            let form = SketchForm::Pairs;
            let row = Degradation { form, coordinates, noise: 0.0, judged_alike: 0.5, overlap: 0.5 };
            rows.extend(NOISE.map(|noise| Degradation { noise, ..row }));
        }
        let svg = plot(&rows);
        assert_eq!(svg.matches("<polyline").count(), 4);
        assert!(svg.ends_with("</svg>\n"));
    }
}
