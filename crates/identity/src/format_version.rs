//! The versions of files that carry one in a field `version`.

/// Checks the version before anything else of a file is read, because a later one may have other fields. A file without a
/// version is left to its reader.
///
/// # Errors
/// The file's version.
pub(crate) fn check_version(text: &str, known: u32) -> Result<(), u32> {
    let table: Option<toml::Table> = toml::from_str(text).ok();
    let version = table.as_ref().and_then(|table| table.get("version")).and_then(toml::Value::as_integer);
    match version.and_then(|version| u32::try_from(version).ok()) {
        Some(got) if got != known => Err(got),
        _ => Ok(()),
    }
}

/// What to do about a file of another version.
pub(crate) fn advice(got: u32, known: u32) -> &'static str {
    match got > known {
        true => "a later version of the program wrote it; install that version",
        false => "no version of the program writes it any more; have it written again",
    }
}
