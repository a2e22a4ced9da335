//! `cargo xtask bench train`: how fast an adapter learns here and with Python's `transformers` and `peft`, on the same
//! random model, on one thread each, in turns.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use serde_json::{Value, json};

use crate::workspace::{cargo, root, run_checked, target_dir};
use crate::{Failure, fixtures, setup};

/// Steps, texts of a batch, tokens of a text.
const SIZES: [(&str, [&str; 3]); 2] = [("tiny", ["20", "8", "128"]), ("middle", ["6", "4", "128"])];
/// How transformers goes through experts: one by one, or in grouped products, its default.
const IMPLEMENTATIONS: [&str; 2] = ["eager", "grouped_mm"];

struct Options {
    sizes: Vec<String>,
    precision: String,
    runs: usize,
    private: bool,
    json: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, Failure> {
        let usage = "`cargo xtask bench train` takes [--size tiny|middle] [--precision float32|bfloat16] [--private] [--runs N] [--json]";
        let all = SIZES.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut options =
            Self { sizes: all, precision: "float32".into(), runs: 5, private: false, json: false };
        let mut rest = arguments.iter().map(String::as_str);
        while let Some(flag) = rest.next() {
            match (flag, if ["--json", "--private"].contains(&flag) { Some("") } else { rest.next() }) {
                ("--json", _) => options.json = true,
                ("--private", _) => options.private = true,
                ("--size", Some(size)) if SIZES.iter().any(|(name, _)| *name == size) => {
                    options.sizes = vec![size.to_owned()];
                }
                ("--precision", Some(precision @ ("float32" | "bfloat16"))) => {
                    options.precision = precision.to_owned();
                }
                ("--runs", Some(runs)) => options.runs = runs.parse().map_err(|_| usage.to_owned())?,
                _ => return Err(usage.into()),
            }
        }
        let nonsense = options.runs == 0 || (options.private && options.precision != "float32");
        if nonsense { Err(usage.into()) } else { Ok(options) }
    }
}

/// Measures and prints.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode, Failure> {
    let options = Options::parse(arguments)?;
    let example = if options.private { "private_speed" } else { "train_speed" };
    let mut build = cargo();
    build.args(["build", "--package", "cloister-experts", "--example", example]);
    run_checked(build.envs(setup::ensure()?.environment()), "cargo build")?;
    if options.private {
        return private(&options);
    }
    let python = fixtures::python()?;
    let results: Vec<Value> =
        options.sizes.iter().map(|size| measure(size, &options, &python)).collect::<Result<_, _>>()?;
    match options.json {
        true => {
            println!("{}", json!({"precision": options.precision, "runs": options.runs, "sizes": results}))
        }
        false => results.iter().for_each(print_size),
    }
    Ok(ExitCode::SUCCESS)
}

/// What DP-SGD costs, on the same models and on MiniLM.
fn private(options: &Options) -> Result<ExitCode, Failure> {
    let installed = setup::ensure()?;
    let mut results = Vec::new();
    for (size, shape) in SIZES.iter().filter(|(size, _)| options.sizes.iter().any(|own| own == size)) {
        let model = model(size)?;
        results.push((*size, vec![model.into_os_string()], *shape));
    }
    let minilm = vec!["minilm".into(), installed.minilm.clone().into_os_string()];
    results.push(("MiniLM", minilm, ["15", "8", "64"]));
    let mut measured = Vec::new();
    for (name, model, shape) in results {
        eprintln!("{name}: {} runs of each", options.runs);
        let mut command = Command::new(target_dir().join("debug/examples/private_speed"));
        command.envs(installed.environment()).args(model).args(shape).arg(options.runs.to_string());
        let mut own = result(&mut command)?;
        own["model"] = name.into();
        measured.push(own);
    }
    match options.json {
        true => println!("{}", json!({"runs": options.runs, "models": measured})),
        false => measured.iter().for_each(print_private),
    }
    Ok(ExitCode::SUCCESS)
}

fn print_private(result: &Value) {
    let number = |key: &str| result[key].as_f64().unwrap_or(f64::NAN);
    println!(
        "{:8}{:>8.1} texts per second of the processor, {:.1} with DP-SGD: {:.2}x the time",
        result["model"].as_str().unwrap_or(""),
        number("plain_texts_per_processor_second"),
        number("private_texts_per_processor_second"),
        number("ratio"),
    );
}

/// The random model of a size, made once.
fn model(size: &str) -> Result<PathBuf, Failure> {
    let model = root().join("target/bench").join(format!("olmoe-{size}"));
    if !model.join("config.json").is_file() {
        let mut make = fixtures::script(&fixtures::python()?, "train_speed.py");
        run_checked(make.arg("make").arg(&model).arg(size), "making the model")?;
    }
    Ok(model)
}

/// The medians of one model's runs, ours and theirs in turns.
fn measure(size: &str, options: &Options, python: &Path) -> Result<Value, Failure> {
    let model = model(size)?;
    let shape = SIZES.iter().find(|(name, _)| *name == size).map_or(["1"; 3], |(_, shape)| *shape);
    let ours = || {
        let mut command = Command::new(target_dir().join("debug/examples/train_speed"));
        command.envs(setup::ensure()?.environment()).arg(&model).args(shape).arg(&options.precision);
        result(&mut command)
    };
    let theirs = |experts: &str| {
        let mut command = fixtures::script(python, "train_speed.py");
        command.arg("train").arg(&model).args(shape).args([&options.precision, experts]);
        result(&mut command)
    };
    let mut runs: [Vec<Value>; 3] = Default::default();
    for number in 1..=options.runs {
        eprintln!("{size}: run {number} of {}", options.runs);
        runs[0].push(ours()?);
        for (own, experts) in runs[1..].iter_mut().zip(IMPLEMENTATIONS) {
            own.push(theirs(experts)?);
        }
    }
    same_loss(&runs)?;
    let speeds = runs.each_ref().map(|own| median(own, "tokens_per_processor_second"));
    Ok(json!({
        "size": size,
        "tokens_per_processor_second": speeds[0],
        "transformers_eager": speeds[1],
        "transformers_grouped_mm": speeds[2],
        "ratio_to_transformers": speeds[0] / speeds[1],
        "ratio_to_grouped_mm": speeds[0] / speeds[2],
        "tokens_per_second": median(&runs[0], "tokens_per_second"),
    }))
}

fn result(command: &mut Command) -> Result<Value, Failure> {
    let output = command.stderr(Stdio::null()).output();
    let output = output.map_err(|error| format!("cannot start {:?}: {error}", command.get_program()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.trim()).map_err(|_| format!("{command:?} printed no result, but {text:?}"))
}

/// Both must have computed the same.
fn same_loss(runs: &[Vec<Value>; 3]) -> Result<(), Failure> {
    let losses = runs.each_ref().map(|own| median(own, "first_loss"));
    match losses.iter().all(|loss| (loss - losses[0]).abs() < 1e-3) {
        true => Ok(()),
        false => Err(format!("the losses before training differ: {losses:?}")),
    }
}

fn median(runs: &[Value], key: &str) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(|run| run[key].as_f64().unwrap_or(f64::NAN)).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

fn print_size(result: &Value) {
    let number = |key: &str| result[key].as_f64().unwrap_or(f64::NAN);
    println!(
        "{:8}{:>8.0} tokens per second of the processor; transformers {:.0} expert by expert ({:.2}x), {:.0} grouped ({:.2}x)",
        result["size"].as_str().unwrap_or(""),
        number("tokens_per_processor_second"),
        number("transformers_eager"),
        number("ratio_to_transformers"),
        number("transformers_grouped_mm"),
        number("ratio_to_grouped_mm"),
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
        assert!(parse(&["--private"]).expect("sound").private);
        for wrong in [
            &["--private", "--precision", "bfloat16"][..],
            &["--size", "huge"],
            &["--runs", "0"],
            &["--runs"],
            &["--precision", "int8"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_median_is_the_middle_value() {
        let runs = |values: &[f64]| values.iter().map(|value| json!({"x": value})).collect::<Vec<_>>();
        assert_eq!(median(&runs(&[3.0, 1.0, 2.0]), "x"), 2.0);
        assert_eq!(median(&runs(&[4.0, 1.0, 2.0, 3.0]), "x"), 2.5);
    }
}
