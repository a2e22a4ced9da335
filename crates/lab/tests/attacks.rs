//! Each attack works on what is not protected, and on protected data as far as the protection allows.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use cloister_experts::synthetic::{self, Style};
use cloister_lab::attacks::{
    AttackReport, AttackSettings, AttackSummary, Observed, Protection, Sizes, attack,
};

const SIZES: Sizes = Sizes { candidates: 24, trainings: 64, known: 40, mixes: 60, companions: 48, pool: 120 };

static REPORT: OnceLock<Option<AttackReport>> = OnceLock::new();

/// Notes of the synthetic hospitals, attacked once for all tests; `None` without weights.
fn report() -> Option<&'static AttackReport> {
    REPORT.get_or_init(make_report).as_ref()
}

fn make_report() -> Option<AttackReport> {
    let Some(minilm) = std::env::var_os("CLOISTER_MINILM").map(PathBuf::from) else {
        eprintln!("SKIPPED: CLOISTER_MINILM names no folder with MiniLM's weights");
        return None;
    };
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join("attacked.jsonl");
    let notes = synthetic::generate(260, &[1.0; 8], Style::Bullets, 1);
    let line = |note: &cloister_experts::Note| {
        format!("{}\n", serde_json::json!({ "text": note.text, "label": note.label }))
    };
    fs::write(&file, notes.iter().map(line).collect::<String>()).expect("a file");
    let settings = AttackSettings { data: vec![("notes".to_owned(), file)], seeds: vec![1], sizes: SIZES };
    Some(attack(&settings, &minilm, &mut |_| ()).expect("it runs"))
}

fn row(report: &AttackReport, protection: Protection, source: Observed, members: usize) -> &AttackSummary {
    let found = |row: &&AttackSummary| {
        row.view.protection == protection && row.view.source == source && row.view.members == members
    };
    report.summary.iter().find(found).expect("it was attacked")
}

#[test]
fn attacks_succeed_in_the_clear_and_fail_behind_masks_and_noise() {
    let Some(report) = report() else {
        return;
    };
    let table = report.to_table();
    let plain = row(report, Protection::None, Observed::Updates, 1);
    assert!(plain.membership_auc.mean > 0.7 && plain.tpr_at_1_percent.mean > 0.05, "{table}");
    assert!(plain.alone_named.mean == 1.0 && plain.in_a_batch_named.mean > 0.3, "{table}");
    assert!(plain.class_mix_explained.mean > 0.5, "{table}");
    for source in [Observed::Updates, Observed::Sketches] {
        let members = if source == Observed::Updates { 8 } else { 1 };
        let noised = row(report, Protection::MasksAndNoise, source, members);
        assert!((0.43..0.57).contains(&noised.membership_auc.mean), "{table}");
        assert!(noised.tpr_at_1_percent.mean < 0.05 && noised.alone_named.mean < 0.2, "{table}");
        assert!(noised.class_mix_explained.mean < 0.15, "{table}");
    }
    assert!(report.epsilon < 8.0 && report.epsilon_slight > 1000.0, "{table}");
}

/// Masks hide a member in sums, the better the more members there are. Sketches show one member alone.
#[test]
fn masks_alone_hide_updates_and_not_what_sketches_show() {
    let Some(report) = report() else {
        return;
    };
    let table = report.to_table();
    let plain = row(report, Protection::None, Observed::Updates, 1);
    let [few, many] = [4, 16].map(|members| row(report, Protection::Masks, Observed::Updates, members));
    assert!(few.membership_auc.mean < plain.membership_auc.mean, "{table}");
    assert!(many.alone_named.mean < few.alone_named.mean, "{table}");
    let sketches = row(report, Protection::Masks, Observed::Sketches, 1);
    assert!(sketches.alone_named.mean > 0.9 && sketches.class_mix_explained.mean > 0.5, "{table}");
    assert_eq!(report.to_csv().lines().count(), 1 + report.rows.len());
    let columns = |line: &str| line.split(',').count();
    assert!(report.to_csv().lines().all(|line| columns(line) == 17), "{}", report.to_csv());
    assert!(report.to_svg().ends_with("</svg>\n"));
}
