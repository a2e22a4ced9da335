//! The committed configurations, and runs from files to results.

use std::fs;
use std::path::{Path, PathBuf};

use cloister_experts::Device;
use cloister_experts::synthetic::{self, Style};
use cloister_lab::config::{HeadKind, StrategyName};
use cloister_lab::{Config, Folders, LabError, Progress, run, sketches};

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
    }
}

/// Notes of the synthetic hospitals as a file, and where a run of them reads and writes; `None` without weights.
fn folders(name: &str) -> Option<Folders> {
    let Some(minilm) = std::env::var_os("CLOISTER_MINILM").map(PathBuf::from) else {
        eprintln!("SKIPPED: CLOISTER_MINILM names no folder with MiniLM's weights");
        return None;
    };
    let data = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&data);
    fs::create_dir_all(&data).expect("the folder of the tests can be written to");
    let notes = synthetic::generate(160, &[1.0; 8], Style::Bullets, 1);
    let line = |note: &cloister_experts::Note| {
        format!("{}\n", serde_json::json!({ "text": note.text, "label": note.label }))
    };
    fs::write(data.join("notes.jsonl"), notes.iter().map(line).collect::<String>()).expect("a file");
    Some(Folders { minilm, device: Device::Cpu, cache: data.join("cache"), out: data.join("out"), data })
}

fn config(settings: &[&str]) -> Config {
    let text = "dataset = \"notes\"\n[data]\ntrain = [\"notes.jsonl\"]\nmax_tokens = 24\n[partition]\nmembers = 5\n\
                alpha = 0.5\nseeds = [0, 1]\n[head]\nlayers = [6]\nshrinkage = 0.3\n[model]\nexperts = 3\nrank = 2\n\
                [strategy]\nnum_rounds = 1";
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
        |progress| resumed += usize::from(matches!(progress, Progress::Seed { resumed: true, .. }));
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
    use StrategyName::*;
    let Some(folders) = folders("strategies") else {
        return;
    };
    let all = [
        Centralised,
        LocalOnly,
        FedAvg,
        FedProx,
        FedAdam,
        FrozenRouter,
        LocalRouters,
        FedMoE,
        PflMoE,
        FedAlignMoE,
    ];
    for name in all {
        let mut config = config(&["partition.seeds=[0]"]);
        config.strategy.name = name;
        config.secure = name.goes_behind_masks();
        let summary = run(&config, &folders, None, &mut |_| ()).expect("it runs");
        let rounds = &summary.measured[0].rounds;
        assert_eq!(rounds.len(), 2, "{name:?}");
        assert!(
            rounds[1].loss.is_some_and(f64::is_finite) && rounds[1].accuracy > 0.4,
            "{name:?} {rounds:?}"
        );
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
    assert!(matches!(&error, LabError::Config { .. }) && error.to_string().contains("astrology"), "{error}");
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
    assert_eq!(rows.len(), 1 + 4 * 6);
    let overlap = |coordinates, noise: f64| {
        rows.iter().find(|row| row.coordinates == coordinates && row.noise == noise).expect("a row").overlap
    };
    assert!(overlap(128, 0.0) > 0.6, "{rows:?}");
    assert!(overlap(128, 0.0) > overlap(128, 0.3), "{rows:?}");
}
