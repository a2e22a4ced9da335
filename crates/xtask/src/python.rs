//! Python with packages from PyPI, for the programs that check ours independently.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Failure;
use crate::workspace::{io_failure, run_checked, setup_dir};

/// A Python with the packages that a program needs.
#[derive(Debug)]
pub(crate) struct Python {
    program: PathBuf,
    /// The folder of its packages if there is no virtual environment.
    packages: Option<PathBuf>,
}

/// Packages to install, and their purpose for messages.
struct Wanted<'a> {
    what: &'a str,
    requirements: &'a str,
}

impl Python {
    /// Makes a virtual environment called `name`. If Python lacks that module, as on Debian, makes a folder
    /// of packages instead.
    pub(crate) fn ensure(name: &str, what: &str, requirements: &str) -> Result<Self, Failure> {
        check_version()?;
        let wanted = Wanted { what, requirements };
        let environment = setup_dir().join(format!("{name}-venv"));
        let packages = setup_dir().join(format!("{name}-packages"));
        let in_environment = environment.join("bin/python");
        if wanted.is_installed(&environment) || wanted.make_environment(&environment, &in_environment)? {
            return Ok(Self { program: in_environment, packages: None });
        }
        if !wanted.is_installed(&packages) {
            let target = packages.display().to_string();
            wanted.install(Path::new("python3"), &packages, &["--target", &target])?;
        }
        Ok(Self { program: "python3".into(), packages: Some(packages) })
    }

    /// The variables by which the tests find this Python and its packages.
    pub(crate) fn environment(&self) -> Vec<(&'static str, OsString)> {
        let program = ("CLOISTER_TRAINER_PYTHON", self.program.clone().into());
        let packages = self.packages.clone().map(|packages| ("PYTHONPATH", packages.into()));
        [program].into_iter().chain(packages).collect()
    }

    /// A command of this Python, without its arguments.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // Programs are run from the checkout, which must stay clean.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        if let Some(packages) = &self.packages {
            command.env("PYTHONPATH", packages);
        }
        command
    }
}

impl Wanted<'_> {
    /// Makes the virtual environment and installs into it. False if Python cannot make one.
    fn make_environment(&self, environment: &Path, python: &Path) -> Result<bool, Failure> {
        let mut command = Command::new("python3");
        command.args(["-m", "venv", "--clear"]).arg(environment);
        let made = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !made.is_ok_and(|status| status.success()) {
            return Ok(false);
        }
        self.install(python, environment, &[]).map(|()| true)
    }

    fn is_installed(&self, folder: &Path) -> bool {
        fs::read_to_string(marker(folder)).is_ok_and(|found| found == self.requirements)
    }

    fn install(&self, python: &Path, folder: &Path, options: &[&str]) -> Result<(), Failure> {
        eprintln!("set-up: installing the Python package {}", self.what);
        let mut pip = Command::new(python);
        // Wheels only: a source distribution would run code of its own to install itself.
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]);
        if self.requirements.contains("--hash=") {
            pip.arg("--require-hashes");
        }
        let say = io_failure("write to", folder);
        fs::create_dir_all(folder).map_err(say)?;
        let wanted = folder.join("wanted.txt");
        fs::write(&wanted, self.requirements).map_err(say)?;
        // pip's output belongs on stderr: stdout is data.
        pip.args(options).arg("-r").arg(&wanted).stdout(std::io::stderr());
        run_checked(&mut pip, &format!("fetching {} from PyPI", self.what))?;
        // The marker comes last, so that an interrupted installation starts again.
        fs::rename(wanted, marker(folder)).map_err(say)
    }
}

fn check_version() -> Result<(), Failure> {
    let probe = "import sys; sys.exit(sys.version_info < (3, 11))";
    match Command::new("python3").args(["-c", probe]).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err("python3 is older than 3.11; the independent checks need a newer one".into()),
        Err(_) => Err("python3 is missing; install Python 3.11 or newer for the independent checks".into()),
    }
}

/// The file that marks a folder as complete. It lists the versions, so other requirements install again.
fn marker(folder: &Path) -> PathBuf {
    folder.join("requirements.txt")
}
