//! The example in a crate's README is the one of its documentation, which is compiled and run.

use crate::sources::Sources;

pub(crate) fn violations(sources: &Sources) -> Vec<String> {
    let mut violations = Vec::new();
    for file in &sources.rust {
        let Some(folder) = file.path.strip_suffix("/src/lib.rs") else { continue };
        let readme = format!("{folder}/README.md");
        let Some(page) = sources.markdown.iter().find(|page| page.path == readme) else { continue };
        let documented = examples(&documentation(&file.text));
        for example in examples(&page.text) {
            if !documented.contains(&example) {
                let start = example.lines().next().unwrap_or_default();
                violations.push(format!(
                    "{readme}: the example that begins with `{start}` is another than in {}; copy it from there",
                    file.path
                ));
            }
        }
    }
    violations
}

/// The text of a crate's documentation.
fn documentation(source: &str) -> String {
    let lines = source.lines().filter_map(|line| line.strip_prefix("//!"));
    lines.map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned() + "\n").collect()
}

/// Blocks of Rust, without the lines that rustdoc hides.
fn examples(text: &str) -> Vec<String> {
    let mut examples = Vec::new();
    let mut block: Option<String> = None;
    let mut is_rust = false;
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut block) {
            (Some(language), None) => {
                is_rust = ["", "rust", "no_run", "rust,no_run"].contains(&language);
                block = Some(String::new());
            }
            (Some(_), Some(_)) => examples.extend(block.take().filter(|_| is_rust)),
            (None, Some(block)) if line != "#" && !line.starts_with("# ") => {
                *block += &(line.to_owned() + "\n")
            }
            (None, _) => {}
        }
    }
    examples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_lines_and_other_languages_do_not_count() {
        let readme = "# a\n\n```rust\nlet a = 1;\n```\n\n```text\nnot this\n```\n";
        let source =
            "//! A.\n//!\n//! ```\n//! let a = 1;\n//! # assert_eq!(a, 1);\n//! ```\n\npub fn b() {}\n";
        assert_eq!(examples(readme), examples(&documentation(source)));
        assert_eq!(examples(readme), ["let a = 1;\n"]);
        assert_ne!(examples(&readme.replace('1', "2")), examples(&documentation(source)), "control");
    }
}
