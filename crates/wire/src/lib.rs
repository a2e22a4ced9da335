//! What travels between the parties of a consortium: statements that they sign, messages, and frames.
//!
//! - [`statement`]: the bodies that parties sign. A signature covers the bytes of a body as they came.
//! - [`message`]: what the coordinator and a party say to each other. Parties have no link among themselves.
//! - [`frame`]: one message, or one chunk of a long vector, as bytes.
//! - [`opening`]: records of what a party helped to open, which it stores.
//! - [`codec`]: the canonical encoding of all of them.
//!
//! # What it is not
//! Nothing here checks a signature, or whether a message is expected: that is for `cloister_protocol`.
//! Nothing here does IO: links are in `cloister_transport`.
//!
//! # Trust
//! The sender of bytes is not trusted. Every decoder is bounded, rejects trailing and non-canonical bytes,
//! and never allocates because of a length that the sender claims (`WIRE-01` to `WIRE-04`). This is the only
//! crate that names `bincode`, which is unmaintained (RUSTSEC-2025-0141): one module uses it.
//!
//! # Example
//! A frame out, and in:
//!
//! ```
//! use cloister_params::id::Round;
//! use cloister_wire::frame::{Frame, FrameError};
//! use cloister_wire::message::Message;
//!
//! let frame = Frame::Message(Message::KeyRequest { round: Round(1) });
//! let mut bytes = frame.encode();
//! assert_eq!(bytes, [1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
//! assert_eq!(Frame::decode(&bytes), Ok(frame));
//!
//! // One byte more is another frame, and none that this version knows.
//! bytes.push(0);
//! assert!(matches!(Frame::decode(&bytes), Err(FrameError::Message(_))));
//! ```

pub mod codec;
pub mod frame;
pub mod message;
mod model;
pub mod opening;
pub mod statement;

pub use codec::{DecodeError, decode, encode};
pub use frame::{Chunk, Frame, FrameError};
pub use message::Message;
pub use statement::{Body, Certificate, Signed};
