use super::report::{SweepRow, SweepRun};
use super::*;

const BASE: &str = "dataset = \"x\"\n[data]\ntrain = [\"a\"]\n[head]\nkind = \"none\"\n[strategy]\nname = \"FedAvg\"\n\
                    balanced = false\n";
const ROWS: &str =
    "[[rows]]\nname = \"pairs\"\nset = [\"strategy.name=FedAlignMoE\"]\n[[rows]]\nname = \"FedAvg\"\n";

fn parse(sweep: &str, rows: &str, set: &[&str]) -> Result<Sweep, LabError> {
    let set: Vec<String> = set.iter().map(|&setting| setting.to_owned()).collect();
    Sweep::parse(&format!("{BASE}{sweep}{rows}"), "file", &set, &[])
}

#[test]
fn rows_are_swept_unless_they_say_no_or_ignore_the_key() {
    let sweep =
        parse("[sweep]\nkey = \"scoring.noise_steps\"\nvalues = [80, 800]\n", ROWS, &[]).expect("a sweep");
    let folders: Vec<String> = sweep.points.iter().map(SweepPoint::folder).collect();
    assert_eq!(folders, ["pairs-at-80", "pairs-at-800", "FedAvg"]);
    assert_eq!(sweep.points[1].config.scoring.noise_steps, 800);
    assert_eq!(sweep.settings.axis(), SweepAxis::Released(ReleasedPart::Sketches));
    let rows = "[[rows]]\nname = \"private\"\n[[rows]]\nname = \"alone\"\nswept = false\n";
    let private = "[sweep]\nkey = \"strategy.private.noise_multiplier\"\nepsilons = [2.5, 8]\nepsilon = \"announced\"\n";
    let sweep = parse(private, rows, &[]).expect("a sweep");
    let folders: Vec<String> = sweep.points.iter().map(SweepPoint::folder).collect();
    assert_eq!(folders, ["private-at-epsilon-2-5", "private-at-epsilon-8", "alone"]);
    assert_eq!(sweep.points[2].config.strategy.training.private, None);
    assert_eq!(sweep.settings.axis(), SweepAxis::Released(ReleasedPart::Announced));
}

#[test]
fn sweeps_that_mean_nothing_are_refused_with_a_reason() {
    let key = "[sweep]\nkey = \"scoring.noise_steps\"\n";
    for (sweep, rows, set, reason) in [
        (String::new(), ROWS, &[][..], "needs a table `[sweep]`"),
        (key.to_owned(), ROWS, &[], "either `values` or `epsilons`"),
        (format!("{key}values = [1]\nepsilons = [1]\n"), ROWS, &[], "either `values` or `epsilons`"),
        (format!("{key}epsilons = [1]\n"), ROWS, &[], "cannot be solved"),
        (format!("{key}values = [1, 1.0]\n"), ROWS, &[], "several times"),
        (format!("{key}values = [-1]\n"), ROWS, &[], "not below 0"),
        (format!("{key}values = [1]\ndelta = 1\n"), ROWS, &[], "`sweep.delta`"),
        (format!("{key}values = [0.5]\n"), ROWS, &[], "row pairs at 0.5"),
        (format!("{key}values = [70000]\n"), ROWS, &[], "row pairs at 70000"),
        (format!("{key}values = [1]\n"), "[[rows]]\nname = \"FedAvg\"\n", &[], "no row is swept"),
        (format!("{key}values = [1]\n"), ROWS, &["scoring.noise_steps=2"], "the sweep sets this key"),
        (format!("{key}values = [1]\nvalue = 2\n"), ROWS, &[], "unknown field"),
    ] {
        let error = parse(&sweep, rows, set).expect_err(reason);
        assert!(matches!(error, LabError::Config { .. }), "{error:?}");
        assert!(error.to_string().contains(reason), "{error} instead of {reason}");
    }
}

/// A row with these accuracies, one a seed.
fn row(name: &str, value: Option<f64>, epsilon: Option<f64>, accuracies: &[f64]) -> SweepRow {
    let runs = (0..).zip(accuracies).map(|(seed, accuracy)| SweepRun {
        seed,
        accuracy: *accuracy,
        measured_on: Some(400),
        masked_bytes: Some(1_500_000),
        announced_bytes: None,
        seconds: Some(2.5),
    });
    SweepRow {
        row: name.to_owned(),
        value,
        target_epsilon: None,
        strategy: "FedAvg".to_owned(),
        epsilon,
        epsilons: SweepEpsilons {
            member: Some(f64::INFINITY),
            sketches_member: epsilon,
            ..SweepEpsilons::default()
        },
        accuracy: AccuracyEstimate::new(accuracies, Some(400)),
        by_mix: None,
        is_on_front: false,
        notes: Vec::new(),
        runs: runs.collect(),
    }
}

fn report(rows: Vec<SweepRow>) -> SweepReport {
    let sweep =
        parse("[sweep]\nkey = \"scoring.noise_steps\"\nvalues = [80, 800]\n", ROWS, &[]).expect("a sweep");
    SweepReport::from_rows("A & B".to_owned(), sweep.settings, "ε of sketches".to_owned(), rows)
}

#[test]
fn the_front_has_what_nothing_else_is_better_than() {
    let report = report(vec![
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
    let report = report(vec![
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
