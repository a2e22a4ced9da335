//! Reads examples from JSON Lines: `prompt` and `completion`, `messages`, or `text`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokenizers::Tokenizer;

use crate::encoder::open_tokenizer;
use crate::error::ExpertsError;
use crate::finetune::example::{Example, Question};
use crate::notes::{NotesError, read_lines};

/// A message of a conversation.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
struct Message {
    role: String,
    content: String,
}

#[derive(Deserialize)]
struct Row {
    prompt: Option<String>,
    completion: Option<String>,
    messages: Option<Vec<Message>>,
    text: Option<String>,
}

/// Turns rows of a file into examples.
pub struct Reader {
    tokenizer: Tokenizer,
    /// Ends a completion and a text.
    end: Option<i64>,
    max_tokens: usize,
}

impl Reader {
    /// Reads `tokenizer.json` of a model's folder. Completions and texts end with the token `end`, if there is one;
    /// what is longer than `max_tokens` is cut, the prompt from its start and the rest from its end. Messages are laid
    /// out as ChatML, as SmolLM2, Qwen and many others have it; no other template is known.
    ///
    /// # Errors
    /// [`ExpertsError::File`] or [`ExpertsError::Content`].
    pub fn open(model: &Path, end: Option<i64>, max_tokens: usize) -> Result<Self, ExpertsError> {
        let tokenizer = open_tokenizer(&model.join("tokenizer.json"))?;
        Ok(Self { tokenizer, end, max_tokens })
    }

    /// The examples of a file: plain, gzip or zstd. Of a conversation, what the assistant says last is learnt.
    ///
    /// # Errors
    /// [`NotesError`], naming file and line where there is one.
    pub fn read(&self, path: &Path) -> Result<Vec<Example>, NotesError> {
        let mut examples = Vec::new();
        read_lines(path, &mut |line| {
            examples.push(self.example(line)?);
            Ok(())
        })?;
        match examples.is_empty() {
            true => Err(NotesError::Empty { path: PathBuf::from(path) }),
            false => Ok(examples),
        }
    }

    /// One row as an example.
    fn example(&self, line: &[u8]) -> Result<Example, String> {
        let row: Row = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let (prompt, completion) = match row {
            Row { prompt: Some(prompt), completion: Some(completion), .. } => (prompt, completion),
            Row { messages: Some(messages), .. } => Self::conversation(&messages)?,
            Row { text: Some(text), .. } => (String::new(), text),
            _ => {
                return Err(
                    "there is neither “prompt” with “completion”, nor “messages”, nor “text”".to_owned()
                );
            }
        };
        let given = self.tokens(&prompt, true)?;
        let mut learnt = self.tokens(&completion, prompt.is_empty())?;
        learnt.extend(self.end);
        learnt.truncate(self.max_tokens.saturating_sub(1));
        let room = self.max_tokens - learnt.len();
        let given = &given[given.len().saturating_sub(room)..];
        Ok(Example { tokens: [given, &learnt].concat(), given: given.len() })
    }

    /// A question with its options, within `max_tokens` each: a long option loses its end, and a long prompt its start,
    /// but for a quarter of the tokens that are its own.
    ///
    /// # Errors
    /// [`ExpertsError::Settings`] for a text that the tokenizer refuses.
    pub fn question(&self, prompt: &str, options: &[String]) -> Result<Question, ExpertsError> {
        let tokens = |text: &str, first| self.tokens(text, first).map_err(ExpertsError::Settings);
        let prompt = tokens(prompt, true)?;
        let kept = prompt.len().min(self.max_tokens / 4);
        let option = |option: &String| {
            let mut own = tokens(option, false)?;
            own.truncate(self.max_tokens - kept);
            Ok(own)
        };
        let options: Vec<Vec<i64>> = options.iter().map(option).collect::<Result<_, ExpertsError>>()?;
        let room = self.max_tokens - options.iter().map(Vec::len).max().unwrap_or(0);
        Ok(Question { prompt: prompt[prompt.len().saturating_sub(room)..].to_vec(), options })
    }

    /// All but the assistant's last message, and that message.
    fn conversation(messages: &[Message]) -> Result<(String, String), String> {
        let Some((last, before)) = messages.split_last().filter(|(last, _)| last.role == "assistant") else {
            return Err("the last of “messages” must be the assistant's".to_owned());
        };
        let message =
            |message: &Message| format!("<|im_start|>{}\n{}<|im_end|>\n", message.role, message.content);
        let prompt: String = before.iter().map(message).collect();
        Ok((format!("{prompt}<|im_start|>assistant\n"), format!("{}<|im_end|>", last.content)))
    }

    fn tokens(&self, text: &str, first: bool) -> Result<Vec<i64>, String> {
        let encoding = self.tokenizer.encode(text, first).map_err(|error| error.to_string())?;
        Ok(encoding.get_ids().iter().map(|&id| i64::from(id)).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const TOKENIZER: &str = r#"{
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "unk_token": "?", "vocab": {"?": 0, "a": 1, "b": 2, "c": 3,
            "<|im_start|>user": 4, "<|im_start|>assistant": 5, "c<|im_end|>": 6}}
    }"#;

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("cloister-reading-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder can be made");
        fs::write(folder.join("tokenizer.json"), TOKENIZER).expect("the folder can be written");
        folder
    }

    fn read(name: &str, lines: &str, max_tokens: usize) -> Result<Vec<Example>, String> {
        let folder = scratch(name);
        let path = folder.join("examples.jsonl");
        fs::write(&path, lines).expect("the folder can be written");
        let reader = Reader::open(&folder, Some(9), max_tokens).expect("a sound tokenizer");
        let examples = reader.read(&path).map_err(|error| error.to_string());
        fs::remove_dir_all(folder).expect("it was made above");
        examples
    }

    #[test]
    fn prompts_conversations_and_texts_become_examples() {
        let lines = r#"{"prompt": "a b", "completion": "c"}
{"messages": [{"role": "user", "content": "b c"}, {"role": "assistant", "content": "c"}]}
{"text": "a b c"}"#;
        let examples = read("kinds", lines, 16).expect("sound rows");
        let example = |tokens: &[i64], given| Example { tokens: tokens.to_vec(), given };
        assert_eq!(examples[0], example(&[1, 2, 3, 9], 2));
        assert_eq!(examples[1], example(&[4, 2, 6, 5, 6, 9], 4));
        assert_eq!(examples[2], example(&[1, 2, 3, 9], 0));
    }

    #[test]
    fn long_prompts_lose_their_start_and_long_completions_their_end() {
        let lines = r#"{"prompt": "a b c a b", "completion": "c"}
{"prompt": "a b", "completion": "a b c a b c"}"#;
        let examples = read("long", lines, 4).expect("sound rows");
        assert_eq!(examples[0], Example { tokens: vec![1, 2, 3, 9], given: 2 });
        assert_eq!(examples[1], Example { tokens: vec![2, 1, 2, 3], given: 1 });
    }

    #[test]
    fn long_options_leave_a_quarter_to_the_prompt() {
        let folder = scratch("question");
        let reader = Reader::open(&folder, None, 8).expect("a sound tokenizer");
        let options = ["a b c".to_owned(), "a b c a b c a b c".to_owned()];
        let question = reader.question("c b a", &options).expect("plain text");
        assert_eq!(
            (question.prompt, question.options[0].len(), question.options[1].len()),
            (vec![2, 1], 3, 6)
        );
        fs::remove_dir_all(folder).expect("it was made above");
    }

    #[test]
    fn bad_rows_are_named_with_file_and_line() {
        let error =
            read("bad", "{\"text\": \"a\"}\n{\"prompt\": \"a\"}", 8).expect_err("a row lacks a completion");
        assert!(
            error.contains("examples.jsonl, line 2: there is neither “prompt” with “completion”"),
            "{error}"
        );
        let last = r#"{"messages": [{"role": "user", "content": "a"}]}"#;
        let error = read("last", last, 8).expect_err("nobody answers");
        assert!(error.contains("line 1: the last of “messages” must be the assistant's"), "{error}");
        assert!(read("none", "", 8).expect_err("no rows").contains("at least one is needed"));
    }
}
