//! Links and paths in Markdown pages must name files and headings that exist.

use std::collections::BTreeMap;

use crate::sources::{Sources, TextFile, root};

/// A code span that starts with one of these is taken for a path of the project.
const FOLDERS: [&str; 5] = ["crates/", "protocols/", "audits/", "deploy/", "tests/"];

/// What precedes a link's target, and what ends it: in Markdown links, and in HTML pictures.
const MARKS: [(&str, char); 3] = [("](", ')'), ("src=\"", '"'), ("srcset=\"", '"')];

pub(crate) fn violations(sources: &Sources) -> Vec<String> {
    let headings: BTreeMap<&str, Vec<String>> =
        sources.markdown.iter().map(|page| (page.path.as_str(), anchors(&page.text))).collect();
    let mut violations = Vec::new();
    for page in &sources.markdown {
        for (number, line) in prose(&page.text) {
            let faults = dead_links(page, line, &headings).into_iter().chain(dead_paths(line));
            violations.extend(faults.map(|fault| format!("{}:{number}: {fault}", page.path)));
        }
    }
    violations
}

/// The lines outside of code blocks, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        (!in_code && !fence).then_some((number + 1, line))
    })
}

fn dead_links(page: &TextFile, line: &str, headings: &BTreeMap<&str, Vec<String>>) -> Vec<String> {
    let mut faults = Vec::new();
    for target in targets(line) {
        // The check needs no network, so links to other sites are not followed.
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
        let path = if file.is_empty() { Some(page.path.clone()) } else { resolve(&page.path, file) };
        let Some(path) = path.filter(|path| root().join(path).exists()) else {
            faults.push(format!("a link to {target}, which does not exist"));
            continue;
        };
        let known = headings.get(path.as_str());
        if !anchor.is_empty() && known.is_some_and(|known| !known.iter().any(|known| known == anchor)) {
            faults.push(format!("a link to {target}; {path} has no such heading"));
        }
    }
    faults
}

/// The targets of a line's links and pictures.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    MARKS.iter().flat_map(move |(mark, end)| {
        line.match_indices(mark).filter_map(move |(at, _)| Some(line[at + mark.len()..].split_once(*end)?.0))
    })
}

/// The path of a link's target from the root of the checkout; `None` if it leads outside.
fn resolve(page: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Code spans that look like a path of the project but do not exist.
fn dead_paths(line: &str) -> Vec<String> {
    // Every second part is between two backticks. A span over two lines contains a space, so it is not a
    // path.
    let spans = line.split('`').skip(1).step_by(2);
    spans
        .filter(|span| FOLDERS.iter().any(|folder| span.starts_with(folder)))
        .filter(|span| span.chars().all(|letter| letter.is_ascii_alphanumeric() || "_./-".contains(letter)))
        .filter(|span| !root().join(span).exists())
        .map(|span| format!("the path {span}, which does not exist"))
        .collect()
}

/// The anchors of a page's headings, as GitHub computes them.
fn anchors(text: &str) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut anchors = Vec::new();
    for (_, line) in prose(text).filter(|(_, line)| line.starts_with('#')) {
        let anchor = anchor(line.trim_start_matches('#').trim());
        let times = seen.entry(anchor.clone()).or_default();
        // GitHub numbers headings of the same text from the second on.
        anchors.push(if *times == 0 { anchor } else { format!("{anchor}-{times}") });
        *times += 1;
    }
    anchors
}

fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'))
        .map(|letter| if letter == ' ' { '-' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_those_of_github() {
        let text = "# DP-SGD\n\n## What is read, and when?\n```\n# no heading\n```\n## DP-SGD\n";
        assert_eq!(anchors(text), ["dp-sgd", "what-is-read-and-when", "dp-sgd-1"]);
    }

    #[test]
    fn targets_lead_from_the_page_to_a_path_of_the_checkout() {
        assert_eq!(resolve("protocols/round.md", "../audits/README.md").as_deref(), Some("audits/README.md"));
        assert_eq!(resolve("README.md", "deploy/").as_deref(), Some("deploy"));
        assert_eq!(resolve("README.md", "../elsewhere"), None);
    }

    #[test]
    fn a_line_with_links_that_lead_nowhere_is_found() {
        let text = "# Here\n".to_owned();
        let page = TextFile { path: "README.md".to_owned(), text };
        let headings = BTreeMap::from([("README.md", anchors(&page.text))]);
        let dead = |line: &str| dead_links(&page, line, &headings);
        assert!(dead("[a](#here), [b](Cargo.toml) and [c](https://example.org)").is_empty());
        assert_eq!(dead("[a](#there), [b](nothing.md)").len(), 2);
        assert_eq!(dead("<img src=\"nothing.png\">").len(), 1);
    }

    #[test]
    fn a_path_in_code_must_exist_and_a_pattern_need_not() {
        assert!(dead_paths("`crates/style/src/links.rs`, `tests/*.rs` and `a/b`").is_empty());
        assert_eq!(dead_paths("`crates/style/src/nothing.rs`").len(), 1);
    }
}
