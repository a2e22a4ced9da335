//! The project's Rust files, parsed, and its Markdown files.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders without sources of the project.
const SKIPPED: &[&str] = &["target", ".git", "node_modules"];

/// All files that the rules apply to.
pub(crate) struct Sources {
    pub(crate) rust: Vec<RustFile>,
    pub(crate) markdown: Vec<TextFile>,
}

/// A parsed Rust file.
pub(crate) struct RustFile {
    /// Relative to the root of the checkout, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) syntax: syn::File,
}

/// A text file.
pub(crate) struct TextFile {
    /// Relative to the root of the checkout, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Sources {
    /// Reads the checkout that this program was built from.
    pub(crate) fn read() -> Result<Self, String> {
        let root = root();
        let mut files = Vec::new();
        collect(&root, &mut files)?;
        // Sorted, because the order of a folder's entries differs between machines, and reports should not.
        files.sort();
        let mut sources = Self { rust: Vec::new(), markdown: Vec::new() };
        for file in files {
            let text = fs::read_to_string(&file)
                .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
            let path = file.strip_prefix(&root).unwrap_or(&file).to_string_lossy().replace('\\', "/");
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("rs") => sources.rust.push(RustFile::parse(path, text)?),
                _ => sources.markdown.push(TextFile { path, text }),
            }
        }
        Ok(sources)
    }
}

impl RustFile {
    pub(crate) fn parse(path: String, text: String) -> Result<Self, String> {
        let syntax = syn::parse_file(&text).map_err(|error| format!("{path} is not Rust: {error}"))?;
        Ok(Self { path, text, syntax })
    }

    /// The crate's folder, as `crates/wire`, if this file belongs to the sources of a library or a program.
    pub(crate) fn crate_folder(&self) -> Option<&str> {
        let (folder, _) = self.path.split_once("/src/")?;
        folder.starts_with("crates/").then_some(folder)
    }

    /// Whether the whole file is a test: a suite, an example's test, or a `tests` module.
    pub(crate) fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
    }
}

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new(".")).to_path_buf()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let entries =
        fs::read_dir(folder).map_err(|error| format!("cannot list {}: {error}", folder.display()))?;
    for entry in entries {
        let path = entry.map_err(|error| format!("cannot list {}: {error}", folder.display()))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !SKIPPED.contains(&name) {
                collect(&path, files)?;
            }
        } else if matches!(path.extension().and_then(|extension| extension.to_str()), Some("rs" | "md")) {
            files.push(path);
        }
    }
    Ok(())
}

/// Whether an item's attributes remove it outside of tests.
pub(crate) fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || (attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Ident>().is_ok_and(|name| name == "test"))
    })
}
