//! Functions of at most 80 lines, files of at most 400.

use syn::visit::Visit;

use crate::sources::Sources;

/// Lines that a function may have, from its signature to its closing brace.
const FUNCTION_LINES: usize = 80;

/// Lines that a file may have.
const FILE_LINES: usize = 400;

pub(crate) fn violations(sources: &Sources) -> Vec<String> {
    let mut violations = Vec::new();
    for file in &sources.rust {
        let lines = file.text.lines().count();
        if lines > FILE_LINES {
            violations.push(format!("{}: {lines} lines; a file has at most {FILE_LINES}", file.path));
        }
        let mut collector = FunctionCollector::default();
        collector.visit_file(&file.syntax);
        for (name, first, lines) in collector.functions {
            if lines > FUNCTION_LINES {
                violations.push(format!(
                    "{}:{first}: function {name} has {lines} lines; a function has at most {FUNCTION_LINES}",
                    file.path
                ));
            }
        }
    }
    violations
}

/// The lines of the longest function.
pub(crate) fn longest(sources: &Sources) -> usize {
    let mut collector = FunctionCollector::default();
    for file in &sources.rust {
        collector.visit_file(&file.syntax);
    }
    collector.functions.iter().map(|(_, _, lines)| *lines).max().unwrap_or(0)
}

#[derive(Default)]
struct FunctionCollector {
    /// Name, first line, lines.
    functions: Vec<(String, usize, usize)>,
}

impl FunctionCollector {
    fn add(&mut self, name: &syn::Ident, signature: &syn::Signature, block: &syn::Block) {
        // From `fn`, so that attributes and doc comments do not count.
        let first = signature.fn_token.span.start().line;
        let last = block.brace_token.span.close().end().line;
        self.functions.push((name.to_string(), first, last + 1 - first));
    }
}

impl<'ast> Visit<'ast> for FunctionCollector {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig.ident, &item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.sig.ident, &item.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig.ident, &item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }
}
