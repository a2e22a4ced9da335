//! One convention for modules with children: `foo/mod.rs`, never `foo.rs` next to `foo/`.

use std::collections::BTreeSet;

use crate::sources::Sources;

pub(crate) fn violations(sources: &Sources) -> Vec<String> {
    let folders: BTreeSet<&str> =
        sources.rust.iter().filter_map(|file| file.path.rsplit_once('/')).map(|(folder, _)| folder).collect();
    sources
        .rust
        .iter()
        .filter(|file| file.path.strip_suffix(".rs").is_some_and(|stem| folders.contains(stem)))
        .map(|file| format!("{}: stands beside a folder of its name; move it to mod.rs in there", file.path))
        .collect()
}
