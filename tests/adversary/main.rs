//! One test for each attack that the protocol must withstand, with a control that shows that the same messages are
//! accepted where the one thing that makes them an attack is not so.

#![allow(clippy::unwrap_used)]

mod attacks;
mod certificates;
mod chain;
mod closed;
mod late;
mod letters;
mod lying;
mod plans;
mod reveals;
mod rosters;
mod seals;
mod stage;
mod sums;
