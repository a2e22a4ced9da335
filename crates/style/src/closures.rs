//! Named closures: `let f = |x| …`. Anything longer than an expression should be a private function with a
//! doc line.

use syn::visit::Visit;

use crate::circles::attributes;
use crate::sources::{Sources, is_test_only};

/// The largest number of named closures in the crates, without tests. The rule allows short ones, and a count
/// keeps them few.
const MOST: usize = 100;

pub(crate) fn violations(sources: &Sources) -> Vec<String> {
    let found = found(sources);
    if found.len() <= MOST {
        return Vec::new();
    }
    let count = found.len();
    found
        .into_iter()
        .map(|place| format!("{place}: one of {count} named closures; at most {MOST} are left"))
        .collect()
}

/// The place of each named closure.
pub(crate) fn found(sources: &Sources) -> Vec<String> {
    let mut places = Vec::new();
    for file in sources.rust.iter().filter(|file| file.crate_folder().is_some() && !file.is_test()) {
        let mut collector = ClosureCollector::default();
        collector.visit_file(&file.syntax);
        places.extend(collector.lines.into_iter().map(|line| format!("{}:{line}", file.path)));
    }
    places
}

#[derive(Default)]
struct ClosureCollector {
    lines: Vec<usize>,
}

impl<'ast> Visit<'ast> for ClosureCollector {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test_only(attributes(item)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if local.init.as_ref().is_some_and(|init| matches!(*init.expr, syn::Expr::Closure(_))) {
            self.lines.push(local.let_token.span.start().line);
        }
        syn::visit::visit_local(self, local);
    }
}
