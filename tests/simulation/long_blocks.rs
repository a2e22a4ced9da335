//! A world with a block that has more than one chunk.

use cloister_cluster::consortium::consortium;
use cloister_cluster::plan::template;
use cloister_params::block::BlockKind;
use cloister_params::id::BlockId;
use cloister_testkit::world::World;
use cloister_wire::frame::CHUNK_BYTES;

/// Bytes of the shared block: two full chunks, and a short one.
const LONG: usize = 2 * CHUNK_BYTES + 68;
pub(crate) const CHUNKS: usize = 3;

/// A world whose shared block has three chunks.
pub(crate) fn long_block() -> (World, BlockId) {
    let mut settings = template(1, 4, 15);
    let shared = settings.blocks.iter_mut().find(|block| block.shape.kind == BlockKind::Shared);
    let shared = shared.expect("the template has one");
    shared.shape.length = (LONG / size_of::<u32>()) as u64;
    let block = shared.shape.id;
    let mut world = World::new(consortium(&[1; 5]), settings, 9);
    let parameters = world.coordinator.model().block_digests();
    for party in world.parties() {
        let mut contribution = world.contribution(party, &parameters);
        // The clip of a long block bounds its norm.
        contribution.integers[block].iter_mut().for_each(|integer| *integer = integer.signum());
        world.fixed_contributions.insert(party, contribution);
    }
    (world, block)
}
