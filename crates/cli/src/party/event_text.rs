//! The events of a hospital or a custodian: as JSON, as progress, and as sentences.

use cloister_client::{Accuracy, ClientEvent, PrivateReport, RowCounts};
use cloister_params::evaluation::PublishedEvaluation;
use cloister_params::id::Round;
use serde_json::{Value, json};

use crate::byte_count::bytes;
use crate::evaluation::{published_json, published_text};

/// An event as an object, for programs that watch.
pub(super) fn to_json(party: u32, event: &ClientEvent) -> Value {
    let mut value = match event {
        ClientEvent::Memory { needed, free } => json!({"event": "memory", "needed": needed, "free": free}),
        ClientEvent::Reading { done, total } => json!({"event": "reading", "done": done, "total": total}),
        ClientEvent::Trained { round, metrics } => {
            json!({"event": "trained", "round": round.0, "metrics": metrics})
        }
        ClientEvent::NotTrained(round, reason) => {
            json!({"event": "not_trained", "round": round.0, "reason": reason})
        }
        ClientEvent::Rehearsing(round) => json!({"event": "rehearsing", "round": round.0}),
        ClientEvent::Rehearsed(round) => json!({"event": "rehearsed", "round": round.0}),
        ClientEvent::NotCounted => json!({"event": "not_counted"}),
        ClientEvent::NotEvaluated(round, reason) => {
            json!({"event": "not_evaluated", "round": round.0, "reason": reason})
        }
        ClientEvent::Ready(rows) => json!({
            "event": "ready", "notes": rows.map(|rows| rows.notes), "records": rows.map(|rows| rows.records),
            "truncated": rows.map(|rows| rows.truncated),
        }),
        ClientEvent::CustodianReady => json!({"event": "ready"}),
        ClientEvent::Warning(reason) => json!({"event": "warning", "reason": reason}),
        ClientEvent::PolicyReplaced => json!({"event": "policy_replaced"}),
        ClientEvent::Connected(carrier) => json!({"event": "connected", "carrier": carrier.name()}),
        ClientEvent::Reconnecting(reason) => json!({"event": "reconnecting", "reason": reason}),
        ClientEvent::Unreachable(reason) => json!({"event": "unreachable", "reason": reason}),
        ClientEvent::Edition { number, changes } => {
            json!({"event": "edition", "edition": number, "changes": changes})
        }
        ClientEvent::Stopping => json!({"event": "stopping"}),
        ClientEvent::Training { done, total, local } => {
            json!({"event": "training", "done": done, "total": total, "local": local})
        }
        ClientEvent::PrivatelyTrained(PrivateReport { steps, drawn, clipped, not_finite }) => json!({
            "event": "privately_trained", "steps": steps, "records_drawn": drawn, "gradients_clipped": clipped,
            "gradients_not_finite": not_finite,
        }),
        ClientEvent::Clipped { blocks } => json!({"event": "clipped", "blocks": blocks}),
        ClientEvent::Uploading { sent, total } => json!({"event": "uploading", "sent": sent, "total": total}),
        ClientEvent::Closed { round, applied, summed } => {
            json!({"event": "closed", "round": round.0, "applied": applied.len(), "summed": summed.len()})
        }
        ClientEvent::Published(round, published) => {
            json!({"event": "published", "round": round.0, "evaluation": published_json(published)})
        }
        ClientEvent::Evaluated(round, accuracy) => {
            json!({"event": "evaluated", "round": round.0, "accuracy": accuracy_json(*accuracy)})
        }
        ClientEvent::Aborted(round) => json!({"event": "aborted", "round": round.0}),
        ClientEvent::Refused(round, reason) => {
            json!({"event": "refused", "round": round.0, "reason": reason})
        }
        ClientEvent::Fault(reason) => json!({"event": "fault", "reason": reason}),
        ClientEvent::Unexpected(reason) => json!({"event": "not_awaited", "reason": reason}),
        ClientEvent::Finished(result) => json!({
            "event": "finished",
            "federated": accuracy_json(result.federated),
            "local": result.local.map(accuracy_json),
        }),
    };
    // Added to every event, so that one reader can follow the streams of several hospitals.
    value["party"] = party.into();
    value
}

fn accuracy_json(accuracy: Accuracy) -> Value {
    let Accuracy { correct, total, counted, loss, .. } = accuracy;
    json!({"correct": correct, "total": total, "of": counted.name(), "loss": loss})
}

/// Progress of an event that has any: its name, how much is done, and how much there is.
pub(super) fn steps_of(event: &ClientEvent) -> Option<(&'static str, u64, u64)> {
    match *event {
        ClientEvent::Reading { done, total } => Some(("reading notes", done, total)),
        ClientEvent::Training { done, total, local: false } => Some(("training", done as u64, total as u64)),
        ClientEvent::Training { done, total, local: true } => {
            Some(("training alone", done as u64, total as u64))
        }
        ClientEvent::Uploading { sent, total } => Some(("uploading", sent as u64, total as u64)),
        _ => None,
    }
}

fn percent(accuracy: &Accuracy) -> f64 {
    100.0 * accuracy.correct as f64 / accuracy.total.max(1) as f64
}

const NOT_COUNTED: &str =
    "no held-out records are counted for the evaluation, because the trainer cannot count records";

/// What a closing published of the model that its round started from.
fn evaluated_text(round: Round, published: &PublishedEvaluation) -> String {
    let published = published_text(&published_json(published));
    format!("the model before {round}, on all members' held-out records: {published}")
}

/// What private training did.
fn private_text(PrivateReport { steps, drawn, clipped, not_finite }: &PrivateReport) -> String {
    let broken = match not_finite {
        0 => String::new(),
        count => format!(", and those of {count} were not finite and count as 0"),
    };
    format!(
        "private training: {steps} steps on {drawn} records in all; the gradients of {clipped} were clipped{broken} (this \
         stays in this hospital)"
    )
}

/// A sentence for the hospital's operator.
pub(super) fn to_text(event: &ClientEvent) -> String {
    match event {
        ClientEvent::Memory { needed, free } => {
            let free = free.map(|free| format!("; {} are free", bytes(free as u64))).unwrap_or_default();
            format!("training takes about {}{free}", bytes(*needed as u64))
        }
        ClientEvent::Reading { done, total } => format!("{done} of {total}"),
        ClientEvent::Training { done, total, .. } => format!("step {done} of {total}"),
        ClientEvent::Uploading { sent, total } => format!("chunk {sent} of {total}"),
        ClientEvent::Ready(Some(RowCounts { notes, records, truncated })) => {
            format!("read {notes} notes of {records} records; {truncated} notes are cut at the token limit")
        }
        ClientEvent::Warning(reason) => format!("warning: {reason}"),
        ClientEvent::PolicyReplaced => {
            "the policy was read again and has changed; it decides about plans from the next one on".into()
        }
        ClientEvent::CustodianReady => "ready; this party is a custodian alone".into(),
        ClientEvent::Ready(None) => "ready; the training program reads the notes itself".into(),
        ClientEvent::Trained { round, metrics } => {
            let metrics: Vec<String> =
                metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
            format!("trained for {round}: {}", metrics.join(", "))
        }
        ClientEvent::NotTrained(round, reason) => {
            format!("not taking part in {round}, because training failed: {reason}")
        }
        ClientEvent::Rehearsing(round) => {
            format!("{round} is a rehearsal: zeros take the place of what was trained")
        }
        ClientEvent::Rehearsed(round) => format!("{round}, a rehearsal, is over; nothing has changed"),
        ClientEvent::NotCounted => NOT_COUNTED.into(),
        ClientEvent::Published(round, published) => evaluated_text(*round, published),
        ClientEvent::NotEvaluated(round, reason) => {
            format!("the model after {round} cannot be evaluated: {reason}")
        }
        ClientEvent::Connected(carrier) => format!("connected to the coordinator over {carrier}"),
        ClientEvent::Reconnecting(reason) => format!("reconnecting: {reason}"),
        ClientEvent::Unreachable(reason) => format!("not connected, trying again: {reason}"),
        ClientEvent::Edition { number, changes } => {
            format!("edition {number} of the consortium file is in force: {}", changes.join("; "))
        }
        ClientEvent::Stopping => "stopping".into(),
        ClientEvent::PrivatelyTrained(report) => private_text(report),
        ClientEvent::Clipped { blocks } => {
            format!("the updates of {blocks} blocks were longer than the clip and were shortened")
        }
        ClientEvent::Closed { round, applied, summed } => closed_text(*round, applied.len(), summed.len()),
        ClientEvent::Evaluated(round, accuracy) => {
            let (total, what) = (accuracy.total, accuracy.counted.name());
            let one = accuracy.counted.one();
            let loss = accuracy.loss.map(|loss| format!(", loss {loss:.3} nats a {one}")).unwrap_or_default();
            let model = match round {
                Round(0) => "the edition's model".to_owned(),
                round => format!("model after {round}"),
            };
            format!("{model}: {:.1} % of {total} held-out {what} are right{loss}", percent(accuracy))
        }
        ClientEvent::Aborted(round) => format!("{round} ended without a sum"),
        ClientEvent::Refused(round, reason) => format!("not taking part in {round}: {reason}"),
        ClientEvent::Fault(reason) => format!("rejected a frame: {reason}"),
        ClientEvent::Unexpected(reason) => format!("ignored a frame: {reason}"),
        ClientEvent::Finished(result) => {
            let alone = result
                .local
                .as_ref()
                .map(|local| format!(", {:.1} % with a model trained alone", percent(local)));
            format!(
                "finished: {:.1} % right with the federated model{}",
                percent(&result.federated),
                alone.unwrap_or_default()
            )
        }
    }
}

/// A round that closed with the sums of `all` blocks, of which `with_ours` contain this hospital's update.
fn closed_text(round: Round, all: usize, with_ours: usize) -> String {
    let hint = match with_ours {
        0 => " (this hospital did not take part)",
        // The first sign for an operator of labels that differ from the other hospitals'.
        _ if 2 * with_ours < all => {
            "; most leave it out, because its experts have learnt something else: compare its classes and notes with \
             the others'"
        }
        _ => "",
    };
    format!(
        "{round} closed; the sums of {all} blocks are applied, with this hospital in {with_ours} of them{hint}"
    )
}

#[cfg(test)]
mod tests {
    use cloister_params::id::BlockId;

    use super::*;

    #[test]
    fn a_hospital_is_told_when_most_sums_leave_it_out() {
        let text = |summed: u32| {
            let blocks = |count| (0..count).map(BlockId).collect();
            let event = ClientEvent::Closed { round: Round(4), applied: blocks(9), summed: blocks(summed) };
            assert_eq!(to_json(2, &event)["summed"], summed);
            to_text(&event)
        };
        assert!(text(9).ends_with("in 9 of them") && text(5).ends_with("in 5 of them"), "{}", text(5));
        assert!(text(4).contains("in 4 of them; most leave it out"), "{}", text(4));
        assert!(text(0).contains("did not take part"), "{}", text(0));
    }

    #[test]
    fn what_private_training_did_is_told_to_the_hospital() {
        let report = PrivateReport { steps: 34, drawn: 270, clipped: 90, not_finite: 0 };
        let event = ClientEvent::PrivatelyTrained(report);
        assert_eq!(to_json(2, &event)["gradients_clipped"], 90);
        let text = to_text(&event);
        assert!(text.contains("34 steps on 270 records") && !text.contains("finite"), "{text}");
        let broken = ClientEvent::PrivatelyTrained(PrivateReport { not_finite: 2, ..report });
        assert_eq!(to_json(2, &broken)["gradients_not_finite"], 2);
        assert!(to_text(&broken).contains("those of 2 were not finite"), "{}", to_text(&broken));
    }
}
