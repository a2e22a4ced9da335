//! Files of notes, checkpoints and block tables. Nothing here needs MiniLM's weights.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use cloister_experts::classifier::checkpoint::{read_checkpoint, write_checkpoint};
use cloister_experts::files::notes::{NotesError, classes, read_notes};
use cloister_experts::{BlockError, ExpertsError, ModelConfig, block_table, block_vectors, initial_blocks};
use cloister_params::block::BlockKind;

fn write(name: &str, bytes: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, bytes).expect("the folder of the tests can be written to");
    path
}

const LINES: &str =
    "{\"text\":\"one\u{2028}line\",\"label\":3}\n{\"text\":\"b\",\"label\":1,\"label_name\":\"heart\"}\n";

#[test]
fn plain_gzip_and_zstd_read_alike() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(LINES.as_bytes()).expect("writes to memory");
    let gzip = gzip.finish().expect("writes to memory");
    let zstd = zstd::encode_all(LINES.as_bytes(), 1).expect("writes to memory");
    let plain = read_notes(write("notes.jsonl", LINES.as_bytes())).expect("valid notes");
    assert_eq!(plain.len(), 2);
    assert_eq!((plain[0].text.as_str(), plain[0].label.as_str()), ("one\u{2028}line", "3"));
    assert_eq!(plain[1].label, "heart");
    assert_eq!(classes(&plain), ["3", "heart"]);
    assert_eq!(read_notes(write("notes.gz", &gzip)).expect("valid notes"), plain);
    assert_eq!(read_notes(write("notes.zst", &zstd)).expect("valid notes"), plain);
    let cut = read_notes(write("cut.gz", &gzip[..gzip.len() - 12])).expect_err("the file is cut");
    assert!(matches!(cut, NotesError::Damaged { .. }), "{cut}");
}

#[test]
fn broken_lines_are_named() {
    for (name, line, reason) in [
        ("json", "{\"text\": \"a\"", "does not end on its line"),
        ("text", "{\"label\": 1}", "there is no “text”"),
        ("none", "{\"text\": \"a\"}", "neither “label_name” nor “label”"),
        ("float", "{\"text\": \"a\", \"label\": 1.5}", "not another number"),
        (
            "list",
            "{\"text\": \"a\", \"label\": 1, \"label_name\": [1]}",
            "“label_name” must be text or a whole number, not a list",
        ),
    ] {
        let path = write(&format!("broken-{name}.jsonl"), format!("{LINES}{line}\n{LINES}").as_bytes());
        let error = read_notes(&path).expect_err("a line is broken").to_string();
        assert!(error.contains("line 3: ") && error.contains(reason), "{error}");
    }
    let empty = read_notes(write("empty.jsonl", b"")).expect_err("there is nothing");
    assert!(matches!(empty, NotesError::Empty { .. }));
    let missing = read_notes(Path::new("no/such/file")).expect_err("there is no file");
    assert!(matches!(missing, NotesError::File { .. }));
}

#[test]
fn real_files_read() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    for (name, rows, names) in
        [("mtsamples_notes.jsonl.zst", 1371, 12), ("agnews_train_subset.jsonl.zst", 35_648, 4)]
    {
        let path = data.join(name);
        if !path.exists() {
            eprintln!("SKIPPED: {} is missing", path.display());
            continue;
        }
        let notes = read_notes(&path).expect("valid notes");
        assert_eq!((notes.len(), classes(&notes).len()), (rows, names));
    }
}

fn config() -> ModelConfig {
    ModelConfig { seed: 5, ..ModelConfig::new(vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]) }
}

#[test]
fn the_block_table_has_the_documented_order_and_lengths() {
    let table = block_table(&config());
    assert_eq!(table.len(), 16 + 2 + 1 + 2);
    assert!(table.iter().enumerate().all(|(index, shape)| shape.id.0 as usize == index));
    assert_eq!((table[9].kind, table[9].length), (BlockKind::Expert { layer: 1, expert: 1 }, 15_360));
    assert_eq!((table[17].kind, table[17].length), (BlockKind::Router { layer: 1 }, 3_073));
    assert_eq!((table[18].kind, table[18].length), (BlockKind::Shared, 1_155));
    assert_eq!((table[19].kind, table[19].length), (BlockKind::Routing { layer: 0 }, 8));
}

#[test]
fn the_initial_model_follows_the_seed_alone() {
    let initial = initial_blocks(&config());
    assert_eq!(initial, initial_blocks(&config()));
    assert_ne!(initial, initial_blocks(&ModelConfig { seed: 6, ..config() }));
    for (shape, values) in initial.iter() {
        let random = matches!(shape.kind, BlockKind::Router { .. });
        assert_eq!(values.iter().any(|&value| value != 0.0), random, "{}", shape.kind);
        assert_eq!(values.last(), Some(&0.0));
    }
}

#[test]
fn vectors_that_do_not_follow_the_table_are_rejected() {
    let values = initial_blocks(&config()).into_values();
    let fewer = block_vectors(&config(), values[1..].to_vec()).expect_err("a block is missing");
    assert!(matches!(fewer, ExpertsError::Blocks(BlockError::Count { expected: 21, got: 20 })), "{fewer}");
    let mut longer = values.clone();
    longer[18].push(0.0);
    let longer = block_vectors(&config(), longer).expect_err("a block is too long");
    assert_eq!(
        longer.to_string(),
        "shared parameters has 1155 coordinates, but 1156 came; use vectors of the same model configuration"
    );
    let mut infinite = values;
    infinite[4][7] = f32::INFINITY;
    let infinite = block_vectors(&config(), infinite).expect_err("a value is infinite");
    assert!(
        matches!(infinite, ExpertsError::Blocks(BlockError::NotFinite { coordinate: 7, .. })),
        "{infinite}"
    );
}

#[test]
fn configurations_outside_their_limits_are_rejected() {
    for wrong in [
        ModelConfig { moe_layers: 0, ..config() },
        ModelConfig { moe_layers: 7, ..config() },
        ModelConfig { experts: 2, ..config() },
        ModelConfig { rank: 0, ..config() },
        ModelConfig { alpha: f64::NAN, ..config() },
        ModelConfig { max_tokens: 513, ..config() },
        ModelConfig { classes: vec!["a".to_owned()], ..config() },
        ModelConfig { classes: ["a", "b", "a"].map(str::to_owned).to_vec(), ..config() },
    ] {
        assert!(matches!(wrong.check(), Err(ExpertsError::Config(_))), "{wrong:?}");
    }
    config().check().expect("the default is valid");
}

#[test]
fn checkpoints_round_trip_with_equal_bytes() {
    let mut values = initial_blocks(&config()).into_values();
    values[3].iter_mut().enumerate().for_each(|(index, value)| *value = index as f32);
    values[20] = vec![0.125; 8];
    let blocks = block_vectors(&config(), values).expect("lengths are kept");
    let path = write("model.safetensors", b"");
    write_checkpoint(&path, &config(), &blocks).expect("it can be written");
    let bytes = fs::read(&path).expect("it was written");
    assert_eq!(read_checkpoint(&path).expect("it can be read"), (config(), blocks.clone()));
    write_checkpoint(&path, &config(), &blocks).expect("it can be written");
    assert_eq!(fs::read(&path).expect("it was written"), bytes);

    let file = safetensors::SafeTensors::deserialize(&bytes).expect("it is safetensors");
    let shape = |name: &str| file.tensor(name).expect("a tensor of that name").shape().to_vec();
    assert_eq!(shape("layers.4.experts.3.up.lora_A"), [8, 384]);
    assert_eq!(shape("layers.4.experts.3.up.lora_B"), [1536, 8]);
    assert_eq!(shape("layers.5.experts.0.down.lora_A"), [8, 1536]);
    assert_eq!(shape("layers.5.experts.0.down.lora_B"), [384, 8]);
    assert_eq!(shape("layers.5.router.weight"), [8, 384]);
    assert_eq!(shape("head.weight"), [3, 384]);
    assert_eq!(file.len(), 16 * 4 + 2 * 2 + 2);
}

#[test]
fn broken_checkpoints_are_rejected() {
    let path = write("good.safetensors", b"");
    write_checkpoint(&path, &config(), &initial_blocks(&config())).expect("it can be written");
    let good = fs::read(&path).expect("it was written");
    rejection("cut.safetensors", &good[..good.len() / 2]);
    let other_seed = replace(&good, b"\\\"seed\\\":5", b"\\\"seed\\\":6");
    assert!(rejection("seed.safetensors", &other_seed).contains("not drawn from the seed 6"));
    let other_name = replace(&good, b"head.bias", b"head.base");
    assert!(rejection("name.safetensors", &other_name).contains("head.bias"));
    let other_base = replace(&good, b"all-MiniLM-L6-v2", b"all-MiniLM-L6-v3");
    assert!(rejection("base.safetensors", &other_base).contains("base model"));
}

/// The message that rejects a checkpoint of these bytes.
fn rejection(name: &str, bytes: &[u8]) -> String {
    let error = read_checkpoint(&write(name, bytes)).expect_err("the file is broken");
    assert!(matches!(error, ExpertsError::Content { .. }), "{error}");
    error.to_string()
}

/// The bytes, with the first `from` in them replaced.
fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from).expect("the bytes are there");
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}
