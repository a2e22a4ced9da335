//! Each library crate starts with a description and an example that runs as a test, and has a README.

use crate::sources::{Sources, root};

pub(crate) fn violations(sources: &Sources) -> Vec<String> {
    let mut violations = Vec::new();
    for file in sources.rust.iter().filter(|file| file.path.ends_with("/src/lib.rs")) {
        let Some(folder) = file.crate_folder() else { continue };
        if !has_example(&front_page(&file.text)) {
            violations
                .push(format!("{}: the crate's first page has no example that runs as a test", file.path));
        }
        if !root().join(folder).join("README.md").is_file() {
            violations.push(format!("{folder}: no README.md"));
        }
    }
    violations
}

/// The lines of a file's `//!` comment.
fn front_page(text: &str) -> Vec<&str> {
    text.lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect()
}

/// Whether one of the code blocks is compiled and run.
fn has_example(page: &[&str]) -> bool {
    // rustdoc runs blocks without a language, and those marked as Rust.
    let mut block: Option<bool> = None;
    for line in page {
        match (block, line.trim_end().strip_prefix("```")) {
            (None, Some(language)) => block = Some(matches!(language, "" | "rust" | "no_run")),
            (Some(_), Some(_)) => block = None,
            (Some(true), None) if line.contains("assert") => return true,
            _ => {}
        }
    }
    false
}
