//! What is fuzzed of bytes that come from peers, or that a coordinator keeps of them: each target takes any bytes, and panics when a decoder breaks its
//! promise. A decoder may refuse; what it takes must encode to the same bytes (`WIRE-02`).

use std::fmt::Display;
use std::sync::OnceLock;

use cloister_crypto::group::{Element, ScalarSecret};
use cloister_crypto::letter::{self, LetterEvidence};
use cloister_crypto::merkle;
use cloister_identity::enrolment::Enrolment;
use cloister_identity::online::{EnrolmentAnswer, EnrolmentRequest, Invitation};
use cloister_params::consortium::Consortium;
use cloister_params::id::Digest;
use cloister_params::plan::{CheckedPlan, RoundPlan, RoundSettings};
use cloister_params::policy::Policy;
use cloister_protocol::coordinator::Input;
use cloister_protocol::model::Model;
use cloister_transcript::keys::VerifierKey;
use cloister_transcript::leaf::{LogOpening, LogStatement};
use cloister_transcript::note::SignedNote;
use cloister_transcript::tiles::{TilePath, decode_bundle, encode_bundle};
use cloister_transcript::tlog_proof::TlogProof;
use cloister_wire::codec;
use cloister_wire::frame::Frame;
use cloister_wire::message::Message;
use cloister_wire::statement::{
    Abort, Announcement, BlameAnswer, Closing, LateSketches, Manifest, ReceivingKey, Recomputed, Seal1,
    Seal2, Upload,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::target::Target;

/// Every decoder of what travels, and of the files that parties give each other.
pub(crate) const DECODERS: &[Target] = &[
    Target::new("frame", frame),
    Target::new("message", canonical::<Message>),
    Target::new("receiving-key", canonical::<ReceivingKey>),
    Target::new("round-plan", round_plan),
    Target::new("announcement", canonical::<Announcement>),
    Target::new("manifest", canonical::<Manifest>),
    Target::new("seal1", canonical::<Seal1>),
    Target::new("upload", canonical::<Upload>),
    Target::new("seal2", canonical::<Seal2>),
    Target::new("abort", canonical::<Abort>),
    Target::new("late-sketches", canonical::<LateSketches>),
    Target::new("blame-answer", canonical::<BlameAnswer>),
    Target::new("closing", canonical::<Closing>),
    Target::new("recomputed", canonical::<Recomputed>),
    Target::new("letter", letter),
    Target::new("path", path),
    Target::new("consortium", consortium),
    Target::new("enrolment", enrolment),
    Target::new("enrolment-request", enrolment_request),
    Target::new("enrolment-answer", canonical::<EnrolmentAnswer>),
    Target::new("invitation", invitation),
    Target::new("policy", policy),
    Target::new("settings", settings),
    Target::new("model", model),
    Target::new("coordinator-input", coordinator_input),
    Target::new("signed-note", |bytes| one_text(bytes, SignedNote::parse(bytes).ok())),
    Target::new("tlog-proof", |bytes| one_text(bytes, TlogProof::parse(bytes).ok())),
    Target::new("log-entry", log_entry),
    Target::new("entry-bundle", entry_bundle),
    Target::new("tile-path", |bytes| one_text(bytes, parsed(bytes, |text| TilePath::parse(text).ok()))),
    Target::new("verifier-key", |bytes| one_text(bytes, parsed(bytes, |text| VerifierKey::parse(text).ok()))),
];

/// What is read has one text, and that is the one it was read from.
fn one_text(bytes: &[u8], value: Option<impl Display>) {
    if let Some(value) = value {
        assert!(value.to_string().as_bytes() == bytes, "another text was taken");
    }
}

fn parsed<T>(bytes: &[u8], parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    std::str::from_utf8(bytes).ok().and_then(parse)
}

/// An entry of the log of an epoch, which is either an opening or a statement.
fn log_entry(bytes: &[u8]) {
    let (opening, statement) = (LogOpening::parse(bytes).ok(), LogStatement::parse(bytes).ok());
    assert!(opening.is_none() || statement.is_none(), "one text is two entries");
    one_text(bytes, opening);
    one_text(bytes, statement);
}

/// A bundle of entries behind the number of them, which a tile's path says.
fn entry_bundle(bytes: &[u8]) {
    let Some((width, bundle)) = bytes.split_first_chunk::<2>() else { return };
    if let Ok(entries) = decode_bundle(bundle, u16::from_be_bytes(*width)) {
        assert!(encode_bundle(&entries).as_deref() == Ok(bundle), "another encoding was taken");
    }
}

fn canonical<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    if let Ok(value) = codec::decode::<T>(bytes) {
        assert!(codec::encode(&value) == bytes, "another encoding was taken");
    }
}

fn frame(bytes: &[u8]) {
    if let Ok(frame) = Frame::decode(bytes) {
        assert!(frame.encode() == bytes, "another encoding was taken");
        assert!(frame.is_for_members() || frame.is_for_custodians() || matches!(frame, Frame::Message(_)));
    }
}

/// A plan that decodes is also checked, as whoever receives one does.
fn round_plan(bytes: &[u8]) {
    canonical::<RoundPlan>(bytes);
    let Ok(plan) = codec::decode::<RoundPlan>(bytes) else { return };
    let epoch = plan.epoch;
    if let Ok(checked) = CheckedPlan::check(plan, roster(), epoch) {
        let sizes = checked.settings.blocks.iter().map(|block| checked.packed_bytes(block));
        assert!(sizes.into_iter().all(|size| size > 0), "every block of a checked plan has coordinates");
    }
}

/// The roster of the test vectors.
fn roster() -> &'static Consortium {
    static ROSTER: OnceLock<Consortium> = OnceLock::new();
    ROSTER.get_or_init(|| {
        let vectors = include_str!("../../../protocols/vectors/v1/consortium.json");
        let vectors: serde_json::Value = serde_json::from_str(vectors).expect("the vectors are JSON");
        let text = vectors["cases"][0]["text"].as_str().expect("a case has the file's text");
        Consortium::parse(text).expect("the vector is accepted")
    })
}

/// A letter that opens is opened by its evidence too, to the same content.
fn letter(bytes: &[u8]) {
    let (secret, public) = recipient();
    let context = b"the context of a letter";
    let opened = letter::open(bytes, secret, context);
    let Some((evidence, rest)) = bytes.split_first_chunk::<96>() else { return };
    let (mut agreed, mut proof) = ([0; 32], [0; 64]);
    agreed.copy_from_slice(&evidence[..32]);
    proof.copy_from_slice(&evidence[32..]);
    let exposed = letter::open_exposed(rest, public, context, &LetterEvidence { agreed, proof });
    assert!(opened.is_err() || !matches!(exposed, Ok(Ok(_))), "evidence for one letter opened another");
}

/// The recipient of all letters, made once.
fn recipient() -> &'static (ScalarSecret, Element) {
    static RECIPIENT: OnceLock<(ScalarSecret, Element)> = OnceLock::new();
    RECIPIENT.get_or_init(|| {
        let secret = ScalarSecret::from_revealed([7; 32]).expect("a canonical scalar");
        let public = secret.public();
        (secret, public)
    })
}

/// A path leads from a leaf to the root that it is given with, or is refused.
fn path(bytes: &[u8]) {
    let (head, rest) = bytes.split_at(bytes.len().min(8));
    let [index, size] = [0, 4].map(|at| head.get(at..at + 4).map_or(0, number));
    let mut digests: Vec<Digest> = rest.as_chunks().0.iter().copied().map(Digest).collect();
    let (Some(root), Some(leaf)) = (digests.pop(), digests.pop()) else { return };
    let holds = merkle::verify(root, leaf, index, size, &digests);
    assert!(!holds || index < size, "a leaf outside its tree was taken");
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |value, byte| value << 8 | usize::from(*byte))
}

/// What a text parses to, written and parsed again, is the same.
pub(crate) fn text<T: PartialEq>(
    bytes: &[u8],
    parse: impl Fn(&str) -> Option<T>,
    write: impl Fn(&T) -> Option<String>,
) {
    let Some(value) = std::str::from_utf8(bytes).ok().and_then(&parse) else { return };
    let written = write(&value).expect("what was parsed can be written");
    assert!(parse(&written).as_ref() == Some(&value), "another value comes back");
}

fn consortium(bytes: &[u8]) {
    text(bytes, |text| Consortium::parse(text).ok(), |value| value.to_file().to_toml().ok());
}

/// A file from a stranger. What is accepted has proofs by two keys, so it cannot be written again here.
fn enrolment(bytes: &[u8]) {
    if let Some(enrolment) = std::str::from_utf8(bytes).ok().and_then(|text| Enrolment::read(text).ok()) {
        assert!(!enrolment.applicant().roles.is_empty(), "an enrolment has roles");
    }
}

/// What a stranger sends to a coordinator. Tokens are not compared, so the bytes are.
fn enrolment_request(bytes: &[u8]) {
    if let Ok(request) = EnrolmentRequest::decode(bytes) {
        let again = request.encode().expect("what was read can be written");
        assert!(*again == bytes, "another encoding was taken");
    }
}

/// One invitation has one text, however it was wrapped.
fn invitation(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(invitation) = Invitation::parse(text) {
        let joined: String = text.split_whitespace().collect();
        assert!(*invitation.to_text() == joined, "another spelling was taken");
    }
}

fn policy(bytes: &[u8]) {
    text(bytes, |text| Policy::parse(text).ok(), |value| value.to_toml().ok());
}

fn settings(bytes: &[u8]) {
    text(bytes, |text| RoundSettings::parse(text).ok(), |value| value.to_toml().ok());
}

/// The parameters of a model, as its file holds them and as they are sent to who was away.
fn model(bytes: &[u8]) {
    if let Some(model) = Model::from_bytes(bytes) {
        assert!(model.to_bytes() == bytes, "another encoding was taken");
    }
}

/// What a coordinator took in, as its journal holds it.
fn coordinator_input(bytes: &[u8]) {
    if let Ok((input, now)) = Input::decode(bytes) {
        assert!(input.encode(now) == bytes, "another encoding was taken");
    }
}
