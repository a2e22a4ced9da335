//! How the choice of cohorts degrades with the size of sketches and their noise.
//!
//! After some rounds of training, every member's regions and updates are scored as they are (with
//! [`cloister_alignment::reference`]), and again from the noised sketches that a member would announce. What is
//! compared is who aligns.

use cloister_alignment::reference::{Gate, TrainedExpert, common_direction, score};
use cloister_experts::LocalResult;
use cloister_gate::prepare;
use cloister_params::block::{BlockKind, BlockShape};
use cloister_params::plan::{RoundSettings, SKETCH_CLIP_STEPS, SKETCH_COORDINATES};
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
use crate::strategy::MemberUpdates;

/// Noise on each coordinate, as a share of the sketch's clip.
pub const NOISE: [f64; 6] = [0.0, 0.003, 0.01, 0.03, 0.1, 0.3];

/// How well cohorts from sketches of one size and noise agree with those from the vectors themselves.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Degradation {
    /// Coordinates of a sketch; 0 for cohorts drawn at random, as large as the true ones.
    pub coordinates: u16,
    /// Noise on each coordinate, as a share of the clip.
    pub noise: f64,
    /// Share of members that are judged alike.
    pub judged_alike: f64,
    /// Members in both cohorts over members in either, mean over experts.
    pub overlap: f64,
}

/// Compares every size and noise over what members trained in one round.
///
/// # Errors
/// [`LabError::Prepare`] for updates that are not finite.
pub fn compare(
    settings: &RoundSettings,
    updates: &MemberUpdates<'_>,
    seed: u64,
) -> Result<Vec<Degradation>, LabError> {
    let experts: Vec<&BlockShape> =
        updates.global.table().iter().filter(|shape| shape.kind.is_scored()).collect();
    let truth = cohorts(settings, &experts, &true_roles(&experts, updates));
    let mut rows = vec![chance(&truth, seed)];
    for coordinates in SKETCH_COORDINATES {
        for noise in NOISE {
            let mut settings = settings.clone();
            settings.sketch.coordinates = coordinates;
            settings.sketch.noise_steps = (noise * f64::from(SKETCH_CLIP_STEPS)).round() as u16;
            let roles = sketched_roles(&settings, &experts, updates, seed)?;
            let (judged_alike, overlap) = agreement(&truth, &cohorts(&settings, &experts, &roles));
            rows.push(Degradation { coordinates, noise, judged_alike, overlap });
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
    let of = |at: usize, value: fn(&Degradation) -> f64| {
        comparisons.iter().map(|rows| value(&rows[at])).sum::<f64>() / count
    };
    let row = |(at, row): (usize, &Degradation)| Degradation {
        judged_alike: of(at, |row| row.judged_alike),
        overlap: of(at, |row| row.overlap),
        ..*row
    };
    first.iter().enumerate().map(row).collect()
}

/// Each expert's members as they are.
fn true_roles(experts: &[&BlockShape], updates: &MemberUpdates<'_>) -> Vec<Vec<TrainedExpert>> {
    let of = |shape: &&BlockShape| match shape.kind {
        BlockKind::Expert { layer, expert } => updates.roles(shape, layer, expert),
        _ => Vec::new(),
    };
    experts.iter().map(of).collect()
}

/// Each expert's members as their noised sketches have them.
fn sketched_roles(
    settings: &RoundSettings,
    experts: &[&BlockShape],
    updates: &MemberUpdates<'_>,
    seed: u64,
) -> Result<Vec<Vec<TrainedExpert>>, LabError> {
    let mut random = ChaCha20Rng::seed_from_u64(seed_for(seed, Purpose::SketchNoise));
    let plan = plan(settings, updates.global, updates.round);
    let model = Model::new(updates.global.values().to_vec());
    let mut accounts = Accounts::open(updates.results.len())?;
    let announce = |(member, result): (usize, &LocalResult)| {
        let permit = accounts.permit(member, &plan)?;
        let (mut contribution, _) = prepare(&plan, &model, result, permit, &mut random)?;
        Ok(std::mem::take(&mut contribution.sketches))
    };
    let announced = updates.results.iter().enumerate().map(announce).collect::<Result<Vec<_>, LabError>>()?;
    let floats = |values: &[i16]| values.iter().map(|value| f64::from(*value)).collect();
    let of = |shape: &&BlockShape| {
        let sketches = announced.iter().filter_map(|own| own.get(&shape.id));
        let role = |sketch: &cloister_alignment::score::ExpertSketch| TrainedExpert {
            region: floats(&sketch.region),
            update: floats(&sketch.update),
            tokens: f64::from(sketch.tokens),
        };
        sketches.map(role).collect()
    };
    Ok(experts.iter().map(of).collect())
}

/// Who aligns on each expert.
fn cohorts(
    settings: &RoundSettings,
    experts: &[&BlockShape],
    roles: &[Vec<TrainedExpert>],
) -> Vec<Vec<bool>> {
    let layer = |shape: &BlockShape| match shape.kind {
        BlockKind::Expert { layer, .. } => Some(layer),
        _ => None,
    };
    let of = |(shape, own): (&&BlockShape, &Vec<TrainedExpert>)| {
        let same = experts.iter().zip(roles).filter(|(other, _)| layer(other) == layer(shape));
        let all: Vec<&TrainedExpert> =
            same.flat_map(|(_, roles)| roles).filter(|role| !role.region.is_empty()).collect();
        let common = common_direction(all.into_iter(), &settings.scoring);
        score(own, &common, &settings.scoring, Gate::Both).aligned
    };
    experts.iter().zip(roles).map(of).collect()
}

/// Members judged alike, and the overlap of cohorts, both as means over experts.
fn agreement(truth: &[Vec<bool>], other: &[Vec<bool>]) -> (f64, f64) {
    let share = |hits: usize, of: usize| if of == 0 { 1.0 } else { hits as f64 / of as f64 };
    let of = |(one, two): (&Vec<bool>, &Vec<bool>)| {
        let pairs = || one.iter().zip(two);
        let alike = pairs().filter(|(a, b)| a == b).count();
        let (both, either) =
            (pairs().filter(|(a, b)| **a && **b).count(), pairs().filter(|(a, b)| **a || **b));
        (share(alike, one.len()), share(both, either.count()))
    };
    let count = truth.len().max(1) as f64;
    let sums = truth.iter().zip(other).map(of).fold((0.0, 0.0), |sum, own| (sum.0 + own.0, sum.1 + own.1));
    (sums.0 / count, sums.1 / count)
}

/// Cohorts drawn at random, each as large as the true one.
fn chance(truth: &[Vec<bool>], seed: u64) -> Degradation {
    let draw = |(expert, own): (usize, &Vec<bool>)| {
        let order = shuffled((0..own.len()).collect(), seed_for(seed, Purpose::ChanceCohort { expert }));
        let count = own.iter().filter(|is_in| **is_in).count();
        (0..own.len()).map(|member| order[..count].contains(&member)).collect()
    };
    let drawn: Vec<Vec<bool>> = truth.iter().enumerate().map(draw).collect();
    let (judged_alike, overlap) = agreement(truth, &drawn);
    Degradation { coordinates: 0, noise: 0.0, judged_alike, overlap }
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
    for (coordinates, colour) in SKETCH_COORDINATES.iter().zip(COLOURS) {
        let own = rows.iter().filter(|row| row.coordinates == *coordinates);
        let overlaps: Vec<(usize, f64)> = own.map(|row| row.overlap).enumerate().collect();
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
        let row = |coordinates, noise| Degradation { coordinates, noise, judged_alike: 0.5, overlap: 0.5 };
        let rows: Vec<Degradation> =
            SKETCH_COORDINATES.iter().flat_map(|c| NOISE.map(|noise| row(*c, noise))).collect();
        let svg = plot(&rows);
        assert_eq!(svg.matches("<polyline").count(), 4);
        assert!(svg.ends_with("</svg>\n"));
    }
}
