//! Where libtorch is on this machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, FailureKind};
use crate::libtorch_version::version;

/// The version that the binding `tch` of this build is for. Patch releases fit.
const VERSION: &str = "2.11";
/// The library without which a folder is not libtorch's.
const LIBRARY: &str = "lib/libtorch_cpu.so";
/// Prints the folder of Python's torch without importing it, which would take seconds.
const FIND_TORCH: &str = "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')";

/// The places where libtorch may be, in their order.
#[derive(Debug)]
pub(crate) struct Places {
    /// The folder that an environment variable names, and the variable.
    named: Option<(&'static str, PathBuf)>,
    /// The folder of a libtorch that was installed with this program.
    installed: PathBuf,
    /// The Python whose torch is used, and whether an environment variable names it.
    python: (OsString, bool),
}

impl Places {
    /// The places for a program in this folder, by this process's environment.
    #[cfg(not(feature = "training"))]
    pub(crate) fn from_environment(folder: &Path) -> Self {
        let named = ["CLOISTER_LIBTORCH", "LIBTORCH"].into_iter();
        let python = variable("CLOISTER_PYTHON");
        Self {
            named: named.filter_map(|name| Some((name, variable(name)?.into()))).next(),
            installed: folder.join("../lib/cloister/libtorch"),
            python: (python.clone().unwrap_or("python3".into()), python.is_some()),
        }
    }

    /// The folder of libtorch's libraries.
    pub(crate) fn find(&self) -> Result<PathBuf, Failure> {
        if let Some((variable, folder)) = &self.named {
            return libraries(folder).map_err(|found| {
                Failure::config(format!(
                    "{variable} is {}, which {found}; name the folder of libtorch {VERSION}, or remove the variable to use \
                     Python's torch",
                    folder.display()
                ))
            });
        }
        if self.installed.is_dir() {
            return libraries(&self.installed).map_err(|found| {
                Failure::config(format!(
                    "{} {found}; put libtorch {VERSION} there, or remove the folder to use Python's torch",
                    self.installed.display()
                ))
            });
        }
        self.find_pythons()
    }

    fn find_pythons(&self) -> Result<PathBuf, Failure> {
        let (python, is_named) = &self.python;
        let shown = python.display();
        let output = match Command::new(python).args(["-c", FIND_TORCH]).output() {
            Ok(output) => output,
            Err(error) if *is_named => {
                return Err(Failure::config(format!(
                    "CLOISTER_PYTHON is {shown}, which cannot be started: {error}"
                )));
            }
            Err(_) => {
                return Err(
                    self.missing(&format!("there is no {shown} on the PATH whose torch could be used"))
                );
            }
        };
        let printed = String::from_utf8_lossy(&output.stdout);
        match printed.trim() {
            "" => Err(self.missing(&format!("{shown} has no torch"))),
            folder => libraries(Path::new(folder))
                .map_err(|found| self.missing(&format!("the torch of {shown} {found}"))),
        }
    }

    /// What was found in the place of libtorch, and how to get it.
    fn missing(&self, found: &str) -> Failure {
        let shown = self.python.0.display();
        let sentence = format!(
            "this command needs libtorch {VERSION}, and {found}; get it with `{shown} -m pip install torch=={VERSION}.0`, or \
             name its folder with CLOISTER_LIBTORCH, or another Python with CLOISTER_PYTHON"
        );
        Failure::new(FailureKind::Unavailable, sentence)
    }
}

/// An environment variable that is set and not empty.
#[cfg(not(feature = "training"))]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The libraries' folder of a libtorch or of Python's torch, or what is wrong with it.
fn libraries(folder: &Path) -> Result<PathBuf, String> {
    let library = folder.join(LIBRARY);
    if !library.is_file() {
        return Err(format!("has no {LIBRARY}"));
    }
    match version(folder) {
        Some(version) if version == VERSION || version.starts_with(&format!("{VERSION}.")) => {
            // Where links lead: the libraries of CUDA are found beside those of libtorch.
            folder.join("lib").canonicalize().map_err(|error| format!("cannot be read: {error}"))
        }
        Some(version) => Err(format!("is version {version}")),
        None => Err("does not say its version in build-version or version.py".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A folder of its own for each test, removed in the end.
    struct Machine(PathBuf);

    impl Drop for Machine {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    impl Machine {
        fn new(name: &str) -> Self {
            let folder =
                std::env::temp_dir().join(format!("cloister-libtorch-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            Self(folder)
        }

        /// A folder with a library and a file that says its version.
        fn put(&self, name: &str, (file, text): (&str, &str)) -> PathBuf {
            let folder = self.0.join(name);
            fs::create_dir_all(folder.join("lib")).expect("a folder");
            fs::write(folder.join(LIBRARY), "").expect("a file");
            fs::write(folder.join(file), text).expect("a file");
            folder
        }

        /// A Python that prints this.
        fn python(&self, prints: &Path) -> OsString {
            let path = self.0.join("python");
            fs::create_dir_all(&self.0).expect("a folder");
            let script = format!("#!/bin/sh\necho {}\n", prints.display());
            // Another process writes it: one that another test starts meanwhile would have this one's file open too, and a
            // file that is open for writing cannot be executed.
            let write = "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\"";
            let written = Command::new("sh").args(["-c", write]).arg(&path).arg(script).status();
            assert!(written.expect("it starts").success());
            path.into()
        }

        fn places(&self, named: Option<&Path>, python: &Path) -> Places {
            Places {
                named: named.map(|folder| ("CLOISTER_LIBTORCH", folder.to_owned())),
                installed: self.0.join("installed"),
                python: (self.python(python), true),
            }
        }
    }

    const WHEEL: (&str, &str) =
        ("version.py", "from typing import Optional\n__version__ = '2.11.1+cu130'\ndebug = False\n");
    const ARCHIVE: (&str, &str) = ("build-version", "2.11.0+cpu\n");

    #[test]
    fn a_named_folder_comes_before_an_installed_one_and_that_before_pythons() {
        let machine = Machine::new("order");
        let wheel = machine.put("wheel", WHEEL);
        assert_eq!(machine.places(None, &wheel).find(), Ok(wheel.join("lib")));
        let installed = machine.put("installed", ARCHIVE);
        assert_eq!(machine.places(None, &wheel).find(), Ok(installed.join("lib")));
        let named = machine.put("named", ARCHIVE);
        assert_eq!(machine.places(Some(&named), &wheel).find(), Ok(named.join("lib")));
    }

    /// The libraries of CUDA lie beside a wheel's torch, which loads them by a path relative to its own.
    #[test]
    fn a_link_to_pythons_torch_leads_to_where_it_is() {
        let machine = Machine::new("link");
        let wheel = machine.put("site-packages/torch", WHEEL);
        std::os::unix::fs::symlink(&wheel, machine.0.join("installed")).expect("a link");
        assert_eq!(machine.places(None, Path::new("")).find(), Ok(wheel.join("lib")));
    }

    #[test]
    fn a_missing_libtorch_is_answered_with_the_command_that_gets_it() {
        let machine = Machine::new("missing");
        let places = machine.places(None, Path::new(""));
        let failure = places.find().expect_err("there is none");
        assert_eq!(failure.exit_code(), std::process::ExitCode::from(69));
        let text = failure.to_string();
        assert!(text.contains("has no torch") && text.contains("-m pip install torch==2.11.0"), "{text}");
        let no_python = Places { python: ("no-such-python".into(), false), ..places };
        let text = no_python.find().expect_err("there is none").to_string();
        assert!(text.contains("no no-such-python on the PATH"), "{text}");
        let named = Places { python: ("no-such-python".into(), true), ..no_python };
        let failure = named.find().expect_err("there is none");
        assert_eq!(failure.exit_code(), std::process::ExitCode::from(78));
    }

    #[test]
    fn another_version_is_refused_wherever_it_is() {
        let machine = Machine::new("version");
        let old = machine.put("old", ("build-version", "2.1.1"));
        let newer = machine.put("newer", ("version.py", "__version__ = '2.110.0'\n"));
        let named = machine.places(Some(&old), &newer).find().expect_err("it is too old");
        assert_eq!(named.exit_code(), std::process::ExitCode::from(78));
        assert!(
            named.to_string().contains("CLOISTER_LIBTORCH is") && named.to_string().contains("version 2.1.1"),
            "{named}"
        );
        let pythons = machine.places(None, &newer).find().expect_err("it is too new");
        assert_eq!(pythons.exit_code(), std::process::ExitCode::from(69));
        assert!(pythons.to_string().contains("is version 2.110.0"), "{pythons}");
        fs::remove_file(old.join(LIBRARY)).expect("it was written");
        let empty = machine.places(Some(&old), &newer).find().expect_err("there is no library");
        assert!(empty.to_string().contains("has no lib/libtorch_cpu.so"), "{empty}");
    }
}
