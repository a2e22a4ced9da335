//! `cargo xtask package`: an archive and two Debian packages of the program.
//!
//! The same binaries and the same commit give the same bytes: names are sorted, owners are root, and all times are that of the
//! commit.

mod contents;
mod debian;
#[cfg(test)]
mod tests;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::Failure;
use crate::program::{build, build_without_training};
use crate::setup::{self, Installed};
use crate::workspace::{io_failure, root, run_checked, target_dir};

use contents::{DebianPackage, PackagedFile};

/// The file of the training program, beside which or in whose folder the program looks for libtorch.
const TRAINING_PROGRAM: &str = "cloister-training";

/// What to pack, and into which folder.
struct Options {
    without_training: bool,
    out: PathBuf,
    /// A folder of built programs; without it they are built.
    binaries: Option<PathBuf>,
    profile: String,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, Failure> {
        let mut options = Self {
            without_training: false,
            out: target_dir().join("package"),
            binaries: None,
            profile: "release".to_owned(),
        };
        let mut rest = arguments.iter();
        while let Some(flag) = rest.next() {
            let mut value = || rest.next().ok_or(format!("{flag} needs a value"));
            match flag.as_str() {
                "--without-training" => options.without_training = true,
                "--out" => options.out = value()?.into(),
                "--binaries" => options.binaries = Some(value()?.into()),
                "--profile" => options.profile = value()?.clone(),
                _ => {
                    return Err(format!(
                        "`cargo xtask package` takes --without-training, --out DIR, --binaries DIR and --profile NAME, not {flag}"
                    ));
                }
            }
        }
        Ok(options)
    }
}

/// The programs to pack, and what the training program needs to start here.
struct Programs {
    cloister: PathBuf,
    training: Option<PathBuf>,
    installed: Option<Installed>,
}

/// Names and times that all packages share.
struct Release {
    version: String,
    /// Seconds since 1970 of the last commit.
    epoch: String,
}

/// Packs, and prints each file that it made.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode, Failure> {
    for path in pack(&Options::parse(arguments)?)? {
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn pack(options: &Options) -> Result<Vec<PathBuf>, Failure> {
    let programs = programs(options)?;
    let release = Release { version: version()?, epoch: commit_time()? };
    let out = &options.out;
    let scratch = out.join("tree");
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir_all(&scratch).map_err(io_failure("make", &scratch))?;
    let files = contents::all(&programs, &scratch)?;
    let mut made = vec![archive(&files, &release, out, &scratch)?];
    if Command::new("dpkg-deb").arg("--version").output().is_ok() {
        for part in [DebianPackage::Base, DebianPackage::Hospital] {
            if part == DebianPackage::Base || programs.training.is_some() {
                made.push(debian::build(&files, part, &release, out, &scratch)?);
            }
        }
    } else {
        println!("SKIPPED: Debian packages need dpkg-deb; on Debian, `apt-get install dpkg`");
    }
    fs::remove_dir_all(&scratch).map_err(io_failure("remove", &scratch))?;
    made.push(sums(out, &made)?);
    Ok(made)
}

/// Finds the programs, or builds them.
fn programs(options: &Options) -> Result<Programs, Failure> {
    let needs_libtorch = !options.without_training && options.binaries.is_none();
    let installed = if needs_libtorch { Some(setup::ensure()?) } else { None };
    let (cloister, training) = match &options.binaries {
        Some(folder) => (folder.join("cloister"), Some(folder.join(TRAINING_PROGRAM))),
        None => {
            let cloister = build_without_training(&options.profile, installed.as_ref())?;
            let training = installed.as_ref().map(|installed| build(&options.profile, installed));
            (cloister, training.transpose()?)
        }
    };
    let training = training.filter(|_| !options.without_training);
    for program in [Some(&cloister), training.as_ref()].into_iter().flatten() {
        if !program.is_file() {
            return Err(format!("{} is missing; build it, or leave --binaries out", program.display()));
        }
    }
    Ok(Programs { cloister, training, installed })
}

/// The workspace's version, which all its crates have.
fn version() -> Result<String, Failure> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).map_err(|error| error.to_string())?;
    let line = manifest.lines().find_map(|line| line.strip_prefix("version = "));
    Ok(line.ok_or("the workspace's Cargo.toml has no version")?.trim_matches('"').to_owned())
}

/// The time of the last commit, or what `SOURCE_DATE_EPOCH` says, as tools for reproducible builds set it.
fn commit_time() -> Result<String, Failure> {
    if let Ok(epoch) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(epoch);
    }
    let output = Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root()).output();
    let output = output.map_err(|error| format!("cannot start git: {error}"))?;
    let time = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match time.is_empty() {
        true => {
            Err("git has no commit here; set SOURCE_DATE_EPOCH to the seconds that all files shall have"
                .into())
        }
        false => Ok(time),
    }
}

/// The archive: everything below one folder, with the sums of all files.
fn archive(
    files: &[PackagedFile],
    release: &Release,
    out: &Path,
    scratch: &Path,
) -> Result<PathBuf, Failure> {
    let name = format!("cloister-{}-x86_64-linux", release.version);
    let folder = scratch.join(&name);
    for file in files {
        file.write(&folder)?;
    }
    let paths: Vec<PathBuf> = files.iter().map(|file| file.path.clone().into()).collect();
    let sums = printed(Command::new("sha256sum").args(&paths).current_dir(&folder))?;
    PackagedFile::new("SHA256SUMS", sums, 0o644, DebianPackage::Base).write(&folder)?;
    let tar = out.join(format!("{name}.tar"));
    let mut pack = Command::new("tar");
    pack.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu"]);
    pack.arg(format!("--mtime=@{}", release.epoch)).arg("-cf").arg(&tar).arg("-C").arg(scratch).arg(&name);
    run_checked(&mut pack, "tar")?;
    run_checked(Command::new("gzip").args(["-9", "--no-name", "--force"]).arg(&tar), "gzip")?;
    Ok(tar.with_added_extension("gz"))
}

/// Writes the sums of what was made.
fn sums(out: &Path, made: &[PathBuf]) -> Result<PathBuf, Failure> {
    let names = made.iter().filter_map(|path| path.file_name());
    let text = printed(Command::new("sha256sum").args(names).current_dir(out))?;
    PackagedFile::new("SHA256SUMS", text, 0o644, DebianPackage::Base).write(out)?;
    Ok(out.join("SHA256SUMS"))
}

/// What a command that must succeed prints.
fn printed(command: &mut Command) -> Result<Vec<u8>, Failure> {
    let program = command.get_program().to_owned();
    let output = command.output().map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(format!("{} failed: {}", program.display(), String::from_utf8_lossy(&output.stderr))),
    }
}

/// Makes folders that everybody can read, whatever the umask is.
fn make_folders(below: &Path, path: &Path) -> Result<(), Failure> {
    let mut folder = below.to_owned();
    for part in [None].into_iter().chain(path.components().map(Some)) {
        folder.extend(part);
        fs::create_dir_all(&folder).map_err(io_failure("make", &folder))?;
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&folder, mode).map_err(io_failure("set the mode of", &folder))?;
    }
    Ok(())
}
