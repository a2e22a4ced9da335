//! A coordinator's folder in which a test breaks one file.

#![allow(clippy::unwrap_used, dead_code)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use cloister_cluster::plan::{model, template};
use cloister_crypto::consortium::sign_file;
use cloister_crypto::sign::SigningKey;
use cloister_params::consortium::{ConsortiumFile, CoordinatorEntry, Party, PublicBytes, Role};
use cloister_params::id::PartyId;
use cloister_transport::{Identity, Validity};

/// A coordinator's files on disk, all valid at first.
pub(crate) struct Site {
    pub(crate) folder: PathBuf,
    pub(crate) file: ConsortiumFile,
    governance: SigningKey,
}

fn write_key(folder: &Path, seed: [u8; 32]) {
    let path = folder.join("signing.key");
    std::fs::write(&path, hex::encode(seed)).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn party(number: u8) -> Party {
    Party {
        id: PartyId(u32::from(number)),
        name: format!("hospital {number}"),
        organisation: format!("organisation {number}"),
        roles: vec![Role::Member, Role::Custodian],
        signing_key: SigningKey::from_seed(&[100 + number; 32]).public(),
        certificate: PublicBytes([100 + number; 32]),
        weight: 1,
    }
}

impl Site {
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("cloister-bad-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("data")).unwrap();
        let governance = SigningKey::from_seed(&[1; 32]);
        let identity = Identity::generate("coordinator", Validity::unlimited()).unwrap();
        identity.save(&folder).unwrap();
        write_key(&folder, [2; 32]);
        let policy = format!("governance_key = \"{}\"", governance.public());
        std::fs::write(folder.join("policy.toml"), policy).unwrap();
        let coordinator = CoordinatorEntry {
            name: "coordinator".into(),
            signing_key: SigningKey::from_seed(&[2; 32]).public(),
            certificate: PublicBytes(identity.fingerprint().0),
        };
        let file = ConsortiumFile {
            name: "test".into(),
            epoch: 1,
            start: None,
            until: None,
            retired: Vec::new(),
            coordinator,
            parties: (1..=5).map(party).collect(),
        };
        let site = Self { folder, file, governance };
        site.write_settings(4);
        site
    }

    pub(crate) fn write_settings(&self, floor: usize) {
        let settings = template(2, floor, 1);
        std::fs::write(self.folder.join("settings.toml"), settings.to_toml().unwrap()).unwrap();
        std::fs::write(self.folder.join("model"), model(&settings).to_bytes()).unwrap();
    }

    pub(crate) fn write_consortium(&self) {
        let text = self.file.to_toml().unwrap();
        let path = self.folder.join("consortium.toml");
        std::fs::write(path.with_added_extension("sig"), hex::encode(sign_file(&text, &self.governance)))
            .unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Writes the folder of party 1, and enters its keys and these roles into the consortium file.
    pub(crate) fn enrol(&mut self, roles: &[Role]) -> PathBuf {
        let folder = self.folder.join("party");
        let identity = Identity::generate("hospital 1", Validity::unlimited()).unwrap();
        identity.save(&folder).unwrap();
        std::fs::copy(self.folder.join("policy.toml"), folder.join("policy.toml")).unwrap();
        write_key(&folder, [9; 32]);
        let party = &mut self.file.parties[0];
        party.certificate = PublicBytes(identity.fingerprint().0);
        party.signing_key = SigningKey::from_seed(&[9; 32]).public();
        party.roles = roles.to_vec();
        folder
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// The command of a coordinator that waits this many seconds for its members.
    pub(crate) fn server(&self, listen: &str, start_within_s: u32) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
        command.args([
            "server",
            "--until-finished",
            "--start-within-s",
            &start_within_s.to_string(),
            "--listen",
            listen,
        ]);
        let flags = [
            ("--consortium", "consortium.toml"),
            ("--identity", ""),
            ("--settings", "settings.toml"),
            ("--model", "model"),
            ("--data", "data"),
        ];
        for (flag, name) in flags {
            command.arg(flag).arg(self.path(name));
        }
        command
    }

    pub(crate) fn fails(&self, listen: &str, code: i32, words: &[&str]) {
        let output = self.server(listen, 0).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{errors}");
        for word in words {
            assert!(errors.contains(word), "{word:?} is not in: {errors}");
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
