//! FedAlign-MoE behind masks: which members' experts learned the same, computed from noised sketches.
//!
//! - [`mod@sketch`]: how a member projects a region or an update to a few dozen integers.
//! - [`signs`]: how it makes one bit of each coordinate, and how bits are compared.
//! - [`scores`]: how it compares itself with what was published, if no sketch leaves it.
//! - [`score`], [`cohort`]: from the sketches of all members to the members that are summed in each block.
//! - [`consistency`]: the weight that a member gives its router update.
//! - [`late`]: projections of uploads, by which a false upload is detected.
//! - [`mod@reference`]: the paper's aggregation in the clear, for tests and for the lab.
//!
//! Everything after the sketch is integer arithmetic, so that every custodian and auditor recomputes the same
//! bytes on any machine. The method is that of Fang et al., arXiv 2603.21276; `protocols/alignment.md` says
//! what is theirs and what is ours.
//!
//! # What it is not
//! It adds no noise and counts no cost: members noise their sketches before they announce them
//! (`cloister_privacy`). It does not aggregate: sums are opened in `cloister_protocol`.
//!
//! # Trust
//! Scoring leaves out a member whose expert learned something else in good faith. A member that shapes its
//! sketches can pass for an aligned one (`protocols/threat-model.md`). The coordinator scores, and every
//! custodian scores again before it signs.
//!
//! # Leakage
//! The coordinator, the custodians and the auditors see every sketch and token count, and what follows from
//! them: agreements, consensus and cohorts. Nothing here sees an update, except for [`mod@reference`].
//!
//! # Example
//! Three members score one expert. The third member's expert learned the opposite, and has no consensus with
//! the others:
//!
//! ```
//! use cloister_alignment::{ExpertSketch, UNIT, common_direction, consensus};
//! use cloister_params::plan::{Fallback, ScoringRule, SharedCohort, SketchForm, Threshold};
//!
//! let rule = ScoringRule {
//!     sketches: SketchForm::Pairs,
//!     groups: 0,
//!     score_noise: 0,
//!     threshold: Threshold::MeanDeviation,
//!     spread_factor: 0, // the threshold is the mean agreement
//!     consensus_fraction: 128,
//!     minimum_tokens: 5,
//!     slack: 0,
//!     fallback: Fallback::Everyone,
//!     shared_cohort: SharedCohort::Everyone,
//! };
//! let same = ExpertSketch::projections(vec![900, 40, 0, 0], vec![0, 500, 0, 0], 20);
//! let other = ExpertSketch::projections(vec![-900, 40, 0, 0], vec![0, -500, 0, 0], 20);
//! let sketches = [&same, &same, &other];
//!
//! let common = common_direction(sketches.into_iter(), &rule, 4);
//! let scores = consensus(&sketches, &common, &rule).per_member;
//! assert!(scores[0] > Some(UNIT as u32 - 10) && scores[0] == scores[1]);
//! assert_eq!(scores[2], Some(0));
//! ```

pub mod cohort;
pub mod consistency;
pub mod late;
pub mod reference;
pub mod score;
pub mod scores;
pub mod signs;
pub mod sketch;
mod statistics;

pub use cohort::{Cohort, MemberSketches, choose};
pub use score::{ExpertSketch, UNIT, common_direction, consensus};
pub use sketch::{SketchSubject, sketch};
