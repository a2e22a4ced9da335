//! The Debian packages `cloister` and `cloister-hospital`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::contents::{DebianPackage, PackagedFile};
use super::{Release, make_folders, printed};
use crate::Failure;

/// Builds a package. The result is its file.
pub(super) fn build(
    files: &[PackagedFile],
    part: DebianPackage,
    release: &Release,
    out: &Path,
    scratch: &Path,
) -> Result<PathBuf, Failure> {
    let tree = scratch.join(part.package());
    let files: Vec<&PackagedFile> = files.iter().filter(|file| file.part == part).collect();
    for file in &files {
        file.write(&tree.join("usr"))?;
    }
    let copyright =
        PackagedFile::new(&format!("share/doc/{}/copyright", part.package()), COPYRIGHT.into(), 0o644, part);
    copyright.write(&tree.join("usr"))?;
    let mut paths: Vec<String> =
        files.iter().chain([&&copyright]).map(|file| format!("usr/{}", file.path)).collect();
    paths.sort();
    let sums = printed(Command::new("md5sum").args(&paths).current_dir(&tree))?;
    let control = control(part, &release.version, &libc_version()?).into_bytes();
    let scripts = [("postinst", postinst(part)), ("prerm", prerm(part)), ("postrm", postrm(part))];
    let mut parts = vec![("control", control, 0o644), ("md5sums", sums, 0o644)];
    parts.extend(scripts.map(|(name, text)| (name, text.into_bytes(), 0o755)));
    make_folders(&tree, Path::new("DEBIAN"))?;
    for (name, contents, mode) in parts {
        PackagedFile::new(&format!("DEBIAN/{name}"), contents, mode, part).write(&tree)?;
    }
    let package = out.join(format!("{}_{}_amd64.deb", part.package(), release.version));
    let mut build = Command::new("dpkg-deb");
    // dpkg-deb sorts names, and no time is later than this one.
    build.env("SOURCE_DATE_EPOCH", &release.epoch).args(["--build", "--root-owner-group", "-Zgzip"]);
    printed(build.arg(&tree).arg(&package))?;
    Ok(package)
}

/// The version of the C library that the programs were linked with, which is the least that they run with.
fn libc_version() -> Result<String, Failure> {
    let text = printed(Command::new("getconf").arg("GNU_LIBC_VERSION"))?;
    let text = String::from_utf8_lossy(&text);
    text.split_whitespace()
        .last()
        .map(str::to_owned)
        .ok_or("getconf names no version of the C library".into())
}

fn control(part: DebianPackage, version: &str, libc: &str) -> String {
    let libraries = format!("libc6 (>= {libc}), libgcc-s1, libssl3 (>= 3.0.0)");
    let (more, summary, description) = match part {
        DebianPackage::Base => (
            format!("Depends: adduser, {libraries}\nSuggests: cloister-hospital (= {version})"),
            "federated fine-tuning behind secure aggregation: coordinator and custodian",
            " The program of a consortium's coordinator and of parties that are only custodians,\n which train nothing.",
        ),
        DebianPackage::Hospital => (
            format!(
                "Depends: adduser, cloister (= {version}), {libraries}, libstdc++6\nRecommends: python3-venv, ca-certificates"
            ),
            "federated fine-tuning behind secure aggregation: hospital",
            " The training program of hospitals, which the program cloister starts. It needs libtorch\n 2.11, which Debian does \
             not have. Python's torch has it:\n .\n  python3 -m venv /opt/cloister-python\n  /opt/cloister-python/bin/pip \
             install torch==2.11.0\n  ln -s /opt/cloister-python/lib/python3*/site-packages/torch /usr/lib/cloister/libtorch",
        ),
    };
    format!(
        "Package: {}\nVersion: {version}\nArchitecture: amd64\nMaintainer: The Cloister authors <maintainers@cloister.invalid>\nSection: science\n\
         Priority: optional\n{more}\nDescription: {summary}\n{description}\n",
        part.package()
    )
}

/// Makes the services' users, and folders for their configurations and keys.
fn postinst(part: DebianPackage) -> String {
    let mut text = String::from("#!/bin/sh\nset -e\nif [ \"$1\" = configure ]; then\n");
    for service in part.services() {
        let folder = service.trim_start_matches("cloister-");
        let _ = write!(
            text,
            "  adduser --system --group --quiet --no-create-home --home /nonexistent {service}\n  \
             install -d -m 0755 /etc/cloister\n  install -d -m 0750 -o root -g {service} /etc/cloister/{folder}\n"
        );
    }
    text + RELOAD + "fi\n"
}

fn prerm(part: DebianPackage) -> String {
    let units = part.services().join(" ");
    format!(
        "#!/bin/sh\nset -e\nif [ \"$1\" = remove ] && [ -d /run/systemd/system ]; then\n  systemctl stop {units} || true\n  \
         systemctl disable --quiet {units} || true\nfi\n"
    )
}

/// Keeps keys, journals and privacy ledgers, also when the package is purged: a ledger that is lost cannot be made again, and a
/// key that is lost is a party that is lost.
fn postrm(part: DebianPackage) -> String {
    let mut text = String::from("#!/bin/sh\nset -e\nif [ \"$1\" = purge ]; then\n");
    for service in part.services() {
        let folder = service.trim_start_matches("cloister-");
        let _ = writeln!(
            text,
            "  echo \"{service}: /etc/cloister/{folder} and /var/lib/{service} are kept, with their user; remove them if they are \
             not needed\""
        );
    }
    text + "fi\n" + RELOAD
}

const RELOAD: &str = "if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi\n";

const COPYRIGHT: &str = "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: cloister

Files: *
Copyright: The Cloister authors
License: Apache-2.0 or Expat
 At your choice the Apache License 2.0, which is in LICENSE-APACHE beside this file,
 or the MIT licence, which is in LICENSE-MIT.
";
