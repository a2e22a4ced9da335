//! The names of the steps at which something is refused, as vectors give them.

use std::convert::Infallible;
use std::fmt::Debug;

use cloister_crypto::consortium::RefusedConsortium;
use cloister_protocol::fault::{Fault, Misbehaviour, Refusal};
use cloister_wire::codec::DecodeError;
use cloister_wire::frame::FrameError;
use rand_core::{TryCryptoRng, TryRng};

/// The name of an error's variant, in words with hyphens.
pub(crate) fn variant(error: &impl Debug) -> String {
    let text = format!("{error:?}");
    let mut name = String::new();
    for letter in text.chars().take_while(char::is_ascii_alphabetic) {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

pub(crate) fn encoding_step(error: &DecodeError) -> String {
    variant(error)
}

pub(crate) fn frame_step(error: &FrameError) -> String {
    match error {
        FrameError::Message(error) => encoding_step(error),
        other => variant(other),
    }
}

pub(crate) fn consortium_step(error: &RefusedConsortium) -> String {
    match error {
        RefusedConsortium::Rules(error) => variant(error),
        other => variant(other),
    }
}

pub(crate) fn misbehaviour_step(error: &Misbehaviour) -> String {
    match error {
        Misbehaviour::Encoding(error) => encoding_step(error),
        other => variant(other),
    }
}

pub(crate) fn fault_step(fault: &Fault) -> String {
    match fault {
        Fault::PeerMisbehaved { what, .. } => misbehaviour_step(what),
        Fault::PlanRefused { why: Refusal::Rule(error), .. } => variant(error),
        Fault::PlanRefused { why, .. } => variant(why),
        // The vectors are older than the variant's name.
        Fault::Unexpected { .. } => "not-awaited".into(),
        other => variant(other),
    }
}

/// Randomness that gives the recorded bytes, in order, and no more.
#[derive(Debug, Default)]
pub(crate) struct Tape(Vec<u8>);

impl Tape {
    /// A tape with these bytes, first to last.
    pub(crate) fn from_bytes(bytes: impl IntoIterator<Item = u8>) -> Self {
        let mut reversed: Vec<u8> = bytes.into_iter().collect();
        reversed.reverse();
        Self(reversed)
    }

    /// Whether everything was drawn.
    pub(crate) fn is_used_up(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryRng for Tape {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, destination: &mut [u8]) -> Result<(), Infallible> {
        for byte in destination {
            *byte = self.0.pop().expect("the vector has no more random bytes");
        }
        Ok(())
    }
}

impl TryCryptoRng for Tape {}
