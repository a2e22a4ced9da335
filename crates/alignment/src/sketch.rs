//! Sketches: Rademacher projections of a vector to a few dozen coordinates, clipped and rounded.

use cloister_params::id::BlockId;
use cloister_params::plan::{SKETCH_CLIP_STEPS, SketchPlan};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// What is sketched. It decides which projection is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SketchSubject {
    /// The mean hidden state of the tokens routed to an expert (`mu`). All experts share one projection,
    /// because their regions are compared with a direction that is common to the layer.
    Region,
    /// The update of an expert's parameters (`d`).
    Update(BlockId),
}

impl SketchSubject {
    fn stream(self) -> u64 {
        match self {
            Self::Region => 0,
            Self::Update(BlockId(block)) => 1 + u64::from(block),
        }
    }
}

/// Projects a vector, clips its sketch to an L2 norm of `clip`, and rounds it so that the clip is
/// [`SKETCH_CLIP_STEPS`] steps (`ALIGN-01`). Noise comes after.
///
/// Sign `j` of input coordinate `i` is bit `j` of the `i`-th group of `coordinates/64` (at least one) 64-bit
/// words of the ChaCha20 stream: 1 is plus. A vector with a coordinate that is not finite has an all-zero
/// sketch.
pub fn sketch(plan: &SketchPlan, subject: SketchSubject, vector: &[f32], clip: f64) -> Vec<i16> {
    clipped(&project(plan, subject, vector), clip)
}

/// Clips and rounds a vector that is already projected, as [`sketch`] does.
pub fn clipped(projected: &[f64], clip: f64) -> Vec<i16> {
    let norm = norm(projected);
    // `max` would ignore a norm that is NaN, and coordinates that are finite would leave without a clip.
    if !norm.is_finite() {
        return vec![0; projected.len()];
    }
    // One division for both cases: vectors within the clip keep their length, longer ones are cut to it.
    scaled(projected, norm.max(clip))
}

/// Scales a vector so that a norm of `unit` becomes [`SKETCH_CLIP_STEPS`], and rounds it.
fn scaled(projected: &[f64], unit: f64) -> Vec<i16> {
    let scale = f64::from(SKETCH_CLIP_STEPS) / unit;
    projected.iter().map(|value| (value * scale).round_ties_even() as i16).collect()
}

fn norm(projected: &[f64]) -> f64 {
    projected.iter().map(|value| value * value).sum::<f64>().sqrt()
}

/// Projects a vector, and scales its sketch to a norm of [`SKETCH_CLIP_STEPS`], whatever its length: the direction
/// that sign sketches are made from (`ALIGN-14`). A vector of zeros, or with a coordinate that is not finite, has an
/// all-zero sketch.
pub fn direction(plan: &SketchPlan, subject: SketchSubject, vector: &[f32]) -> Vec<i16> {
    let projected = project(plan, subject, vector);
    let norm = norm(&projected);
    if !(norm > 0.0 && norm.is_finite()) {
        return vec![0; projected.len()];
    }
    scaled(&projected, norm)
}

/// The same with a norm of 1, not rounded: the direction that members compare and publish if sketches are withheld
/// (`ALIGN-18`). It is zeros for a vector without a direction.
pub fn unit_direction(plan: &SketchPlan, subject: SketchSubject, vector: &[f32]) -> Vec<f64> {
    let mut projected = project(plan, subject, vector);
    let norm = norm(&projected);
    let share = if norm > 0.0 && norm.is_finite() { 1.0 / norm } else { 0.0 };
    // A coordinate that is not finite times 0 is not 0.
    projected.iter_mut().for_each(|value| *value = if share > 0.0 { *value * share } else { 0.0 });
    projected
}

/// The same integers with room for sums.
pub fn widened(values: &[i16]) -> Vec<i64> {
    values.iter().map(|value| i64::from(*value)).collect()
}

/// The projection of vectors of this length, as rows: a vector's projection is the sum of its coordinates
/// times the rows.
pub fn projection(plan: &SketchPlan, subject: SketchSubject, length: usize) -> Vec<Vec<f64>> {
    let mut rows = Vec::with_capacity(length);
    let mut basis = vec![0.0; length];
    for index in 0..length {
        basis[index] = 1.0;
        // All coordinates after this one are 0 and add nothing.
        rows.push(project(plan, subject, &basis[..=index]));
        basis[index] = 0.0;
    }
    rows
}

fn project(plan: &SketchPlan, subject: SketchSubject, vector: &[f32]) -> Vec<f64> {
    let coordinates = usize::from(plan.coordinates);
    let mut signs = ChaCha20Rng::from_seed(plan.seed.0);
    signs.set_stream(subject.stream());
    let mut projected = vec![0.0; coordinates];
    for value in vector {
        // A word has the signs of 64 coordinates. Sketches of 16 or 32 use its low bits only.
        for group in projected.chunks_mut(64) {
            let bits = signs.next_u64();
            for (bit, sum) in group.iter_mut().enumerate() {
                *sum += if bits >> bit & 1 == 1 { f64::from(*value) } else { -f64::from(*value) };
            }
        }
    }
    // The expected square of the norm stays that of the vector, so that one clip suits every sketch size.
    let root = (coordinates as f64).sqrt();
    projected.iter_mut().for_each(|sum| *sum /= root);
    projected
}

#[cfg(test)]
mod tests {
    use cloister_params::id::Digest;

    use super::*;

    fn plan(coordinates: u16) -> SketchPlan {
        SketchPlan {
            seed: Digest([7; 32]),
            coordinates,
            noise_steps: 0,
            region_clip_milli: 1000,
            count_noise: 0,
        }
    }

    fn cosine(a: &[i16], b: &[i16]) -> f64 {
        let dot =
            |a: &[i16], b: &[i16]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    }

    /// ALIGN-01
    #[test]
    fn angles_survive_projection() {
        let one: Vec<f32> = (0..5000).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
        let two: Vec<f32> = (0..5000).map(|i| ((i * 53 % 97) as f32 - 48.0) / 48.0).collect();
        let near: Vec<f32> = one.iter().zip(&two).map(|(a, b)| a + 0.2 * b).collect();
        for coordinates in [16, 32, 64, 128] {
            let sketched =
                |vector: &[f32]| sketch(&plan(coordinates), SketchSubject::Update(BlockId(3)), vector, 100.0);
            assert_eq!(sketched(&one).len(), usize::from(coordinates));
            assert!(cosine(&sketched(&one), &sketched(&near)) > 0.9, "{coordinates}");
        }
        let wide = |vector: &[f32]| sketch(&plan(128), SketchSubject::Region, vector, 100.0);
        assert!(cosine(&wide(&one), &wide(&two)).abs() < 0.3);
    }

    /// ALIGN-01
    #[test]
    fn the_clip_bounds_a_sketch_and_bad_vectors_are_empty() {
        let long = sketch(&plan(64), SketchSubject::Region, &[1000.0; 100], 1.0);
        let norm = long.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        assert!((norm - f64::from(SKETCH_CLIP_STEPS)).abs() < 8.0, "{norm}");
        assert!(sketch(&plan(64), SketchSubject::Region, &[f32::NAN], 1.0).iter().all(|value| *value == 0));
        assert!(sketch(&plan(64), SketchSubject::Region, &[], 1.0).iter().all(|value| *value == 0));
    }

    fn directed(vector: &[f32]) -> Vec<i16> {
        direction(&plan(64), SketchSubject::Update(BlockId(1)), vector)
    }

    /// ALIGN-14
    #[test]
    fn a_direction_has_one_length_whatever_the_vectors_is() {
        let vector: Vec<f32> = (0..100).map(|at| (at as f32 * 0.7).cos()).collect();
        let one = directed(&vector);
        let norm = one.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        assert!((norm - f64::from(SKETCH_CLIP_STEPS)).abs() < 8.0, "{norm}");
        for factor in [1e-30, 1e-3, 1e3, 1e30] {
            let scaled: Vec<f32> = vector.iter().map(|value| value * factor).collect();
            let apart = one.iter().zip(directed(&scaled)).map(|(one, other)| (one - other).abs());
            assert!(apart.max() <= Some(1), "but for the last step of rounding");
        }
        for empty in [&[][..], &[0.0; 3], &[f32::INFINITY, 1.0]] {
            assert!(directed(empty).iter().all(|value| *value == 0));
        }
    }

    /// ALIGN-01
    #[test]
    fn a_projection_written_out_projects_alike() {
        let vector: Vec<f32> = (0..30).map(|at| (at as f32 * 0.9).sin()).collect();
        let rows = projection(&plan(64), SketchSubject::Region, 30);
        let sums: Vec<f64> = (0..64)
            .map(|at| rows.iter().zip(&vector).map(|(row, value)| row[at] * f64::from(*value)).sum())
            .collect();
        let whole = sketch(&plan(64), SketchSubject::Region, &vector, 10.0);
        let apart = clipped(&sums, 10.0).into_iter().zip(whole).map(|(one, other)| (one - other).abs());
        assert!(apart.max() <= Some(1), "but for the last step of rounding");
    }

    /// ALIGN-01
    #[test]
    fn subjects_have_projections_of_their_own() {
        let sketched = |subject| sketch(&plan(64), subject, &[1.0, 2.0, 3.0], 10.0);
        assert_ne!(sketched(SketchSubject::Region), sketched(SketchSubject::Update(BlockId(0))));
        assert_ne!(sketched(SketchSubject::Update(BlockId(0))), sketched(SketchSubject::Update(BlockId(1))));
    }
}
