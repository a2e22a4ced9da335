//! The rounds of a consortium as deterministic state machines: [`Coordinator`], [`Member`] and [`Custodian`].
//!
//! In each round, members train one model on their own data. Only sums over enough of them are opened, and
//! every party checks each step before it acts on it. Requirement ids such as `ROUND-03` refer to
//! `protocols/`, which starts with `protocols/README.md`.
//!
//! # What it is not
//! Nothing here does IO, reads a clock, starts a thread or draws randomness by itself. The caller (a
//! *driver*) moves frames, stores what it is told to store, and passes time and randomness in. How masks,
//! seals and signatures are made is in `cloister_crypto`; what travels is in `cloister_wire`; training is the
//! driver's.
//!
//! # Trust
//! - The coordinator is trusted for availability alone. It sees masked uploads, noised sketches and sums;
//!   what it proposes is checked by everybody.
//! - Custodians hold shares of members' secrets. As long as at most `f` of them collude with the coordinator,
//!   it opens no sum but those that both seals permit; the consortium file's floors say how many `f` is.
//! - Members are trusted for nothing that others depend on: a bad dealing or a lying upload is shown by
//!   evidence that everybody can check.
//!
//! # Call order
//! 1. Make a state machine with `new`. After a restart, pass in what it had stored ([`MemberConfig`],
//!    [`CustodianConfig`], [`Coordinator::restore`]).
//! 2. Call `handle_…` for whatever happens: a frame, a link that opens or closes, a deadline that passes. An
//!    error says whose fault it is, and the state is as it was before.
//! 3. After each call, carry out everything that `poll_output` gives, **in its order**: what is to be stored
//!    must be on disk before a frame that comes after it leaves.
//! 4. When a member says [`MemberOutput::Train`], train, and call [`Member::contribute`].
//!
//! The modules follow the data. Received bytes pass through types, each with one way in: `Signed` (parsed) →
//! [`statement::Verified`] → [`manifest::CheckedManifest`] (scored) → [`sealed::SealedCohorts`] →
//! [`opening::OpenedSum`] → [`Model`].
//!
//! # Example
//! A round of seven hospitals, each of them member and custodian, in memory:
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use cloister_cluster::{consortium::consortium, plan};
//! use cloister_params::id::PartyId;
//! use cloister_protocol::{Coordinator, CoordinatorOutput, Hospital, HospitalOutput, Time};
//! use cloister_protocol::{Custodian, CustodianOutput, Member, MemberOutput};
//! use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
//!
//! let consortium = consortium(&[1; 7]);
//! let (settings, random) = (plan::template(2, 5, 1), &mut ChaCha20Rng::seed_from_u64(1));
//! let model = plan::model(&settings);
//! let key = consortium.keys[&PartyId::COORDINATOR].clone();
//! let mut coordinator = Coordinator::new(key, consortium.epoch.clone(), model.clone());
//! let mut hospitals = BTreeMap::new();
//! for id in (1..=7).map(PartyId) {
//!     let member = Member::new(consortium.member_config(id, &settings, &model));
//!     let custodian = Custodian::new(consortium.custodian_config(id, &model));
//!     hospitals.insert(id, Hospital::new(member, custodian));
//!     coordinator.handle_connected(id, Time(0));
//! }
//!
//! coordinator.start_round(settings.clone(), Time(0))?;
//! let report = loop {
//!     for (id, hospital) in &mut hospitals {
//!         while let Some(output) = hospital.poll_output() {
//!             match output {
//!                 HospitalOutput::Member(MemberOutput::Send(frame))
//!                 | HospitalOutput::Custodian(CustodianOutput::Send(frame)) => {
//!                     coordinator.handle_frame(*id, frame, Time(0))?;
//!                 }
//!                 HospitalOutput::Member(MemberOutput::Train { digest, .. }) => {
//!                     let trained = plan::contribution(&settings, random);
//!                     hospital.member.as_mut().unwrap().contribute(digest, trained, random)?;
//!                 }
//!                 _ => {} // What a driver stores or shows.
//!             }
//!         }
//!     }
//!     match coordinator.poll_output() {
//!         Some(CoordinatorOutput::Send { to, frame }) => {
//!             assert_eq!(hospitals.get_mut(&to).unwrap().handle_frame(&frame, random), []);
//!         }
//!         Some(CoordinatorOutput::Ended(report)) => break report,
//!         _ => {}
//!     }
//! };
//! assert_eq!((report.uploaded.len(), report.sums.len()), (7, settings.blocks.len()));
//! # Ok::<(), cloister_protocol::Fault>(())
//! ```

mod applying;
pub mod arriving;
pub mod bars;
pub mod contribution;
pub mod coordinator;
pub mod custodian;
pub mod dealing;
pub mod ending;
mod evaluation;
pub mod fault;
pub mod hospital;
pub mod late;
pub mod manifest;
pub mod member;
pub mod model;
pub mod opening;
pub mod openings;
pub mod recompute;
pub mod reveals;
pub mod round;
pub mod sealed;
pub mod statement;

pub use contribution::Contribution;
pub use coordinator::{Coordinator, CoordinatorOutput, RoundReport, Time};
pub use custodian::{Custodian, CustodianConfig, CustodianOutput};
pub use fault::{Fault, Misbehaviour, Refusal};
pub use hospital::{Hospital, HospitalOutput};
pub use member::{Member, MemberConfig, MemberOutput, MemberTask};
pub use model::Model;
pub use openings::OpeningHistory;
