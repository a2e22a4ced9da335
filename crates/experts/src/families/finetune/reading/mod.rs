//! Reads examples row by row. A row has `prompt` and `completion`, `messages`, `question` with `choices`, or
//! `text`; or a text with its class ([`Reader::with_classes`]).

mod labelled;
mod messages;
mod survey;
#[cfg(test)]
mod tests;

use std::path::Path;

use cloister_params::limits::Date;
use tokenizers::{Encoding, Tokenizer};

use super::template::{ChatMessage, Span, Template};
use crate::error::ExpertsError;
use crate::families::AnyConfig;
use crate::families::config::limits::Limits;
use crate::families::finetune::example::{Example, Question};
use crate::files::hidden_panics::hide_panics;
use crate::files::rows::{NotesError, NotesFile, ReadSoFar, Row, Rows};
use crate::texts::{Long, open_tokenizer};

/// The columns of all kinds of rows.
pub(crate) const EXAMPLE_COLUMNS: &[&str] = &[
    "prompt",
    "completion",
    "messages",
    "question",
    "choices",
    "answer",
    "text",
    "title",
    "description",
    "label_name",
    "label",
    "subject",
];
/// The fields that a row must have for a language model, as a part of messages.
const NEEDED: &str = "a row has “prompt” with “completion”, or “messages”, or “question” with “choices” \
                      and “answer”, or “text”";

/// Turns rows of a file into examples.
pub struct Reader {
    tokenizer: Tokenizer,
    template: Template,
    /// The token that is added at the end of a completion or a text, if any.
    end: Option<i64>,
    /// Most tokens of an example.
    max_tokens: usize,
    /// What happens to longer texts.
    long: Long,
    /// The names of the classes; empty if rows are for a language model.
    classes: Vec<String>,
    /// The limits of the model's inputs, if rows are read for a model.
    limits: Option<Limits>,
}

/// A text as tokens.
struct Sequence {
    tokens: Vec<i64>,
    /// For each token, whether it is learnt.
    learnt: Vec<bool>,
}

impl Reader {
    /// Reads `tokenizer.json` of a model's folder, and its chat template: `chat_template.jinja`, or that of
    /// `tokenizer_config.json`. If there is neither, messages are written as ChatML. Completions and texts
    /// end with the token `end`, if there is one. `long` says what happens to texts of more than `max_tokens`
    /// tokens.
    ///
    /// # Errors
    /// [`ExpertsError::File`], [`ExpertsError::Content`], or [`ExpertsError::Settings`] for windows that
    /// share no tokens or all.
    pub fn open(model: &Path, end: Option<i64>, max_tokens: usize, long: Long) -> Result<Self, ExpertsError> {
        if let Long::Split { overlap, .. } = long
            && !(1..max_tokens).contains(&overlap)
        {
            let reason = format!(
                "windows of {max_tokens} tokens must share from 1 to {} of them, not {overlap}",
                max_tokens - 1
            );
            return Err(ExpertsError::Settings(reason));
        }
        let tokenizer = open_tokenizer(&model.join("tokenizer.json"))?;
        let template = Template::open(model)?;
        Ok(Self { tokenizer, template, end, max_tokens, long, classes: vec![], limits: None })
    }

    /// Sets the date that chat templates print as today's. Without a date such a template fails.
    pub fn with_date(self, date: Option<Date>) -> Self {
        Self { template: self.template.with_today(date), ..self }
    }

    /// From now on rejects each row from which this model cannot learn or on which it cannot be measured,
    /// such as a row with a token beyond its vocabulary.
    pub fn for_model(self, config: &AnyConfig) -> Self {
        // Classes may be set later, so `check` fills in their number.
        Self { limits: Some(config.limits(0)), ..self }
    }

    /// The examples of a file: JSON Lines, CSV or TSV (plain, gzip, zstd), or Parquet. In a conversation, the
    /// assistant's messages are learnt; in a question with `choices`, the choice whose number, counted from
    /// 0, is the `answer`.
    ///
    /// # Errors
    /// [`ExpertsError::Notes`], which names the file and, if it is about a row, the row.
    pub fn read(&self, file: impl Into<NotesFile>) -> Result<Vec<Example>, ExpertsError> {
        let mut examples = Vec::new();
        self.each(file, &mut |row_examples, _| {
            examples.extend(row_examples);
            Ok(())
        })?;
        Ok(examples)
    }

    /// Passes the examples of each row to `take`, one row after another, with how much of the file is read.
    /// Only one row's examples are in memory. An empty file is an error.
    ///
    /// # Errors
    /// As [`read`](Self::read), and what `take` returns.
    pub fn each(
        &self,
        file: impl Into<NotesFile>,
        take: &mut dyn FnMut(Vec<Example>, ReadSoFar) -> Result<(), ExpertsError>,
    ) -> Result<(), ExpertsError> {
        let mut rows = Rows::open(file, EXAMPLE_COLUMNS).map_err(ExpertsError::Notes)?;
        let mut is_empty = true;
        while let Some(examples) = rows.next(|row| self.examples(row)) {
            let mut examples = examples.map_err(ExpertsError::Notes)?;
            examples.iter_mut().for_each(|example| example.record = Some(rows.record()));
            take(examples, rows.so_far())?;
            is_empty = false;
        }
        match is_empty {
            true => Err(ExpertsError::Notes(NotesError::Empty { path: rows.path().to_owned() })),
            false => Ok(()),
        }
    }

    /// The questions of a file, each with the number of its right choice, counted from 0. Rows have
    /// `question`, `choices` and `answer`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn questions(&self, file: impl Into<NotesFile>) -> Result<Vec<(Question, usize)>, ExpertsError> {
        let mut rows = Rows::open(file, EXAMPLE_COLUMNS).map_err(ExpertsError::Notes)?;
        let mut questions = Vec::new();
        while let Some(question) = rows.next(|row| self.asked(row)) {
            questions.push(question.map_err(ExpertsError::Notes)?);
        }
        match questions.is_empty() {
            true => Err(ExpertsError::Notes(NotesError::Empty { path: rows.path().to_owned() })),
            false => Ok(questions),
        }
    }

    /// The question of a row, and the number of its right choice.
    fn asked(&self, row: &Row) -> Result<(Question, usize), String> {
        let Some(Choice { question, choices, answer }) = Choice::in_row(row)? else {
            return Err("there is no “question” with “choices” and “answer”".to_owned());
        };
        let options: Vec<String> = choices.iter().map(|choice| option(choice)).collect();
        Ok((self.question(question, &options)?, answer))
    }

    /// A question with its options. The prompt with any of the options has at most `max_tokens` tokens: a
    /// long option loses its end and a long prompt its start, but a quarter of `max_tokens` is reserved for
    /// the prompt.
    ///
    /// # Errors
    /// The reason, if the tokenizer fails or the model cannot be measured on the question.
    pub fn question(&self, prompt: &str, options: &[String]) -> Result<Question, String> {
        let prompt = self.tokens(prompt, true)?;
        let reserved = prompt.len().min(self.max_tokens / 4);
        let mut option_tokens = Vec::with_capacity(options.len());
        for option in options {
            let mut tokens = self.tokens(option, false)?;
            tokens.truncate(self.max_tokens - reserved);
            option_tokens.push(tokens);
        }
        // All options get the same prompt, so that only the options make a difference.
        let room = self.max_tokens - option_tokens.iter().map(Vec::len).max().unwrap_or(0);
        let prompt = prompt[prompt.len().saturating_sub(room)..].to_vec();
        let question = Question { prompt, options: option_tokens };
        question.examples().try_for_each(|example| self.check(&example))?;
        Ok(question)
    }

    /// Checks an example against the model's limits, if rows are read for a model.
    fn check(&self, example: &Example) -> Result<(), String> {
        let limits = self.limits.map(|limits| Limits { classes: self.classes.len(), ..limits });
        limits.map_or(Ok(()), |limits| example.check(&limits))
    }

    /// The examples of one row, at least one. They belong to one record.
    ///
    /// # Errors
    /// Why the row cannot be learnt, without its text.
    pub(crate) fn examples(&self, row: &Row) -> Result<Vec<Example>, String> {
        let examples: Vec<Example> = match self.classes.is_empty() {
            true => self.sequences(row)?.into_iter().flat_map(|sequence| self.windows(sequence)).collect(),
            false => vec![self.labelled(row)?],
        };
        examples.iter().try_for_each(|example| self.check(example))?;
        match examples.is_empty() {
            true => Err("there is nothing to learn".to_owned()),
            false => Ok(examples),
        }
    }

    /// The examples of one text: one if it is short enough or cut, several if it is split.
    fn windows(&self, sequence: Sequence) -> Vec<Example> {
        match self.long {
            Long::Split { overlap, most } => {
                let mut windows = sequence.windows(self.max_tokens, overlap);
                let cut = windows.len() > most;
                windows.truncate(most);
                // Only one window is marked, so that a truncated row counts once.
                if let Some(last) = windows.last_mut() {
                    last.cut = cut;
                }
                windows
            }
            Long::Cut => {
                let cut = sequence.tokens.len() > self.max_tokens;
                vec![Example { cut, ..sequence.cut(self.max_tokens) }]
            }
        }
    }

    /// The texts of a row for a language model: one, or several for a conversation. The first kind of row of
    /// which all fields are present counts; other fields are ignored.
    fn sequences(&self, row: &Row) -> Result<Vec<Sequence>, String> {
        if row.has("prompt") && row.has("completion") {
            let prompt = row.text("prompt").map_err(with_needed)?.unwrap_or_default();
            let completion = row.text("completion").map_err(with_needed)?.unwrap_or_default();
            return self.answered(prompt, completion, "completion");
        }
        if let Some(messages) = messages::messages(row).map_err(with_needed)? {
            return self.conversation(&messages);
        }
        if let Some(choice) = Choice::in_row(row).map_err(with_needed)? {
            return self.answered(choice.question, &option(choice.right()), "choices");
        }
        match row.text("text").map_err(with_needed)? {
            Some(text) => self.answered("", text, "text"),
            None => Err("there is neither “prompt” with “completion”, nor “messages”, nor “question” with “choices” and \
                         “answer”, nor “text”"
                .to_owned()),
        }
    }

    /// One text: a prompt, which is given, and a completion, which is learnt. `name` is the completion's
    /// field, for errors.
    fn answered(&self, prompt: &str, completion: &str, name: &str) -> Result<Vec<Sequence>, String> {
        if completion.is_empty() {
            return Err(format!("“{name}” is empty, so there is nothing to learn"));
        }
        // Tokenised apart, so that no token is partly given and partly learnt.
        let mut tokens = if prompt.is_empty() { vec![] } else { self.tokens(prompt, true)? };
        let given = tokens.len();
        tokens.extend(self.tokens(completion, prompt.is_empty())?);
        tokens.extend(self.end);
        let learnt = (0..tokens.len()).map(|place| place >= given).collect();
        Ok(vec![Sequence { tokens, learnt }])
    }

    /// The texts of a conversation, as the chat template writes them.
    fn conversation(&self, messages: &[ChatMessage]) -> Result<Vec<Sequence>, String> {
        self.template.texts(messages)?.iter().map(|text| self.laid_out(text)).collect()
    }

    /// A text as the template writes it, tokenised as a whole. A token is learnt if its first character is
    /// the assistant's.
    fn laid_out(&self, spans: &[Span]) -> Result<Sequence, String> {
        let mut ends = Vec::with_capacity(spans.len());
        let mut text = String::new();
        for span in spans {
            text += &span.text;
            ends.push((text.len(), span.learnt));
        }
        // Without special tokens of the tokenizer: the template writes those that the model expects.
        let encoding = self.encoded(&text, false)?;
        let mut learnt = Vec::with_capacity(encoding.len());
        // Offsets count bytes, as `ends` does.
        for &(start, _) in encoding.get_offsets() {
            let span = ends.iter().find(|(end, _)| start < *end);
            learnt.push(span.is_some_and(|(_, learnt)| *learnt));
        }
        Ok(Sequence { tokens: encoding.get_ids().iter().map(|&id| i64::from(id)).collect(), learnt })
    }

    /// The tokens of a text. If it comes `first` in its example, the tokenizer adds its special tokens.
    fn tokens(&self, text: &str, first: bool) -> Result<Vec<i64>, String> {
        Ok(self.encoded(text, first)?.get_ids().iter().map(|&id| i64::from(id)).collect())
    }

    /// Tokenises a text. The tokenizer's error is not passed on, because it may quote the text.
    fn encoded(&self, text: &str, first: bool) -> Result<Encoding, String> {
        let encoding = hide_panics(|| self.tokenizer.encode(text, first));
        encoding.and_then(Result::ok).ok_or_else(|| "the tokenizer cannot read its text".to_owned())
    }
}

/// An error about a field, with what a row must have.
fn with_needed(reason: String) -> String {
    format!("{reason}; {NEEDED}")
}

/// A row's question with its choices.
struct Choice<'a> {
    question: &'a str,
    choices: Vec<&'a str>,
    answer: usize,
}

impl<'a> Choice<'a> {
    /// The question of a row that has all three fields.
    fn in_row(row: &'a Row) -> Result<Option<Self>, String> {
        if !["question", "choices", "answer"].into_iter().all(|name| row.has(name)) {
            return Ok(None);
        }
        let (question, choices) = (row.text("question")?, row.texts("choices")?);
        let (Some(question), Some(choices), Some(answer)) = (question, choices, row.number("answer")?) else {
            return Ok(None);
        };
        if choices.len() < 2 {
            return Err(format!("“choices” has {} entries; a question needs at least two", choices.len()));
        }
        if let Some(empty) = choices.iter().position(|choice| choice.trim().is_empty()) {
            return Err(format!("entry {} of “choices” is empty", empty + 1));
        }
        match answer < choices.len() {
            true => Ok(Some(Self { question, choices, answer })),
            false => Err(format!("“answer” must be from 0 to {}, the number of a choice", choices.len() - 1)),
        }
    }

    fn right(&self) -> &'a str {
        self.choices[self.answer]
    }
}

/// A choice as it follows the question: after a space, which belongs to the first token of a word in most
/// vocabularies.
fn option(choice: &str) -> String {
    format!(" {choice}")
}

impl Sequence {
    /// At most `most` tokens as one example. What comes before the first learnt token loses its start, and
    /// the rest its end.
    fn cut(self, most: usize) -> Example {
        let first = self.learnt.iter().position(|&learnt| learnt).unwrap_or(self.tokens.len());
        // At least one token before the first learnt one remains, because it predicts that one.
        let end = self.tokens.len().min(first + most.saturating_sub(1));
        let start = first.saturating_sub(most - (end - first));
        self.part(start, end, start)
    }

    /// Windows of at most `most` tokens, each of which shares `overlap` tokens with the one before, so that
    /// the first new token is not predicted without context. Shared tokens are learnt in the first of both
    /// windows only. Windows in which nothing is learnt are left out.
    fn windows(self, most: usize, overlap: usize) -> Vec<Example> {
        let all = self.tokens.len();
        let mut windows = Vec::new();
        let mut start = 0;
        loop {
            let end = all.min(start + most);
            let new = if start == 0 { 0 } else { start + overlap };
            windows.push(self.part(start, end, new));
            if end == all {
                break;
            }
            start += most - overlap;
        }
        windows.retain(|window| window.learnt() > 0);
        windows
    }

    /// The tokens from `start` to `end` as an example in which nothing before `new` is learnt.
    fn part(&self, start: usize, end: usize, new: usize) -> Example {
        let is_learnt = |place: usize| place >= new && self.learnt[place];
        let first = (start..end).find(|&place| is_learnt(place)).unwrap_or(end);
        let mut skipped: Vec<std::ops::Range<usize>> = Vec::new();
        for place in (first..end).filter(|&place| !is_learnt(place)).map(|place| place - start) {
            match skipped.last_mut() {
                Some(range) if range.end == place => range.end += 1,
                _ => skipped.push(place..place + 1),
            }
        }
        Example { skipped, ..Example::new(self.tokens[start..end].to_vec(), first - start) }
    }
}
