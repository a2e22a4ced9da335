//! A model on its way from the coordinator (`ROUND-42`): which parts are here, and whether they are right.
//!
//! The model's digest is over those of its blocks. A receiver that knows it checks the table of blocks at once,
//! and each block when its last part is here. So it trusts the sender for nothing, finds a wrong block where it is,
//! and goes on with what it has after a lost link or a restart.

use cloister_params::id::{BlockId, Digest};
use cloister_params::per_block::PerBlock;
use cloister_wire::frame::{CHUNK_BYTES, chunk_count};
use cloister_wire::message::{MissingParts, ModelBlock, ModelPart, ModelTable};

use crate::fault::{Misbehaviour, expect};
use crate::model::{Model, floats, parameters_digest};

/// A model of which some parts are here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArrivingModel {
    table: ModelTable,
    blocks: PerBlock<ArrivingBlock>,
}

/// The first parts of a block, as little-endian floats.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct ArrivingBlock {
    bytes: Vec<u8>,
    /// Whether all of it is here, and has the digest of the table.
    is_checked: bool,
}

/// What came of a part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartOutcome {
    /// It was here already.
    Here,
    /// It is here now. If it is the last one of its block, the block is right.
    Taken,
    /// It was the last one of its block, and the block is wrong. All of the block is missing again.
    WrongBlock,
}

/// A change of the parts of a model that are here, to be repeated on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ArrivingChange {
    /// A model begins to arrive. Whatever arrived of another one is of no use any more.
    Began(ModelTable),
    /// The next part of a block is here.
    Part(ModelPart),
    /// A block was wrong, and is missing again.
    WrongBlock(BlockId),
}

/// How many parts a block is sent in.
pub fn part_count(block: &ModelBlock) -> u32 {
    let bytes = block.length.saturating_mul(size_of::<f32>() as u64);
    chunk_count(usize::try_from(bytes).unwrap_or(usize::MAX))
}

impl ArrivingModel {
    /// A model of which nothing is here.
    ///
    /// # Errors
    /// The digests of the blocks do not make up the model's.
    pub fn new(table: ModelTable) -> Result<Self, Misbehaviour> {
        let digests = table.blocks.iter().map(|block| block.digest).collect();
        let made = Model::digest_of(&PerBlock::in_table_order(digests));
        expect("model's table", "model", made, table.model)?;
        let blocks = table.blocks.iter().map(|_| ArrivingBlock::default()).collect();
        let mut arriving = Self { table, blocks: PerBlock::in_table_order(blocks) };
        // An empty block has no part that could complete it.
        for block in arriving.block_ids() {
            arriving.settle(block);
        }
        Ok(arriving)
    }

    /// A model that is here.
    pub fn whole(model: &Model) -> Self {
        let blocks = model.blocks().map(|parameters| {
            let bytes = parameters.iter().flat_map(|value| value.to_le_bytes()).collect();
            ArrivingBlock { bytes, is_checked: true }
        });
        Self { table: model.table(), blocks }
    }

    /// Its blocks, with lengths and digests.
    pub fn table(&self) -> &ModelTable {
        &self.table
    }

    /// The digest of the model.
    pub fn digest(&self) -> Digest {
        self.table.model
    }

    /// Whether the model has blocks of the same lengths as another one.
    pub(crate) fn has_shape(&self, model: &Model) -> bool {
        let lengths = self.table.blocks.iter().map(|block| block.length);
        lengths.eq(model.blocks().values().iter().map(|block| block.len() as u64))
    }

    /// What is not here, ascending by block.
    pub fn missing(&self) -> Vec<MissingParts> {
        let unchecked = self.blocks.iter().filter(|(_, arrived)| !arrived.is_checked);
        unchecked
            .map(|(block, arrived)| MissingParts { block, first: chunk_count(arrived.bytes.len()) })
            .collect()
    }

    /// The parts that are here.
    pub(crate) fn parts(&self) -> impl Iterator<Item = ModelPart> + '_ {
        self.blocks.iter().flat_map(|(block, arrived)| {
            let parts = (0..).zip(arrived.bytes.chunks(CHUNK_BYTES));
            parts.map(move |(index, bytes)| ModelPart { block, index, bytes: bytes.to_vec() })
        })
    }

    /// How many bytes of parameters are here.
    pub fn bytes_here(&self) -> u64 {
        self.blocks.values().iter().map(|block| block.bytes.len() as u64).sum()
    }

    /// How many bytes a part of a block has; `None` for a part that the block does not have.
    pub fn part_bytes(&self, block: BlockId, index: u32) -> Option<usize> {
        let rest = self.whole_bytes(block)?.checked_sub(index as usize * CHUNK_BYTES)?;
        (rest > 0).then_some(rest.min(CHUNK_BYTES))
    }

    /// Takes a part.
    ///
    /// # Errors
    /// It is not the next one of its block, or does not have the length that follows from its place.
    pub fn take(&mut self, part: &ModelPart) -> Result<PartOutcome, Misbehaviour> {
        let wrong = Misbehaviour::Chunk { block: part.block, index: part.index };
        let is_part = self.part_bytes(part.block, part.index) == Some(part.bytes.len());
        let arrived = self.blocks.get_mut(part.block).filter(|_| is_part).ok_or(wrong.clone())?;
        let (start, here) = (part.index as usize * CHUNK_BYTES, arrived.bytes.len());
        if start > here {
            return Err(wrong);
        }
        if start < here {
            return Ok(PartOutcome::Here);
        }
        arrived.bytes.extend_from_slice(&part.bytes);
        let end = arrived.bytes.len();
        if self.whole_bytes(part.block) != Some(end) || self.settle(part.block) {
            return Ok(PartOutcome::Taken);
        }
        self.forget(part.block);
        Ok(PartOutcome::WrongBlock)
    }

    /// Removes what is here of a block.
    pub fn forget(&mut self, block: BlockId) {
        if let Some(arrived) = self.blocks.get_mut(block) {
            *arrived = ArrivingBlock::default();
        }
    }

    /// The model; `None` while something is missing.
    pub fn model(&self) -> Option<Model> {
        let is_whole = self.blocks.values().iter().all(|block| block.is_checked);
        is_whole.then(|| Model::from_blocks(self.blocks.map(|block| floats(&block.bytes))))
    }

    fn block_ids(&self) -> Vec<BlockId> {
        self.blocks.iter().map(|(block, _)| block).collect()
    }

    /// The bytes of a whole block. `None` for a block that the model does not have, or whose bytes no machine
    /// could hold.
    fn whole_bytes(&self, block: BlockId) -> Option<usize> {
        let length = self.table.blocks.get(block.0 as usize)?.length;
        usize::try_from(length).ok()?.checked_mul(size_of::<f32>())
    }

    /// Checks a block if all of it is here. The result is whether it is right.
    fn settle(&mut self, block: BlockId) -> bool {
        let whole = self.whole_bytes(block);
        let named = self.table.blocks.get(block.0 as usize).map(|block| block.digest);
        let Some(arrived) = self.blocks.get_mut(block) else { return false };
        let is_whole = Some(arrived.bytes.len()) == whole;
        arrived.is_checked = is_whole && Some(parameters_digest(&floats(&arrived.bytes))) == named;
        arrived.is_checked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::block_parts;

    const LONG: usize = CHUNK_BYTES / 4 + 1;

    fn model() -> Model {
        Model::new(vec![vec![1.0; LONG], vec![], vec![2.0, 3.0]])
    }

    fn parts(model: &Model) -> Vec<ModelPart> {
        model.blocks().iter().flat_map(|(block, parameters)| block_parts(block, parameters)).collect()
    }

    fn missing(arriving: &ArrivingModel) -> Vec<(u32, u32)> {
        arriving.missing().into_iter().map(|missing| (missing.block.0, missing.first)).collect()
    }

    /// ROUND-42
    #[test]
    fn parts_make_up_the_model_and_what_is_missing_is_known_at_each_moment() {
        let model = model();
        let mut arriving = ArrivingModel::new(model.table()).expect("its own table");
        assert_eq!(missing(&arriving), [(0, 0), (2, 0)]);
        let parts = parts(&model);
        for (part, rest) in parts.iter().zip([vec![(0, 1), (2, 0)], vec![(2, 0)], vec![]]) {
            assert_eq!(arriving.model(), None);
            assert_eq!(arriving.take(part), Ok(PartOutcome::Taken));
            assert_eq!(arriving.take(part), Ok(PartOutcome::Here), "it comes twice");
            assert_eq!(missing(&arriving), rest);
        }
        assert_eq!(arriving.model(), Some(model.clone()));
        assert_eq!(ArrivingModel::whole(&model), arriving);
    }

    /// ROUND-42
    #[test]
    fn a_wrong_block_is_found_at_its_last_part_and_is_missing_alone() {
        let model = model();
        let mut arriving = ArrivingModel::new(model.table()).expect("its own table");
        let mut wrong = parts(&model);
        wrong[0].bytes[7] ^= 1;
        let outcomes: Vec<PartOutcome> =
            wrong.iter().map(|part| arriving.take(part).expect("it is the next one")).collect();
        assert_eq!(outcomes, [PartOutcome::Taken, PartOutcome::WrongBlock, PartOutcome::Taken]);
        assert_eq!(missing(&arriving), [(0, 0)]);
        for part in &parts(&model)[..2] {
            assert_eq!(arriving.take(part), Ok(PartOutcome::Taken), "control: the right ones");
        }
        assert_eq!(arriving.model(), Some(model));
    }

    /// ROUND-42
    #[test]
    fn a_table_of_another_model_and_parts_out_of_place_are_refused() {
        let model = model();
        let mut table = model.table();
        table.blocks[2] = ModelBlock { digest: table.blocks[0].digest, ..table.blocks[2] };
        assert!(matches!(ArrivingModel::new(table), Err(Misbehaviour::Mismatch { .. })));
        let before = ArrivingModel::new(model.table()).expect("its own table");
        let mut arriving = before.clone();
        let [first, second, _] = &parts(&model)[..] else { panic!("three parts") };
        for part in [
            second.clone(),
            ModelPart { block: BlockId(3), ..first.clone() },
            ModelPart { block: BlockId(1), ..first.clone() },
            ModelPart { index: 2, ..first.clone() },
            ModelPart { index: u32::MAX, ..first.clone() },
            ModelPart { bytes: first.bytes[4..].to_vec(), ..first.clone() },
            ModelPart { bytes: Vec::new(), ..first.clone() },
        ] {
            let refused = Misbehaviour::Chunk { block: part.block, index: part.index };
            assert_eq!(arriving.take(&part), Err(refused));
        }
        assert_eq!(arriving, before, "nothing changed");
        assert_eq!(arriving.take(first), Ok(PartOutcome::Taken), "control: the first part");
    }

    /// ROUND-42: a length that no machine could hold costs nothing before its parts come.
    #[test]
    fn an_absurd_length_takes_no_memory() {
        let mut table = model().table();
        table.blocks[0].length = u64::MAX;
        let mut arriving = ArrivingModel::new(table).expect("lengths are not part of the digest");
        let part = parts(&model()).remove(0);
        assert!(arriving.take(&part).is_err());
        assert_eq!(arriving.bytes_here(), 0);
    }
}
