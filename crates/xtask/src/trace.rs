//! Requirement traces: every id is defined once under `protocols/`, enforced somewhere in code, and tested.
//!
//! An id is defined where it stands in bold (`**ROUND-03**`). Code names it in a comment; tests are files of test
//! folders and the modules of tests at the end of source files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::Failure;
use crate::workspace::root;

/// The file of the table of traces.
const TABLE: &str = "audits/traces.md";

/// Places by id, as `path:line`.
type Places = BTreeMap<String, BTreeSet<String>>;

#[derive(Default)]
struct Traces {
    defined: Places,
    code: Places,
    tests: Places,
    dead_links: Vec<String>,
}

/// Checks the traces; `--write` also writes the table.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode, Failure> {
    let traces = read_traces()?;
    let faults = traces.faults();
    if !faults.is_empty() {
        return Err(format!("requirement traces are broken:\n  {}", faults.join("\n  ")));
    }
    let (table, path) = (traces.table(), root().join(TABLE));
    if arguments.iter().any(|argument| argument == "--write") {
        fs::write(&path, &table).map_err(|error| format!("cannot write {TABLE}: {error}"))?;
    // The committed table must be current, because auditors read it without building anything.
    } else if fs::read_to_string(&path).unwrap_or_default() != table {
        return Err(format!("{TABLE} is not what the sources say; run `cargo xtask trace --write`"));
    }
    println!("{} requirements, each defined once, in code, and tested", traces.defined.len());
    Ok(ExitCode::SUCCESS)
}

fn read_traces() -> Result<Traces, Failure> {
    let mut traces = Traces::default();
    for path in files(&root().join("protocols"), "md")? {
        traces.read_page(&path)?;
    }
    for folder in ["audits", "README.md", "CONTRIBUTING.md", "SECURITY.md"] {
        for path in files(&root().join(folder), "md")? {
            traces.dead_links.extend(dead_links(&path, &read(&path)?));
        }
    }
    for folder in ["crates", "tests"] {
        for path in files(&root().join(folder), "rs")? {
            // This crate names ids as examples, and enforces none.
            if !path.starts_with(root().join("crates/xtask")) {
                traces.read_source(&path)?;
            }
        }
    }
    Ok(traces)
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// All files with an extension below a folder, sorted. A file is returned as it is.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, Failure> {
    if folder.is_file() {
        return Ok(vec![folder.to_path_buf()]);
    }
    let entries =
        fs::read_dir(folder).map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, extension)?);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn place(path: &Path, line: usize) -> String {
    let relative = path.strip_prefix(root()).unwrap_or(path);
    format!("{}:{}", relative.display(), line + 1)
}

/// The ids in a line, and whether each is in bold. `A-01 to A-04` also names those in between.
fn ids(line: &str) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    for (start, _) in line.match_indices('-') {
        let letters = line[..start].chars().rev().take_while(char::is_ascii_uppercase).count();
        let digits: String = line[start + 1..].chars().take_while(char::is_ascii_digit).collect();
        // Every id has two digits, which tells `MASK-10` from `AES-128`.
        if letters < 3 || digits.len() != 2 {
            continue;
        }
        let name = &line[start - letters..start];
        let bold = line[..start - letters].ends_with("**") && line[start + 3..].starts_with("**");
        found.push((format!("{name}-{digits}"), bold));
    }
    if let [(first, _), (last, _)] = &found[..]
        && line.contains("` to `")
        && let (Some((name, low)), Some((same, high))) = (first.split_once('-'), last.split_once('-'))
        && name == same
        && let (Ok(low), Ok(high)) = (low.parse::<u8>(), high.parse::<u8>())
    {
        return (low..=high).map(|number| (format!("{name}-{number:02}"), false)).collect();
    }
    found
}

/// Families of ids in the specification. Other capitals with a number, such as `SHA-256`, are no ids.
const FAMILIES: [&str; 16] = [
    "CONS", "FILE", "FLOOR", "PLAN", "ROUND", "HASH", "MASK", "LATE", "ALIGN", "WIRE", "LOG", "PRIV",
    "TRAIN", "TASK", "RUN", "CTRL",
];

fn is_requirement(id: &str) -> bool {
    id.split_once('-').is_some_and(|(family, _)| FAMILIES.contains(&family))
}

impl Traces {
    fn read_page(&mut self, path: &Path) -> Result<(), Failure> {
        let text = read(path)?;
        for (number, line) in text.lines().enumerate() {
            for (id, _) in ids(line).into_iter().filter(|(id, bold)| *bold && is_requirement(id)) {
                self.defined.entry(id).or_default().insert(place(path, number));
            }
        }
        self.dead_links.extend(dead_links(path, &text));
        Ok(())
    }

    fn read_source(&mut self, path: &Path) -> Result<(), Failure> {
        let relative = path.strip_prefix(root()).unwrap_or(path);
        let is_test = relative.with_extension("").components().any(|part| part.as_os_str() == "tests");
        let text = read(path)?;
        let code_lines = if is_test { 0 } else { lines_before_tests(&text) };
        for (number, line) in text.lines().enumerate() {
            for (id, _) in ids(line).into_iter().filter(|(id, _)| is_requirement(id)) {
                let places = if number < code_lines { &mut self.code } else { &mut self.tests };
                places.entry(id).or_default().insert(place(path, number));
            }
        }
        Ok(())
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = self.dead_links.clone();
        for (id, places) in &self.defined {
            if places.len() > 1 {
                faults.push(format!("{id} is defined more than once: {}", list(Some(places))));
            }
            if !self.code.contains_key(id) {
                faults.push(format!("{id} is named by no code"));
            }
            if !self.tests.contains_key(id) {
                faults.push(format!("{id} is named by no test"));
            }
        }
        for (id, places) in self.code.iter().chain(&self.tests) {
            if !self.defined.contains_key(id) {
                faults.push(format!("{id} is not defined, but named at {}", list(Some(places))));
            }
        }
        faults
    }

    fn table(&self) -> String {
        let mut table = String::from(
            "# Traces\n\nWritten by `cargo xtask trace --write`, checked by `cargo xtask trace`.\n\n\
             | requirement | defined | code | tests |\n|---|---|---|---|\n",
        );
        for (id, places) in &self.defined {
            let [defined, code, tests] =
                [Some(places), self.code.get(id), self.tests.get(id)].map(short_list);
            table += &format!("| {id} | {defined} | {code} | {tests} |\n");
        }
        table
    }
}

/// The number of lines before the module of tests, which ends a file: Clippy allows nothing after it. Another
/// item with the attribute, such as `mod tests;`, may be anywhere, and code follows it.
fn lines_before_tests(text: &str) -> usize {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().lines().count()
}

fn list(places: Option<&BTreeSet<String>>) -> String {
    places.into_iter().flatten().cloned().collect::<Vec<_>>().join(", ")
}

/// Files without line numbers, so that the table changes only if a trace does.
fn short_list(places: Option<&BTreeSet<String>>) -> String {
    let files = places.into_iter().flatten().filter_map(|place| place.rsplit_once(':'));
    let files: BTreeSet<&str> = files.map(|(path, _)| path).collect();
    files.into_iter().collect::<Vec<_>>().join(", ")
}

/// A page's links to files that do not exist.
fn dead_links(path: &Path, text: &str) -> Vec<String> {
    let folder = path.parent().unwrap_or(path);
    let targets = text.match_indices("](").filter_map(|(at, _)| {
        let rest = &text[at + 2..];
        rest.split_once(')').map(|(target, _)| target.split('#').next().unwrap_or_default())
    });
    targets
        .filter(|target| !target.is_empty() && !target.contains("://") && !folder.join(target).exists())
        .map(|target| format!("{} links to {target}, which is not there", place(path, 0)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_and_bold_ones_are_told_apart() {
        assert_eq!(
            ids("- **ROUND-03** (R3) as in MASK-10."),
            [("ROUND-03".into(), true), ("MASK-10".into(), false)]
        );
        assert_eq!(ids("/// (`ALIGN-07` to `ALIGN-09`)").len(), 3);
        assert!(ids("SHA-256 and AES-128-CTR, f-12").iter().all(|(id, _)| !is_requirement(id)));
    }

    #[test]
    fn code_after_an_item_of_tests_is_code() {
        let text = "#[cfg(test)]\nmod tests;\n#[cfg(test)]\nuse a::B;\n// ROUND-01\n\n";
        assert_eq!(lines_before_tests(text), 6);
        let with_tests = format!("{text}#[cfg(test)]\nmod tests {{\n    /// ROUND-02\n}}\n");
        assert_eq!(lines_before_tests(&with_tests), 6, "control: the module of tests is none");
    }

    #[test]
    fn a_requirement_without_code_or_test_is_a_fault() {
        let mut traces = Traces::default();
        let here = || BTreeSet::from(["page:1".to_owned()]);
        traces.defined.insert("ROUND-01".into(), here());
        assert_eq!(traces.faults().len(), 2);
        traces.code.insert("ROUND-01".into(), here());
        traces.tests.insert("ROUND-01".into(), here());
        assert!(traces.faults().is_empty());
        traces.tests.insert("ROUND-99".into(), here());
        assert_eq!(traces.faults().len(), 1);
    }
}
