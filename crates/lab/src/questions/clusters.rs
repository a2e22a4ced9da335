//! Topics of texts that have no subject: k-means (Lloyd 1982) over the directions of their embeddings.

use crate::linear::dot;
use crate::shuffle::shuffled;

/// The most iterations; they end earlier when no row changes its cluster.
const ITERATIONS: usize = 25;

/// The cluster of each row of `width` values, from 0; rows are compared by the cosine. Equal seeds give equal clusters.
pub(crate) fn clusters(rows: &[f32], width: usize, count: usize, seed: u64) -> Vec<usize> {
    let rows: Vec<Vec<f64>> = rows.chunks_exact(width).map(unit).collect();
    // Centres start at distinct rows, by the seed.
    let first = shuffled((0..rows.len()).collect(), seed);
    let mut centres: Vec<Vec<f64>> = first.iter().take(count).map(|&row| rows[row].clone()).collect();
    let mut assigned = vec![0; rows.len()];
    for _ in 0..ITERATIONS {
        let next: Vec<usize> = rows.iter().map(|row| nearest(row, &centres)).collect();
        if next == assigned {
            break;
        }
        assigned = next;
        for (cluster, centre) in centres.iter_mut().enumerate() {
            let mut sum = vec![0.0; width];
            for (row, _) in rows.iter().zip(&assigned).filter(|(_, assigned)| **assigned == cluster) {
                sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
            // A cluster without rows keeps its centre.
            if dot(&sum, &sum) > 0.0 {
                *centre = scaled(sum);
            }
        }
    }
    assigned
}

fn nearest(row: &[f64], centres: &[Vec<f64>]) -> usize {
    let likeness: Vec<f64> = centres.iter().map(|centre| dot(row, centre)).collect();
    (0..centres.len()).max_by(|&one, &other| likeness[one].total_cmp(&likeness[other])).unwrap_or(0)
}

fn unit(row: &[f32]) -> Vec<f64> {
    scaled(row.iter().map(|value| f64::from(*value)).collect())
}

fn scaled(row: Vec<f64>) -> Vec<f64> {
    let norm = dot(&row, &row).sqrt().max(f64::MIN_POSITIVE);
    row.into_iter().map(|value| value / norm).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_that_lie_together_are_one_cluster() {
        let around = |angle: f32| {
            (0..20).flat_map(move |at| {
                let angle = angle + at as f32 * 0.01;
                [angle.cos() * (1.0 + at as f32), angle.sin() * (1.0 + at as f32)]
            })
        };
        let rows: Vec<f32> = around(0.0).chain(around(2.0)).chain(around(4.0)).collect();
        let found = (0..8).map(|seed| clusters(&rows, 2, 3, seed)).find(|found| {
            [0, 20, 40]
                .iter()
                .all(|&start| found[start..start + 20].iter().all(|cluster| *cluster == found[start]))
        });
        let found = found.expect("some start finds the three directions");
        assert!(found[0] != found[20] && found[20] != found[40] && found[0] != found[40]);
        assert_eq!(clusters(&rows, 2, 3, 1), clusters(&rows, 2, 3, 1));
    }
}
