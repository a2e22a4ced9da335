//! How targets are named.

/// The target of a type: `RoundPlan` is fuzzed as `round-plan`.
pub(crate) fn target_of(kind: &str) -> String {
    let mut name = String::new();
    for letter in kind.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}
