//! Chat templates: how the makers of a model write a conversation as one text.
//!
//! Templates are programs that come with a base model. They run here as in `transformers`, except that their
//! time and memory are bounded and that they have no clock: each member must learn from the same text. The
//! words with which a template rejects messages are passed on only if the template itself contains them, so
//! that no error quotes a message.

mod functions;
mod json;
mod marks;
mod percent;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::error::Error as _;
use std::path::Path;

use cloister_params::limits::Date;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, Value as Item, context};
use serde_json::{Map, Value};

use crate::error::ExpertsError;
use crate::files::hidden_panics::hide_panics;
use crate::model_files::{read_file, unusable};
use functions::Raised;

/// ChatML, the template of SmolLM2, Qwen and many others, for folders without a template.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
/// The name of the template in its environment.
const NAME: &str = "chat";
/// The most instructions for writing a conversation once, and at the same time its most memory, in units of
/// 64 bytes. The longest templates take about 200 instructions for a message.
const FUEL: u64 = 4_000_000;
/// The function with which templates print today's date.
const TODAY: &str = "strftime_now";
/// The special tokens that templates use, by their names in the tokenizer's configuration.
const TOKENS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// A message of a conversation.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct ChatMessage {
    pub(super) role: String,
    pub(super) content: String,
    /// Further fields of the row's message, such as `reasoning_content`, for templates that read them.
    pub(super) others: Map<String, Value>,
}

/// A piece of a conversation's text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub(super) text: String,
    /// Whether it is the assistant's, so that it is learnt.
    pub(super) learnt: bool,
}

/// One of the assistant's messages, written as the last of its conversation.
struct Turn {
    /// The text before the message.
    given: String,
    /// The text of the message, its end mark included.
    learnt: String,
}

/// A model's chat template.
pub(super) struct Template {
    environment: Environment<'static>,
    /// The template's own text.
    source: String,
    tokens: BTreeMap<&'static str, String>,
}

impl Template {
    /// Reads `chat_template.jinja` of a model's folder, or the `chat_template` of its
    /// `tokenizer_config.json`. If there is neither, messages are written as ChatML.
    ///
    /// # Errors
    /// [`ExpertsError::File`]; [`ExpertsError::Content`] if the template cannot be read.
    pub(super) fn open(folder: &Path) -> Result<Self, ExpertsError> {
        let path = folder.join("tokenizer_config.json");
        let config = match path.exists() {
            true => serde_json::from_slice(&read_file(&path)?)
                .map_err(|error| unusable(&path, error.to_string()))?,
            false => Value::Null,
        };
        let file = folder.join("chat_template.jinja");
        let text = match file.exists() {
            true => {
                String::from_utf8(read_file(&file)?).map_err(|error| unusable(&file, error.to_string()))?
            }
            false => in_config(&config).unwrap_or(CHATML).to_owned(),
        };
        let path = if file.exists() { file } else { path };
        Self::new(text, tokens(&config))
            .map_err(|error| unusable(&path, format!("its chat template: {error}")))
    }

    fn new(source: String, tokens: BTreeMap<&'static str, String>) -> Result<Self, Error> {
        let mut environment = Environment::new();
        // The same settings as in transformers.
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        // Templates call methods of Python's strings and lists, such as `strip`.
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", functions::raise);
        environment.add_function(TODAY, |format: &str| functions::strftime(None, format));
        environment.add_filter("tojson", json::to_json);
        environment.set_fuel(Some(FUEL));
        let program = percent::with_format_filter(&marks::without_generation_marks(&source));
        environment.add_template_owned(NAME, program)?;
        Ok(Self { environment, source, tokens })
    }

    /// The same template with this date as today's.
    pub(super) fn with_today(mut self, today: Option<Date>) -> Self {
        self.environment.add_function(TODAY, move |format: &str| functions::strftime(today, format));
        self
    }

    /// The texts of a conversation, in pieces. Only the assistant's messages are learnt, each with its end
    /// mark.
    ///
    /// A conversation is one text, unless the template writes earlier messages differently once others
    /// follow: Qwen3 leaves out what the assistant thought before. Then each of the assistant's messages has
    /// a text of its own, which ends with it. A model that answers reads the same text.
    pub(super) fn texts(&self, messages: &[ChatMessage]) -> Result<Vec<Vec<Span>>, String> {
        let places = (0..messages.len()).filter(|&place| messages[place].role == "assistant");
        let turns: Vec<Turn> = places.map(|place| self.turn(messages, place)).collect::<Result<_, _>>()?;
        match (turns.is_empty(), in_one(&turns)) {
            (true, _) => Err(
                "none of “messages” is the assistant's (“role”: “assistant”), so there is nothing to learn"
                    .to_owned(),
            ),
            (false, Some(text)) => Ok(vec![text]),
            (false, None) => Ok(turns.into_iter().map(alone).collect()),
        }
    }

    /// The message at a place, written as the last one. The text with which a template asks for the
    /// assistant's message is given, as far as the message starts with it too: DeepSeek-R1 opens a thought
    /// there that its messages do not have.
    fn turn(&self, messages: &[ChatMessage], place: usize) -> Result<Turn, String> {
        // Rendered with and without the message, because templates do not say where a message starts.
        let asked = self.render(&messages[..place], true)?;
        let said = self.render(&messages[..=place], false)?;
        let common = common_start(&asked, &said);
        let is_apart = common == asked.len() || common >= self.render(&messages[..place], false)?.len();
        match is_apart {
            true => Ok(Turn { given: said[..common].to_owned(), learnt: said[common..].to_owned() }),
            false => Err(format!(
                "the chat template writes what is before message {} differently once that message follows, \
                 so what the assistant says in it cannot be told apart; leave the conversation out, or use \
                 a template that only adds to a text",
                place + 1
            )),
        }
    }

    /// The text of messages, with the request for the assistant's message behind it if
    /// `add_generation_prompt`.
    fn render(&self, messages: &[ChatMessage], add_generation_prompt: bool) -> Result<String, String> {
        let messages: Vec<Item> = messages.iter().map(item).collect();
        let context = context! {
            messages => messages,
            // `none` as in transformers: templates ask `tools is not none`, which would be true if it were
            // undefined.
            tools => (),
            documents => (),
            add_generation_prompt => add_generation_prompt,
            ..Item::from_pairs(self.tokens.iter().map(|(name, token)| (*name, token.as_str()))),
        };
        let rendered =
            hide_panics(|| self.environment.get_template(NAME).and_then(|template| template.render(context)));
        let rendered = rendered.ok_or_else(|| "the chat template cannot be run".to_owned())?;
        rendered.map_err(|error| self.refusal(&error))
    }

    /// Why a template fails, without quoting a message: the words that a template raises are passed on only
    /// if they stand in its source, because they could contain a message.
    fn refusal(&self, error: &Error) -> String {
        let raised = error.source().and_then(|source| source.downcast_ref::<Raised>());
        match (raised, error.kind()) {
            (Some(Raised::ByFunction(words)), _) => format!("the chat template: {words}"),
            (Some(Raised::ByTemplate(words)), _) if self.source.contains(words.as_str()) => {
                format!("the chat template: {words}")
            }
            (Some(Raised::ByTemplate(_)), _) => "the chat template rejects its messages".to_owned(),
            (None, ErrorKind::OutOfFuel) => {
                "the chat template takes too long or too much memory; shorten the conversation".to_owned()
            }
            (None, kind) => match error.line() {
                Some(line) => format!("the chat template cannot be run: {kind} in its line {line}"),
                None => format!("the chat template cannot be run: {kind}"),
            },
        }
    }
}

/// Whether the chat template of a model's folder prints today's date.
///
/// # Errors
/// [`ExpertsError::File`]; [`ExpertsError::Content`] if the template cannot be read.
pub fn prints_date(folder: &Path) -> Result<bool, ExpertsError> {
    // Found in the text and not by running it: a template may print the date for some conversations only.
    Ok(Template::open(folder)?.source.contains(TODAY))
}

/// A message as templates see it. Its role and content come first, as in rows.
fn item(message: &ChatMessage) -> Item {
    let first = [("role", message.role.as_str()), ("content", message.content.as_str())];
    let first = first.map(|(name, text)| (name.to_owned(), Item::from(text)));
    let others = message.others.iter().map(|(name, value)| (name.clone(), Item::from(Serde(value))));
    Item::from_pairs(first.into_iter().chain(others))
}

/// The length in bytes of the start that two texts have in common. Compared by characters, so that neither
/// text is divided within one.
fn common_start(one: &str, other: &str) -> usize {
    let pairs = one.chars().zip(other.chars());
    pairs.take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}

/// One text in which each turn follows the one before; `None` if a turn is written differently once others
/// follow.
fn in_one(turns: &[Turn]) -> Option<Vec<Span>> {
    let mut text = String::new();
    let mut spans = Vec::new();
    for turn in turns {
        // The text so far is a prefix, unless the template writes it differently now.
        let given = turn.given.strip_prefix(&text)?.to_owned();
        text = format!("{}{}", turn.given, turn.learnt);
        spans.extend(alone(Turn { given, learnt: turn.learnt.clone() }));
    }
    Some(spans)
}

/// The text of one turn.
fn alone(turn: Turn) -> Vec<Span> {
    vec![Span { text: turn.given, learnt: false }, Span { text: turn.learnt, learnt: true }]
}

/// The default template of a `tokenizer_config.json`: a string, or one of a list with names.
fn in_config(config: &Value) -> Option<&str> {
    match &config["chat_template"] {
        Value::Array(named) => named.iter().find(|entry| entry["name"] == "default")?["template"].as_str(),
        other => other.as_str(),
    }
}

/// The special tokens of a `tokenizer_config.json`.
fn tokens(config: &Value) -> BTreeMap<&'static str, String> {
    TOKENS.into_iter().filter_map(|name| Some((name, token(&config[name])?.to_owned()))).collect()
}

/// A special token: a string, or an object with the string as its content.
fn token(entry: &Value) -> Option<&str> {
    entry.as_str().or(entry["content"].as_str())
}
