//! Sweeps: their files, and runs from a configuration to a report.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cloister_experts::Device;
use cloister_experts::synthetic::{self, Style};
use cloister_lab::epsilons::RunEpsilons;
use cloister_lab::estimate::AccuracyEstimate;
use cloister_lab::sweep::{MixAccuracy, SweepReport, SweepRow, SweepRun};
use cloister_lab::{RunEnvironment, Sweep};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};

const BASE: &str = "dataset = \"notes & more\"\nsecure = true\n[data]\ntrain = [\"notes.jsonl\"]\nmax_tokens = 24\n\
                    [partition]\nmembers = 5\ndivision = \"iid\"\nseeds = [0, 1]\n[head]\nkind = \"none\"\n[model]\n\
                    experts = 3\nrank = 2\n[strategy]\nname = \"FedAlignMoE\"\nnum_rounds = 1\nbalanced = false\n[scoring]\nsketches = \"Pairs\"\n";
const ROWS: &str =
    "[[rows]]\nname = \"pairs\"\n[[rows]]\nname = \"mean\"\nset = [\"strategy.name=FedAvg\"]\n";
const NOISE: &str = "[sweep]\nkey = \"scoring.noise_steps\"\nvalues = [1000, 30000]\n";

fn sweep(table: &str, rows: &str, settings: &[&str]) -> Sweep {
    let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
    Sweep::parse(&format!("{BASE}{table}{rows}"), "the test", &settings, &[]).expect("a sweep")
}

/// An empty folder.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the folder of the tests can be written to");
    folder
}

fn row(name: &str, value: Option<f64>, epsilon: Option<f64>, accuracies: &[f64]) -> SweepRow {
    let run = |(seed, accuracy): (u64, &f64)| SweepRun {
        seed,
        accuracy: *accuracy,
        measured_on: Some(400),
        masked_bytes: value.map(|_| 1_500_000),
        announced_bytes: value.map(|_| 12_000),
        seconds: Some(2.5),
    };
    let member = value.map(|_| f64::INFINITY);
    SweepRow {
        row: name.to_owned(),
        value,
        key: value.map(|_| "scoring.noise_steps".to_owned()),
        target_epsilon: None,
        strategy: "FedAvg".to_owned(),
        epsilon,
        epsilons: RunEpsilons { member, sketches_member: epsilon, ..RunEpsilons::default() },
        accuracy: AccuracyEstimate::new(accuracies, Some(400)),
        by_mix: value.map(|_| MixAccuracy { mean: 0.7, least: 0.6, most: 0.8 }),
        is_on_front: false,
        notes: vec!["A note.".to_owned()],
        runs: (0..).zip(accuracies).map(run).collect(),
    }
}

fn report() -> SweepReport {
    report_of(vec![
        row("pairs", Some(1000.0), Some(120.5), &[0.8, 0.82]),
        row("pairs", Some(30000.0), Some(2.25), &[0.7, 0.74]),
        row("signs", Some(1000.0), Some(f64::INFINITY), &[0.81, 0.79]),
        row("mean", None, None, &[0.78, 0.78]),
    ])
}

fn report_of(rows: Vec<SweepRow>) -> SweepReport {
    let axis = "ε of sketches for a member, δ = 1e-5".to_owned();
    SweepReport::from_rows("notes & more".to_owned(), sweep(NOISE, ROWS, &[]).settings, axis, rows)
}

/// The fields of each line, which no test's values have in quotes but for the axis.
fn csv(path: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).expect("it was written");
    let lines = text.lines().map(|line| line.replace("\"ε of sketches for a member, δ = 1e-5\"", "axis"));
    lines.map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

#[test]
fn csv_has_a_value_or_nothing_in_every_column() {
    let out = folder("sweep-csv");
    report().write(&out).expect("it can be written");
    for (file, lines) in [("sweep.csv", 5), ("sweep-runs.csv", 9), ("sweep-differences.csv", 5)] {
        let table = csv(&out.join(file));
        assert_eq!(table.len(), lines, "{file}");
        assert!(table.iter().all(|line| line.len() == table[0].len()), "{file}: {table:?}");
    }
    let table = csv(&out.join("sweep.csv"));
    let field = |line: usize, name: &str| {
        let column = table[0].iter().position(|head| head == name).expect("the column is there");
        table[line][column].as_str()
    };
    assert_eq!((field(1, "row"), field(1, "value"), field(1, "epsilon")), ("pairs", "1000", "120.5"));
    assert_eq!((field(3, "epsilon"), field(1, "epsilon_member")), ("unbounded", "unbounded"));
    assert_eq!((field(4, "value"), field(4, "epsilon"), field(4, "is_baseline")), ("", "", "true"));
    // Both seeds of the baseline answer alike: the interval over texts stays.
    assert_eq!(field(4, "accuracy_std"), "0");
    assert!(field(4, "texts_low").parse::<f64>().expect("a number") < 0.75);
    let front: Vec<&str> = (1..5).map(|line| field(line, "is_on_front")).collect();
    assert_eq!(front, ["true", "true", "false", "false"]);
}

#[test]
fn parquet_reads_back_as_the_table_that_csv_has() {
    let out = folder("sweep-parquet");
    report().write(&out).expect("it can be written");
    let table = csv(&out.join("sweep.csv"));
    let file = fs::File::open(out.join("sweep.parquet")).expect("it was written");
    let reader = SerializedFileReader::new(file).expect("a Parquet file");
    let rows: Vec<Row> = reader.get_row_iter(None).expect("rows").map(|row| row.expect("a row")).collect();
    assert_eq!(rows.len(), 4);
    for (row, line) in rows.iter().zip(&table[1..]) {
        let names: Vec<&String> = row.get_column_iter().map(|(name, _)| name).collect();
        assert_eq!(names, table[0].iter().collect::<Vec<_>>());
        for ((name, value), text) in row.get_column_iter().zip(line) {
            let expected = match value {
                Field::Null => String::new(),
                Field::Double(number) if number.is_infinite() => "unbounded".to_owned(),
                Field::Double(number) => number.to_string(),
                Field::Long(count) => count.to_string(),
                Field::Bool(flag) => flag.to_string(),
                Field::Str(_) if name == "epsilon_axis" => "axis".to_owned(),
                Field::Str(text) => text.clone(),
                other => panic!("{name} has {other:?}"),
            };
            assert_eq!(expected, *text, "{name}");
        }
    }
}

#[test]
fn the_vega_lite_specification_has_a_log_axis_error_bars_and_rules() {
    let out = folder("sweep-vega");
    report().write(&out).expect("it can be written");
    let text = fs::read(out.join("sweep.vl.json")).expect("it was written");
    let specification: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(specification["$schema"], "https://vega.github.io/schema/vega-lite/v5.json");
    let layers = specification["layer"].as_array().expect("layers");
    let marks: Vec<&str> = layers.iter().filter_map(|layer| layer["mark"]["type"].as_str()).collect();
    assert_eq!(marks, ["line", "errorbar", "point", "rule"]);
    for layer in &layers[..3] {
        let x = &layer["encoding"]["x"];
        assert_eq!((&x["field"], &x["scale"]["type"]), (&"x".into(), &"log".into()));
    }
    assert_eq!(layers[1]["encoding"]["y2"]["field"], "high");
    let values = specification["data"]["values"].as_array().expect("data");
    let xs: Vec<Option<f64>> = values.iter().map(|value| value["x"].as_f64()).collect();
    assert_eq!(xs, [Some(120.5), Some(2.25), None, None]);
    assert_eq!((&values[2]["epsilon"], &values[3]["is_baseline"]), (&"unbounded".into(), &true.into()));
}

#[test]
fn latex_has_as_many_cells_in_each_line_as_columns() {
    let out = folder("sweep-latex");
    report().write(&out).expect("it can be written");
    let tex = fs::read_to_string(out.join("sweep.tex")).expect("it was written");
    let (_, columns) = tex.split_once("\\begin{tabular}{").expect("a tabular");
    let (columns, body) = columns.split_once('}').expect("its columns");
    let lines: Vec<&str> = body.lines().filter(|line| line.ends_with("\\\\")).collect();
    assert_eq!(lines.len(), 5, "{tex}");
    for line in lines {
        assert_eq!(line.matches(" & ").count() + 1, columns.len(), "{line}");
        assert!(!line.replace("\\%", "").contains('%'), "{line}");
    }
    for rule in ["\\toprule", "\\midrule", "\\bottomrule", "\\end{tabular}"] {
        assert_eq!(tex.matches(rule).count(), 1, "{rule}");
    }
}

#[test]
fn the_plot_names_rows_baselines_the_front_and_what_it_cannot_draw() {
    let out = folder("sweep-svg");
    report().write(&out).expect("it can be written");
    let svg = fs::read_to_string(out.join("sweep.svg")).expect("it was written");
    for part in
        ["notes &amp; more", ">pairs<", ">signs<", ">mean (baseline)<", ">Pareto front<", "ε: 1<", "</svg>"]
    {
        assert!(svg.contains(part), "{part}: {svg}");
    }
    let table = report().to_table();
    assert!(table.contains("unbounded") && table.contains("10000 resamples"), "{table}");
}

/// The folders of a run on notes of the synthetic hospitals; `None` without weights.
fn environment(name: &str) -> Option<RunEnvironment> {
    let Some(minilm) = std::env::var_os("CLOISTER_MINILM").map(PathBuf::from) else {
        eprintln!("SKIPPED: CLOISTER_MINILM names no folder with MiniLM's weights");
        return None;
    };
    let data = folder(name);
    let mut lines = String::new();
    for note in synthetic::generate(160, &[1.0; 8], Style::Bullets, 1) {
        lines += &format!("{}\n", serde_json::json!({ "text": note.text, "label": note.label }));
    }
    fs::write(data.join("notes.jsonl"), lines).expect("a file");
    let (cache, out) = (data.join("cache"), data.join("out"));
    Some(RunEnvironment { trainer: None, minilm, device: Device::Cpu, cache, out, data })
}

fn run(sweep: &Sweep, environment: &RunEnvironment) -> SweepReport {
    let mut seconds = 0;
    let mut clock = || {
        seconds += 1;
        Duration::from_secs(seconds)
    };
    sweep.run(environment, &mut clock, &mut |_| (), &mut |_| ()).expect("it runs")
}

/// PRIV-03: sums without noise are named, and the ε of sketches falls with their noise.
#[test]
fn noise_on_sketches_lowers_their_epsilon_and_a_sweep_is_not_run_twice() {
    let Some(environment) = environment("sweep-noise") else {
        return;
    };
    let sweep = sweep(NOISE, ROWS, &[]);
    let report = run(&sweep, &environment);
    let [little, much, mean] = &report.rows[..] else { panic!("{report:?}") };
    let (little_epsilon, much_epsilon) = (little.epsilon.expect("charged"), much.epsilon.expect("charged"));
    assert!(much_epsilon < little_epsilon && much_epsilon > 0.0 && little_epsilon.is_finite());
    for row in [little, much, mean] {
        assert_eq!((row.epsilons.member, row.epsilons.record), (Some(f64::INFINITY), Some(f64::INFINITY)));
        assert!(
            row.epsilons.sketches_record > row.epsilons.sketches_member,
            "a text moves a sketch twice as far"
        );
        assert!(row.epsilons.announced_member > row.epsilons.sketches_member, "counts cost more");
        assert!(row.runs.iter().all(|run| run.masked_bytes > Some(1000) && run.announced_bytes > Some(1000)));
        assert!(row.runs.iter().all(|run| run.measured_on > Some(20) && run.seconds.is_some()), "{row:?}");
        let mix = row.by_mix.expect("members have mixes of labels");
        assert!(mix.least <= mix.mean && mix.mean <= mix.most && mix.most <= 1.0);
    }
    assert!(mean.value.is_none() && report.differences.len() == 2);
    assert_eq!(run(&sweep, &environment), report, "seeds are read, and so are their seconds");
    assert!(environment.out.join("results.csv").exists() && environment.out.join("sweep.svg").exists());
}

/// PRIV-10: behind masks, sums that follow from private training cost nothing more for a text.
#[test]
fn noise_for_a_target_meets_it_and_training_covers_what_follows_from_it() {
    let Some(environment) = environment("sweep-target") else {
        return;
    };
    let target = "[sweep]\nkey = \"strategy.private.noise_multiplier\"\nepsilons = [4]\n";
    let rows = "[[rows]]\nname = \"private\"\nset = [\"strategy.name=FedAvg\"]\n[[rows]]\nname = \"alone\"\n\
                swept = false\nset = [\"strategy.name=LocalOnly\", \"secure=false\"]\n";
    let report = run(&sweep(target, rows, &["partition.seeds=[0]"]), &environment);
    let [private, alone] = &report.rows[..] else { panic!("{report:?}") };
    let training = private.epsilon.expect("private");
    assert!((3.9..=4.0).contains(&training), "{training}");
    assert_eq!(private.epsilons.training, Some(training));
    assert!(private.epsilons.record.is_some_and(f64::is_finite), "{private:?}");
    assert_eq!(private.epsilons.member, Some(f64::INFINITY));
    assert_eq!((alone.epsilon, alone.epsilons.member), (None, None));
    assert!(alone.accuracy.over_seeds.is_none() && alone.accuracy.over_texts.is_some());
}

#[test]
fn the_front_has_what_nothing_else_is_better_than() {
    let report = report_of(vec![
        row("a", Some(1.0), Some(10.0), &[0.8]),
        row("a", Some(2.0), Some(5.0), &[0.7]),
        row("a", Some(3.0), Some(7.0), &[0.6]),
        row("b", Some(1.0), Some(10.0), &[0.75]),
        row("b", Some(2.0), Some(5.0), &[0.7]),
        row("b", Some(3.0), Some(f64::INFINITY), &[0.9]),
        row("b", Some(4.0), None, &[0.9]),
        row("baseline", None, Some(1.0), &[0.95]),
    ]);
    let front: Vec<bool> = report.rows.iter().map(|row| row.is_on_front).collect();
    // Two rows that are equal in both are both on it.
    assert_eq!(front, [true, true, false, false, true, false, false, false]);
}

#[test]
fn differences_are_paired_by_seed_and_compare_rows_at_a_value_and_with_baselines() {
    let mut short = row("b", Some(1.0), Some(5.0), &[0.7, 0.6]);
    short.runs[0].seed = 9;
    let report = report_of(vec![
        row("a", Some(1.0), Some(10.0), &[0.8, 0.9, 0.7]),
        short,
        row("baseline", None, None, &[0.7, 0.8, 0.7]),
    ]);
    let pairs: Vec<(&str, &str, usize)> =
        report.differences.iter().map(|pair| (&*pair.row, &*pair.minus, pair.seeds)).collect();
    assert_eq!(pairs, [("a", "b", 1), ("a", "baseline", 3), ("b", "baseline", 1)]);
    let [alone, three, _] = &report.differences[..] else { panic!("three pairs") };
    assert!((alone.mean - 0.3).abs() < 1e-12 && alone.interval.is_none());
    let interval = three.interval.expect("three seeds");
    assert!(
        (three.mean - 0.2 / 3.0).abs() < 1e-12 && interval.low < three.mean && three.mean < interval.high
    );
    assert!(interval.low > -1e-12 && interval.high < 0.1 + 1e-12, "resamples stay within the differences");
}
