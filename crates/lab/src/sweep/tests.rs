use super::*;

const BASE: &str = "dataset = \"x\"\n[data]\ntrain = [\"a\"]\n[head]\nkind = \"none\"\n[strategy]\nname = \"FedAvg\"\n\
                    balanced = false\n";
const ROWS: &str = "[[rows]]\nname = \"pairs\"\nset = [\"strategy.name=FedAlignMoE\", \"scoring.sketches=Pairs\"]\n[[rows]]\nname = \"FedAvg\"\n";

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
    let scores =
        "[[rows]]\nname = \"scores\"\nset = [\"strategy.name=FedAlignMoE\", \"scoring.sketches=Withheld\"]\n";
    let by_score = format!("{ROWS}{scores}sweep = {{ key = \"scoring.score_noise\", values = [0.25] }}\n");
    let by_steps = "[sweep]\nkey = \"scoring.noise_steps\"\nvalues = [80]\n";
    let swept = parse(by_steps, &by_score, &[]).expect("a sweep").points;
    let keys: Vec<Option<&str>> = swept.iter().map(|point| point.key.as_deref()).collect();
    assert_eq!(keys, [Some("scoring.noise_steps"), None, Some("scoring.score_noise")]);
    assert_eq!(swept[2].config.scoring.score_noise, Some(0.25));
    // Without a key of its own, a row without sketches is a baseline.
    let plain = parse(by_steps, &format!("{ROWS}{scores}"), &[]).expect("a sweep").points;
    assert_eq!(plain.last().and_then(|point| point.value), None);
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
    let empty = format!("{ROWS}sweep = {{ key = \"scoring.beta\", values = [] }}\n");
    let both = format!("{ROWS}swept = false\nsweep = {{ key = \"scoring.beta\", values = [2] }}\n");
    let repeating = format!("{ROWS}sweep = {{ key = \"scoring.beta\", values = [2, 2] }}\n");
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
        (format!("{key}values = [1]\n"), &repeating, &[], "several times"),
        (format!("{key}values = [1]\n"), &empty, &[], "with a number at least"),
        (format!("{key}values = [1]\n"), &both, &[], "contradict"),
        (format!("{key}values = [1]\nvalue = 2\n"), ROWS, &[], "unknown field"),
    ] {
        let error = parse(&sweep, rows, set).expect_err(reason);
        assert!(matches!(error, LabError::Config { .. }), "{error:?}");
        assert!(error.to_string().contains(reason), "{error} instead of {reason}");
    }
}
