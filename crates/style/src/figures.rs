//! The figures that each rule is based on, for notes and comparisons.

use serde_json::{Value, json};

use crate::repeated::Seen;
use crate::sources::Sources;
use crate::{circles, closures, repeated, sizes, words};

pub(crate) fn json(sources: &Sources) -> Value {
    let circles = circles::found(sources);
    json!({
        "rust_lines": sources.rust.iter().map(|file| file.text.lines().count()).sum::<usize>(),
        "circles": circles.len(),
        "modules_in_circles": circles.iter().map(|(_, names)| names.len()).sum::<usize>(),
        "repeated_type_names": repeated::found(sources, Seen::Anywhere).len(),
        "repeated_visible_type_names": repeated::found(sources, Seen::ByOthers).len(),
        "named_closures": closures::found(sources).len(),
        "longest_function": sizes::longest(sources),
        "names_that_say_nothing": words::declared(sources),
        "comments_per_100_lines": comment_density(sources),
    })
}

pub(crate) fn text(sources: &Sources) -> String {
    let Value::Object(figures) = json(sources) else { return String::new() };
    figures.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
}

/// Lines of `//` comments (not doc comments) for each 100 lines of code.
fn comment_density(sources: &Sources) -> f64 {
    let lines = || {
        sources.rust.iter().filter(|file| file.crate_folder().is_some()).flat_map(|file| file.text.lines())
    };
    let comments = lines().map(str::trim_start).filter(|line| line.starts_with("// ")).count();
    let code = lines().filter(|line| !line.trim_start().starts_with("//") && !line.trim().is_empty()).count();
    (comments as f64 * 10_000.0 / code as f64).round() / 100.0
}
