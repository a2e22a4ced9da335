//! Markdown lines of at most 120 columns, outside of tables and code.

use crate::sources::Sources;

const COLUMNS: usize = 120;

/// The folder of files that `cargo xtask vectors` writes. Their bytes are compared, so they cannot be
/// wrapped.
const GENERATED: &str = "protocols/vectors/v1/";

pub(crate) fn violations(sources: &Sources) -> Vec<String> {
    let mut violations = Vec::new();
    for file in sources.markdown.iter().filter(|file| !file.path.starts_with(GENERATED)) {
        let mut in_code = false;
        for (number, line) in file.text.lines().enumerate() {
            in_code ^= line.trim_start().starts_with("```");
            let columns = line.chars().count();
            if columns > COLUMNS && !in_code && !may_be_long(line) {
                violations.push(format!(
                    "{}:{}: {columns} columns; a line has at most {COLUMNS}",
                    file.path,
                    number + 1
                ));
            }
        }
    }
    violations
}

/// Tables cannot be wrapped, and neither can a line that is a single link.
fn may_be_long(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with('|') || !line.contains(' ')
}
