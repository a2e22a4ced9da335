//! What a member contributes to a round.

use cloister_alignment::cohort::MemberSketches;
use cloister_alignment::score::ExpertSketch;
use cloister_params::per_block::PerBlock;
use cloister_params::plan::{PlannedBlock, RoundSettings, SketchForm, SketchValues};
use cloister_wire::statement::AnnouncedSketch;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::fault::Misbehaviour;
use crate::round::RoundContext;

/// A member's contribution to one round, as integers and noised sketches: nothing else of local training
/// enters the protocol.
#[derive(Clone, PartialEq, Eq)]
pub struct Contribution {
    /// The clipped and quantised update of each block, with the plan's noise.
    pub integers: PerBlock<Vec<i32>>,
    /// For each expert block, the noised sketches. They are sent unmasked, in the announcement.
    pub sketches: MemberSketches,
}

/// How many standard deviations a member's own noise may add to the clip. A Gaussian exceeds 12 with a
/// probability below 10⁻³².
const NOISE_REACH: u32 = 12;

impl Contribution {
    /// What every member contributes to a rehearsal: zeros, without noise (`ROUND-39`). It depends on the plan alone.
    pub fn zeros(settings: &RoundSettings) -> Self {
        let (form, size) = (settings.scoring.sketches, settings.sketch.coordinates);
        let sketch = ExpertSketch { values: SketchValues::zeros(form, size), tokens: 0 };
        let announced = settings.announced_blocks().into_iter();
        Self {
            integers: PerBlock::from_table(&settings.blocks, |block| vec![0; block.shape.length as usize]),
            sketches: announced.map(|block| (block, sketch.clone())).collect(),
        }
    }

    /// Whether it has the plan's blocks, within the clip and its noise (`MASK-07`), and a sketch for each
    /// expert, or a score for each group.
    pub(crate) fn fits(&self, context: &RoundContext) -> bool {
        let settings = &context.plan().settings;
        let table = &settings.blocks;
        self.integers.fits(table)
            && self.sketches.keys().eq(&settings.announced_blocks())
            && table.iter().all(|block| is_within(block, &self.integers[block.shape.id]))
    }
}

/// Checks that an announcement has one sketch for each expert block, or one score for each group (`ROUND-10`).
pub(crate) fn check_sketches(
    settings: &RoundSettings,
    sketches: &[AnnouncedSketch],
) -> Result<(), Misbehaviour> {
    if !sketches.iter().map(|sketch| sketch.block).eq(settings.announced_blocks()) {
        return Err(Misbehaviour::Announcement(
            "one sketch for each expert block, or one score for each group of them, ascending",
        ));
    }
    let (form, size) = (settings.scoring.sketches, settings.sketch.coordinates);
    if !sketches.iter().all(|sketch| sketch.values.fits(form, size)) {
        return Err(Misbehaviour::Announcement("sketches of the plan's form and size"));
    }
    if form != SketchForm::Withheld {
        return Ok(());
    }
    let unscored = sketches.iter().filter(|sketch| sketch.values == SketchValues::Score(None)).count();
    let is_whole = unscored == 0 || unscored == sketches.len();
    if !is_whole || sketches.iter().any(|sketch| sketch.tokens != 0) {
        return Err(Misbehaviour::Announcement("a score for every group or for none, without token counts"));
    }
    Ok(())
}

/// Whether a block's integers have its length, and are within its clip and noise.
fn is_within(block: &PlannedBlock, integers: &[i32]) -> bool {
    // A larger value is a fault of the trainer, and could make the sum wrap in the ring.
    let largest = block.scale.clip_steps.saturating_add(NOISE_REACH.saturating_mul(block.noise_steps));
    // `unsigned_abs`, because `i32::MIN` has no positive counterpart.
    integers.len() as u64 == block.shape.length
        && integers.iter().all(|integer| integer.unsigned_abs() <= largest)
}

/// It holds the unmasked update, so nothing of it is left in memory.
impl Zeroize for Contribution {
    fn zeroize(&mut self) {
        for (_, integers) in self.integers.iter_mut() {
            integers.zeroize();
        }
        for sketch in self.sketches.values_mut() {
            match &mut sketch.values {
                SketchValues::Projections { region, update } => {
                    region.zeroize();
                    update.zeroize();
                }
                SketchValues::Signs(bits) => bits.zeroize(),
                SketchValues::Score(score) => score.zeroize(),
            }
            sketch.tokens.zeroize();
        }
    }
}

impl Drop for Contribution {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl ZeroizeOnDrop for Contribution {}

/// For the same reason it is never printed.
impl std::fmt::Debug for Contribution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Contribution({} blocks)", self.integers.len())
    }
}
