//! Paths, tiles and bundles.

use std::collections::{BTreeMap, BTreeSet};

use cloister_crypto::merkle;
use cloister_transcript::EpochLog;
use cloister_transcript::tiles::{
    BundleError, EntryTooLong, MAX_ENTRY_BYTES, TileKind, TilePath, added_paths, decode_bundle,
    encode_bundle, superseded_folders, tile_paths,
};
use proptest::prelude::*;

use crate::world::{entry, log};

fn texts(paths: &[TilePath]) -> Vec<String> {
    paths.iter().map(TilePath::to_string).collect()
}

#[test]
fn the_specifications_paths_are_written_and_read() {
    let cases = [
        ((TileKind::Hashes(0), 1234067, 256), "tile/0/x001/x234/067"),
        ((TileKind::Hashes(3), 1234067, 8), "tile/3/x001/x234/067.p/8"),
        ((TileKind::Entries, 0, 1), "tile/entries/000.p/1"),
        ((TileKind::Entries, 999, 256), "tile/entries/999"),
        ((TileKind::Hashes(63), 1000, 255), "tile/63/x001/000.p/255"),
        ((TileKind::Hashes(0), u64::MAX, 256), "tile/0/x018/x446/x744/x073/x709/x551/615"),
    ];
    for ((kind, index, width), text) in cases {
        let path = TilePath::new(kind, index, width).unwrap();
        assert_eq!(path.to_string(), text);
        assert_eq!(TilePath::parse(text), Ok(path));
    }
    assert!(TilePath::new(TileKind::Hashes(64), 0, 1).is_none());
    assert!(TilePath::new(TileKind::Entries, 0, 0).is_none());
    assert!(TilePath::new(TileKind::Entries, 0, 257).is_none());
}

#[test]
fn other_forms_of_a_path_are_refused() {
    let wrong = [
        "",
        "tile",
        "tile/0",
        "tile/0/",
        "/tile/0/000",
        "tile/0/0",
        "tile/0/1000",
        "tile/00/000",
        "tile/+0/000",
        "tile/64/000",
        "tile/data/000",
        "tile/0/x000/001",
        "tile/0/001/000",
        "tile/0/x001/x000",
        "tile/0/xx01/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000/",
        "tile/0/000.p/1/",
        "tile/0/000.p/1.p/1",
        "tile/0/x018/x446/x744/x073/x709/x551/616",
        "tile/0/../000",
        "tile/0/-01",
        "tile/8/0/000",
    ];
    for text in wrong {
        assert!(TilePath::parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_log_of_70_000_entries_has_the_specifications_tiles() {
    let paths = tile_paths(70_000);
    let count = |kind: TileKind, partial: bool| {
        paths.iter().filter(|path| path.kind() == kind && path.is_partial() == partial).count()
    };
    for kind in [TileKind::Entries, TileKind::Hashes(0)] {
        assert_eq!((count(kind, false), count(kind, true)), (273, 1));
    }
    assert_eq!((count(TileKind::Hashes(1), false), count(TileKind::Hashes(1), true)), (1, 1));
    assert_eq!((count(TileKind::Hashes(2), false), count(TileKind::Hashes(2), true)), (0, 1));
    let partial: Vec<TilePath> = paths.into_iter().filter(TilePath::is_partial).collect();
    let expected = ["tile/entries/273.p/112", "tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"];
    assert_eq!(texts(&partial), expected);

    assert_eq!(texts(&tile_paths(256)), ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]);
    assert_eq!(tile_paths(0), []);
}

#[test]
fn growth_adds_files_and_supersedes_partial_ones() {
    let none: [&str; 0] = [];
    assert_eq!(texts(&added_paths(1, 2)), ["tile/entries/000.p/2", "tile/0/000.p/2"]);
    assert_eq!(superseded_folders(1, 2), none);
    let grown =
        ["tile/entries/000", "tile/entries/001.p/1", "tile/0/000", "tile/0/001.p/1", "tile/1/000.p/1"];
    assert_eq!(texts(&added_paths(255, 257)), grown);
    assert_eq!(superseded_folders(255, 257), ["tile/entries/000.p", "tile/0/000.p"]);
    // The tile of level 1 is still partial after the second tile of level 0.
    assert_eq!(superseded_folders(256, 511), none);
    assert_eq!(superseded_folders(511, 65536), ["tile/entries/001.p", "tile/0/001.p", "tile/1/000.p"]);
    assert_eq!(added_paths(5, 5), []);
    assert_eq!(added_paths(6, 5), []);
    // The largest sizes.
    assert_eq!(added_paths(u64::MAX - 1, u64::MAX).len(), 2);
    assert_eq!(superseded_folders(3, u64::MAX).len(), 2);
}

proptest! {
    #[test]
    fn added_files_are_the_difference_of_two_logs(old in 0u64..200_000, growth in 0u64..70_000) {
        let (before, after) = (tile_paths(old), tile_paths(old + growth));
        let before: BTreeSet<TilePath> = before.into_iter().collect();
        let expected: BTreeSet<TilePath> = after.iter().copied().filter(|path| !before.contains(path)).collect();
        let added = added_paths(old, old + growth);
        prop_assert_eq!(added.len(), expected.len());
        prop_assert_eq!(added.into_iter().collect::<BTreeSet<_>>(), expected);
        // A superseded folder has its full tile in the grown log.
        let full: BTreeSet<String> = texts(&after).into_iter().filter(|path| !path.contains(".p/")).collect();
        let superseded = superseded_folders(old, old + growth);
        for path in before.iter().filter(|path| path.is_partial()).map(TilePath::to_string) {
            let (tile, _) = path.split_once(".p/").unwrap();
            prop_assert_eq!(superseded.contains(&format!("{tile}.p")), full.contains(tile));
        }
    }

    #[test]
    fn bundles_are_read_as_they_were_written(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20)) {
        let bytes = encode_bundle(&entries).unwrap();
        let expected = entries.len() as u16;
        prop_assert_eq!(decode_bundle(&bytes, expected).unwrap(), entries);
        prop_assert_eq!(decode_bundle(&bytes, expected + 1), Err(BundleError::Truncated { expected: expected + 1, at: expected }));
        if let Some((_, shorter)) = bytes.split_last() {
            let at = expected - 1;
            prop_assert_eq!(decode_bundle(shorter, expected), Err(BundleError::Truncated { expected, at }));
        }
        let longer = [&bytes[..], &[0]].concat();
        prop_assert_eq!(decode_bundle(&longer, expected), Err(BundleError::Trailing { expected, came: 1 }));
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100), expected in 0u16..9) {
        if let Ok(entries) = decode_bundle(&bytes, expected) {
            prop_assert_eq!(encode_bundle(&entries).unwrap(), bytes);
        }
    }

    #[test]
    fn arbitrary_paths_are_read_or_refused(text in "tile/(entries|[0-9]{1,2})/(x[0-9]{3}/){0,3}[0-9]{3}(\\.p/[0-9]{1,3})?") {
        if let Ok(path) = TilePath::parse(&text) {
            prop_assert_eq!(path.to_string(), text);
        }
    }
}

#[test]
fn an_entry_has_at_most_65_535_bytes() {
    let mut log = EpochLog::default();
    assert_eq!(log.append(vec![7; MAX_ENTRY_BYTES]), Ok(0));
    let error = EntryTooLong { came: MAX_ENTRY_BYTES + 1 };
    assert_eq!(log.append(vec![7; MAX_ENTRY_BYTES + 1]), Err(error));
    assert_eq!(encode_bundle(&[vec![7; MAX_ENTRY_BYTES + 1]]), Err(error));
    assert_eq!(log.size(), 1);
    let bundle = log.content(TilePath::new(TileKind::Entries, 0, 1).unwrap()).unwrap();
    assert_eq!(bundle[..3], [0xff, 0xff, 7]);
    assert_eq!(decode_bundle(&bundle, 1).unwrap(), log.entries());
}

#[test]
fn every_earlier_size_keeps_its_root_and_its_files() {
    let log = log(70_000);
    let leaves = log.leaf_hashes();
    let mut sizes: Vec<usize> = (0..=600).collect();
    sizes.extend([65_535, 65_536, 65_537, 65_792, 69_999, 70_000]);
    for size in sizes {
        let head = log.head_at(size as u64).unwrap();
        assert_eq!(head.root, merkle::root(&leaves[..size]), "{size}");
    }
    assert_eq!(log.head(), log.head_at(70_000).unwrap());
    assert_eq!(log.head_at(70_001), None);
    assert_eq!(log.added_files(0, 70_001), None);
    assert_eq!(log.content(TilePath::new(TileKind::Hashes(2), 0, 2).unwrap()), None);
    assert_eq!(log.content(TilePath::new(TileKind::Entries, u64::MAX, 2).unwrap()), None);
}

#[test]
fn tiles_hold_the_hashes_that_the_specification_defines() {
    let log = log(66_000);
    let leaves = log.leaf_hashes();
    for file in log.added_files(0, 66_000).unwrap() {
        let (start, width) = (file.path.index() as usize * 256, usize::from(file.path.width()));
        match file.path.kind() {
            TileKind::Entries => {
                let entries: Vec<Vec<u8>> = (start..start + width).map(|index| entry(index as u64)).collect();
                assert_eq!(decode_bundle(&file.bytes, file.path.width()).unwrap(), entries);
            }
            TileKind::Hashes(level) => {
                // MTH(D[(n * 256 + i) * 256**l : (n * 256 + i + 1) * 256**l])
                let span = 256usize.pow(u32::from(level));
                assert_eq!(file.bytes.len(), 32 * width);
                for (offset, hash) in file.bytes.chunks(32).enumerate() {
                    let first = (start + offset) * span;
                    assert_eq!(hash, merkle::root(&leaves[first..first + span]).0, "{}", file.path);
                }
            }
        }
    }
}

#[test]
fn a_log_that_grows_writes_the_files_of_its_size_and_no_file_twice() {
    let log = log(1_100);
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut old = 0;
    for new in [1, 2, 255, 256, 300, 511, 513, 1_024, 1_100] {
        for file in log.added_files(old, new).unwrap() {
            assert!(files.insert(file.path.to_string(), file.bytes).is_none(), "written twice");
        }
        for folder in superseded_folders(old, new) {
            let count = files.len();
            files.retain(|path, _| !path.starts_with(&format!("{folder}/")));
            assert!(files.len() < count, "{folder} had files");
        }
        for file in log.added_files(0, new).unwrap() {
            assert_eq!(files.get(&file.path.to_string()), Some(&file.bytes), "{} at {new}", file.path);
        }
        old = new;
    }
}
