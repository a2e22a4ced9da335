//! What the packages hold: one list for the archive and both Debian packages.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::{Programs, TRAINING_PROGRAM, make_folders, printed};
use crate::Failure;
use crate::workspace::{io_failure, root, run_checked};

/// The commands that need libtorch. Their man pages are in the hospital's package.
pub(super) const TRAINING_COMMANDS: [&str; 8] =
    ["client", "task", "data", "predict", "canaries", "experts", "demo", "lab"];
/// The completions of each shell, and where it looks for them.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/cloister"),
    ("zsh", "share/zsh/vendor-completions/_cloister"),
    ("fish", "share/fish/vendor_completions.d/cloister.fish"),
];

/// A Debian package. The archive has all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum DebianPackage {
    /// Coordinators and custodians.
    Base,
    /// Members: the training program.
    Hospital,
}

impl DebianPackage {
    pub(super) fn package(self) -> &'static str {
        match self {
            Self::Base => "cloister",
            Self::Hospital => "cloister-hospital",
        }
    }

    /// The units of its services, which are also the names of their users.
    pub(super) fn services(self) -> &'static [&'static str] {
        match self {
            Self::Base => &["cloister-coordinator", "cloister-custodian"],
            Self::Hospital => &["cloister-hospital"],
        }
    }

    /// Example configurations, below `deploy`.
    fn examples(self) -> &'static [&'static str] {
        match self {
            Self::Base => &["systemd/server.toml", "systemd/custodian.toml", "config/policy.toml"],
            Self::Hospital => &["systemd/client.toml"],
        }
    }
}

/// A file of a package.
pub(super) struct PackagedFile {
    /// Below the prefix, which is `/usr` in a Debian package.
    pub(super) path: String,
    contents: Vec<u8>,
    mode: u32,
    pub(super) part: DebianPackage,
}

impl PackagedFile {
    pub(super) fn new(path: &str, contents: Vec<u8>, mode: u32, part: DebianPackage) -> Self {
        Self { path: path.to_owned(), contents, mode, part }
    }

    /// A copy of a file of this checkout.
    fn from_checkout(path: &str, from: &str, part: DebianPackage) -> Result<Self, Failure> {
        Self::copy(path, &root().join(from), 0o644, part)
    }

    fn copy(path: &str, from: &Path, mode: u32, part: DebianPackage) -> Result<Self, Failure> {
        let contents = fs::read(from).map_err(io_failure("read", from))?;
        Ok(Self::new(path, contents, mode, part))
    }

    /// Writes the file below a folder.
    pub(super) fn write(&self, below: &Path) -> Result<(), Failure> {
        let path = below.join(&self.path);
        make_folders(below, Path::new(&self.path).parent().unwrap_or(Path::new("")))?;
        fs::write(&path, &self.contents).map_err(io_failure("write", &path))?;
        let mode = fs::Permissions::from_mode(self.mode);
        fs::set_permissions(&path, mode).map_err(io_failure("set the mode of", &path))
    }
}

/// All files, sorted by path.
pub(super) fn all(programs: &Programs, scratch: &Path) -> Result<Vec<PackagedFile>, Failure> {
    let mut files = vec![PackagedFile::copy("bin/cloister", &programs.cloister, 0o755, DebianPackage::Base)?];
    let mut parts = vec![DebianPackage::Base];
    if let Some(training) = &programs.training {
        let path = format!("lib/cloister/{TRAINING_PROGRAM}");
        files.push(PackagedFile::copy(&path, training, 0o755, DebianPackage::Hospital)?);
        parts.push(DebianPackage::Hospital);
    }
    for part in parts {
        for service in part.services() {
            let (unit, from) = (
                format!("lib/systemd/system/{service}.service"),
                format!("deploy/systemd/{service}.service"),
            );
            files.push(PackagedFile::from_checkout(&unit, &from, part)?);
        }
        let documents = format!("share/doc/{}", part.package());
        for example in part.examples() {
            let name = example.rsplit('/').next().unwrap_or(example);
            let path = format!("{documents}/examples/{name}");
            files.push(PackagedFile::from_checkout(&path, &format!("deploy/{example}"), part)?);
        }
        for (name, from) in [
            ("changelog", "CHANGELOG.md"),
            ("LICENSE-APACHE", "LICENSE-APACHE"),
            ("LICENSE-MIT", "LICENSE-MIT"),
        ] {
            files.push(PackagedFile::from_checkout(&format!("{documents}/{name}"), from, part)?);
        }
    }
    files.extend(man_pages(programs, scratch)?);
    for (shell, path) in COMPLETIONS {
        let script = printed(describing(programs).args(["generate", "completions", shell]))?;
        files.push(PackagedFile::new(path, script, 0o644, DebianPackage::Base));
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// The program that describes most flags: the training program knows those of all commands.
fn describing(programs: &Programs) -> Command {
    let mut command = Command::new(programs.training.as_ref().unwrap_or(&programs.cloister));
    command.envs(programs.installed.iter().flat_map(|installed| installed.environment()));
    command
}

fn man_pages(programs: &Programs, scratch: &Path) -> Result<Vec<PackagedFile>, Failure> {
    let folder = scratch.join("man");
    run_checked(describing(programs).args(["generate", "man"]).arg(&folder), "cloister generate man")?;
    let failure = io_failure("read", &folder);
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).map_err(failure)? {
        let page = entry.map_err(failure)?.path();
        let name = page.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let part = part_of_page(&name);
        if part == DebianPackage::Hospital && programs.training.is_none() {
            continue;
        }
        let compressed = printed(Command::new("gzip").args(["-9", "--no-name", "--stdout"]).arg(&page))?;
        files.push(PackagedFile::new(&format!("share/man/man1/{name}.gz"), compressed, 0o644, part));
    }
    Ok(files)
}

/// The package of a man page such as `cloister-client.1`.
fn part_of_page(name: &str) -> DebianPackage {
    let words: Vec<&str> = name.trim_end_matches(".1").split('-').collect();
    match words.get(1).is_some_and(|command| TRAINING_COMMANDS.contains(command)) {
        true => DebianPackage::Hospital,
        false => DebianPackage::Base,
    }
}
