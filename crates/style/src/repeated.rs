//! Type names that occur more than once in the workspace: one public type name has one meaning.

use std::collections::BTreeMap;

use syn::visit::Visit;

use crate::circles::attributes;
use crate::sources::{Sources, is_test_only};

/// Names that may occur more than once, each with its reason.
const EXCEPTIONS: &[(&str, &str)] = &[];

/// One line for each repeated name of a type that is visible outside its module.
pub(crate) fn violations(sources: &Sources) -> Vec<String> {
    found(sources, Seen::ByOthers)
        .into_iter()
        .filter(|(name, _)| !EXCEPTIONS.iter().any(|(exception, _)| exception == name))
        .map(|(name, places)| {
            format!("{}: the type name {name} stands again in {}", places[0], places[1..].join(", "))
        })
        .collect()
}

/// Which types count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// `pub`, `pub(crate)` and `pub(super)`.
    ByOthers,
    /// All types.
    Anywhere,
}

/// Each name of more than one type, with the files of those types.
pub(crate) fn found(sources: &Sources, seen: Seen) -> BTreeMap<String, Vec<String>> {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in sources.rust.iter().filter(|file| file.crate_folder().is_some() && !file.is_test()) {
        let mut collector = TypeCollector { seen, names: Vec::new() };
        collector.visit_file(&file.syntax);
        for name in collector.names {
            places.entry(name).or_default().push(file.path.clone());
        }
    }
    places.retain(|_, files| files.len() > 1);
    places
}

struct TypeCollector {
    seen: Seen,
    names: Vec<String>,
}

impl TypeCollector {
    fn add(&mut self, name: &syn::Ident, visibility: &syn::Visibility) {
        if self.seen == Seen::Anywhere || !matches!(visibility, syn::Visibility::Inherited) {
            self.names.push(name.to_string());
        }
    }
}

impl<'ast> Visit<'ast> for TypeCollector {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if is_test_only(attributes(item)) {
            return;
        }
        match item {
            syn::Item::Struct(item) => self.add(&item.ident, &item.vis),
            syn::Item::Enum(item) => self.add(&item.ident, &item.vis),
            syn::Item::Trait(item) => self.add(&item.ident, &item.vis),
            syn::Item::Type(item) => self.add(&item.ident, &item.vis),
            _ => {}
        }
        // Types inside of functions and modules count as well.
        syn::visit::visit_item(self, item);
    }
}
