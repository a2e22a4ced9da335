//! Dense linear algebra on symmetric matrices, as far as heads and the attacks' regressions need it.

/// Solves `matrix · x = b` for each right-hand side, by Cholesky's factorisation. `matrix` is symmetric and
/// positive definite, `[size, size]` row by row; it is overwritten with its factor. `None` if it is not
/// definite.
pub(crate) fn solve(
    mut matrix: Vec<f64>,
    size: usize,
    right_hand_sides: &[Vec<f64>],
) -> Option<Vec<Vec<f64>>> {
    factorise(&mut matrix, size)?;
    Some(right_hand_sides.iter().map(|b| substitute(&matrix, size, b)).collect())
}

/// Overwrites the lower triangle with `L` of `L · Lᵀ`.
fn factorise(matrix: &mut [f64], size: usize) -> Option<()> {
    for row in 0..size {
        let (above, current) = matrix.split_at_mut(row * size);
        for column in 0..row {
            let other = &above[column * size..][..=column];
            let rest = current[column] - dot(&current[..column], &other[..column]);
            current[column] = rest / other[column];
        }
        let pivot = current[row] - dot(&current[..row], &current[..row]);
        // NaN compares as neither, so it needs a test of its own.
        if pivot.is_nan() || pivot <= 0.0 {
            return None;
        }
        current[row] = pivot.sqrt();
    }
    Some(())
}

/// Solves `L · Lᵀ · x = b`.
fn substitute(factor: &[f64], size: usize, b: &[f64]) -> Vec<f64> {
    let mut x = b.to_vec();
    for row in 0..size {
        let values = &factor[row * size..][..=row];
        x[row] = (x[row] - dot(&values[..row], &x[..row])) / values[row];
    }
    for row in (0..size).rev() {
        let values = &factor[row * size..][..=row];
        x[row] /= values[row];
        // By columns of `Lᵀ`, which are rows of `L`: every access is to consecutive values.
        let solved = x[row];
        x[..row].iter_mut().zip(values).for_each(|(rest, value)| *rest -= value * solved);
    }
    x
}

/// The inner product. With eight running sums the compiler can use vector instructions; it must not reorder a
/// sum of floats by itself.
pub(crate) fn dot(one: &[f64], other: &[f64]) -> f64 {
    let (ones, one_rest) = one.as_chunks::<8>();
    let (others, other_rest) = other.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in ones.iter().zip(others) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f64>() + one_rest.iter().zip(other_rest).map(|(a, b)| a * b).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solutions_fulfil_their_equations_and_indefinite_matrices_have_none() {
        let size = 19;
        let value = |row: usize, column: usize| {
            let off = 1.0 / (1.0 + (row as f64 - column as f64).abs());
            if row == column { 3.0 } else { off }
        };
        let matrix: Vec<f64> = (0..size * size).map(|at| value(at / size, at % size)).collect();
        let b: Vec<f64> = (0..size).map(|row| row as f64 - 4.0).collect();
        let x = solve(matrix.clone(), size, std::slice::from_ref(&b)).expect("positive definite").remove(0);
        for row in 0..size {
            assert!((dot(&matrix[row * size..][..size], &x) - b[row]).abs() < 1e-9);
        }
        assert_eq!(solve(vec![1.0, 2.0, 2.0, 1.0], 2, &[]), None);
    }
}
