//! Circles: sibling modules that use each other.
//!
//! A node is a file with everything below it; its siblings are the other files of the same parent. An edge is
//! a `use` or a path into a sibling. Between a parent and its children there are no edges. Names that a
//! module re-exports count for the module that defines them. Test code is left out.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::Visit;

use crate::sources::{RustFile, Sources, is_test_only};

/// A module's path below its crate's root; the root is empty.
type ModulePath = Vec<String>;

/// One line for each circle.
pub(crate) fn violations(sources: &Sources) -> Vec<String> {
    found(sources)
        .into_iter()
        .map(|(folder, names)| format!("{folder}: circle of modules: {}", names.join(", ")))
        .collect()
}

/// Each circle, with its crate's folder and its modules.
pub(crate) fn found(sources: &Sources) -> Vec<(String, Vec<String>)> {
    let mut crates: BTreeMap<&str, Vec<&RustFile>> = BTreeMap::new();
    for file in &sources.rust {
        if let Some(folder) = file.crate_folder() {
            crates.entry(folder).or_default().push(file);
        }
    }
    let mut circles = Vec::new();
    for (folder, files) in crates {
        let graph = CrateGraph::new(folder, &files);
        circles.extend(graph.circles().into_iter().map(|names| (folder.to_owned(), names)));
    }
    circles
}

struct CrateGraph {
    /// For each module that is a file, the modules that its code names, absolute and with re-exports
    /// resolved.
    uses: BTreeMap<ModulePath, BTreeSet<ModulePath>>,
}

impl CrateGraph {
    fn new(folder: &str, files: &[&RustFile]) -> Self {
        let modules: BTreeMap<ModulePath, &RustFile> = files
            .iter()
            .filter(|file| !file.is_test())
            .map(|file| (module_path(folder, file), *file))
            .collect();
        let mut aliases = BTreeMap::new();
        let mut named = BTreeMap::new();
        for (path, file) in &modules {
            let mut collector =
                PathCollector { module: path.clone(), paths: Vec::new(), reexports: Vec::new() };
            collector.visit_file(&file.syntax);
            for (name, target) in collector.reexports {
                aliases.insert([path.clone(), vec![name]].concat(), target);
            }
            named.insert(path.clone(), collector.paths);
        }
        let known: BTreeSet<ModulePath> = modules.keys().cloned().collect();
        let uses = named
            .into_iter()
            .map(|(path, paths)| {
                // A limit of eight re-exports in a row: two modules that re-export each other's names would
                // never end.
                let targets = paths.iter().map(|target| resolve(target, &known, &aliases, 8)).collect();
                (path, targets)
            })
            .collect();
        Self { uses }
    }

    /// The circles among the children of each module.
    fn circles(&self) -> Vec<Vec<String>> {
        let parents: BTreeSet<ModulePath> = self
            .uses
            .keys()
            .filter_map(|path| path.split_last().map(|(_, parent)| parent.to_vec()))
            .collect();
        parents.iter().flat_map(|parent| self.circles_below(parent)).collect()
    }

    fn circles_below(&self, parent: &ModulePath) -> Vec<Vec<String>> {
        let mut edges: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
        for (path, targets) in &self.uses {
            // Files further down count for the child that they are below.
            let Some(from) = child_of(parent, path) else { continue };
            let neighbours = edges.entry(from).or_default();
            neighbours.extend(
                targets.iter().filter_map(|target| child_of(parent, target)).filter(|to| *to != from),
            );
        }
        let mut circles = Vec::new();
        let mut placed = BTreeSet::new();
        for node in edges.keys() {
            let reached = reachable(&edges, node);
            let circle: Vec<String> = edges
                .keys()
                .filter(|other| reached.contains(*other) && reachable(&edges, other).contains(*node))
                .map(|name| [parent.as_slice(), &[(*name).clone()]].concat().join("::"))
                .collect();
            // Every module of a circle finds the same circle; it is reported once.
            if circle.len() > 1 && placed.insert(circle.clone()) {
                circles.push(circle);
            }
        }
        circles
    }
}

fn child_of<'a>(parent: &ModulePath, path: &'a ModulePath) -> Option<&'a String> {
    path.strip_prefix(parent.as_slice())?.first()
}

fn reachable<'a>(
    edges: &BTreeMap<&'a String, BTreeSet<&'a String>>,
    start: &'a String,
) -> BTreeSet<&'a String> {
    let mut seen = BTreeSet::new();
    let mut waiting = vec![start];
    while let Some(node) = waiting.pop() {
        for next in edges.get(node).into_iter().flatten() {
            if seen.insert(*next) {
                waiting.push(next);
            }
        }
    }
    seen
}

/// A file's module path: `src/late/mod.rs` and `src/late.rs` are `late`, `src/lib.rs` and `src/main.rs` the
/// root.
fn module_path(folder: &str, file: &RustFile) -> ModulePath {
    let relative = file.path.trim_start_matches(folder).trim_start_matches("/src/").trim_end_matches(".rs");
    let mut path: ModulePath = relative.split('/').map(str::to_owned).collect();
    if matches!(path.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        path.pop();
    }
    path
}

/// The longest prefix of a path that is a module, following re-exports.
fn resolve(
    target: &ModulePath,
    known: &BTreeSet<ModulePath>,
    aliases: &BTreeMap<ModulePath, ModulePath>,
    depth: usize,
) -> ModulePath {
    let longest = (0..=target.len()).rev().find(|length| known.contains(&target[..*length])).unwrap_or(0);
    let Some(name) = target.get(longest) else { return target[..longest].to_vec() };
    let key = [&target[..longest], std::slice::from_ref(name)].concat();
    match aliases.get(&key) {
        Some(alias) if depth > 0 => {
            let rest = [alias.as_slice(), &target[longest + 1..]].concat();
            resolve(&rest, known, aliases, depth - 1)
        }
        _ => target[..longest].to_vec(),
    }
}

struct PathCollector {
    module: ModulePath,
    paths: Vec<ModulePath>,
    /// Names that this module's `pub use` declarations bring in, with their origin.
    reexports: Vec<(String, ModulePath)>,
}

impl PathCollector {
    /// A path of this crate, from its root; `None` for a path of another crate.
    fn absolute(&self, segments: &[String]) -> Option<ModulePath> {
        let (first, rest) = segments.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([self.module.as_slice(), rest].concat()),
            "super" => {
                let up = segments.iter().take_while(|segment| *segment == "super").count();
                let kept = self.module.len().checked_sub(up)?;
                Some([&self.module[..kept], &segments[up..]].concat())
            }
            _ => None,
        }
    }

    fn walk_use(&mut self, prefix: &[String], tree: &syn::UseTree, public: bool) {
        let extended = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.walk_use(&extended(&path.ident), &path.tree, public),
            syn::UseTree::Group(group) => {
                for item in &group.items {
                    self.walk_use(prefix, item, public);
                }
            }
            syn::UseTree::Name(name) if name.ident == "self" => self.add_use(prefix.to_vec(), None, public),
            syn::UseTree::Name(name) => {
                self.add_use(extended(&name.ident), Some(name.ident.to_string()), public)
            }
            syn::UseTree::Rename(rename) => {
                self.add_use(extended(&rename.ident), Some(rename.rename.to_string()), public);
            }
            syn::UseTree::Glob(_) => self.add_use(prefix.to_vec(), None, public),
        }
    }

    fn add_use(&mut self, segments: Vec<String>, name: Option<String>, public: bool) {
        let target = self.absolute(&segments).or_else(|| {
            // `pub use child::Name` names a child without `self::`.
            public.then(|| [self.module.as_slice(), &segments].concat())
        });
        let Some(target) = target else { return };
        if public && let Some(name) = name {
            self.reexports.push((name, target.clone()));
        }
        self.paths.push(target);
    }
}

impl<'ast> Visit<'ast> for PathCollector {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test_only(attributes(item)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let public = !matches!(item.vis, syn::Visibility::Inherited);
        self.walk_use(&[], &item.tree, public);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        // A single segment is a local name, or one that a `use` has brought in and that was counted there.
        if segments.len() > 1
            && let Some(target) = self.absolute(&segments)
        {
            self.paths.push(target);
        }
        syn::visit::visit_path(self, path);
    }
}

/// The attributes of an item that `cfg` can remove.
pub(crate) fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let parsed = files
            .iter()
            .map(|(path, text)| RustFile::parse(format!("crates/some/src/{path}"), (*text).to_owned()))
            .collect::<Result<Vec<_>, _>>();
        let sources = Sources { rust: parsed.expect("the test's sources are Rust"), markdown: Vec::new() };
        found(&sources).into_iter().map(|(_, names)| names).collect()
    }

    #[test]
    fn siblings_that_use_each_other_are_a_circle() {
        let files =
            [("lib.rs", "mod a; mod b;"), ("a.rs", "use crate::b::B;"), ("b.rs", "fn f(_: super::a::A) {}")];
        assert_eq!(circles(&files), [["a", "b"]]);
    }

    #[test]
    fn a_parent_and_its_children_are_one_node() {
        let files = [
            ("lib.rs", "mod a;"),
            ("a/mod.rs", "mod c; pub use c::C; pub struct A;"),
            ("a/c.rs", "use super::A; use crate::a;"),
        ];
        assert_eq!(circles(&files), Vec::<Vec<String>>::new());
    }

    #[test]
    fn a_reexport_counts_for_the_file_that_defines_it() {
        let files = [
            ("lib.rs", "mod a; mod b; pub use b::B;"),
            ("a.rs", "use crate::B; pub struct A;"),
            ("b.rs", "use crate::a::A; pub struct B;"),
        ];
        assert_eq!(circles(&files), [["a", "b"]]);
    }

    #[test]
    fn what_tests_use_is_no_edge() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub struct A; #[cfg(test)] mod tests { use crate::b::B; }"),
            ("b.rs", "use crate::a::A;"),
        ];
        assert_eq!(circles(&files), Vec::<Vec<String>>::new());
    }
}
