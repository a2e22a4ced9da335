//! How whole numbers are written for people.

/// A whole number with commas between thousands: `1,600`.
pub(crate) fn whole(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<String> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| group.iter().map(|digit| char::from(*digit)).collect())
        .collect();
    groups.join(",")
}

/// A number with its noun: `1 hospital`, `8 hospitals`.
pub(crate) fn counted(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", whole(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 12, 999, 1000, 1_234_567].map(whole), ["0", "12", "999", "1,000", "1,234,567"]);
        assert_eq!(counted(1, "hospital"), "1 hospital");
        assert_eq!(counted(0, "note"), "0 notes");
    }
}
