//! Chat templates: how a model's makers lay out a conversation as one text.

use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value as Item, context};
use serde_json::Value;

use crate::error::ExpertsError;
use crate::minilm::{read_file, unusable};
use crate::quiet::quietly;

/// ChatML, as SmolLM2, Qwen and many others have it: for folders that bring no template.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
/// The name that a template has in its environment.
const NAME: &str = "chat";

/// A message of a conversation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Message {
    pub(super) role: String,
    pub(super) content: String,
}

/// A piece of a conversation's text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub(super) text: String,
    /// Whether the assistant says it.
    pub(super) learnt: bool,
}

/// A model's chat template.
pub(super) struct Template {
    environment: Environment<'static>,
    tokens: Tokens,
}

/// Tokens that templates name.
#[derive(Default)]
struct Tokens {
    beginning: String,
    end: String,
}

impl Template {
    /// Reads `chat_template.jinja` of a model's folder, or the `chat_template` of its `tokenizer_config.json`; where
    /// there is neither, messages are laid out as ChatML.
    ///
    /// # Errors
    /// [`ExpertsError::File`]; [`ExpertsError::Content`] when the template cannot be read.
    pub(super) fn open(folder: &Path) -> Result<Self, ExpertsError> {
        let path = folder.join("tokenizer_config.json");
        let config = match path.exists() {
            true => serde_json::from_slice(&read_file(&path)?)
                .map_err(|error| unusable(&path, error.to_string()))?,
            false => Value::Null,
        };
        let own = folder.join("chat_template.jinja");
        let text = match own.exists() {
            true => String::from_utf8(read_file(&own)?).map_err(|error| unusable(&own, error.to_string()))?,
            false => in_config(&config).unwrap_or(CHATML).to_owned(),
        };
        let tokens = Tokens { beginning: token(&config, "bos_token"), end: token(&config, "eos_token") };
        Self::new(text, tokens).map_err(|error| unusable(&path, format!("its chat template: {error}")))
    }

    fn new(text: String, tokens: Tokens) -> Result<Self, Error> {
        let mut environment = Environment::new();
        // As transformers has them.
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |reason: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, reason))
        });
        environment.add_template_owned(NAME, without_generation_marks(&text))?;
        Ok(Self { environment, tokens })
    }

    /// The text of a conversation, in pieces. What is learnt is what the template makes of each of the assistant's
    /// messages, its end mark included, and nothing else.
    pub(super) fn spans(&self, messages: &[Message]) -> Result<Vec<Span>, String> {
        let mut spans = Vec::new();
        let mut done = String::new();
        let of_assistant = messages.iter().enumerate().filter(|(_, message)| message.role == "assistant");
        for (place, _) in of_assistant {
            let before = self.render(&messages[..place], true)?;
            let with = self.render(&messages[..=place], false)?;
            let (Some(given), Some(said)) = (before.strip_prefix(&done), with.strip_prefix(&before)) else {
                return Err(format!(
                    "the chat template lays out message {} otherwise once others follow; what the assistant says in \
                     it cannot be told apart",
                    place + 1
                ));
            };
            spans.push(Span { text: given.to_owned(), learnt: false });
            spans.push(Span { text: said.to_owned(), learnt: true });
            done = with;
        }
        match spans.is_empty() {
            true => Err("none of “messages” is the assistant's".to_owned()),
            false => Ok(spans),
        }
    }

    fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, String> {
        let item = |message: &Message| {
            Item::from_pairs([("role", message.role.as_str()), ("content", message.content.as_str())])
        };
        let context = context! {
            messages => messages.iter().map(item).collect::<Vec<Item>>(),
            add_generation_prompt => add_generation_prompt,
            bos_token => self.tokens.beginning.as_str(),
            eos_token => self.tokens.end.as_str(),
        };
        let rendered =
            quietly(|| self.environment.get_template(NAME).and_then(|template| template.render(context)));
        let rendered = rendered.ok_or_else(|| "the chat template cannot be followed".to_owned())?;
        rendered.map_err(|error| refusal(messages, &error.to_string()))
    }
}

/// What a template says of messages that it does not lay out, unless it quotes one of them.
fn refusal(messages: &[Message], words: &str) -> String {
    let quoted = |text: &str| !text.trim().is_empty() && words.contains(text.trim());
    match messages.iter().any(|message| quoted(&message.content)) {
        true => "the chat template refuses its messages".to_owned(),
        false => format!("the chat template: {words}"),
    }
}

/// The default template of a `tokenizer_config.json`: a string, or one of a list with names.
fn in_config(config: &Value) -> Option<&str> {
    match &config["chat_template"] {
        Value::Array(named) => named.iter().find(|entry| entry["name"] == "default")?["template"].as_str(),
        other => other.as_str(),
    }
}

/// A special token: a string, or an object with the string as its content.
fn token(config: &Value, name: &str) -> String {
    let entry = &config[name];
    entry.as_str().or(entry["content"].as_str()).unwrap_or_default().to_owned()
}

/// `generation` blocks mark what is learnt for another program; they print nothing, and no other block is called so.
fn without_generation_marks(text: &str) -> String {
    let mut text = text.to_owned();
    for (left, right) in [("", ""), ("-", ""), ("", "-"), ("-", "-")] {
        for word in ["generation", "endgeneration"] {
            text = text.replace(&format!("{{%{left} {word} {right}%}}"), &format!("{{#{left} {right}#}}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(role: &str, content: &str) -> Message {
        Message { role: role.to_owned(), content: content.to_owned() }
    }

    fn spans(template: &str, messages: &[Message]) -> Result<Vec<(String, bool)>, String> {
        let tokens = Tokens { beginning: "<s>".to_owned(), end: "</s>".to_owned() };
        let template = Template::new(template.to_owned(), tokens).expect("a sound template");
        Ok(template.spans(messages)?.into_iter().map(|span| (span.text, span.learnt)).collect())
    }

    fn expected(pieces: &[(&str, bool)]) -> Vec<(String, bool)> {
        pieces.iter().map(|&(text, learnt)| (text.to_owned(), learnt)).collect()
    }

    #[test]
    fn every_turn_of_the_assistant_is_learnt_and_nothing_else() {
        let talk = [
            message("user", "a"),
            message("assistant", "b"),
            message("user", "c"),
            message("assistant", "d"),
            message("user", "e"),
        ];
        let pieces = spans(CHATML, &talk).expect("it is laid out");
        let given = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n";
        let next = "<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n";
        let rest = [(given, false), ("b<|im_end|>\n", true), (next, false), ("d<|im_end|>\n", true)];
        assert_eq!(pieces, expected(&rest));
    }

    #[test]
    fn templates_compute_as_transformers_has_them() {
        // Blocks on lines of their own print no white space, Python's methods work, loops can be left.
        let template = "{{ bos_token }}\n  {%- for message in messages %}\n  {% if message['role'] == 'system' %}{% continue %}{% endif %}\n{%- if message.role.startswith('user') %}[INST] {{ message['content'].strip() }} [/INST]\n{%- else %}{% generation %} {{ message['content'] | trim }}{{ eos_token }}{% endgeneration %}{%- endif %}\n{%- endfor %}";
        let talk = [message("system", "s"), message("user", " a "), message("assistant", "b ")];
        let pieces = spans(template, &talk).expect("it is laid out");
        assert_eq!(pieces, expected(&[("<s>[INST] a [/INST]", false), (" b</s>", true)]));
    }

    #[test]
    fn what_cannot_be_laid_out_is_said() {
        let none = spans(CHATML, &[message("user", "a")]).expect_err("nobody answers");
        assert_eq!(none, "none of “messages” is the assistant's");
        let refusing = "{{ raise_exception('no system role') }}";
        let refused = spans(refusing, &[message("assistant", "a")]).expect_err("the template refuses");
        assert!(refused.contains("no system role"), "{refused}");
        let quoting =
            "{% for message in messages %}{{ raise_exception('not ' + message.content) }}{% endfor %}";
        let refused = spans(quoting, &[message("assistant", "a note")]).expect_err("the template refuses");
        assert_eq!(refused, "the chat template refuses its messages");
        let last_only =
            "{% for message in messages %}{% if loop.last %}{{ message.content }}{% endif %}{% endfor %}";
        let torn =
            spans(last_only, &[message("user", "a"), message("assistant", "b")]).expect_err("it is torn");
        assert!(torn.contains("message 2"), "{torn}");
        assert!(Template::new("{% if %}".to_owned(), Tokens::default()).is_err());
    }

    #[test]
    fn the_default_of_several_templates_is_taken() {
        let config = serde_json::json!({"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}],
            "bos_token": {"content": "<s>"}, "eos_token": "</s>"});
        assert_eq!(in_config(&config), Some("d"));
        assert_eq!((token(&config, "bos_token"), token(&config, "eos_token")), ("<s>".into(), "</s>".into()));
        assert_eq!(in_config(&Value::Null), None);
    }
}
