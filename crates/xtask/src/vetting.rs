//! Rules for dependencies: every crate comes from crates.io and has a licence that is compatible with ours. Of what
//! programs link, what secrets depend on has one version, and some crates are banned: tests may compare with other
//! implementations of the same. Known advisories are listed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::Failure;
use crate::workspace::cargo;

/// Licences under which a crate may be used.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Zlib",
];

/// Crates that name a file instead of a licence, with the licence that a person read in it.
const LICENCE_FILES: &[(&str, &str)] = &[("opendp", "MIT"), ("opendp_derive", "MIT")];

/// Crates of which only one version may be linked: keys, signatures, links and the erasure of secrets depend
/// on them.
const ONE_VERSION: &[&str] = &["bincode", "curve25519-dalek", "quinn", "ring", "rustls", "subtle", "zeroize"];

/// Crates that may not be linked, with the reason.
const BANNED: &[(&str, &str)] =
    &[("native-tls", "links are rustls's alone"), ("ed25519-dalek", "signatures are ring's alone")];

/// Known advisories, each accepted for one version. `audits/README.md` gives the reasons.
const ADVISORIES: &[(&str, &str, &str)] =
    &[("bincode", "2.0.1", "RUSTSEC-2025-0141"), ("nalgebra", "0.19.0", "RUSTSEC-2021-0070")];

/// Reads the locked dependencies and fails on one that breaks a rule.
pub(crate) fn check() -> Result<(), Failure> {
    let output = cargo()
        // Locked: what is checked must be what is built.
        .args(["metadata", "--format-version", "1", "--locked"])
        .output()
        .map_err(|error| format!("cannot start cargo metadata: {error}"))?;
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|error| {
        format!("cargo metadata: {error}; {}", String::from_utf8_lossy(&output.stderr).trim())
    })?;
    let faults = faults(&packages(&metadata));
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!(
        "dependencies break the rules of crates/xtask/src/vetting.rs:\n  {}\nTake another crate, or change \
         the rules and say why in audits/README.md.",
        faults.join("\n  ")
    ))
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Package {
    name: String,
    version: String,
    licence: Option<String>,
    /// Its registry; none for a crate of the workspace.
    source: Option<String>,
    /// Whether more than tests and benchmarks need it.
    is_linked: bool,
}

fn packages(metadata: &Value) -> Vec<Package> {
    let linked = linked(metadata);
    let mut packages = Vec::new();
    for value in metadata["packages"].as_array().into_iter().flatten() {
        packages.push(Package::from_metadata(value, &linked));
    }
    packages
}

/// The ids of the workspace's crates and of what they need other than for tests.
fn linked(metadata: &Value) -> BTreeSet<&str> {
    let mut needs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for node in metadata["resolve"]["nodes"].as_array().into_iter().flatten() {
        let needed = needs.entry(node["id"].as_str().unwrap_or_default()).or_default();
        for dependency in node["deps"].as_array().into_iter().flatten() {
            let mut kinds = dependency["dep_kinds"].as_array().into_iter().flatten();
            if kinds.any(|kind| kind["kind"] != "dev") {
                needed.extend(dependency["pkg"].as_str());
            }
        }
    }
    let mut linked = BTreeSet::new();
    let members = metadata["workspace_members"].as_array().into_iter().flatten();
    let mut next: Vec<&str> = members.filter_map(Value::as_str).collect();
    while let Some(id) = next.pop() {
        if linked.insert(id) {
            next.extend(needs.get(id).into_iter().flatten());
        }
    }
    linked
}

impl Package {
    fn from_metadata(value: &Value, linked: &BTreeSet<&str>) -> Self {
        let [name, version, licence, source] =
            ["name", "version", "license", "source"].map(|key| value[key].as_str().map(str::to_owned));
        let is_linked = value["id"].as_str().is_some_and(|id| linked.contains(id));
        let (name, version) = (name.unwrap_or_default(), version.unwrap_or_default());
        Self { name, version, licence, source, is_linked }
    }
}

fn faults(packages: &[Package]) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages.iter().filter(|package| package.is_linked) {
        versions.entry(&package.name).or_default().insert(&package.version);
    }
    let mut faults: Vec<String> = packages.iter().filter_map(fault).collect();
    for (name, found) in ONE_VERSION.iter().filter_map(|name| Some((name, versions.get(name)?))) {
        if found.len() > 1 {
            faults.push(format!("{name} comes in {} versions", found.len()));
        }
    }
    for (name, version, advisory) in ADVISORIES {
        // An exception that is no longer needed is an error, so that the list stays short.
        if !versions.get(name).is_some_and(|found| found.contains(version)) {
            faults.push(format!("{advisory} is listed for {name} {version}, which is not used any more"));
        }
    }
    faults
}

fn fault(package: &Package) -> Option<String> {
    let Package { name, version, licence, source, is_linked } = package;
    // Crates of the workspace have no source, and need no licence check.
    let source = source.as_deref()?;
    if let Some((_, why)) = BANNED.iter().find(|(banned, _)| *is_linked && banned == name) {
        return Some(format!("{name} may not come in: {why}"));
    }
    if source != "registry+https://github.com/rust-lang/crates.io-index" {
        return Some(format!("{name} {version} is from {source}"));
    }
    let read = LICENCE_FILES.iter().find(|(listed, _)| listed == name).map(|(_, says)| *says);
    match licence.as_deref().or(read) {
        Some(expression) if is_allowed(expression) => None,
        other => {
            Some(format!("{name} {version} is under {}", other.unwrap_or("a licence that it does not name")))
        }
    }
}

/// Whether an SPDX expression leaves a choice of allowed licences only. `/` is an old spelling of `OR`.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    any_of(&mut words) && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>) -> bool {
    let mut allowed = all_of(words);
    while words.next_if_eq(&"OR").is_some() {
        allowed |= all_of(words);
    }
    allowed
}

fn all_of(words: &mut Words<'_>) -> bool {
    let mut allowed = one(words);
    while words.next_if_eq(&"AND").is_some() {
        allowed &= one(words);
    }
    allowed
}

/// A licence, with or without an exception, or an expression in parentheses. An exception only adds
/// permissions, so any is accepted.
fn one(words: &mut Words<'_>) -> bool {
    if words.next_if_eq(&"(").is_some() {
        // `&` and not `&&`: the closing parenthesis must be consumed either way.
        return any_of(words) & words.next_if_eq(&")").is_some();
    }
    let allowed = words.next().is_some_and(|licence| LICENCES.contains(&licence));
    if words.next_if_eq(&"WITH").is_some() {
        words.next();
    }
    allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str, licence: Option<&str>, source: Option<&str>) -> Package {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let (licence, source) = (owned(licence), owned(source));
        Package { name: name.into(), version: version.into(), licence, source, is_linked: true }
    }

    const CRATES_IO: Option<&str> = Some("registry+https://github.com/rust-lang/crates.io-index");

    #[test]
    fn licences_are_read_as_expressions() {
        let allowed = [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
        ];
        for expression in allowed {
            assert!(is_allowed(expression), "{expression}");
        }
        for expression in
            ["GPL-3.0", "MIT AND GPL-3.0", "(MIT", "MIT MIT", "", "(GPL-3.0 OR AGPL-3.0) AND MIT"]
        {
            assert!(!is_allowed(expression), "{expression}");
        }
    }

    #[test]
    fn each_rule_names_what_breaks_it() {
        let rule_faults = |packages: &[Package]| -> Vec<String> {
            let found = faults(packages);
            found.into_iter().filter(|fault| !fault.starts_with("RUSTSEC")).collect()
        };
        let fine = package("fine", "1.0.0", Some("MIT"), CRATES_IO);
        let ours = package("ours", "1.0.0", None, None);
        assert_eq!(rule_faults(&[fine, ours]), Vec::<String>::new());
        let forked = package("fork", "1.0.0", Some("MIT"), Some("git+https://example.org/fork"));
        assert!(rule_faults(&[forked])[0].contains("example.org"));
        let banned = package("native-tls", "1.0.0", Some("MIT"), CRATES_IO);
        assert!(rule_faults(std::slice::from_ref(&banned))[0].contains("rustls"));
        let metadata = serde_json::json!({
            "workspace_members": ["ours"],
            "resolve": { "nodes": [
                { "id": "ours", "deps": [
                    { "pkg": "linked", "dep_kinds": [{ "kind": null }, { "kind": "dev" }] },
                    { "pkg": "tested", "dep_kinds": [{ "kind": "dev" }] },
                ] },
                { "id": "linked", "deps": [{ "pkg": "built", "dep_kinds": [{ "kind": "build" }] }] },
            ] },
        });
        assert_eq!(linked(&metadata), BTreeSet::from(["built", "linked", "ours"]));
        let unnamed = package("unnamed", "1.0.0", None, CRATES_IO);
        assert!(rule_faults(&[unnamed])[0].contains("does not name"));
        let two = ["1.0.0", "2.0.0"].map(|version| package("ring", version, Some("ISC"), CRATES_IO));
        assert_eq!(rule_faults(&two), ["ring comes in 2 versions"]);
        // Tests compare with other implementations.
        let [one, other] = two;
        let tested = |package: Package| Package { is_linked: false, ..package };
        assert_eq!(rule_faults(&[one, tested(other), tested(banned)]), Vec::<String>::new());
        assert!(
            faults(&[])[0].contains("not used any more"),
            "an advisory's exception ends with its version"
        );
    }

    #[test]
    fn the_workspace_keeps_the_rules() {
        assert_eq!(check(), Ok(()));
    }
}
