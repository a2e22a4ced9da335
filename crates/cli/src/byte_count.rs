//! How numbers of bytes are written for people.

/// Bytes in decimal units, with one decimal from a kilobyte on: `1.2 MB`.
pub(crate) fn bytes(count: u64) -> String {
    /// From here on a value would be written as 1000.0 of its unit.
    const NEXT_UNIT: f64 = 999.95;
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1e3;
    let mut units = ["kB", "MB", "GB", "TB", "PB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    while value >= NEXT_UNIT {
        let Some(next) = units.next() else { break };
        value /= 1e3;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_change_their_unit_before_they_read_1000() {
        let written = [0, 999, 1000, 1_234_567, 999_949, 999_950, u64::MAX].map(bytes);
        assert_eq!(written, ["0 B", "999 B", "1.0 kB", "1.2 MB", "999.9 kB", "1.0 MB", "18446.7 PB"]);
    }
}
