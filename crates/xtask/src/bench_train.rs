//! `cargo xtask bench train`: how fast an adapter learns here and with Python's `transformers` and `peft`.
//! Both train the same random model on one thread, in turns, so that other load on the machine slows both.
//! `--carry` makes a folder that measures on a machine without Rust.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use serde_json::{Value, json};

use crate::workspace::{cargo, io_failure, root, run_checked, target_dir};
use crate::{Failure, fixtures, setup};

/// For each size: steps, texts of a batch, tokens of a text.
const SIZES: [(&str, [&str; 3]); 2] = [("tiny", ["20", "8", "128"]), ("middle", ["6", "4", "128"])];
const SCRIPT: &str = "train_speed.py";

struct Options {
    sizes: Vec<String>,
    precision: String,
    runs: usize,
    /// Whether to measure the cost of DP-SGD instead of the comparison.
    private: bool,
    /// Whether to measure the cost of the routing regulariser and of the statistics for scoring instead of
    /// the comparison.
    regulariser: bool,
    json: bool,
    /// The smallest `ratio_to_transformers` that counts as success; 0 accepts all.
    at_least: f64,
    /// The folder for another machine, which is written instead of measuring here.
    carry: Option<PathBuf>,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, Failure> {
        let usage = "`cargo xtask bench train` takes [--size tiny|middle] [--precision float32|bfloat16] \
                     [--private | --regulariser] [--runs N] [--at-least RATIO] [--json], or --carry FOLDER";
        let all = SIZES.iter().map(|(name, _)| (*name).to_owned()).collect();
        let (private, regulariser, json, carry) = (false, false, false, None);
        let precision = "float32".into();
        let at_least = 0.0;
        let mut options =
            Self { sizes: all, precision, runs: 5, private, regulariser, json, at_least, carry };
        let mut rest = arguments.iter().map(String::as_str);
        while let Some(flag) = rest.next() {
            match (
                flag,
                if ["--json", "--private", "--regulariser"].contains(&flag) { Some("") } else { rest.next() },
            ) {
                ("--json", _) => options.json = true,
                ("--private", _) => options.private = true,
                ("--regulariser", _) => options.regulariser = true,
                ("--size", Some(size)) if SIZES.iter().any(|(name, _)| *name == size) => {
                    options.sizes = vec![size.to_owned()];
                }
                ("--precision", Some(precision @ ("float32" | "bfloat16"))) => {
                    options.precision = precision.to_owned();
                }
                ("--carry", Some(folder)) => options.carry = Some(folder.into()),
                ("--at-least", Some(ratio)) => {
                    options.at_least = ratio.parse().map_err(|_| usage.to_owned())?;
                }
                ("--runs", Some(runs)) => options.runs = runs.parse().map_err(|_| usage.to_owned())?,
                _ => return Err(usage.into()),
            }
        }
        let measures_cost = options.private || options.regulariser;
        // Flags that the measurement would ignore are rejected: a figure must be of what was asked for.
        let nonsense = options.runs == 0
            || (measures_cost && (options.precision != "float32" || options.at_least != 0.0))
            || (options.private && options.regulariser);
        if nonsense { Err(usage.into()) } else { Ok(options) }
    }
}

/// Measures and prints.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode, Failure> {
    let options = Options::parse(arguments)?;
    if options.private {
        return private(&options);
    }
    if options.regulariser {
        return regulariser(&options);
    }
    let program = build("train_speed")?;
    if let Some(folder) = &options.carry {
        carry(&program, folder)?;
        return Ok(ExitCode::SUCCESS);
    }
    let python = fixtures::python()?;
    let mut results = Vec::new();
    for size in &options.sizes {
        results.push(measure(size, &options, &python, &program)?);
    }
    if options.json {
        println!("{}", json!({"precision": options.precision, "runs": options.runs, "sizes": results}));
    } else {
        results.iter().for_each(print_size);
    }
    // After printing, so that the figures of a failure are there to look at.
    fast_enough(&results, options.at_least)?;
    Ok(ExitCode::SUCCESS)
}

/// Fails if a size was slower than required. A size without a figure counts as infinitely slow: a comparison
/// that did not run must not pass.
fn fast_enough(results: &[Value], at_least: f64) -> Result<(), Failure> {
    for result in results {
        let ratio = result["ratio_to_transformers"].as_f64().unwrap_or(0.0);
        if ratio < at_least {
            let size = result["size"].as_str().unwrap_or("");
            return Err(format!(
                "{size}: {ratio:.2} times transformers' speed; expected at least {at_least}"
            ));
        }
    }
    Ok(())
}

/// A figure of a result; NaN if it is missing.
fn number(result: &Value, key: &str) -> f64 {
    result[key].as_f64().unwrap_or(f64::NAN)
}

fn build(example: &str) -> Result<PathBuf, Failure> {
    let mut build = cargo();
    build.args(["build", "--package", "cloister-experts", "--example", example]);
    run_checked(build.envs(setup::ensure()?.environment()), "cargo build")?;
    Ok(target_dir().join("debug/examples").join(example))
}

/// Copies the program and the script into a folder, and prints how to use them.
fn carry(program: &Path, folder: &Path) -> Result<(), Failure> {
    let fail = io_failure("write", folder);
    fs::create_dir_all(folder).map_err(fail)?;
    fs::copy(program, folder.join("train_speed")).map_err(fail)?;
    fs::copy(fixtures::committed().join(SCRIPT), folder.join(SCRIPT)).map_err(fail)?;
    println!("On a machine with a GPU and Python's torch 2.11, transformers and peft:");
    println!("python3 {SCRIPT} make large large");
    println!("python3 {SCRIPT} compare large 20 16 512 bfloat16 cuda 3 ./train_speed");
    Ok(())
}

/// The random model of a size. It is made once and kept.
fn model(size: &str) -> Result<PathBuf, Failure> {
    let model = root().join("target/bench").join(format!("olmoe-{size}"));
    if !model.join("config.json").is_file() {
        let mut make = fixtures::script(&fixtures::python()?, SCRIPT);
        run_checked(make.arg("make").arg(&model).arg(size), "making the model")?;
    }
    Ok(model)
}

/// The medians of one model's runs, of both implementations in turns.
fn measure(size: &str, options: &Options, python: &Path, program: &Path) -> Result<Value, Failure> {
    let model = model(size)?;
    let shape = SIZES.iter().find(|(name, _)| *name == size).map_or(["1"; 3], |(_, shape)| *shape);
    let mut compare = fixtures::script(python, SCRIPT);
    compare.arg("compare").arg(&model).args(shape).args([&options.precision, "cpu"]);
    compare.arg(options.runs.to_string()).arg(program).envs(setup::ensure()?.environment());
    let mut result = result(&mut compare)?;
    result["size"] = size.into();
    Ok(result)
}

fn result(command: &mut Command) -> Result<Value, Failure> {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cannot start {:?}: {error}", command.get_program()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.trim()).map_err(|_| format!("{command:?} printed no result, but {text:?}"))
}

fn print_size(result: &Value) {
    println!(
        "{:8}{:>8.0} tokens per second of the processor; transformers {:.0} expert by expert ({:.2}x), \
         {:.0} grouped ({:.2}x)",
        result["size"].as_str().unwrap_or(""),
        number(result, "here_tokens_per_second"),
        number(result, "eager_tokens_per_second"),
        number(result, "ratio_to_transformers"),
        number(result, "grouped_mm_tokens_per_second"),
        number(result, "ratio_to_grouped_mm"),
    );
}

/// The cost of DP-SGD, on the same models and on MiniLM.
fn private(options: &Options) -> Result<ExitCode, Failure> {
    let (program, installed) = (build("private_speed")?, setup::ensure()?);
    let mut results = Vec::new();
    for (size, shape) in SIZES.iter().filter(|(size, _)| options.sizes.iter().any(|wanted| wanted == size)) {
        let model = model(size)?;
        results.push((*size, vec![model.into_os_string()], *shape));
    }
    let minilm = vec!["minilm".into(), installed.minilm.clone().into_os_string()];
    results.push(("MiniLM", minilm, ["15", "8", "64"]));
    let mut measured = Vec::new();
    for (name, model, shape) in results {
        eprintln!("{name}: {} runs of each", options.runs);
        let mut command = Command::new(&program);
        command.envs(installed.environment()).args(model).args(shape).arg(options.runs.to_string());
        let mut figures = result(&mut command)?;
        figures["model"] = name.into();
        measured.push(figures);
    }
    match options.json {
        true => println!("{}", json!({"runs": options.runs, "models": measured})),
        false => measured.iter().for_each(print_private),
    }
    Ok(ExitCode::SUCCESS)
}

/// The cost of the routing regulariser and of the statistics for scoring.
fn regulariser(options: &Options) -> Result<ExitCode, Failure> {
    let (program, installed) = (build("routing_speed")?, setup::ensure()?);
    let mut measured = Vec::new();
    for (size, shape) in SIZES.iter().filter(|(size, _)| options.sizes.iter().any(|wanted| wanted == size)) {
        let mut command = Command::new(&program);
        command.envs(installed.environment()).arg(model(size)?).args(shape).arg(options.runs.to_string());
        let mut figures = result(&mut command)?;
        figures["size"] = (*size).into();
        measured.push(figures);
    }
    match options.json {
        true => println!("{}", json!({"runs": options.runs, "sizes": measured})),
        false => measured.iter().for_each(print_regulariser),
    }
    Ok(ExitCode::SUCCESS)
}

fn print_regulariser(result: &Value) {
    println!(
        "{:8}{:>8.2} seconds; {:.3} times as long with the regulariser, {:.3} with the statistics too",
        result["size"].as_str().unwrap_or(""),
        number(result, "plain_seconds"),
        number(result, "regulariser_ratio"),
        number(result, "regulariser_and_statistics_ratio"),
    );
}

fn print_private(result: &Value) {
    println!(
        "{:8}{:>8.1} texts per second of the processor, {:.1} with DP-SGD: {:.2}x the time",
        result["model"].as_str().unwrap_or(""),
        number(result, "plain_texts_per_processor_second"),
        number(result, "private_texts_per_processor_second"),
        number(result, "ratio"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options, Failure> {
        Options::parse(&arguments.iter().map(|&argument| argument.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read_and_nonsense_is_refused() {
        let options = parse(&["--size", "tiny", "--runs", "3", "--json"]).expect("sound");
        assert_eq!((options.sizes, options.runs, options.json), (vec!["tiny".to_owned()], 3, true));
        for wrong in [
            &["--size", "huge"][..],
            &["--private", "--regulariser"],
            &["--runs", "0"],
            &["--runs"],
            &["--precision", "int8"],
            &["--private", "--at-least", "1.0"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_slower_than_expected_or_not_measured_fails() {
        let results = [json!({"size": "tiny", "ratio_to_transformers": 1.2}), json!({"size": "middle"})];
        assert!(fast_enough(&results[..1], 1.0).is_ok());
        assert!(fast_enough(&results[..1], 1.3).is_err());
        assert!(fast_enough(&results, 1.0).is_err());
        assert!(fast_enough(&results, 0.0).is_ok(), "without --at-least nothing is expected");
    }
}
