//! Reads examples, row by row: `prompt` and `completion`, `messages`, `question` with `choices`, or `text`; or texts with
//! their classes ([`Reader::with_classes`]).

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
use crate::files::quiet::quietly;
use crate::files::rows::{NotesError, NotesFile, ReadSoFar, Row, Rows};
use crate::texts::{Long, open_tokenizer};

/// The columns of all kinds of rows.
const COLUMNS: &[&str] = &[
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
/// What a row that a language model learns from must have.
const NEEDED: &str = "a row has “prompt” with “completion”, or “messages”, or “question” with “choices” and “answer”, or “text”";

/// Turns rows of a file into examples.
pub struct Reader {
    tokenizer: Tokenizer,
    template: Template,
    /// Ends a completion and a text.
    end: Option<i64>,
    max_tokens: usize,
    long: Long,
    /// What each row's text is sorted into; none where rows are what a language model learns from.
    classes: Vec<String>,
    /// What the model takes, where rows are read for a model.
    limits: Option<Limits>,
}

/// A text as tokens, with what is to be learnt.
struct Sequence {
    tokens: Vec<i64>,
    learnt: Vec<bool>,
}

impl Reader {
    /// Reads `tokenizer.json` of a model's folder, and its chat template: `chat_template.jinja`, or that of
    /// `tokenizer_config.json`; where there is neither, messages are laid out as ChatML. Completions and texts end with
    /// the token `end`, if there is one; `long` says what becomes of what is longer than `max_tokens`.
    ///
    /// # Errors
    /// [`ExpertsError::File`], [`ExpertsError::Content`], or [`ExpertsError::Settings`] for windows that share nothing
    /// or everything.
    pub fn open(model: &Path, end: Option<i64>, max_tokens: usize, long: Long) -> Result<Self, ExpertsError> {
        if let Long::Split { overlap, .. } = long
            && !(1..max_tokens).contains(&overlap)
        {
            let reason =
                format!("windows of {max_tokens} tokens must share from 1 to {} of them", max_tokens - 1);
            return Err(ExpertsError::Settings(reason));
        }
        let tokenizer = open_tokenizer(&model.join("tokenizer.json"))?;
        let template = Template::open(model)?;
        Ok(Self { tokenizer, template, end, max_tokens, long, classes: vec![], limits: None })
    }

    /// Chat templates that print today's date print this one. Without it such a template is refused.
    pub fn with_date(self, date: Option<Date>) -> Self {
        Self { template: self.template.with_today(date), ..self }
    }

    /// Refuses each row that this model cannot learn from or be measured on, such as one with a token beyond its vocabulary.
    pub fn for_model(self, config: &AnyConfig) -> Self {
        Self { limits: Some(config.limits(0)), ..self }
    }

    /// The examples of a file: JSON Lines, CSV or TSV (plain, gzip, zstd), or Parquet. Of a conversation, what the assistant says is
    /// learnt; of a question with `choices`, the one whose number, from 0, is the `answer`.
    ///
    /// # Errors
    /// [`ExpertsError::Notes`], naming file and row where there is one.
    pub fn read(&self, file: impl Into<NotesFile>) -> Result<Vec<Example>, ExpertsError> {
        let mut examples = Vec::new();
        self.each(file, &mut |of_row, _| {
            examples.extend(of_row);
            Ok(())
        })?;
        Ok(examples)
    }

    /// Hands over the examples of one row after the other, with how much of the file is read; only one row's are in
    /// memory. The file has at least one row when this returns.
    ///
    /// # Errors
    /// As [`read`](Self::read), and what `take` returns.
    pub fn each(
        &self,
        file: impl Into<NotesFile>,
        take: &mut dyn FnMut(Vec<Example>, ReadSoFar) -> Result<(), ExpertsError>,
    ) -> Result<(), ExpertsError> {
        let mut rows = Rows::open(file, COLUMNS).map_err(ExpertsError::Notes)?;
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

    /// The questions of a file, each with the number of its right choice, from 0. Rows have `question`, `choices` and
    /// `answer`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn questions(&self, file: impl Into<NotesFile>) -> Result<Vec<(Question, usize)>, ExpertsError> {
        let mut rows = Rows::open(file, COLUMNS).map_err(ExpertsError::Notes)?;
        let questions =
            std::iter::from_fn(|| rows.next(|row| self.asked(row))).collect::<Result<Vec<_>, _>>();
        let questions = questions.map_err(ExpertsError::Notes)?;
        match questions.is_empty() {
            true => Err(ExpertsError::Notes(NotesError::Empty { path: rows.path().to_owned() })),
            false => Ok(questions),
        }
    }

    fn asked(&self, row: &Row) -> Result<(Question, usize), String> {
        let Some(Choice { question, choices, answer }) = Choice::in_row(row)? else {
            return Err("there is no “question” with “choices” and “answer”".to_owned());
        };
        let options: Vec<String> = choices.iter().map(|choice| option(choice)).collect();
        Ok((self.question(question, &options)?, answer))
    }

    /// A question with its options, within `max_tokens` each: a long option loses its end, and a long prompt its start,
    /// but for a quarter of the tokens that are its own.
    ///
    /// # Errors
    /// What is wrong with it, where the tokenizer refuses it or the model cannot be measured on it.
    pub fn question(&self, prompt: &str, options: &[String]) -> Result<Question, String> {
        let prompt = self.tokens(prompt, true)?;
        let kept = prompt.len().min(self.max_tokens / 4);
        let option = |option: &String| {
            let mut tokens = self.tokens(option, false)?;
            tokens.truncate(self.max_tokens - kept);
            Ok(tokens)
        };
        let options: Vec<Vec<i64>> = options.iter().map(option).collect::<Result<_, String>>()?;
        let room = self.max_tokens - options.iter().map(Vec::len).max().unwrap_or(0);
        let question = Question { prompt: prompt[prompt.len().saturating_sub(room)..].to_vec(), options };
        question.examples().try_for_each(|example| self.check(&example))?;
        Ok(question)
    }

    fn check(&self, example: &Example) -> Result<(), String> {
        let limits = self.limits.map(|limits| Limits { classes: self.classes.len(), ..limits });
        limits.map_or(Ok(()), |limits| example.check(&limits))
    }

    /// One row as examples of one record.
    fn examples(&self, row: &Row) -> Result<Vec<Example>, String> {
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

    fn windows(&self, sequence: Sequence) -> Vec<Example> {
        match self.long {
            Long::Split { overlap, most } => {
                let mut windows = sequence.windows(self.max_tokens, overlap);
                let cut = windows.len() > most;
                windows.truncate(most);
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

    /// What a language model learns from a row: one text, or several of a conversation. Fields of the first kind of row that
    /// is whole count, and no others.
    fn sequences(&self, row: &Row) -> Result<Vec<Sequence>, String> {
        let fields = |reason| format!("{reason}; {NEEDED}");
        if row.has("prompt") && row.has("completion") {
            let prompt = row.text("prompt").map_err(fields)?.unwrap_or_default();
            return self.answered(
                prompt,
                row.text("completion").map_err(fields)?.unwrap_or_default(),
                "completion",
            );
        }
        if let Some(messages) = messages::messages(row).map_err(fields)? {
            return self.conversation(&messages);
        }
        if let Some(choice) = Choice::in_row(row).map_err(fields)? {
            return self.answered(choice.question, &option(choice.right()), "choices");
        }
        match row.text("text").map_err(fields)? {
            Some(text) => self.answered("", text, "text"),
            None => Err("there is neither “prompt” with “completion”, nor “messages”, nor “question” with “choices” and \
                         “answer”, nor “text”"
                .to_owned()),
        }
    }

    /// A prompt, which is given, and what is learnt after it, which is the field of this name: one text.
    fn answered(&self, prompt: &str, completion: &str, name: &str) -> Result<Vec<Sequence>, String> {
        if completion.is_empty() {
            return Err(format!("“{name}” is empty, so there is nothing to learn"));
        }
        let mut tokens = if prompt.is_empty() { vec![] } else { self.tokens(prompt, true)? };
        let given = tokens.len();
        tokens.extend(self.tokens(completion, prompt.is_empty())?);
        tokens.extend(self.end);
        let learnt = (0..tokens.len()).map(|place| place >= given).collect();
        Ok(vec![Sequence { tokens, learnt }])
    }

    fn conversation(&self, messages: &[ChatMessage]) -> Result<Vec<Sequence>, String> {
        self.template.texts(messages)?.iter().map(|text| self.laid_out(text)).collect()
    }

    /// A text as the template lays it out, tokenised as one. A token is learnt where it begins in what the assistant says.
    fn laid_out(&self, spans: &[Span]) -> Result<Sequence, String> {
        let mut ends = Vec::with_capacity(spans.len());
        let mut text = String::new();
        for span in spans {
            text += &span.text;
            ends.push((text.len(), span.learnt));
        }
        let encoding = self.encoded(&text, false)?;
        let is_learnt = |&(start, _): &(usize, usize)| {
            ends.iter().find(|(end, _)| start < *end).is_some_and(|(_, learnt)| *learnt)
        };
        Ok(Sequence {
            tokens: encoding.get_ids().iter().map(|&id| i64::from(id)).collect(),
            learnt: encoding.get_offsets().iter().map(is_learnt).collect(),
        })
    }

    fn tokens(&self, text: &str, first: bool) -> Result<Vec<i64>, String> {
        Ok(self.encoded(text, first)?.get_ids().iter().map(|&id| i64::from(id)).collect())
    }

    /// What the tokenizer makes of a text. Its own words, where it refuses, may quote the text.
    fn encoded(&self, text: &str, first: bool) -> Result<Encoding, String> {
        let encoding = quietly(|| self.tokenizer.encode(text, first));
        encoding.and_then(Result::ok).ok_or_else(|| "the tokenizer refuses its text".to_owned())
    }
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

/// A choice as it follows the question.
fn option(choice: &str) -> String {
    format!(" {choice}")
}

impl Sequence {
    /// At most so many tokens: what comes before the first that is learnt loses its start, the rest its end.
    fn cut(self, most: usize) -> Example {
        let first = self.learnt.iter().position(|&learnt| learnt).unwrap_or(self.tokens.len());
        let end = self.tokens.len().min(first + most.saturating_sub(1));
        let start = first.saturating_sub(most - (end - first));
        self.part(start, end, start)
    }

    /// Windows of so many tokens, each sharing some with the one before; those without anything to learn are left out.
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

    /// The tokens from `start` to `end`, nothing before `new` being learnt.
    fn part(&self, start: usize, end: usize, new: usize) -> Example {
        let given = |place: usize| place < new || !self.learnt[place];
        let first = (start..end).find(|&place| !given(place)).unwrap_or(end);
        let mut skipped: Vec<std::ops::Range<usize>> = Vec::new();
        for place in (first..end).filter(|&place| given(place)).map(|place| place - start) {
            match skipped.last_mut() {
                Some(range) if range.end == place => range.end += 1,
                _ => skipped.push(place..place + 1),
            }
        }
        Example { skipped, ..Example::new(self.tokens[start..end].to_vec(), first - start) }
    }
}
