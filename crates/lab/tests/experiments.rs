//! The committed configurations, and runs from files to results.

use std::fs;
use std::path::{Path, PathBuf};

use cloister_experts::Device;
use cloister_experts::synthetic::{self, Style};
use cloister_lab::config::HeadKind;
use cloister_lab::sketching::Degradation;
use cloister_lab::strategy::StrategyKind;
use cloister_lab::{Config, LabError, Ladder, RunEnvironment, RunProgress, Sweep, run, sketches};
use cloister_params::plan::SketchForm;

fn experiments() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let files =
        fs::read_dir(folder).expect("the folder of experiments").map(|entry| entry.expect("an entry").path());
    let configs = files.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    configs.map(|path| (path.display().to_string(), fs::read_to_string(&path).expect("a file"))).collect()
}

#[test]
fn every_committed_experiment_is_a_configuration() {
    let all = experiments();
    assert!(all.len() >= 4, "{}", all.len());
    for (place, text) in all {
        Config::parse(&text, &place, &[]).expect("a configuration");
        if text.contains("[sweep]") {
            Sweep::parse(&text, &place, &[], &[]).expect("a sweep");
        }
        if text.contains("[[rows]]") {
            Ladder::parse(&text, &place, &[], &[]).expect("a ladder");
        }
    }
}

/// Manifests of earlier versions list the settings of every strategy.
#[test]
fn every_manifest_of_a_committed_result_has_a_configuration_that_is_read() {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/results");
    let mut manifests = vec![results];
    let mut read = 0;
    while let Some(path) = manifests.pop() {
        if path.is_dir() {
            manifests
                .extend(fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else if path.file_name().is_some_and(|name| name == "manifest.json") {
            let text = fs::read(&path).expect("a file");
            read += configurations(&serde_json::from_slice(&text).expect("JSON"), &path);
        }
    }
    assert!(read > 100, "{read}");
}

/// Parses the configurations of a manifest, or of a ladder's manifests, and returns how many there are.
fn configurations(manifest: &serde_json::Value, path: &Path) -> usize {
    if let Some(rows) = manifest.as_array() {
        return rows.iter().map(|row| configurations(&row["manifest"], path)).sum();
    }
    let text = manifest["configuration"].as_str().expect("a configuration");
    // The default was another one before manifests named it.
    let older = (!text.contains("sketches = ")).then(|| "scoring.sketches=Pairs".to_owned());
    let settings: Vec<String> = older.into_iter().collect();
    let config = Config::parse(text, &path.display().to_string(), &settings).expect("a configuration");
    assert_eq!(manifest["summary"]["strategy"], config.strategy.kind.name());
    1
}

/// Notes of the synthetic hospitals as a file, and the folders of a run on them; `None` without weights.
fn folders(name: &str) -> Option<RunEnvironment> {
    folders_with(name, 160)
}

/// The same, with this many notes.
fn folders_with(name: &str, notes: usize) -> Option<RunEnvironment> {
    let Some(minilm) = std::env::var_os("CLOISTER_MINILM").map(PathBuf::from) else {
        eprintln!("SKIPPED: CLOISTER_MINILM names no folder with MiniLM's weights");
        return None;
    };
    let data = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&data);
    fs::create_dir_all(&data).expect("the folder of the tests can be written to");
    let notes = synthetic::generate(notes, &[1.0; 8], Style::Bullets, 1);
    let line = |note: &cloister_experts::Note| {
        format!("{}\n", serde_json::json!({ "text": note.text, "label": note.label }))
    };
    fs::write(data.join("notes.jsonl"), notes.iter().map(line).collect::<String>()).expect("a file");
    Some(RunEnvironment {
        trainer: None,
        minilm,
        device: Device::Cpu,
        cache: data.join("cache"),
        out: data.join("out"),
        data,
    })
}

fn config(settings: &[&str]) -> Config {
    let text = "dataset = \"notes\"\n[data]\ntrain = [\"notes.jsonl\"]\nmax_tokens = 24\n[partition]\nmembers = 5\n\
                alpha = 0.5\nseeds = [0, 1]\n[head]\nlayers = [6]\nshrinkage = 0.3\n[model]\nexperts = 3\nrank = 2\n\
                [strategy]\nname = \"FedAlignMoE\"\nnum_rounds = 1";
    let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
    Config::parse(text, "the test", &settings).expect("a configuration")
}

#[test]
fn a_head_behind_masks_is_that_in_the_clear_and_a_run_is_not_run_twice() {
    let Some(folders) = folders("head") else {
        return;
    };
    let head = |secure| config(&["strategy.name=Head", secure]);
    let plain = run(&head("secure=false"), &folders, None, &mut |_| ()).expect("it runs");
    let mut resumed = 0;
    let mut count =
        |progress| resumed += usize::from(matches!(progress, RunProgress::Seed { resumed: true, .. }));
    let again = run(&head("secure=false"), &folders, None, &mut count).expect("it runs");
    assert_eq!((resumed, &again), (2, &plain));
    let secure = run(&head("secure=true"), &folders, None, &mut |_| ()).expect("it runs");
    assert!(
        (secure.mean - plain.mean).abs() <= 1.0 / 64.0 && plain.mean > 0.5,
        "{} {}",
        secure.mean,
        plain.mean
    );
    let manifest = fs::read_to_string(folders.out.join("manifest.json")).expect("it was written");
    assert!(manifest.contains("sha256") && manifest.contains("\"secure\": true"), "{manifest}");
}

#[test]
fn every_strategy_runs_and_those_of_sums_alone_run_behind_masks() {
    let Some(folders) = folders("strategies") else {
        return;
    };
    for name in StrategyKind::NAMES.iter().filter(|name| **name != "Head") {
        let named = format!("strategy.name={name}");
        let sums_alone = !["Centralised", "LocalOnly", "FedMoE"].contains(name);
        let config = config(&["partition.seeds=[0]", &named, &format!("secure={sums_alone}")]);
        let summary = run(&config, &folders, None, &mut |_| ()).expect("it runs");
        let rounds = &summary.measured[0].rounds;
        assert_eq!(rounds.len(), 2, "{name:?}");
        assert!(
            rounds[1].loss.is_some_and(f64::is_finite) && rounds[1].accuracy > Some(0.4),
            "{name:?} {rounds:?}"
        );
    }
}

/// Masks change results by rounding and by the noise on routing distributions alone. FedAlignMoE's cohorts
/// are also chosen on noised sketches, which `tests/oracle.rs` compares.
#[test]
fn strategies_behind_masks_do_what_they_do_in_the_clear() {
    let Some(folders) = folders("masked-strategies") else {
        return;
    };
    let mut seen: Vec<f64> = Vec::new();
    // Strategies whose cohorts are everyone. A clip of 16 cuts nothing, or masks would change more than
    // rounding.
    for name in ["FedAvg", "FedProx", "FedAdam", "FrozenRouter", "LocalRouters", "PflMoE"] {
        let losses = |secure| {
            let rounds = ["partition.seeds=[0]", "strategy.num_rounds=3", "strategy.batch_size=4"];
            let training = ["head.kind=none", "strategy.learning_rate=4e-3", "strategy.expert_clip=16"];
            let named = [&*format!("strategy.name={name}"), &*format!("secure={secure}")];
            let rate = if name == "FedAdam" { &["strategy.server_learning_rate=0.01"][..] } else { &[] };
            let config = config(&[&rounds[..], &training, &named, rate].concat());
            let summary = run(&config, &folders, None, &mut |_| ()).expect("it runs");
            [1, 2, 3].map(|round| summary.measured[0].rounds[round].loss.expect("they train"))
        };
        let (plain, masked) = (losses(false), losses(true));
        assert_eq!(plain[0], masked[0], "{name:?}: nothing is summed before the first round's training");
        // Rounding grows from round to round, by up to 1.2e-4 where it was measured.
        let close = |round: usize| (plain[round] - masked[round]).abs() < 4e-4;
        assert!(close(1) && close(2), "{name:?}: {plain:?} {masked:?}");
        assert!(
            seen.iter().all(|other| (other - masked[1]).abs() > 1e-3),
            "control: {name:?} {masked:?} {seen:?}"
        );
        seen.push(masked[1]);
    }
}

#[test]
fn a_test_file_replaces_what_is_held_out_and_unknown_classes_are_named() {
    let Some(folders) = folders("test-file") else {
        return;
    };
    let config = config(&["strategy.name=Head", "partition.seeds=[0]"]);
    let whole =
        run(&config, &folders, Some(&folders.data.join("notes.jsonl")), &mut |_| ()).expect("it runs");
    assert!(whole.mean > 0.9, "it was trained on what it is measured on, {}", whole.mean);
    let strange = folders.data.join("strange.jsonl");
    fs::write(&strange, "{\"text\":\"a\",\"label\":\"astrology\"}\n").expect("a file");
    let error = run(&config, &folders, Some(&strange), &mut |_| ()).expect_err("there is no such class");
    assert!(
        matches!(&error, LabError::Config { .. })
            && error.to_string().contains("the label of its text 1 is no class"),
        "{error}"
    );
}

#[test]
fn larger_sketches_without_noise_choose_better_than_chance() {
    let Some(folders) = folders("sketches") else {
        return;
    };
    // Counts are cut at twice the minimum: a smaller one would drown in their noise.
    let mut config = config(&["partition.seeds=[0]", "scoring.minimum_tokens=20"]);
    config.head.kind = HeadKind::None;
    let rows = sketches(&config, &folders, &mut |_| ()).expect("it runs");
    assert_eq!(rows.len(), 1 + (4 + 3 + 3) * 6);
    for (form, size) in [(SketchForm::Pairs, 128), (SketchForm::Signs, 256)] {
        let [quiet, loud] = [0.0, 0.3].map(|noise| {
            let found = |row: &&Degradation| (row.form, row.coordinates, row.noise) == (form, size, noise);
            rows.iter().find(found).expect("a row").overlap
        });
        assert!(quiet > 0.6 && quiet > loud, "{form:?}: {rows:?}");
    }
}

/// Runs until a round was measured, and stops as if the process ended there.
fn interrupted(config: &Config, folders: &RunEnvironment, after: usize) {
    let mut stop = |progress| {
        if let RunProgress::Measured(round) = progress
            && round.round == after
        {
            std::panic::resume_unwind(Box::new("the process ended"));
        }
    };
    let run = std::panic::AssertUnwindSafe(|| run(config, folders, None, &mut stop));
    assert!(std::panic::catch_unwind(run).is_err(), "it was interrupted");
}

#[test]
fn an_interrupted_seed_goes_on_with_its_round_and_ends_with_the_same_bytes() {
    let Some(folders) = folders("interrupted") else {
        return;
    };
    let settings = [
        ["strategy.name=FedAdam", "secure=false"],
        ["strategy.name=FedAdam", "secure=true"],
        ["strategy.name=PflMoE", "secure=true"],
        ["strategy.name=LocalOnly", "secure=false"],
        ["strategy.name=PflMoE", "secure=false"],
        ["strategy.name=FedAlignMoE", "secure=true"],
    ];
    for settings in settings {
        // A round's sum is seen in the next one's loss: the second round's in that of the third.
        let rounds = ["partition.seeds=[3]", "strategy.num_rounds=3"];
        let config = config(&[&rounds[..], &settings].concat());
        let bytes =
            |out: &Path| ["seed-3.json", "results.csv"].map(|file| fs::read(out.join(file)).expect("a file"));
        let whole = RunEnvironment { out: folders.data.join("whole"), ..folders.clone() };
        run(&config, &whole, None, &mut |_| ()).expect("it runs");
        let parted = RunEnvironment { out: folders.data.join("parted"), ..folders.clone() };
        interrupted(&config, &parted, 1);
        assert!(!parted.out.join("seed-3.json").exists());
        let mut rounds = Vec::new();
        let mut note = |progress| {
            if let RunProgress::Training { round, .. } = progress {
                rounds.push(round);
            }
        };
        run(&config, &parted, None, &mut note).expect("it goes on");
        assert_eq!(rounds, [[2; 5], [3; 5]].concat(), "the first round is not run again");
        assert_eq!(bytes(&whole.out), bytes(&parted.out), "{settings:?}");
        assert!(!parted.out.join("seed-3.rounds").exists());
        fs::remove_dir_all(&parted.out).expect("it is there");
    }
}

/// PRIV-02: what a head from noised sums costs is what its noise says, and more noise costs less and says less.
#[test]
fn heads_from_noised_sums_are_charged_and_fall_to_chance() {
    let Some(folders) = folders("noised-head") else {
        return;
    };
    let run = |settings: &[&str]| {
        let masked = ["strategy.name=Head", "secure=true", "partition.seeds=[0]"];
        run(&config(&[&masked[..], settings].concat()), &folders, None, &mut |_| ()).expect("it runs")
    };
    let plain = run(&[]);
    assert_eq!(plain.epsilon_of_head(), None);
    let slight = run(&["head.noise.noise_multiplier=0.01"]);
    // More is no fault: the ridge that covers the noise can help on so few texts.
    assert!(slight.mean > plain.mean - 0.1, "{} {}", slight.mean, plain.mean);
    let record = run(&["head.noise.noise_multiplier=4"]);
    let epsilon = record.epsilon_of_head().expect("charged");
    // A Gaussian with a multiplier of 4 has δ = Φ(1/8 - 4ε) - exp(ε)·Φ(-1/8 - 4ε), which is 10⁻⁵ at ε = 0.926.
    assert!((0.926..0.93).contains(&epsilon), "{epsilon}");
    assert!(slight.epsilon_of_head() > Some(100.0 * epsilon));
    let member = run(&["head.noise.noise_multiplier=4", "head.noise.unit=member"]);
    assert!((member.epsilon_of_head().expect("charged") - epsilon).abs() < 0.05);
    assert!(member.mean < slight.mean - 0.1, "{} {}", member.mean, slight.mean);
}

#[test]
fn a_head_that_is_estimated_again_starts_right_and_stays_so() {
    let Some(folders) = folders("head-again") else {
        return;
    };
    let every_round =
        ["partition.seeds=[0]", "head.kind=none", "strategy.head_every=1", "strategy.freeze_head=true"];
    let summary = run(&config(&every_round), &folders, None, &mut |_| ()).expect("it runs");
    let rounds = &summary.measured[0].rounds;
    // Eight classes: chance is an eighth.
    assert!(rounds.iter().all(|round| round.accuracy > Some(0.4)), "{rounds:?}");
    let masked = [&every_round[..], &["secure=true", "strategy.name=FedAvg"]].concat();
    let masked = run(&config(&masked), &folders, None, &mut |_| ()).expect("it runs");
    assert_eq!(masked.measured[0].rounds[0].accuracy, rounds[0].accuracy, "sums behind masks are the same");
    assert!(masked.measured[0].rounds.iter().all(|round| round.accuracy > Some(0.4)), "{masked:?}");
    let without = run(&config(&every_round[..2]), &folders, None, &mut |_| ()).expect("it runs");
    assert_eq!(without.measured[0].rounds[0].accuracy, None);
}

#[test]
fn members_with_a_wrong_list_of_classes_are_seen_in_the_result() {
    let Some(folders) = folders("miscoded") else {
        return;
    };
    let accuracy = |miscoded: &str| {
        let settings = ["strategy.name=Head", "partition.seeds=[0]", miscoded];
        run(&config(&settings), &folders, None, &mut |_| ()).expect("it runs").mean
    };
    let (none, all) = (accuracy("partition.miscoded=0"), accuracy("partition.miscoded=5"));
    // Eight classes: chance is an eighth.
    assert!(none > 0.4 && all < 0.125, "{none} {all}");
}

/// How often experts and the head left out each of eight members, in the rounds from the third on.
fn left_out(folders: &RunEnvironment, miscoded: &str) -> ([usize; 8], [usize; 8]) {
    let settings = [
        &["partition.members=8", "partition.division=iid", "head.kind=none", miscoded][..],
        &["strategy.num_rounds=5", "strategy.learning_rate=4e-3", "strategy.batch_size=4"],
        &["strategy.balanced=false", "scoring.minimum_tokens=10", "scoring.coordinates=128"],
        &["secure=true", "strategy.expert_clip=0.5", "scoring.shared_cohort=Majority"],
    ];
    let summary = run(&config(&settings.concat()), folders, None, &mut |_| ()).expect("it runs");
    let (mut experts, mut head) = ([0; 8], [0; 8]);
    for round in summary.measured.iter().flat_map(|seed| &seed.rounds[3..]) {
        let known: Vec<f64> = round.consensus.iter().flatten().flatten().copied().collect();
        assert!(known.len() == 8 && known.iter().all(|share| (0.0..=1.0).contains(share)), "{known:?}");
        let left_out = round.left_out.iter().flatten();
        experts.iter_mut().zip(left_out).for_each(|(sum, times)| *sum += times);
        round.head_without.iter().flatten().for_each(|member| head[member - 1] += 1);
    }
    (experts, head)
}

/// ALIGN-07: behind masks too. Counted over the last rounds of two seeds, as noise and chance decide single rounds.
#[test]
fn members_with_a_wrong_list_of_classes_are_those_that_experts_leave_out() {
    let Some(folders) = folders_with("left-out", 640) else {
        return;
    };
    let (wrong, right) =
        (left_out(&folders, "partition.miscoded=2"), left_out(&folders, "partition.miscoded=0"));
    let clear = |times: &[usize; 8]| times[6..].iter().min() > times[..6].iter().max();
    println!("left out of experts and of the head: {wrong:?}; with right lists {right:?}");
    assert!(clear(&wrong.0) && clear(&wrong.1), "{wrong:?}");
    assert!(!clear(&right.0) && !clear(&right.1), "control: {right:?}");
}
