//! Every field of a statement's body, changed: the body as JSON, one value of it changed, and encoded canonically again.

use cloister_params::plan::RoundPlan;
use cloister_transcript::EntryKind;
use cloister_wire::codec;
use cloister_wire::message::{BadDealing, PairOpening, Reveal};
use cloister_wire::statement::{
    Abort, Announcement, BlameAnswer, Closing, LateSketches, Manifest, ReceivingKey, Seal1, Seal2, Upload,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Numbers in an array of at least this length are one field: a key, a signature, or a sketch.
const VECTOR: usize = 8;

/// Another body of the same kind, and the field in which it differs.
pub(crate) struct ChangedBody {
    pub(crate) field: String,
    pub(crate) body: Vec<u8>,
}

/// The body with each of its fields changed.
pub(crate) fn changed_bodies(kind: EntryKind, body: &[u8]) -> Vec<ChangedBody> {
    match kind {
        EntryKind::Plan => changed::<RoundPlan>(body),
        EntryKind::Announcement | EntryKind::UnsealedAnnouncement => changed::<Announcement>(body),
        EntryKind::Manifest => changed::<Manifest>(body),
        EntryKind::Seal1 => changed::<Seal1>(body),
        EntryKind::Upload => changed::<Upload>(body),
        EntryKind::Seal2 => changed::<Seal2>(body),
        EntryKind::Reveal => changed::<Reveal>(body),
        EntryKind::Closing => changed::<Closing>(body),
        EntryKind::Abort => changed::<Abort>(body),
        EntryKind::LateSketches => changed::<LateSketches>(body),
        EntryKind::BlameAnswer => changed::<BlameAnswer>(body),
        EntryKind::PairOpening => changed::<PairOpening>(body),
        EntryKind::ReceivingKey => changed::<ReceivingKey>(body),
        EntryKind::BadDealing => changed::<BadDealing>(body),
    }
}

fn changed<T: Serialize + DeserializeOwned>(body: &[u8]) -> Vec<ChangedBody> {
    let decoded: T = codec::decode(body).expect("a statement of a real round");
    let whole = serde_json::to_value(&decoded).expect("statements serialise");
    let mut changes = Vec::new();
    collect(&whole, String::new(), &mut changes);
    let mut bodies = Vec::new();
    for (field, what, value) in changes {
        let mut other = whole.clone();
        *other.pointer_mut(&field).expect("it was found there") = value;
        // A value that is none of this type has no encoding.
        let Ok(other) = serde_json::from_value::<T>(other) else { continue };
        let other = codec::encode(&other);
        if other != body {
            bodies.push(ChangedBody { field: format!("{field} {what}"), body: other });
        }
    }
    bodies
}

/// Each field below a value, what is done to it, and its new value.
fn collect(value: &Value, field: String, changes: &mut Vec<(String, &'static str, Value)>) {
    match value {
        Value::Number(number) => {
            if let Some(number) = number.as_i64() {
                changes.push((field, "changed", Value::from(number ^ 1)));
            }
        }
        Value::Bool(flag) => changes.push((field, "changed", Value::from(!flag))),
        Value::String(text) => {
            changes.extend(changed_text(text).map(|text| (field, "changed", Value::from(text))))
        }
        Value::Array(items) => {
            if let Some((_, shorter)) = items.split_last() {
                changes.push((field.clone(), "shortened", Value::from(shorter)));
                changes.push((field.clone(), "lengthened", Value::from([&items[..], &items[..1]].concat())));
            }
            if let [first, second, rest @ ..] = &items[..]
                && first != second
            {
                let swapped = [&[second.clone(), first.clone()], rest].concat();
                changes.push((field.clone(), "reordered", Value::from(swapped)));
            }
            let is_vector = items.len() >= VECTOR && items.iter().all(Value::is_number);
            let at = if is_vector { items.len() / 2..items.len() / 2 + 1 } else { 0..items.len() };
            for (place, item) in at.clone().zip(&items[at]) {
                collect(item, format!("{field}/{place}"), changes);
            }
        }
        Value::Object(entries) => {
            for (name, item) in entries {
                collect(item, format!("{field}/{name}"), changes);
            }
        }
        Value::Null => {}
    }
}

/// A text with another hexadecimal digit in the middle.
fn changed_text(text: &str) -> Option<String> {
    let middle = text.len() / 2;
    let digit = text.get(middle..=middle)?;
    let other = if digit == "0" { "1" } else { "0" };
    Some(format!("{}{other}{}", &text[..middle], &text[middle + 1..]))
}
