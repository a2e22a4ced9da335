//! Checks of the compiled code: constant time under Valgrind, memory under AddressSanitizer.

use std::fs;
use std::process::{Command, ExitCode};

use crate::Failure;
use crate::setup;
use crate::workspace::{cargo, root, run, run_checked, target_dir};

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Runs the code that works on secrets under Valgrind, with the secrets marked as undefined: a branch or an
/// address that depends on one is reported. Planted leaks must be found, or the check proves nothing.
pub(crate) fn constant_time(arguments: &[String]) -> Result<ExitCode, Failure> {
    if !arguments.is_empty() {
        return Err("`cargo xtask constant-time` takes no arguments".into());
    }
    if !setup::ensure_valgrind()? {
        println!("SKIPPED: valgrind is not installed; on Debian, `sudo apt-get install valgrind`");
        return Ok(ExitCode::SUCCESS);
    }
    let mut build = cargo();
    build.args(["build", "--release", "--package", "cloister-crypto", "--example", "constant_time"]);
    run_checked(&mut build, "cargo build")?;
    let log = root().join("target/constant-time.log");
    let mut valgrind = Command::new("valgrind");
    // The program counts errors path by path, so valgrind must not stop reporting them after some number.
    valgrind.args(["--quiet", "--error-limit=no", "--num-callers=20"]);
    valgrind.arg(format!("--log-file={}", log.display()));
    let status = run(valgrind.arg(target_dir().join("release/examples/constant_time")))?;
    if status.success() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(format!("time depends on a secret, or a planted leak was missed; where, says {}", log.display()))
}

/// Runs the tests of the mask kernels, which have the only `unsafe` code, under AddressSanitizer.
pub(crate) fn memory(arguments: &[String]) -> Result<ExitCode, Failure> {
    if !arguments.is_empty() {
        return Err("`cargo xtask memory` takes no arguments".into());
    }
    let folder = root().join("target/sanitised");
    fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    let mut tests = cargo();
    tests
        .args(["test", "--package", "cloister-crypto", "--lib", "--target", TRIPLE, "--target-dir"])
        .arg(&folder);
    tests.args(["keystream", "--", "--nocapture"]);
    // The sanitiser is unstable, so the project's own compiler is told to allow it: another compiler would
    // check other code.
    tests.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zsanitizer=address");
    run_checked(&mut tests, "the kernels' tests under AddressSanitizer")?;
    Ok(ExitCode::SUCCESS)
}
