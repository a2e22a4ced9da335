//! Fuzzing: builds `tests/fuzz` with coverage instrumentation, and runs its targets one after the other.
//!
//! libFuzzer comes with the crate `libfuzzer-sys`, and instrumentation with the stable compiler (`-C
//! passes`), so nothing is needed that the project's build does not need.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use serde_json::{Value, json};

use crate::Failure;
use crate::setup::Installed;
use crate::workspace::{cargo, io_failure, root, run_checked};

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Compiler flags that count coverage and trace comparisons for libFuzzer.
const INSTRUMENTATION: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";

#[derive(Default)]
struct Arguments {
    target: Option<String>,
    seconds: Option<u64>,
    executions: Option<u64>,
    replay: Option<PathBuf>,
    json: bool,
}

impl Arguments {
    fn parse(words: &[String]) -> Result<Self, Failure> {
        let (mut parsed, mut words) = (Self::default(), words.iter());
        while let Some(word) = words.next() {
            match word.as_str() {
                "--json" => parsed.json = true,
                "--seconds" => parsed.seconds = Some(whole_number(word, words.next())?),
                "--executions" => parsed.executions = Some(whole_number(word, words.next())?),
                "--replay" => parsed.replay = Some(words.next().ok_or("--replay needs a file")?.into()),
                target if !target.starts_with('-') && parsed.target.is_none() => {
                    parsed.target = Some(target.into())
                }
                other => return Err(format!("`cargo xtask fuzz` has no option {other:?}")),
            }
        }
        if parsed.replay.is_some() && parsed.target.is_none() {
            return Err("`cargo xtask fuzz --replay FILE` needs the target that the file is for".into());
        }
        Ok(parsed)
    }
}

/// The value of an option that takes a whole number.
fn whole_number(option: &str, value: Option<&String>) -> Result<u64, Failure> {
    let value = value.ok_or(format!("{option} needs a value"))?;
    value.parse().map_err(|_| format!("{option} takes a whole number, not {value:?}"))
}

/// The result of fuzzing one target.
struct Outcome {
    target: String,
    executions: u64,
    seconds: f64,
    /// How many edges of the control flow were covered.
    coverage: u64,
    /// The input that broke a promise, or the log if libFuzzer wrote no input.
    failing: Option<PathBuf>,
}

/// Fuzzes one target or all of them, each for a while (by default ten seconds) or a number of executions.
pub(crate) fn run(words: &[String], installed: &Installed) -> Result<ExitCode, Failure> {
    let arguments = Arguments::parse(words)?;
    let fuzzer = Fuzzer::build(installed)?;
    let all = fuzzer.prepare()?;
    let mut chosen: Vec<&Target> = all.iter().collect();
    if let Some(name) = &arguments.target {
        chosen.retain(|target| target.name == *name);
    }
    if chosen.is_empty() {
        let names: Vec<&str> = all.iter().map(|target| target.name.as_str()).collect();
        return Err(format!("there is no such target; there are {}", names.join(", ")));
    }
    if let (Some(file), [target]) = (&arguments.replay, &chosen[..]) {
        run_checked(fuzzer.command(target).arg(file), "the input")?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut outcomes = Vec::new();
    for target in chosen {
        let outcome = fuzzer.fuzz(target, &arguments)?;
        eprintln!("{}", sentence(&outcome));
        outcomes.push(outcome);
    }
    Ok(report(&outcomes, arguments.json))
}

/// A target, and the program that contains it.
#[derive(PartialEq, Debug)]
struct Target {
    program: String,
    name: String,
}

impl Target {
    /// Parses a line of the output of `seeds`.
    fn parse(line: &str) -> Option<Self> {
        let (program, name) = line.split_once(' ')?;
        Some(Self { program: program.into(), name: name.into() })
    }
}

struct Fuzzer<'a> {
    installed: &'a Installed,
    folder: PathBuf,
}

impl<'a> Fuzzer<'a> {
    fn build(installed: &'a Installed) -> Result<Self, Failure> {
        eprintln!("building the fuzz targets (minutes the first time)");
        let folder = root().join("target/fuzz");
        let mut build = cargo();
        build.args(["build", "--release", "--target", TRIPLE, "--target-dir"]).arg(&folder);
        build.arg("--manifest-path").arg(root().join("tests/fuzz/Cargo.toml"));
        build.envs(installed.environment()).env("RUSTFLAGS", INSTRUMENTATION);
        run_checked(&mut build, "cargo build")?;
        Ok(Self { installed, folder })
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.folder.join(TRIPLE).join("release").join(name));
        command.envs(self.installed.environment()).current_dir(root());
        command
    }

    /// Writes the seeds, and returns the targets.
    fn prepare(&self) -> Result<Vec<Target>, Failure> {
        let output = self.program("seeds").arg(self.folder.join("seeds")).output();
        let output = output.map_err(|error| format!("cannot start `seeds`: {error}"))?;
        if !output.status.success() {
            return Err(format!("writing the seeds failed: {}", String::from_utf8_lossy(&output.stderr)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(Target::parse).collect())
    }

    fn command(&self, target: &Target) -> Command {
        let mut command = self.program(&target.program);
        // A backtrace in a library's error takes as long as an input may, because the instrumented program is
        // large.
        command.env("RUST_LIB_BACKTRACE", "0");
        // A hang, or a large allocation for a small input, breaks a promise as a panic does.
        command.env("CLOISTER_FUZZ_TARGET", &target.name).args(["-timeout=20", "-rss_limit_mb=4096"]);
        command
    }

    fn fuzz(&self, target: &Target, arguments: &Arguments) -> Result<Outcome, Failure> {
        let name = &target.name;
        let (corpus, artifacts) =
            (self.folder.join("corpus").join(name), self.folder.join("artifacts").join(name));
        for folder in [&corpus, &artifacts] {
            fs::create_dir_all(folder).map_err(io_failure("make", folder))?;
        }
        let log = self.folder.join(format!("{name}.log"));
        let log_file = File::create(&log).map_err(io_failure("write", &log))?;
        let mut command = self.command(target);
        command.args(limits(arguments)).arg("-print_final_stats=1");
        command.arg(format!("-artifact_prefix={}/", artifacts.display())).arg(&corpus);
        command.args(self.inputs(name)).stderr(log_file).stdout(std::process::Stdio::null());
        let start = Instant::now();
        let passed = command.status().map_err(|error| format!("cannot start the fuzzer: {error}"))?.success();
        let text = fs::read_to_string(&log).map_err(io_failure("read", &log))?;
        // A run that fails without an input, by running out of memory for example, names its log instead.
        let failing = (!passed).then(|| written_input(&text).unwrap_or(log));
        Ok(Outcome {
            target: name.to_owned(),
            executions: number_after(&text, "stat::number_of_executed_units:").unwrap_or(0),
            seconds: start.elapsed().as_secs_f64(),
            coverage: number_after(&text, " cov:").unwrap_or(0),
            failing,
        })
    }

    /// Folders with inputs to start from: seeds, the committed corpus, and inputs of earlier failures.
    fn inputs(&self, target: &str) -> Vec<PathBuf> {
        let kept = root().join("tests/fuzz");
        let folders = [self.folder.join("seeds"), kept.join("corpus"), kept.join("regressions")];
        folders.iter().map(|folder| folder.join(target)).filter(|folder| folder.is_dir()).collect()
    }
}

fn limits(arguments: &Arguments) -> Vec<String> {
    let executions = arguments.executions.map(|number| format!("-runs={number}"));
    // A limit always, or libFuzzer would never end.
    let seconds = arguments.seconds.or(if executions.is_none() { Some(10) } else { None });
    seconds.map(|number| format!("-max_total_time={number}")).into_iter().chain(executions).collect()
}

/// The number after the last occurrence of a label in a log.
fn number_after(log: &str, label: &str) -> Option<u64> {
    log.rsplit_once(label)?.1.split_whitespace().next()?.parse().ok()
}

/// The file into which libFuzzer wrote a failing input.
fn written_input(log: &str) -> Option<PathBuf> {
    Some(log.rsplit_once("Test unit written to ")?.1.lines().next()?.into())
}

fn rate(outcome: &Outcome) -> u64 {
    (outcome.executions as f64 / outcome.seconds.max(0.001)) as u64
}

fn sentence(outcome: &Outcome) -> String {
    let Outcome { target, executions, seconds, coverage, failing } = outcome;
    let done = format!("{target}: {executions} executions in {seconds:.0} s, {coverage} edges");
    match failing {
        None => done,
        Some(input) => format!(
            "{done}\n{target} FAILED on {}\nrepeat it with `cargo xtask fuzz {target} --replay FILE`; once \
             mended, keep the input under tests/fuzz/regressions/{target}/",
            input.display()
        ),
    }
}

fn report(outcomes: &[Outcome], as_json: bool) -> ExitCode {
    let failures = outcomes.iter().filter(|outcome| outcome.failing.is_some()).count();
    if as_json {
        let targets: Vec<Value> = outcomes.iter().map(object).collect();
        println!("{}", json!({ "targets": targets, "failures": failures }));
    } else {
        println!("{:<16}{:>14}{:>10}{:>12}{:>8}", "target", "executions", "seconds", "each second", "edges");
        for outcome in outcomes {
            let Outcome { target, executions, seconds, coverage, .. } = outcome;
            println!("{target:<16}{executions:>14}{seconds:>10.0}{:>12}{coverage:>8}", rate(outcome));
        }
    }
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn object(outcome: &Outcome) -> Value {
    json!({
        "target": outcome.target,
        "executions": outcome.executions,
        "seconds": outcome.seconds,
        "executions_per_second": rate(outcome),
        "edges": outcome.coverage,
        "failing_input": outcome.failing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, Failure> {
        Arguments::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn limits_are_those_that_were_asked_for() {
        let parsed_limits = |words: &[&str]| limits(&parse(words).expect("the arguments are valid"));
        assert_eq!(parsed_limits(&[]), ["-max_total_time=10"]);
        assert_eq!(parsed_limits(&["frame", "--executions", "5"]), ["-runs=5"]);
        assert_eq!(parsed_limits(&["--seconds", "3", "--executions", "5"]), ["-max_total_time=3", "-runs=5"]);
        for wrong in
            [&["--second", "3"][..], &["--seconds"], &["--seconds", "x"], &["a", "b"], &["--replay", "f"]]
        {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_log_is_read() {
        let target = Target { program: "fuzz-files".into(), name: "notes".into() };
        assert_eq!((Target::parse("fuzz-files notes"), Target::parse("notes")), (Some(target), None));
        let log = "#2 INITED cov: 7 ft: 8\n#9 DONE cov: 31 ft: 70\nstat::number_of_executed_units: 12\n\
                   artifact_prefix='x/'; Test unit written to x/crash-1\nBase64: AA==\n";
        assert_eq!(number_after(log, "stat::number_of_executed_units:"), Some(12));
        assert_eq!(number_after(log, " cov:"), Some(31));
        assert_eq!(written_input(log), Some("x/crash-1".into()));
        assert_eq!((number_after("", " cov:"), written_input("")), (None, None));
    }
}
