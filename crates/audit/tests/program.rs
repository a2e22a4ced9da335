//! The program `cloister-verify`, on files as a coordinator writes them.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use cloister_cluster::Cluster;
use cloister_cluster::consortium::{TestConsortium, consortium};
use cloister_cluster::plan::{model, template};
use cloister_crypto::SigningKey;
use cloister_crypto::consortium::{Epoch, sign_file};
use cloister_params::consortium::ConsortiumFile;
use cloister_wire::codec;
use serde_json::Value;

/// A coordinator's folder with one closed round, and the consortium file beside it.
struct AuditedSite {
    folder: PathBuf,
    key: String,
}

impl AuditedSite {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("cloister-verify-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("data/rounds")).unwrap();
        fs::create_dir_all(folder.join("data/models")).unwrap();
        let parties = consortium(&[1; 5]);
        let governance = SigningKey::from_seed(&[7; 32]);
        let file = ConsortiumFile {
            name: "test".into(),
            epoch: 1,
            start: None,
            until: None,
            retired: Vec::new(),
            coordinator: parties.epoch.consortium().coordinator().clone(),
            parties: parties.epoch.consortium().parties().cloned().collect(),
        };
        let text = file.to_toml().unwrap();
        let signature = sign_file(&text, &governance);
        let epoch = Arc::new(Epoch::accept(&text, &signature, governance.public()).unwrap());
        fs::write(folder.join("consortium.toml"), text).unwrap();
        fs::write(folder.join("consortium.toml.sig"), hex::encode(signature)).unwrap();
        let settings = template(2, 4, 1);
        let start = model(&settings);
        let parties = TestConsortium { epoch, governance: governance.public(), ..parties };
        let report = Cluster::new(parties, settings, 3).run_round().unwrap();
        let lines: Vec<String> =
            report.log.entries().iter().map(|entry| entry.to_json_line() + "\n").collect();
        let round = |kind| folder.join("data/rounds").join(format!("0001.{kind}"));
        fs::write(round("log.jsonl"), lines.concat()).unwrap();
        fs::write(round("ending"), codec::encode(&report.ending)).unwrap();
        fs::write(round("sums"), report.packed_sums()).unwrap();
        fs::write(folder.join("data/model.parameters"), report.model.to_bytes()).unwrap();
        let first = folder.join(format!("data/models/00000001-{}.parameters", start.digest()));
        fs::write(first, start.to_bytes()).unwrap();
        Self { folder, key: hex::encode(governance.public().0) }
    }

    fn verify(&self, key: &str, flags: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloister-verify"));
        command.arg(self.folder.join("data")).arg("--consortium").arg(self.folder.join("consortium.toml"));
        command.args(["--governance-key", key]).args(flags).output().unwrap()
    }
}

fn claims(output: &Output, verdict: &str) -> Vec<String> {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let claims = report["claims"].as_array().unwrap().iter().filter(|claim| claim["verdict"] == verdict);
    claims.map(|claim| claim["claim"].as_str().unwrap().to_owned()).collect()
}

fn flip_middle(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn its_status_says_what_the_report_comes_to() {
    let site = AuditedSite::new("status");
    let sound = site.verify(&site.key, &["--json"]);
    let left = ["log", "statements", "masked-blocks", "ledgers", "other-parties", "cosignatures"];
    assert_eq!((sound.status.code(), claims(&sound, "refuted").len()), (Some(4), 0));
    assert_eq!(claims(&sound, "not-checked"), left, "it has neither a log of the epoch nor ledgers");
    let text = String::from_utf8(site.verify(&site.key, &[]).stdout).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("proved ")).count(), 11, "{text}");
    flip_middle(&site.folder.join("data/rounds/0001.sums"));
    let changed = site.verify(&site.key, &["--json"]);
    assert_eq!(
        (changed.status.code(), claims(&changed, "refuted")),
        (Some(3), vec!["opened-sums".to_owned()])
    );
    fs::remove_dir_all(site.folder).unwrap();
}

#[test]
fn what_cannot_be_used_is_named() {
    let site = AuditedSite::new("unusable");
    for (key, flags, code, expected) in [
        (hex::encode([9; 32]), &[][..], 78, "consortium.toml"),
        ("12".to_owned(), &[], 2, "--governance-key takes 64 hexadecimal digits"),
        (site.key.clone(), &["--frobnicate"], 2, "--frobnicate is no option"),
        (site.key.clone(), &["another"], 2, "another is one folder too many"),
        (site.key.clone(), &["--party"], 2, "--party needs a value"),
        (site.key.clone(), &["--party", "nowhere"], 78, "nowhere is neither a hospital"),
    ] {
        let output = site.verify(&key, flags);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{errors}");
        assert!(errors.contains(expected), "{errors}");
    }
    fs::remove_dir_all(site.folder).unwrap();
}
