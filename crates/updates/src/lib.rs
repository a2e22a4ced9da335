//! What local training yields, as plain vectors: updates block by block, and the statistics beside them.
//!
//! - [`BlockVectors`]: one vector for each block of a round's block table, a model or an update of it.
//! - [`LocalResult`]: what a training yields, with the regions and margins that scoring needs.
//! - [`PrivateReport`]: counts over a private training, for the hospital alone.
//! - [`RecordAverages`]: averages that no single record moves far, for rounds with private training; [`Averaging`] says how a
//!   trainer must form them.
//!
//! `cloister_experts` fills these types from tensors, and `cloister_gate` turns a result into a contribution. They share this
//! crate so that the gate needs no libtorch.
//!
//! # What it is not
//! There are no tensors, no IO and no randomness here. Nothing is clipped, noised or released: that is the gate's.
//!
//! # Trust
//! A [`LocalResult`] reveals something about the notes that it was trained on, so it is never printed. Vectors are checked
//! against the block table and for finite values. Nobody can check whether a training computed them.
//!
//! # Example
//! Vectors follow their block table, or are rejected:
//!
//! ```
//! use cloister_params::block::{BlockKind, BlockShape};
//! use cloister_params::id::BlockId;
//! use cloister_updates::{BlockError, BlockVectors};
//!
//! let expert = BlockKind::Expert { layer: 0, expert: 0 };
//! let table = vec![
//!     BlockShape { id: BlockId(0), kind: expert, length: 2 },
//!     BlockShape { id: BlockId(1), kind: BlockKind::Shared, length: 1 },
//! ];
//! let update = BlockVectors::new(table.clone(), vec![vec![0.5, -1.0], vec![2.0]])?;
//! assert_eq!(update.get(expert), Some(&[0.5, -1.0][..]));
//!
//! let rejected = BlockVectors::new(table, vec![vec![0.5, f32::NAN], vec![2.0]]);
//! assert_eq!(rejected, Err(BlockError::NotFinite { block: expert, coordinate: 1 }));
//! # Ok::<(), BlockError>(())
//! ```

mod averages;
mod blocks;
mod result;
mod score;

pub use averages::{Averaging, RecordAverages};
pub use blocks::{BlockError, BlockVectors};
pub use result::{ExpertRegion, LocalResult, PrivateReport};
pub use score::RecordScore;
