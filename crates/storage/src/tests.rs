use std::cell::RefCell;
use std::io::Write;
use std::path::PathBuf;

use super::*;

thread_local! {
    /// The folders that this test synced.
    pub(super) static SYNCED: RefCell<Vec<PathBuf>> = const { RefCell::new(Vec::new()) };
}

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("cloister-storage-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).expect("a temporary folder can be made");
    folder
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

fn synced() -> Vec<PathBuf> {
    SYNCED.take()
}

/// CONS-07
#[test]
fn folders_and_files_are_their_owners_alone_and_their_folders_are_synced() {
    let scratch = scratch("modes");
    let (outer, inner) = (scratch.join("data"), scratch.join("data/rounds"));
    create_folder(&inner).expect("it can be made");
    assert_eq!((mode(&outer), mode(&inner)), (0o700, 0o700));
    assert_eq!(synced(), [scratch.clone(), outer.clone()]);
    let (opened, replaced) = (outer.join("journal"), inner.join("0001.ending"));
    open(&opened).expect("it can be made");
    assert_eq!((mode(&opened), synced()), (0o600, vec![outer.clone()]));
    replace(&replaced, |file| file.write_all(b"1")).expect("it can be written");
    assert_eq!((mode(&replaced), synced()), (0o600, vec![inner.clone()]));
    assert_eq!(fs::read_dir(&inner).expect("it is there").count(), 1, "nothing is left beside it");
    let created = inner.join("key.pem");
    write_new_secret(&created, "first").expect("it can be written");
    assert_eq!((mode(&created), synced()), (0o600, vec![inner.clone()]));
    let again = write_new_secret(&created, "second").expect_err("it is there already");
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&created).expect("it is there"), b"first");
    // Control: what the standard library makes is the umask's, which leaves others something here.
    let control = outer.join("control");
    fs::write(&control, "1").expect("it can be written");
    assert_ne!(mode(&control) & OTHERS, 0, "this test needs a umask that lets others read");
    fs::remove_dir_all(scratch).expect("it is there");
}

/// CONS-07
#[test]
fn what_an_older_version_left_to_others_is_taken_from_them() {
    let scratch = scratch("older");
    let path = scratch.join("journal");
    fs::write(&path, "kept").expect("it can be written");
    fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("it is there");
    let mut text = String::new();
    open(&path).expect("it is there").read_to_string(&mut text).expect("it can be read");
    assert_eq!((mode(&path), text.as_str()), (0o600, "kept"));
    fs::write(path.with_added_extension("part"), "half").expect("it can be written");
    let mut file = replace(&path, |file| file.write_all(b"new")).expect("it can be written");
    file.write_all(b" and more").expect("it is open");
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "new and more");
    let failed = replace(&path, |_| Err(io::Error::other("the disk is full")));
    assert!(failed.is_err() && fs::read_to_string(&path).expect("it is there").starts_with("new"));
    fs::remove_dir_all(scratch).expect("it is there");
}

#[test]
fn what_is_removed_is_gone_from_the_folder_and_a_link_stays_with_what_it_names() {
    let scratch = scratch("removed");
    let (file, folder, link) = (scratch.join("journal"), scratch.join("job"), scratch.join("outer/link"));
    fs::create_dir_all(scratch.join("outer/inner")).expect("it can be made");
    fs::write(scratch.join("outer/inner/rows"), "1").expect("it can be written");
    fs::write(&file, "1").expect("it can be written");
    fs::create_dir(&folder).expect("it can be made");
    fs::write(folder.join("rows"), "1").expect("it can be written");
    std::os::unix::fs::symlink(&folder, &link).expect("links can be made");
    let refused = remove(&link).expect_err("it is a link");
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    let _ = synced();
    remove(&scratch.join("outer")).expect("it is there");
    assert_eq!(synced(), [scratch.join("outer"), scratch.clone()], "both folders stay, and lost names");
    assert!(link.join("rows").exists(), "neither the link nor what it names is removed");
    assert!(!scratch.join("outer/inner").exists(), "what is beside the link is removed");
    for path in [&file, &folder] {
        let _ = synced();
        remove(path).expect("it is there");
        assert_eq!((path.exists(), synced()), (false, vec![scratch.clone()]));
    }
    assert_eq!(remove(&file).expect_err("it is gone").kind(), io::ErrorKind::NotFound);
    fs::remove_dir_all(scratch).expect("it is there");
}

/// CONS-07
#[test]
fn a_secret_is_read_from_the_file_whose_permissions_were_looked_at() {
    let scratch = scratch("secret");
    let (path, other) = (scratch.join("signing.key"), scratch.join("other"));
    for (path, text, mode) in [(&path, "private", 0o600), (&other, "public", 0o644)] {
        fs::write(path, text).expect("it can be written");
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is there");
    }
    assert_eq!(*read_secret(&path).expect("only its owner reads it"), "private");
    assert!(matches!(read_secret(&other), Err(SecretError::ReadableByOthers { mode: 0o644 })));
    // Another file comes to the path after the first was opened: neither its permissions nor its text count.
    let opened = File::open(&path).expect("it is there");
    fs::rename(&other, &path).expect("it is there");
    assert_eq!(*read_secret_from(opened).expect("what was opened is private"), "private");
    assert!(matches!(read_secret(&path), Err(SecretError::ReadableByOthers { .. })), "control: by its path");
    fs::remove_dir_all(scratch).expect("it is there");
}

/// The lines of sources that make files in another way than this crate, up to the module of tests, which ends a source.
fn strays(source: &str) -> Vec<&str> {
    const WAYS: [&str; 6] =
        ["File::create", "OpenOptions", "fs::write", "fs::rename(", "create_dir", "fs::copy("];
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().filter(|line| WAYS.iter().any(|way| line.contains(way))).collect()
}

/// CONS-07
#[test]
fn state_is_written_in_no_other_way() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let sources = ["server/src", "client/src", "privacy/src", "transport/src", "identity/src"]
        .map(|folder| crates.join(folder));
    let mut files: Vec<PathBuf> = Vec::new();
    let mut folders = sources.to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a crate's sources").flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => files.push(path),
            }
        }
    }
    files.retain(|path| !path.iter().any(|part| part == "tests" || part == "tests.rs"));
    assert!(files.len() > 20, "the sources are found");
    for path in files {
        let source = fs::read_to_string(&path).expect("a source");
        assert_eq!(strays(&source), Vec::<&str>::new(), "{}", path.display());
    }
    let source = "#[cfg(test)]\nmod tests;\nFile::create(path)?;\n#[cfg(test)]\nmod tests {\nfs::write(path)";
    assert_eq!(strays(source), ["File::create(path)?;"], "control");
}
