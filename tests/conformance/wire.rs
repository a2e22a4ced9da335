//! Encodings and frames.

use cloister_crypto::hash::{Domain, digest};
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::plan::RoundPlan;
use cloister_protocol::statement::body_digest;
use cloister_wire::codec::{self, DecodeError, MAX_ENCODED};
use cloister_wire::frame::{Chunk, Frame, chunks};
use cloister_wire::message::Message;
use cloister_wire::statement::{
    Abort, Announcement, BlameAnswer, Body, Closing, LateSketches, Manifest, ReceivingKey, Recomputed, Seal1,
    Seal2, Upload,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::steps::{encoding_step, frame_step};
use crate::vectors::{Hex, expand};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Codec {
    cases: Vec<CodecCase>,
    bodies: Vec<BodyCase>,
    bad: Vec<BadEncoding>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CodecCase {
    #[serde(rename = "type")]
    kind: String,
    value: Value,
    encoded: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BodyCase {
    #[serde(rename = "type")]
    kind: String,
    tag: String,
    body: Hex,
    digest: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BadEncoding {
    #[serde(rename = "type")]
    kind: String,
    encoded: Hex,
    step: String,
}

/// Calls a function for the type of a name.
macro_rules! for_type {
    ($kind:expr, $call:ident $arguments:tt, $($name:ident),*) => {
        match $kind {
            $(stringify!($name) => for_type!(@ $call, $name, $arguments),)*
            other => panic!("no type {other}"),
        }
    };
    (@ $call:ident, $name:ident, ($($argument:expr),*)) => { $call::<$name>($($argument),*) };
}

/// Bytes to a value and back, and JSON to a value and back: all four agree.
fn both_ways<T: Serialize + DeserializeOwned>(bytes: &[u8], json: Value) {
    let value: T = codec::decode(bytes).unwrap();
    assert_eq!(serde_json::to_value(&value).unwrap(), json);
    assert_eq!(codec::encode(&value), bytes);
    let again: T = serde_json::from_value(json).unwrap();
    assert_eq!(codec::encode(&again), bytes);
}

fn tag<T: Body>() -> &'static str {
    T::TAG
}

fn refusal<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> DecodeError {
    codec::decode::<T>(bytes).err().expect("these bytes are no canonical encoding")
}

#[rustfmt::skip]
pub(crate) fn codec(file: Codec) {
    for case in file.cases {
        let (bytes, json) = (&case.encoded.0, expand(case.value));
        for_type!(case.kind.as_str(), both_ways(bytes, json), Abort, Announcement, BlameAnswer, Closing,
            LateSketches, Manifest, Message, ReceivingKey, Recomputed, RoundPlan, Seal1, Seal2, Upload);
    }
    for case in file.bodies {
        let tag = for_type!(case.kind.as_str(), tag(), Abort, Announcement, BlameAnswer, Closing, LateSketches, Manifest,
            ReceivingKey, Recomputed, RoundPlan, Seal1, Seal2, Upload);
        assert_eq!((tag, body_digest(&case.body.0)), (case.tag.as_str(), case.digest));
    }
    for bad in file.bad {
        let error = for_type!(bad.kind.as_str(), refusal(&bad.encoded.0), Abort, Announcement, Manifest, Message,
            RoundPlan);
        assert_eq!(encoding_step(&error), bad.step, "{}", hex::encode(&bad.encoded.0));
    }
    assert!(matches!(refusal::<Message>(&vec![0; MAX_ENCODED + 1]), DecodeError::TooLong { .. }));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Frames {
    cases: Vec<FrameCase>,
    cut: Vec<Cut>,
    bad: Vec<BadFrame>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FrameCase {
    message: Option<Value>,
    chunk: Option<ChunkCase>,
    frame: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChunkCase {
    round: u64,
    owner: u32,
    block: u32,
    index: u32,
    bytes: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cut {
    length: usize,
    frames: Vec<Piece>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Piece {
    header: Hex,
    length: usize,
    digest: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BadFrame {
    frame: Hex,
    step: String,
}

impl FrameCase {
    fn expected(self) -> Frame {
        match (self.message, self.chunk) {
            (Some(json), None) => Frame::Message(serde_json::from_value(expand(json)).unwrap()),
            (None, Some(chunk)) => Frame::Chunk(Chunk {
                round: Round(chunk.round),
                owner: PartyId(chunk.owner),
                block: BlockId(chunk.block),
                index: chunk.index,
                bytes: chunk.bytes.0,
            }),
            _ => panic!("a message or a chunk"),
        }
    }
}

pub(crate) fn frames(file: Frames) {
    for case in file.cases {
        let frame = Frame::decode(&case.frame.0).unwrap();
        assert_eq!(frame.encode(), case.frame.0);
        assert_eq!(frame, case.expected());
    }
    for cut in file.cut {
        let vector: Vec<u8> = (0u8..251).cycle().take(cut.length).collect();
        let pieces: Vec<Vec<u8>> = chunks(Round(9), PartyId(3), BlockId(1), &vector)
            .map(|chunk| Frame::Chunk(chunk).encode())
            .collect();
        assert_eq!(pieces.len(), cut.frames.len());
        for (piece, expected) in pieces.iter().zip(&cut.frames) {
            assert_eq!((&piece[..22], piece.len()), (expected.header.0.as_slice(), expected.length));
            assert_eq!(digest(Domain::Sum, &[piece]), expected.digest);
        }
    }
    for bad in file.bad {
        assert_eq!(frame_step(&Frame::decode(&bad.frame.0).unwrap_err()), bad.step);
    }
}
