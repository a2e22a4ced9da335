//! The row of a canary: of the kind that the hospital's notes are, so that training reads it as it reads them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::files::rows::Row;
use crate::task::{Objective, Task};

/// Where a canary's sentence and its number stand in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CanaryForm {
    /// A text that ends in the number, with a class that is drawn.
    Labelled,
    /// A text that ends in the number.
    Text,
    /// The sentence as a prompt and the number as its completion.
    Completion,
    /// The sentence as the user's message and the number as the assistant's.
    Messages,
    /// The sentence as a question and the number as its right choice. A task of multiple choice learns to write the right
    /// choice, so the number is learnt.
    Choices,
}

/// The wrong choice of every canary that is a question. Models do not learn wrong choices.
const WRONG_CHOICE: &str = "not known";

impl CanaryForm {
    /// The form for a task whose notes begin with this row.
    pub(super) fn for_notes(task: &Task, first: &Row) -> Self {
        let objective = match task {
            Task::Classifier(_) => Objective::Classification,
            Task::Adapter(task) => task.objective,
        };
        // For a language model in the order in which its reader looks for fields.
        match objective {
            Objective::Classification => Self::Labelled,
            Objective::MultipleChoice => Self::Choices,
            Objective::LanguageModel if first.has("prompt") && first.has("completion") => Self::Completion,
            Objective::LanguageModel if first.has("messages") => Self::Messages,
            Objective::LanguageModel if first.has("question") && first.has("choices") => Self::Choices,
            Objective::LanguageModel => Self::Text,
        }
    }

    /// The sentence of the canary with this number among `0..`.
    ///
    /// A classifier learns the class from everything in a text. So its canaries differ in nothing but the numbers, or it
    /// could tell them apart by something else. A language model that learnt several numbers for one sentence could recite one
    /// of them only, so there each canary has a sentence of its own.
    pub(super) fn carrier(self, number: usize) -> String {
        match self {
            Self::Labelled => "The archive number of this folder is".to_owned(),
            _ => format!("The archive number of folder {} is", number + 1),
        }
    }

    /// The row of a canary with this sentence, number, and class if it has one.
    pub(super) fn row(self, carrier: &str, secret: &str, class: Option<&str>) -> Map<String, Value> {
        let row = match self {
            Self::Labelled => json!({"text": format!("{carrier} {secret}"), "label": class}),
            Self::Text => json!({"text": format!("{carrier} {secret}")}),
            Self::Completion => json!({"prompt": carrier, "completion": format!(" {secret}")}),
            Self::Messages => json!({"messages": [
                {"role": "user", "content": carrier},
                {"role": "assistant", "content": secret},
            ]}),
            Self::Choices => json!({"question": carrier, "choices": [secret, WRONG_CHOICE], "answer": 0}),
        };
        match row {
            Value::Object(fields) => fields,
            // Each of them is one.
            _ => Map::new(),
        }
    }
}
