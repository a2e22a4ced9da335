//! The fuzz targets of what travels, without the fuzzer: every kept input, and each with random damage.

#[path = "../fuzz/src/decoders.rs"]
mod decoders;
#[path = "../fuzz/src/memory.rs"]
mod memory;
#[path = "../fuzz/src/names.rs"]
mod names;
#[path = "../fuzz/src/target.rs"]
mod target;

use std::fs;
use std::path::{Path, PathBuf};

use decoders::DECODERS;
use names::target_of;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use target::Target;

/// Damaged copies of each kept input.
const COPIES: usize = 200;

/// The kept inputs of a target, in the order of their names.
fn kept(target: &Target) -> Vec<Vec<u8>> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let folders = ["corpus", "regressions"].map(|kind| fuzz.join(kind).join(target.name));
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a kept input can be read")).collect()
}

/// Changes a few bytes, or cuts the end off, or adds to it.
fn damage(bytes: &mut Vec<u8>, random: &mut ChaCha20Rng) {
    let place = random.next_u32() as usize;
    match random.next_u32() % 4 {
        0 => bytes.truncate(place % (bytes.len() + 1)),
        1 => bytes.extend_from_slice(&random.next_u64().to_le_bytes()),
        _ => (0..1 + place % 3).for_each(|_| change(bytes, random)),
    }
}

fn change(bytes: &mut [u8], random: &mut ChaCha20Rng) {
    let length = bytes.len().max(1);
    if let Some(byte) = bytes.get_mut(random.next_u32() as usize % length) {
        *byte = random.next_u32() as u8;
    }
}

/// WIRE-02, WIRE-03
///
/// The bound on memory is the whole program's, so nothing else here takes much; the control comes after.
#[test]
fn kept_inputs_and_damaged_ones_break_no_promise() {
    run_all();
    let takes_another_encoding = || {
        decoders::text(b"abc", |text| Some(text.len()), |length| Some("x".repeat(*length + 1)));
    };
    assert!(
        std::panic::catch_unwind(takes_another_encoding).is_err(),
        "control: a broken promise is noticed"
    );
}

fn run_all() {
    let mut random = ChaCha20Rng::seed_from_u64(1);
    for target in DECODERS {
        let inputs = kept(target);
        assert!(!inputs.is_empty(), "{} has no kept input under tests/fuzz/corpus", target.name);
        for input in inputs {
            memory::bounded(target, &input);
            for _ in 0..COPIES {
                let mut damaged = input.clone();
                damage(&mut damaged, &mut random);
                memory::bounded(target, &damaged);
            }
        }
    }
}

/// A new statement gets its target: every type that is signed is fuzzed under its name.
#[test]
fn every_statement_has_its_target() {
    let sources = [
        include_str!("../../crates/wire/src/statement/mod.rs"),
        include_str!("../../crates/wire/src/statement/announcing.rs"),
        include_str!("../../crates/wire/src/statement/sealing.rs"),
        include_str!("../../crates/wire/src/statement/ending.rs"),
        include_str!("../../crates/wire/src/statement/late.rs"),
    ];
    let types = sources
        .iter()
        .flat_map(|source| source.lines())
        .filter_map(|line| line.strip_prefix("impl Body for ")?.strip_suffix(" {"));
    let names: Vec<String> = types.map(target_of).collect();
    assert!(names.len() > 10, "statements are found");
    let known = |name: &&String| DECODERS.iter().any(|target| target.name == **name);
    assert_eq!(names.iter().find(|name| !known(name)), None);
}
