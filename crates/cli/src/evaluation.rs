//! Published evaluations, for people and for programs.

use cloister_params::evaluation::PublishedEvaluation;
use serde_json::{Value, json};

/// An evaluation as an object. Without records there is no accuracy.
pub(crate) fn published_json(published: &PublishedEvaluation) -> Value {
    json!({
        "correct": published.correct,
        "records": published.records,
        "accuracy": published.accuracy(),
        "standard_deviation": published.deviation(),
    })
}

/// An evaluation, as [`published_json`] makes it, in words.
pub(crate) fn published_text(published: &Value) -> String {
    let numbers = ["accuracy", "standard_deviation", "records"].map(|name| published[name].as_f64());
    match numbers {
        [Some(accuracy), Some(deviation), Some(records)] => format!(
            "{:.1} % of about {records:.0} are right (noise: ±{:.1} points)",
            100.0 * accuracy,
            100.0 * deviation
        ),
        _ => "the noise left no records; have more records counted, or plan less noise".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accuracy_comes_with_the_deviation_of_its_noise() {
        let published = PublishedEvaluation { correct: 300.0, records: 400.0, noise: 32.0 };
        assert_eq!(
            published_text(&published_json(&published)),
            "75.0 % of about 400 are right (noise: ±10.0 points)"
        );
        assert_eq!(published_json(&published)["accuracy"], 0.75);
        let nothing = PublishedEvaluation { records: 0.0, ..published };
        assert!(published_text(&published_json(&nothing)).contains("left no records"));
        assert_eq!(published_json(&nothing)["accuracy"], Value::Null);
    }
}
