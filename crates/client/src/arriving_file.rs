//! The parts of a model that are here, on disk, so that they do not come again after a restart (`ROUND-42`).
//!
//! The file has a line with its format, the length of the model's table (8 bytes, little-endian), the table in the
//! wire's encoding, for each block how many of its parts are here (4 bytes), and the parameters of all blocks, each at
//! its place. It never grows beyond the model. Nothing in it is trusted: a whole block is compared with the table, and
//! the table with the model's digest. So it need not be synced either.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use cloister_protocol::arriving::{ArrivingChange, ArrivingModel, PartOutcome};
use cloister_wire::codec;
use cloister_wire::frame::CHUNK_BYTES;
use cloister_wire::message::{ModelPart, ModelTable};
use thiserror::Error;

/// The file's first line.
const FORMAT: &[u8] = b"cloister/arriving-model/v1\n";
const ANY_FORMAT: &[u8] = b"cloister/arriving-model/";
/// The longest table that is read: that of a message.
const LONGEST_TABLE: u64 = 8 << 20;

/// Why a file of an arriving model cannot be used.
#[derive(Debug, Error)]
pub enum ArrivingFileError {
    /// It cannot be read or written.
    #[error("cannot {action} {}: {source}; check the folder's free space and permissions", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A later version wrote it.
    #[error(
        "{} was written by a later version of the program; install that version, or remove the file, and the model comes again",
        .0.display()
    )]
    Version(PathBuf),
}

/// A model's parts on disk.
#[derive(Debug)]
pub struct ArrivingFile {
    path: PathBuf,
    open: Option<(File, Layout)>,
}

/// Where the file has what.
#[derive(Debug)]
struct Layout {
    /// Where the numbers of parts begin.
    counts: u64,
    /// Where each block's parameters begin.
    blocks: Vec<u64>,
}

impl Layout {
    /// The layout for a table of so many bytes. `None` if its blocks are longer than a file can be.
    fn new(table: &ModelTable, encoded: u64) -> Option<Self> {
        let counts = FORMAT.len() as u64 + size_of::<u64>() as u64 + encoded;
        let mut end = counts + (table.blocks.len() * size_of::<u32>()) as u64;
        let mut blocks = Vec::new();
        for block in &table.blocks {
            blocks.push(end);
            end = end.checked_add(block.length.checked_mul(size_of::<f32>() as u64)?)?;
        }
        Some(Self { counts, blocks })
    }

    /// Where a block's number of parts and its parameters are.
    fn places(&self, block: u32) -> Option<(u64, u64)> {
        let start = self.blocks.get(block as usize)?;
        Some((self.counts + u64::from(block) * size_of::<u32>() as u64, *start))
    }
}

impl ArrivingFile {
    /// Opens the file if there is one, and reads what it has. A damaged file counts as none: the model comes again.
    ///
    /// # Errors
    /// See [`ArrivingFileError`].
    pub fn open(path: &Path) -> Result<(Self, Option<ArrivingModel>), ArrivingFileError> {
        let mut opened = Self { path: path.to_path_buf(), open: None };
        let mut file = match cloister_storage::open_existing(path) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok((opened, None)),
            Err(source) => return Err(opened.failed("read", source)),
        };
        match read_head(&mut file) {
            Ok(Head::Table(table, layout)) => {
                let Ok(mut arriving) = ArrivingModel::new(table) else { return Ok((opened, None)) };
                let read = read_blocks(&file, &layout, &mut arriving);
                read.map_err(|source| opened.failed("read", source))?;
                opened.open = Some((file, layout));
                Ok((opened, Some(arriving)))
            }
            Ok(Head::Later) => Err(ArrivingFileError::Version(opened.path)),
            Ok(Head::Damaged) => Ok((opened, None)),
            Err(source) => Err(opened.failed("read", source)),
        }
    }

    /// Repeats a change on disk.
    ///
    /// # Errors
    /// [`ArrivingFileError::Io`].
    pub fn repeat(&mut self, change: &ArrivingChange) -> Result<(), ArrivingFileError> {
        let repeated = match change {
            ArrivingChange::Began(table) => self.begin(table),
            ArrivingChange::Part(part) => self.write_part(part),
            ArrivingChange::WrongBlock(block) => self.write_count(block.0, 0),
        };
        repeated.map_err(|source| self.failed("write", source))
    }

    /// Removes the file: the receiver has a later model, or has the model elsewhere.
    ///
    /// # Errors
    /// [`ArrivingFileError::Io`].
    pub fn remove(&mut self) -> Result<(), ArrivingFileError> {
        self.open = None;
        match cloister_storage::remove(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed("write", error)),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, table: &ModelTable) -> io::Result<()> {
        let encoded = codec::encode(table);
        let layout = Layout::new(table, encoded.len() as u64)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no file could hold this model"))?;
        let counts = vec![0; table.blocks.len() * size_of::<u32>()];
        let file = cloister_storage::replace(&self.path, |file| {
            file.write_all(FORMAT)?;
            file.write_all(&(encoded.len() as u64).to_le_bytes())?;
            file.write_all(&encoded)?;
            file.write_all(&counts)
        })?;
        self.open = Some((file, layout));
        Ok(())
    }

    fn write_part(&self, part: &ModelPart) -> io::Result<()> {
        let Some((file, layout)) = &self.open else { return Ok(()) };
        let Some((_, start)) = layout.places(part.block.0) else { return Ok(()) };
        file.write_all_at(&part.bytes, start + u64::from(part.index) * CHUNK_BYTES as u64)?;
        // After the part, so that a program that is killed in between has written a part too many and not one too few.
        self.write_count(part.block.0, part.index + 1)
    }

    fn write_count(&self, block: u32, parts: u32) -> io::Result<()> {
        let Some((file, layout)) = &self.open else { return Ok(()) };
        let Some((place, _)) = layout.places(block) else { return Ok(()) };
        file.write_all_at(&parts.to_le_bytes(), place)
    }

    fn failed(&self, action: &'static str, source: io::Error) -> ArrivingFileError {
        ArrivingFileError::Io { action, path: self.path.clone(), source }
    }
}

/// What a file begins with.
enum Head {
    Table(ModelTable, Layout),
    Later,
    Damaged,
}

fn read_head(file: &mut File) -> io::Result<Head> {
    let format = read_up_to(file, FORMAT.len() as u64)?;
    if format != FORMAT {
        return Ok(if format.starts_with(ANY_FORMAT) { Head::Later } else { Head::Damaged });
    }
    let length = read_up_to(file, size_of::<u64>() as u64)?.try_into().map_or(u64::MAX, u64::from_le_bytes);
    if length > LONGEST_TABLE {
        return Ok(Head::Damaged);
    }
    let encoded = read_up_to(file, length)?;
    let table = codec::decode::<ModelTable>(&encoded).ok();
    let head = table.and_then(|table| Layout::new(&table, length).map(|layout| Head::Table(table, layout)));
    Ok(head.unwrap_or(Head::Damaged))
}

/// The next bytes of a file, fewer at its end.
fn read_up_to(file: &mut impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Gives a model the parts that a file has. What is cut off or wrong is missing.
fn read_blocks(file: &File, layout: &Layout, arriving: &mut ArrivingModel) -> io::Result<()> {
    for missing in arriving.missing() {
        let block = missing.block;
        let Some((place, start)) = layout.places(block.0) else { continue };
        let mut count = [0; size_of::<u32>()];
        if !is_read(file.read_exact_at(&mut count, place))? {
            return Ok(());
        }
        for index in 0..u32::from_le_bytes(count) {
            let Some(length) = arriving.part_bytes(block, index) else { break };
            let mut bytes = vec![0; length];
            let place = start + u64::from(index) * CHUNK_BYTES as u64;
            let is_here = is_read(file.read_exact_at(&mut bytes, place))?;
            let part = ModelPart { block, index, bytes };
            if !is_here || arriving.take(&part) != Ok(PartOutcome::Taken) {
                break;
            }
        }
    }
    Ok(())
}

/// Whether the file had all that was to be read.
fn is_read(read: io::Result<()>) -> io::Result<bool> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use cloister_params::id::BlockId;
    use cloister_protocol::model::Model;

    use super::*;

    const LONG: usize = CHUNK_BYTES / 4 + 3;

    fn model() -> Model {
        Model::new(vec![vec![1.5; LONG], vec![], vec![2.0, 3.0]])
    }

    /// A model's parts, which a model that lacks nothing of it would be sent.
    fn parts(model: &Model) -> Vec<ModelPart> {
        let bytes: Vec<u8> =
            model.blocks()[BlockId(0)].iter().flat_map(|value| value.to_le_bytes()).collect();
        let short = [2.0f32, 3.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        vec![
            ModelPart { block: BlockId(0), index: 0, bytes: bytes[..CHUNK_BYTES].to_vec() },
            ModelPart { block: BlockId(0), index: 1, bytes: bytes[CHUNK_BYTES..].to_vec() },
            ModelPart { block: BlockId(2), index: 0, bytes: short },
        ]
    }

    fn fresh(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("cloister-arriving-{}-{name}", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    /// What a program that is started again finds.
    fn missing(path: &Path) -> Option<Vec<(u32, u32)>> {
        let (_, arriving) = ArrivingFile::open(path).expect("readable");
        let missing = arriving?.missing();
        Some(missing.into_iter().map(|missing| (missing.block.0, missing.first)).collect())
    }

    /// ROUND-42
    #[test]
    fn what_is_here_is_found_again_at_each_moment() {
        let (path, model) = (fresh("again"), model());
        let (mut file, none) = ArrivingFile::open(&path).expect("there is none");
        assert_eq!(none, None);
        file.repeat(&ArrivingChange::Began(model.table())).expect("writable");
        assert_eq!(missing(&path), Some(vec![(0, 0), (2, 0)]));
        for (part, rest) in parts(&model).into_iter().zip([vec![(0, 1), (2, 0)], vec![(2, 0)], vec![]]) {
            // By a program that was started again in between.
            let (mut file, _) = ArrivingFile::open(&path).expect("readable");
            file.repeat(&ArrivingChange::Part(part)).expect("writable");
            assert_eq!(missing(&path), Some(rest));
        }
        let (mut file, arriving) = ArrivingFile::open(&path).expect("readable");
        assert_eq!(arriving.and_then(|arriving| arriving.model()), Some(model));
        file.repeat(&ArrivingChange::WrongBlock(BlockId(0))).expect("writable");
        assert_eq!(missing(&path), Some(vec![(0, 0)]));
        file.remove().expect("it is there");
        file.remove().expect("it is gone already");
        assert_eq!(missing(&path), None);
    }

    /// ROUND-42: whatever happened to the file, what is wrong in it is fetched again, and nothing else.
    #[test]
    fn damage_and_a_cut_end_are_missing_parts() {
        let (path, model) = (fresh("damage"), model());
        let (mut file, _) = ArrivingFile::open(&path).expect("there is none");
        file.repeat(&ArrivingChange::Began(model.table())).expect("writable");
        for part in parts(&model) {
            file.repeat(&ArrivingChange::Part(part)).expect("writable");
        }
        let sound = fs::read(&path).expect("it is there");
        let mut damaged = sound.clone();
        let inside = sound.len() - 4 * LONG;
        damaged[inside] ^= 1;
        fs::write(&path, &damaged).expect("writable");
        assert_eq!(missing(&path), Some(vec![(0, 0)]), "the long block");
        fs::write(&path, &sound[..sound.len() - 1]).expect("writable");
        assert_eq!(missing(&path), Some(vec![(2, 0)]), "the last block");
        fs::write(&path, &sound[..sound.len() - 8 - 12]).expect("writable");
        assert_eq!(missing(&path), Some(vec![(0, 1), (2, 0)]), "the last part of the long block");
        for cut in [0, 5, FORMAT.len(), FORMAT.len() + 8, FORMAT.len() + 40] {
            fs::write(&path, &sound[..cut]).expect("writable");
            assert_eq!(missing(&path), None, "{cut} bytes");
        }
        fs::write(&path, &sound).expect("writable");
        assert_eq!(missing(&path), Some(vec![]), "control");
        fs::remove_file(path).expect("it is there");
    }

    /// FILE-01
    #[test]
    fn a_later_versions_file_is_named_and_left_as_it_is() {
        let path = fresh("later");
        fs::write(&path, b"cloister/arriving-model/v2\nanything").expect("writable");
        let refused = ArrivingFile::open(&path).expect_err("a later version's").to_string();
        assert!(refused.contains("later version") && refused.contains("install that version"), "{refused}");
        assert_eq!(fs::read(&path).expect("it is there"), b"cloister/arriving-model/v2\nanything");
        fs::remove_file(path).expect("it is there");
    }
}
