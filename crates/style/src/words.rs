//! Words that the project's prose and names must not use, each with a replacement.

use syn::visit::Visit;

use crate::sources::Sources;

/// Identifiers that say nothing, with advice.
const NAMES: &[(&str, &str)] = &[
    ("own", "name what is owned"),
    ("of", "name what is made: `from_plan`, `for_member`"),
    ("gathered", "name what was collected"),
    ("told", "name what was reported: `reported_events`, `stderr`"),
    ("believed", "name the check that was passed"),
];

/// Phrases of comments and documents, in lower case, with replacements.
const PHRASES: &[(&str, &str)] = &[
    ("takes no part", "does not take part; is excluded"),
    ("says aloud", "sends a `Refusal` with the reason"),
    ("be had again", "be restored"),
    ("had afresh", "restored"),
    ("is not awaited now", "is unexpected in this phase"),
    ("by heart", "in memory"),
    ("is told of", "is reported for"),
    ("told as", "reported as"),
    ("refused aloud", "refused with a message"),
    ("had again", "restored; computed again"),
    ("has not the", "does not have the"),
    ("knows nothing of", "does not know"),
    ("none is under way", "none is in progress"),
    ("comes to nothing", "has no effect"),
    ("for nought", "without effect"),
    ("whereof", "of which"),
    ("therein", "in it"),
    ("thereof", "of it"),
    ("wherein", "in which"),
    ("hereby", "with this"),
    ("so as to", "to"),
    ("of its own accord", "by itself"),
];

pub(crate) fn violations(sources: &Sources) -> Vec<String> {
    let mut violations = Vec::new();
    // This crate has the lists themselves.
    for file in sources.rust.iter().filter(|file| !file.path.starts_with("crates/style/")) {
        let mut collector = NameCollector::default();
        collector.visit_file(&file.syntax);
        for (line, name) in collector.found {
            violations.push(format!("{}:{line}: the name `{name}`: {}", file.path, advice(NAMES, &name)));
        }
        let comments = file.text.lines().enumerate().filter(|(_, line)| line.contains("//"));
        violations.extend(phrases(&file.path, comments));
    }
    for file in &sources.markdown {
        let lines = file.text.lines().enumerate().filter(|(_, line)| !is_example(&file.path, line));
        violations.extend(phrases(&file.path, lines));
    }
    violations
}

/// Whether a line is an example of the rule's own page, which lists phrases to avoid in a table.
fn is_example(path: &str, line: &str) -> bool {
    path == "CONTRIBUTING.md" && line.starts_with('|')
}

/// How often a forbidden identifier is declared.
pub(crate) fn declared(sources: &Sources) -> usize {
    let mut collector = NameCollector::default();
    for file in &sources.rust {
        collector.visit_file(&file.syntax);
    }
    collector.found.len()
}

fn phrases<'a>(path: &str, lines: impl Iterator<Item = (usize, &'a str)>) -> Vec<String> {
    let mut violations = Vec::new();
    for (number, line) in lines {
        let lower = line.to_lowercase();
        for (phrase, instead) in PHRASES.iter().filter(|(phrase, _)| lower.contains(phrase)) {
            violations.push(format!("{path}:{}: \"{phrase}\": write \"{instead}\"", number + 1));
        }
    }
    violations
}

fn advice(table: &[(&str, &'static str)], word: &str) -> &'static str {
    table.iter().find(|(entry, _)| *entry == word).map_or("", |(_, instead)| instead)
}

#[derive(Default)]
struct NameCollector {
    found: Vec<(usize, String)>,
}

impl NameCollector {
    fn add(&mut self, name: &syn::Ident) {
        let text = name.to_string();
        if NAMES.iter().any(|(entry, _)| *entry == text) {
            self.found.push((name.span().start().line, text));
        }
    }
}

/// Only where a name is declared: functions, fields, variables, modules.
impl<'ast> Visit<'ast> for NameCollector {
    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        self.add(&signature.ident);
        syn::visit::visit_signature(self, signature);
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if let Some(name) = &field.ident {
            self.add(name);
        }
        syn::visit::visit_field(self, field);
    }

    fn visit_pat_ident(&mut self, pattern: &'ast syn::PatIdent) {
        self.add(&pattern.ident);
        syn::visit::visit_pat_ident(self, pattern);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.add(&item.ident);
        syn::visit::visit_item_mod(self, item);
    }
}
