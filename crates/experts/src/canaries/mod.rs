//! Canaries: made-up secrets that a hospital plants in a copy of its notes, to learn before a release whether the trained
//! model tells them from others (Carlini et al. 2019, "The Secret Sharer").
//!
//! A canary is a sentence that ends in a number, which is drawn uniformly from all numbers of so many digits. It is planted
//! once or several times. As many numbers are drawn as controls and never planted. [`Planting`] writes the copy, and
//! [`CanaryList`] is what the hospital keeps. After training, [`CanaryTester`] asks the model for the likelihood of each
//! canary and of candidates, which are the same sentence with other numbers. A number's rank among its candidates is uniform
//! if training did not depend on it; [`CanaryReport`] has the exposures and an exact test of that.
//!
//! # What it is not
//! It finds that a model memorised what was planted. It does not bound what the model says of other notes; differential
//! privacy does.
//!
//! # Trust
//! Planted numbers mean nothing and name nobody. The copy holds the hospital's notes, and stays where they are. Nothing here
//! leaves the hospital.

mod exposure;
mod form;
mod list;
mod planting;
mod random;
mod testing;

pub use exposure::{CanaryReport, CanaryVerdict, LEVEL, MeasuredCanary, RepeatFinding, chance, exposure};
pub use form::CanaryForm;
pub use list::{CanaryEntry, CanaryList, DIGITS, PlantingSettings};
pub use planting::Planting;
pub use testing::CanaryTester;
