//! Integer statistics. Divisions round towards minus infinity, medians of even counts are the lower one.

/// The mean; 0 without values.
pub(crate) fn mean(values: &[i64]) -> i64 {
    values.iter().sum::<i64>().div_euclid(values.len().max(1) as i64)
}

/// The standard deviation around `centre`, with the number of values as its divisor; 0 without values.
pub(crate) fn deviation(values: &[i64], centre: i64) -> i64 {
    let squares: i64 = values.iter().map(|value| (value - centre).pow(2)).sum();
    squares.div_euclid(values.len().max(1) as i64).isqrt()
}

/// The lower median, which is one of the values, so that nothing is rounded; 0 without values.
pub(crate) fn median(values: &[i64]) -> i64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0)
}

/// The median absolute deviation around `centre`.
pub(crate) fn median_deviation(values: &[i64], centre: i64) -> i64 {
    median(&values.iter().map(|value| (value - centre).abs()).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_small_sets() {
        assert_eq!((mean(&[1, 2, 6]), mean(&[-1, -2]), mean(&[])), (3, -2, 0));
        assert_eq!(deviation(&[2, 4, 4, 4, 5, 5, 7, 9], 5), 2);
        assert_eq!((median(&[5, 1, 9]), median(&[4, 1, 2, 3]), median(&[])), (5, 2, 0));
        assert_eq!(median_deviation(&[1, 1, 2, 2, 4, 6, 9], 2), 1);
    }
}
