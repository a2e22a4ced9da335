use std::collections::BTreeMap;
use std::process::Output;

use super::*;

/// A program that writes man pages and completions as the real one does.
const PROGRAM: &str = "#!/bin/sh
if [ \"$2\" = man ]; then
  mkdir -p \"$3\"
  for page in cloister cloister-server cloister-custodian cloister-client cloister-experts-check; do
    echo \".TH $page 1\" > \"$3/$page.1\"
  done
else
  echo \"completions for $3\"
fi
";

/// A folder of fake programs, into which the test packs too.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Place {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("cloister-package-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        for program in ["cloister", TRAINING_PROGRAM] {
            let path = folder.join(program);
            // The mode in the packages must not be this one. Another process writes the program: one that another test
            // starts meanwhile would have this one's file open too, and a file that is open for writing cannot be executed.
            let write = "printf %s \"$1\" > \"$0\" && chmod 700 \"$0\"";
            let written = Command::new("sh").args(["-c", write]).arg(&path).arg(PROGRAM).status();
            assert!(written.expect("it starts").success());
        }
        Self(folder)
    }

    fn pack(&self, out: &str, without_training: bool) -> BTreeMap<String, PathBuf> {
        let (out, profile) = (self.0.join(out), "dev".to_owned());
        let options = Options { without_training, out, binaries: Some(self.0.clone()), profile };
        let made = pack(&options).expect("it packs");
        let name = |path: &PathBuf| path.file_name().expect("a file").to_string_lossy().into_owned();
        made.into_iter().map(|path| (name(&path), path)).collect()
    }
}

fn output(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("it starts");
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("text")
}

/// Modes and owners by path, of a listing as `tar -tv` writes it.
fn listed(listing: &str) -> BTreeMap<String, String> {
    let entry = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (
            words[5].trim_start_matches("./").trim_end_matches('/').to_owned(),
            format!("{} {}", words[0], words[1]),
        )
    };
    listing.lines().map(entry).collect()
}

fn archive_entries(path: &Path) -> BTreeMap<String, String> {
    listed(&output(Command::new("tar").args(["--numeric-owner", "-tvzf"]).arg(path)))
}

fn has_dpkg() -> bool {
    let has = Command::new("dpkg-deb").arg("--version").output().is_ok();
    if !has {
        println!("SKIPPED: dpkg-deb is not installed");
    }
    has
}

fn deb(made: &BTreeMap<String, PathBuf>, part: DebianPackage) -> PathBuf {
    let name = format!("{}_{}_amd64.deb", part.package(), version().expect("a version"));
    made[&name].clone()
}

#[test]
fn the_archive_has_everything_with_modes_of_an_installation() {
    let place = Place::new("archive");
    let made = place.pack("out", false);
    let name = format!("cloister-{}-x86_64-linux", version().expect("a version"));
    let entries = archive_entries(&made[&format!("{name}.tar.gz")]);
    for (path, mode) in [
        ("", "drwxr-xr-x 0/0"),
        ("/SHA256SUMS", "-rw-r--r-- 0/0"),
        ("/bin/cloister", "-rwxr-xr-x 0/0"),
        ("/lib/cloister/cloister-training", "-rwxr-xr-x 0/0"),
        ("/lib/systemd/system/cloister-custodian.service", "-rw-r--r-- 0/0"),
        ("/share/bash-completion/completions/cloister", "-rw-r--r-- 0/0"),
        ("/share/doc/cloister/LICENSE-MIT", "-rw-r--r-- 0/0"),
        ("/share/doc/cloister-hospital/examples/client.toml", "-rw-r--r-- 0/0"),
        ("/share/man/man1/cloister-client.1.gz", "-rw-r--r-- 0/0"),
    ] {
        assert_eq!(
            entries.get(&format!("{name}{path}")).map(String::as_str),
            Some(mode),
            "{path}: {entries:?}"
        );
    }
    // Each sum is right.
    output(Command::new("tar").arg("-xzf").arg(&made[&format!("{name}.tar.gz")]).arg("-C").arg(&place.0));
    output(
        Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(place.0.join(name)),
    );
    output(
        Command::new("sha256sum")
            .args(["--check", "--strict", "SHA256SUMS"])
            .current_dir(place.0.join("out")),
    );
}

#[test]
fn the_same_programs_give_the_same_bytes() {
    let place = Place::new("bytes");
    let (first, second) = (place.pack("first", false), place.pack("second", false));
    assert_eq!(first.len(), second.len());
    for (name, path) in &first {
        assert!(fs::read(path).expect("made") == fs::read(&second[name]).expect("made"), "{name} differs");
    }
    // Control: another program gives other bytes.
    fs::write(place.0.join("cloister"), format!("{PROGRAM}# another\n")).expect("a file");
    let other = place.pack("other", false);
    assert!(
        first
            .iter()
            .any(|(name, path)| fs::read(path).expect("made") != fs::read(&other[name]).expect("made"))
    );
}

#[test]
fn what_each_unit_starts_and_runs_as_is_in_its_package() {
    if !has_dpkg() {
        return;
    }
    let place = Place::new("units");
    let made = place.pack("out", false);
    let contents = |part| listed(&output(Command::new("dpkg-deb").arg("--contents").arg(deb(&made, part))));
    let (base, hospital) = (contents(DebianPackage::Base), contents(DebianPackage::Hospital));
    let shared = base.keys().filter(|path| hospital.contains_key(*path) && base[*path].starts_with('-'));
    assert_eq!(shared.collect::<Vec<_>>(), Vec::<&String>::new(), "dpkg refuses two packages with one file");
    assert!(hospital.contains_key("usr/lib/cloister/cloister-training"));
    assert!(hospital.contains_key("usr/share/man/man1/cloister-experts-check.1.gz"));
    assert!(base.contains_key("usr/share/man/man1/cloister-server.1.gz"));
    for (part, entries) in [(DebianPackage::Base, &base), (DebianPackage::Hospital, &hospital)] {
        let postinst = output(Command::new("dpkg-deb").arg("--info").arg(deb(&made, part)).arg("postinst"));
        for service in part.services() {
            assert!(
                entries.contains_key(&format!("usr/lib/systemd/system/{service}.service")),
                "{entries:?}"
            );
            let unit =
                fs::read_to_string(root().join(format!("deploy/systemd/{service}.service"))).expect("a unit");
            let setting = |key: &str| {
                unit.lines().find_map(|line| line.strip_prefix(key)).expect("a setting").to_owned()
            };
            let program = setting("ExecStart=/").split(' ').next().expect("a program").to_owned();
            // The hospital's package needs the other one, in the same version.
            assert!(base.contains_key(&program), "{program}");
            assert!(postinst.contains(&format!(
                "adduser --system --group --quiet --no-create-home --home /nonexistent {}",
                setting("User=")
            )));
            let folder =
                setting("ExecStart=").split("--config /etc/cloister/").nth(1).expect("a file").to_owned();
            let folder = folder.split('/').next().expect("a folder").to_owned();
            assert!(
                postinst.contains(&format!(" {} /etc/cloister/{folder}\n", setting("User="))),
                "{postinst}"
            );
        }
    }
}

#[test]
fn the_debian_packages_say_what_they_need_and_remove_no_data() {
    if !has_dpkg() {
        return;
    }
    let place = Place::new("debian");
    let made = place.pack("out", false);
    let version = version().expect("a version");
    for (part, needs) in [
        (DebianPackage::Base, "libssl3".to_owned()),
        (DebianPackage::Hospital, format!("cloister (= {version})")),
    ] {
        let package = deb(&made, part);
        let field = |name: &str| output(Command::new("dpkg-deb").arg("--field").arg(&package).arg(name));
        assert_eq!(field("Package").trim(), part.package());
        assert_eq!((field("Version").trim(), field("Architecture").trim()), (version.as_str(), "amd64"));
        assert!(
            field("Depends").contains(&needs) && field("Depends").contains("adduser"),
            "{}",
            field("Depends")
        );
        for name in ["postinst", "prerm", "postrm"] {
            let script = output(Command::new("dpkg-deb").arg("--info").arg(&package).arg(name));
            let path = place.0.join(name);
            fs::write(&path, &script).expect("a file");
            output(Command::new("sh").arg("-n").arg(path));
            assert!(
                script.starts_with("#!/bin/sh\nset -e\n")
                    && !script.contains("rm ")
                    && !script.contains("deluser")
            );
        }
    }
    let description = output(
        Command::new("dpkg-deb").arg("--field").arg(deb(&made, DebianPackage::Hospital)).arg("Description"),
    );
    assert!(description.contains("pip install torch==2.11.0"), "{description}");
}

#[test]
fn without_training_there_is_no_hospital() {
    let place = Place::new("without");
    let made = place.pack("out", true);
    assert!(!made.keys().any(|name| name.contains("hospital")), "{made:?}");
    let archive = made.values().find(|path| path.extension().is_some_and(|extension| extension == "gz"));
    let entries = archive_entries(archive.expect("an archive"));
    assert!(
        !entries.keys().any(|path| path.contains("training") || path.contains("cloister-client")),
        "{entries:?}"
    );
    assert!(entries.keys().any(|path| path.ends_with("cloister-server.1.gz")), "control: {entries:?}");
}

#[test]
fn the_training_commands_are_those_of_the_program() {
    let source = fs::read_to_string(root().join("crates/cli/src/training_command.rs")).expect("a source");
    let (_, variants) = source.split_once("enum TrainingCommand {").expect("the commands");
    let variants =
        variants.lines().map(str::trim).filter(|line| !line.starts_with("//") && line.contains('('));
    let names: Vec<String> =
        variants.map(|line| line.split('(').next().unwrap_or_default().to_lowercase()).collect();
    assert_eq!(names, contents::TRAINING_COMMANDS);
}

/// The container files copy what is packed, and nothing else.
#[test]
fn container_files_copy_what_is_packed() {
    let place = Place::new("containers");
    let made = place.pack("out", false);
    if !has_dpkg() {
        return;
    }
    for (file, copied) in [("coordinator", 1), ("hospital", 2)] {
        let path = root().join(format!("deploy/containers/{file}.Containerfile"));
        let text = fs::read_to_string(path).expect("a container file");
        let copies = text.lines().filter_map(|line| line.strip_prefix("COPY "));
        let patterns: Vec<&str> =
            copies.flat_map(|line| line.split(' ').filter(|word| word.contains('*'))).collect();
        assert_eq!(patterns.len(), copied, "{file}");
        for pattern in patterns {
            let (start, end) = pattern.split_once('*').expect("a pattern");
            assert_eq!(
                made.keys().filter(|name| name.starts_with(start) && name.ends_with(end)).count(),
                1,
                "{pattern}"
            );
        }
    }
}
