//! Frames over QUIC between a coordinator and the parties of a consortium.
//!
//! A party [`connect`]s to the coordinator's [`Listener`]; both sides then hold a [`Link`]: one long-lived
//! stream of frames in each direction, with back-pressure. This crate knows nothing of rounds; what a frame
//! means is for others to say.
//!
//! # Authentication
//!
//! TLS 1.3 on both sides, with the protocol name `cloister/1`. A certificate is trusted if its SHA-256
//! [`Fingerprint`] is pinned (in the [`Roster`] at the coordinator, by the party's own configuration at the
//! party) **and** the peer signs the handshake with the certificate's key. Names and dates in certificates
//! prove nothing and are not read. Sessions are never resumed, so that every link is checked anew.
//!
//! # Limits
//!
//! A frame holds at most [`MAX_FRAME`] bytes, and memory for it grows only with the bytes that have come. A
//! link buffers at most 8 MiB in each direction. Of one source only so many peers are on their way in at once, and each has
//! a short time to show a certificate of the roster (`WIRE-05`). What a peer says about itself in error texts is printed
//! with control characters escaped.

// This crate does IO: the clock and randomness of the system enter here.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod address;
mod connect;
mod counters;
mod doorway;
mod fingerprint;
mod frame;
mod greeting;
mod identity;
mod link;
mod link_error;
mod listener;
mod pinning;
mod roster;
mod settings;
mod socket;
mod uplink;

pub use address::{HostPort, HostPortError};
pub use connect::{ConnectError, connect};
pub use counters::LinkCounters;
pub use fingerprint::{Fingerprint, FingerprintError};
pub use frame::MAX_FRAME;
pub use identity::{Identity, IdentityError};
pub use link::{FrameReceiver, FrameSender, Link, LinkHandle};
pub use link_error::{LinkError, commands_terminals, printable};
pub use listener::{AcceptError, BindError, Listener};
pub use roster::{Roster, RosterError};
pub use settings::TransportSettings;
