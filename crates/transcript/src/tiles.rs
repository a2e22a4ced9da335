//! The files of a log (c2sp.org/tlog-tiles): their paths, which of them a log of some size has, and bundles of entries.
//!
//! A hash tile holds up to 256 hashes of 32 bytes: on level 0 the leaf hashes, on each further level the roots of full
//! tiles below. An entry bundle holds the entries of one tile of level 0. A file never changes: a wider tile has
//! another path, so a file can be written once and cached for ever.

use std::fmt;

use thiserror::Error;

use crate::encoding::excerpt;

/// How many hashes or entries a full tile has.
pub const TILE_WIDTH: u64 = 256;

/// The longest entry, in bytes.
pub const MAX_ENTRY_BYTES: usize = u16::MAX as usize;

/// The path of the one file that changes: the latest checkpoint's note.
pub const CHECKPOINT_PATH: &str = "checkpoint";

/// The path of the key that verifies checkpoints, in the form that other programs read.
pub const VERIFIER_KEY_PATH: &str = "log.vkey";

/// The highest level that a path can name. No log has more than 8 levels.
const MAX_LEVEL: u8 = 63;

/// What a file holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TileKind {
    /// Entries, each after its length.
    Entries,
    /// Hashes of a level, from 0.
    Hashes(u8),
}

/// The path of a tile below the log's folder, such as `tile/0/x001/x234/067.p/8` or `tile/entries/000`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TilePath {
    kind: TileKind,
    index: u64,
    width: u16,
}

/// A text that is no path of a tile.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("expected a path such as tile/0/x001/067.p/8 or tile/entries/000, got {came:?}")]
pub struct BadTilePath {
    /// The text.
    pub came: String,
}

impl TilePath {
    /// The path of a tile by its index within its level and how many hashes or entries it holds. `None` if the level
    /// is above 63 or the width is not from 1 to 256.
    pub fn new(kind: TileKind, index: u64, width: u16) -> Option<Self> {
        let has_level = !matches!(kind, TileKind::Hashes(level) if level > MAX_LEVEL);
        let has_width = (1..=TILE_WIDTH).contains(&u64::from(width));
        (has_level && has_width).then_some(Self { kind, index, width })
    }

    /// Reads a path.
    ///
    /// # Errors
    /// [`BadTilePath`].
    pub fn parse(text: &str) -> Result<Self, BadTilePath> {
        let path = parse_parts(text);
        // Comparing rejects leading zeros, signs and superfluous groups.
        path.filter(|path| path.to_string() == text).ok_or_else(|| BadTilePath { came: excerpt(text) })
    }

    /// What the file holds.
    pub fn kind(&self) -> TileKind {
        self.kind
    }

    /// Which tile of its level it is, from 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// How many hashes or entries it holds, from 1 to 256.
    pub fn width(&self) -> u16 {
        self.width
    }

    /// Whether it holds fewer than 256 hashes or entries.
    pub fn is_partial(&self) -> bool {
        u64::from(self.width) < TILE_WIDTH
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Entries => f.write_str("tile/entries/")?,
            TileKind::Hashes(level) => write!(f, "tile/{level}/")?,
        }
        let mut groups = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        while let Some(group) = groups.pop() {
            if groups.is_empty() {
                write!(f, "{group:03}")?;
            } else {
                write!(f, "x{group:03}/")?;
            }
        }
        if self.is_partial() { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

/// Reads a path without checking that it is the one form of the tile's path.
fn parse_parts(text: &str) -> Option<TilePath> {
    let (level, rest) = text.strip_prefix("tile/")?.split_once('/')?;
    let kind = match level {
        "entries" => TileKind::Entries,
        level => TileKind::Hashes(level.parse().ok()?),
    };
    let (groups, width) = match rest.split_once(".p/") {
        Some((groups, width)) => (groups, width.parse().ok()?),
        None => (rest, TILE_WIDTH as u16),
    };
    let mut index: u64 = 0;
    for group in groups.split('/') {
        let number: u64 = group.trim_start_matches('x').parse().ok()?;
        index = index.checked_mul(1000)?.checked_add(number)?;
    }
    TilePath::new(kind, index, width)
}

/// The files of a log of a size, apart from the checkpoint.
pub fn tile_paths(size: u64) -> Vec<TilePath> {
    added_paths(0, size)
}

/// The files that a log of size `new` has and a log of size `old` does not, apart from the checkpoint; none if the log
/// did not grow. A log writes them before it publishes the checkpoint of size `new`.
pub fn added_paths(old: u64, new: u64) -> Vec<TilePath> {
    let mut paths = level_paths(TileKind::Entries, old, new);
    let (mut level, mut old, mut new) = (0, old, new);
    while new > 0 {
        paths.extend(level_paths(TileKind::Hashes(level), old, new));
        (level, old, new) = (level + 1, old / TILE_WIDTH, new / TILE_WIDTH);
    }
    paths
}

/// The folders of partial tiles, such as `tile/0/000.p`, of which a log of size `new` has the full tile and a log of size
/// `old` did not. They hold the partial tiles of all sizes up to `old`. A log may delete them once it has written the
/// full tiles. All other partial tiles of sizes with a published checkpoint it must keep.
pub fn superseded_folders(old: u64, new: u64) -> Vec<String> {
    let mut folders = Vec::new();
    for path in tile_paths(old).into_iter().filter(TilePath::is_partial) {
        let span = match path.kind {
            TileKind::Entries => 1,
            // A log's size is a u64, so its highest level is 7.
            TileKind::Hashes(level) => TILE_WIDTH.pow(u32::from(level)),
        };
        if new / span / TILE_WIDTH > path.index {
            let full = TilePath { width: TILE_WIDTH as u16, ..path };
            folders.push(format!("{full}.p"));
        }
    }
    folders
}

/// The added tiles of one level, which has `old` and then `new` hashes or entries.
fn level_paths(kind: TileKind, old: u64, new: u64) -> Vec<TilePath> {
    if new <= old {
        return Vec::new();
    }
    let full = (old / TILE_WIDTH..new / TILE_WIDTH).map(|index| (index, TILE_WIDTH));
    let partial = (new / TILE_WIDTH, new % TILE_WIDTH);
    let tiles = full.chain((partial.1 > 0).then_some(partial));
    tiles.map(|(index, width)| TilePath { kind, index, width: width as u16 }).collect()
}

/// An entry that does not fit into a bundle.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("expected an entry of at most {MAX_ENTRY_BYTES} bytes, got {came}")]
pub struct EntryTooLong {
    /// The entry's length in bytes.
    pub came: usize,
}

/// Bytes that are no bundle of entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum BundleError {
    /// The bytes end within an entry or its length.
    #[error("expected {expected} entries, and the bytes end within entry {at}, counted from 0")]
    Truncated {
        /// How many entries the bundle should have.
        expected: u16,
        /// Which entry is not complete.
        at: u16,
    },
    /// Bytes follow the last entry.
    #[error("expected {expected} entries and nothing after them, got {came} further bytes")]
    Trailing {
        /// How many entries the bundle should have.
        expected: u16,
        /// How many bytes follow.
        came: usize,
    },
}

/// A bundle: each entry's length as two big-endian bytes, and the entry.
///
/// # Errors
/// [`EntryTooLong`].
pub fn encode_bundle<E: AsRef<[u8]>>(entries: &[E]) -> Result<Vec<u8>, EntryTooLong> {
    let mut bytes = Vec::new();
    for entry in entries {
        let entry = entry.as_ref();
        let length = u16::try_from(entry.len()).map_err(|_| EntryTooLong { came: entry.len() })?;
        bytes.extend(length.to_be_bytes());
        bytes.extend(entry);
    }
    Ok(bytes)
}

/// The entries of a bundle, whose path says how many there are.
///
/// # Errors
/// [`BundleError`].
pub fn decode_bundle(bytes: &[u8], expected: u16) -> Result<Vec<&[u8]>, BundleError> {
    let (mut entries, mut rest) = (Vec::new(), bytes);
    for at in 0..expected {
        let (entry, after) = split_entry(rest).ok_or(BundleError::Truncated { expected, at })?;
        entries.push(entry);
        rest = after;
    }
    if rest.is_empty() { Ok(entries) } else { Err(BundleError::Trailing { expected, came: rest.len() }) }
}

/// The first entry, and what follows it.
fn split_entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}
