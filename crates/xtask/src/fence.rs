//! The crate graph: which crate of the workspace may depend on which, and which crate alone may name a
//! dangerous or native dependency. `protocols/decisions/0001-crates.md` gives the reasons.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::Failure;
use crate::workspace::{cargo, io_failure, root};

/// For each crate, the crates of the workspace that it may depend on. Development dependencies are not
/// restricted.
const ALLOWED: &[(&str, &[&str])] = &[
    ("params", &[]),
    ("storage", &[]),
    ("crypto", &["params"]),
    ("alignment", &["params"]),
    ("wire", &["params"]),
    ("transcript", &["params", "crypto"]),
    ("protocol", &["params", "crypto", "alignment", "wire", "transcript"]),
    ("privacy", &["params", "storage"]),
    ("updates", &["params"]),
    ("experts", &["params", "privacy", "updates"]),
    ("gate", &["params", "alignment", "protocol", "privacy", "updates"]),
    ("trainer", &["experts"]),
    ("identity", &["params", "storage", "crypto", "wire"]),
    ("transport", &["params", "identity"]),
    (
        "server",
        &[
            "params",
            "storage",
            "crypto",
            "wire",
            "protocol",
            "identity",
            "transport",
            "transcript",
            "privacy",
        ],
    ),
    (
        "client",
        &[
            "params",
            "storage",
            "crypto",
            "wire",
            "protocol",
            "identity",
            "transport",
            "privacy",
            "experts",
            "gate",
            "trainer",
            "updates",
        ],
    ),
    ("audit", &["params", "crypto", "wire", "protocol", "transcript", "privacy"]),
    ("cluster", &["params", "crypto", "alignment", "wire", "protocol"]),
    ("testkit", &["params", "crypto", "wire", "protocol", "transcript", "cluster"]),
    (
        "lab",
        &[
            "params",
            "crypto",
            "alignment",
            "wire",
            "protocol",
            "privacy",
            "gate",
            "experts",
            "cluster",
            "trainer",
        ],
    ),
    (
        "cli",
        &[
            "lab",
            "audit",
            "params",
            "storage",
            "crypto",
            "wire",
            "protocol",
            "privacy",
            "transport",
            "identity",
            "server",
            "client",
            "experts",
            "trainer",
        ],
    ),
];

/// For each fenced dependency, the crates that may name it.
const FENCED: &[(&str, &[&str])] = &[
    ("toml", &["params", "lab", "identity", "cli"]),
    ("ring", &["crypto"]),
    ("curve25519-dalek", &["crypto"]),
    ("aes", &["crypto"]),
    ("ctr", &["crypto"]),
    ("bincode", &["wire"]),
    ("tch", &["experts"]),
    ("torch-sys", &["experts"]),
    ("safetensors", &["experts"]),
    ("tokenizers", &["experts"]),
    ("opendp", &["privacy"]),
    ("quinn", &["transport"]),
    ("rustls", &["transport", "identity"]),
    ("tokio-rustls", &["transport"]),
    ("rcgen", &["identity"]),
    ("pkcs8", &["identity"]),
    ("x509-cert", &["identity"]),
    ("tokio", &["server", "client", "transport", "cli", "tests"]),
    ("hyper", &["cli"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
];

/// Chains of dependencies that must not exist, over however many crates: from, to, and what a chain would mean.
const FORBIDDEN_CHAINS: &[(&str, &str, &str)] = &[
    // `testkit` has lying coordinators and custodians.
    ("cli", "testkit", "the program that hospitals install links attacker code"),
    // So that the gate can be built, read and tested alone.
    ("gate", "tch", "the privacy gate links libtorch"),
];

/// Reads the workspace from `cargo metadata`. Fails on an edge that is not allowed, and on an allowed edge
/// that is unused: a table of unused permissions would not describe the architecture.
pub(crate) fn check() -> Result<(), Failure> {
    let output = cargo()
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .output()
        .map_err(|error| format!("cannot start cargo metadata: {error}"))?;
    let metadata: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("cargo metadata printed no JSON: {error}"))?;
    let mut faults = Vec::new();
    let edges = edges(&metadata);
    for (name, dependencies) in &edges {
        faults.extend(dependencies.iter().filter_map(|dependency| fault(name, dependency)));
        faults.extend(unused(name, dependencies, &source_text(name)?));
    }
    // Checked as a chain, too: a table entry that somebody adds later could open a way over several crates.
    for (from, to, meaning) in FORBIDDEN_CHAINS {
        faults.extend(path_between(&edges, from, to).map(|path| format!("{meaning}: {}", path.join(" -> "))));
    }
    faults.extend(libtorch_fault(&dependencies(&["--no-default-features"])?, &dependencies(&[])?));
    faults.extend(switchers(&metadata).iter().map(|name| format!("{name} may not switch rules off")));
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the crate graph has edges that the architecture does not allow:\n  {}\nMove the code, or change \
         crates/xtask/src/fence.rs and say why in protocols/decisions/.",
        faults.join("\n  ")
    ))
}

/// The names of the packages that the program is built from, with these flags of cargo.
fn dependencies(flags: &[&str]) -> Result<BTreeSet<String>, Failure> {
    let tree = [
        "tree",
        "--package",
        "cloister-cli",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ];
    let output = cargo().args(tree).args(flags).output();
    let output = output.map_err(|error| format!("cannot start cargo tree: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    // A line is a name, a version, and more.
    Ok(text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}

/// The fault of a program for coordinators and custodians that links libtorch. A member's program is the control: if libtorch
/// is not found in it, the check finds nothing anywhere.
fn libtorch_fault(without_training: &BTreeSet<String>, with_training: &BTreeSet<String>) -> Option<String> {
    const LIBTORCH: &str = "torch-sys";
    if without_training.contains(LIBTORCH) {
        return Some("the program for coordinators and custodians links libtorch".to_owned());
    }
    let is_found = with_training.contains(LIBTORCH);
    (!is_found).then(|| "cargo tree lists no libtorch for members, so its names have changed".to_owned())
}

/// Each crate of the workspace, by short name, with its normal and build dependencies. The two crates of
/// development tools are not part of the architecture.
fn edges(metadata: &Value) -> BTreeMap<String, Vec<String>> {
    let mut edges = BTreeMap::new();
    for package in items(&metadata["packages"]) {
        if package["name"] == "xtask" || package["name"] == "style" {
            continue;
        }
        // Tests may link attackers and other crates; they are not shipped.
        let used = items(&package["dependencies"]).filter(|dependency| dependency["kind"] != "dev");
        let names = used.map(|dependency| text(&dependency["name"]).to_owned()).collect();
        edges.insert(short(text(&package["name"])).to_owned(), names);
    }
    edges
}

/// The items of a JSON list; none for any other value.
fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A JSON string; empty for any other value.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A chain of dependencies from one crate of the workspace to another, if there is one.
fn path_between(edges: &BTreeMap<String, Vec<String>>, from: &str, to: &str) -> Option<Vec<String>> {
    // Breadth first, so that the chain in the message is a shortest one.
    let mut paths = VecDeque::from([vec![from.to_owned()]]);
    let mut visited = BTreeSet::new();
    while let Some(path) = paths.pop_front() {
        let last = path.last()?;
        if last == to {
            return Some(path);
        }
        for dependency in edges.get(last).into_iter().flatten() {
            let name = short(dependency).to_owned();
            if visited.insert(name.clone()) {
                paths.push_back([path.clone(), vec![name]].concat());
            }
        }
    }
    None
}

/// The packages other than the test suites that enable the feature by which rules can be switched off.
fn switchers(metadata: &Value) -> Vec<String> {
    let mut names = Vec::new();
    for package in items(&metadata["packages"]) {
        let features = items(&package["dependencies"]).flat_map(|dependency| items(&dependency["features"]));
        let name = short(text(&package["name"]));
        if name != "tests" && features.into_iter().any(|feature| feature == "switches") {
            names.push(name.to_owned());
        }
    }
    names
}

fn fault(name: &str, dependency: &str) -> Option<String> {
    let (table, what, key) = if dependency.starts_with("cloister-") {
        (ALLOWED, "may not depend on", name)
    } else {
        (FENCED, "may not name", dependency)
    };
    let allowed = table.iter().find(|(entry, _)| *entry == key).map(|(_, list)| *list);
    let (subject, fine) = match (allowed, dependency.starts_with("cloister-")) {
        (Some(list), true) => (short(dependency), list.contains(&short(dependency))),
        (Some(list), false) => (dependency, list.contains(&name)),
        (None, true) => (short(dependency), false),
        (None, false) => return None,
    };
    (!fine).then(|| format!("{name} {what} {subject}"))
}

/// A crate's unused edges: allowed ones that its manifest lacks, and those of its manifest that its sources
/// do not name.
fn unused(name: &str, dependencies: &[String], sources: &str) -> Vec<String> {
    let allowed = ALLOWED.iter().find(|(entry, _)| *entry == name).map_or(&[][..], |(_, list)| list);
    let mut faults = Vec::new();
    for to in allowed {
        let package = format!("cloister-{to}");
        if !dependencies.contains(&package) {
            faults.push(format!("{name} may depend on {to}, but does not"));
        } else if !sources.contains(&package.replace('-', "_")) {
            faults.push(format!("{name} depends on {to}, but its sources do not name it"));
        }
    }
    faults
}

/// All Rust sources of a crate, the test suites' of `tests`.
fn source_text(name: &str) -> Result<String, Failure> {
    let folder =
        if name == "tests" { root().join(name) } else { root().join("crates").join(name).join("src") };
    let mut text = String::new();
    append_sources(&folder, &mut text)?;
    Ok(text)
}

fn append_sources(folder: &Path, text: &mut String) -> Result<(), Failure> {
    let failure = io_failure("read", folder);
    for entry in fs::read_dir(folder).map_err(failure)? {
        let path = entry.map_err(failure)?.path();
        if path.is_dir() {
            append_sources(&path, text)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).map_err(failure)?);
        }
    }
    Ok(())
}

fn short(package: &str) -> &str {
    package.strip_prefix("cloister-").unwrap_or(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allows_what_the_architecture_draws() {
        assert_eq!(fault("protocol", "cloister-wire"), None);
        assert_eq!(fault("crypto", "ring"), None);
        assert_eq!(fault("protocol", "serde"), None);
    }

    #[test]
    fn names_what_it_forbids() {
        assert_eq!(fault("server", "cloister-experts").as_deref(), Some("server may not depend on experts"));
        assert_eq!(fault("protocol", "ring").as_deref(), Some("protocol may not name ring"));
        assert_eq!(fault("unlisted", "cloister-wire").as_deref(), Some("unlisted may not depend on wire"));
    }

    #[test]
    fn names_the_edges_that_nobody_uses() {
        let dependencies = ["cloister-params".to_owned()];
        assert_eq!(unused("crypto", &dependencies, "use cloister_params::id::Round;"), Vec::<String>::new());
        assert_eq!(
            unused("crypto", &dependencies, ""),
            ["crypto depends on params, but its sources do not name it"]
        );
        assert_eq!(unused("crypto", &[], ""), ["crypto may depend on params, but does not"]);
    }

    #[test]
    fn only_the_test_suites_switch_rules_off() {
        let package = |name: &str| serde_json::json!({"name": name, "dependencies": [{"name": "cloister-params", "features": ["switches"]}]});
        let metadata =
            serde_json::json!({"packages": [package("cloister-tests"), package("cloister-server")]});
        assert_eq!(switchers(&metadata), ["server"]);
    }

    #[test]
    fn a_chain_of_dependencies_is_found() {
        let edges: BTreeMap<String, Vec<String>> = [
            ("cli", vec!["serde", "cloister-lab", "cloister-client"]),
            ("lab", vec!["cloister-cluster"]),
            ("client", vec!["cloister-lab", "cloister-testkit"]),
            ("testkit", vec!["cloister-cluster"]),
        ]
        .map(|(name, list)| (name.to_owned(), list.into_iter().map(str::to_owned).collect()))
        .into();
        let path = path_between(&edges, "cli", "testkit");
        assert_eq!(path, Some(["cli", "client", "testkit"].map(str::to_owned).to_vec()));
        assert_eq!(path_between(&edges, "lab", "testkit"), None);
    }

    /// The chain to libtorch that the gate must not have is found where it exists.
    #[test]
    fn a_chain_to_a_dependency_from_outside_is_found() {
        let edges: BTreeMap<String, Vec<String>> = [
            ("gate", vec!["cloister-updates"]),
            ("client", vec!["cloister-gate", "cloister-experts"]),
            ("experts", vec!["tch", "cloister-updates"]),
        ]
        .map(|(name, list)| (name.to_owned(), list.into_iter().map(str::to_owned).collect()))
        .into();
        let path = path_between(&edges, "client", "tch");
        assert_eq!(path, Some(["client", "experts", "tch"].map(str::to_owned).to_vec()));
        assert_eq!(path_between(&edges, "gate", "tch"), None);
    }

    #[test]
    fn libtorch_is_found_where_it_must_not_be() {
        let without: BTreeSet<String> = ["tokio".to_owned()].into();
        let with: BTreeSet<String> = ["tokio".to_owned(), "torch-sys".to_owned()].into();
        assert_eq!(libtorch_fault(&without, &with), None);
        assert!(libtorch_fault(&with, &with).is_some_and(|fault| fault.contains("custodians")));
        assert!(libtorch_fault(&without, &without).is_some_and(|fault| fault.contains("have changed")));
    }

    #[test]
    fn the_workspace_keeps_its_fence() {
        assert_eq!(check(), Ok(()));
    }
}
