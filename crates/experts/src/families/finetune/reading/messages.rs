//! Reads the conversation of a row.

use serde_json::Value;

use crate::families::finetune::template::ChatMessage;
use crate::files::rows::{Row, kind_of};

/// The field `messages`, a list of objects with `role` and `content`. The content is a text, or a list of
/// parts with texts, which are joined. Further fields are passed to the chat template.
pub(super) fn messages(row: &Row) -> Result<Option<Vec<ChatMessage>>, String> {
    let Some(entries) = row.list("messages")? else { return Ok(None) };
    let mut messages = Vec::with_capacity(entries.len());
    for (number, entry) in (1..).zip(entries) {
        let number: usize = number;
        messages.push(message(entry).map_err(|reason| format!("entry {number} of “messages” {reason}"))?);
    }
    Ok(Some(messages))
}

/// One message; the error continues “entry N of “messages””.
fn message(entry: &Value) -> Result<ChatMessage, String> {
    let Value::Object(fields) = entry else {
        return Err(format!("must be an object, not {}", kind_of(entry)));
    };
    let mut others = fields.clone();
    others.retain(|name, _| !["role", "content"].contains(&name.as_str()));
    let role = fields.get("role").unwrap_or(&Value::Null);
    let Value::String(role) = role else {
        return Err(format!("must have a text “role”, not {}", kind_of(role)));
    };
    let content = match fields.get("content").unwrap_or(&Value::Null) {
        Value::String(content) => content.clone(),
        Value::Array(parts) => parts.iter().map(part).collect::<Result<String, _>>()?,
        other => {
            return Err(format!(
                "must have a “content” that is text or a list of texts, not {}",
                kind_of(other)
            ));
        }
    };
    Ok(ChatMessage { role: role.clone(), content, others })
}

/// The text of a part of a message, `{"type": "text", "text": …}`.
fn part(part: &Value) -> Result<&str, String> {
    match (&part["type"], &part["text"]) {
        (Value::String(kind), Value::String(text)) if kind == "text" => Ok(text),
        _ => Err("has a part of “content” that is not of the type “text” with a “text”".to_owned()),
    }
}
