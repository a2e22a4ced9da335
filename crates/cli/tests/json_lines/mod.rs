//! What a process prints as lines of JSON.

use std::io::{BufRead, BufReader, Lines, Read};

use serde_json::Value;

/// The lines from the next one on. Each of them must be JSON.
pub(crate) struct JsonLines<R>(Lines<BufReader<R>>);

impl<R: Read> JsonLines<R> {
    pub(crate) fn new(output: R) -> Self {
        Self(BufReader::new(output).lines())
    }
}

impl<R: Read> Iterator for JsonLines<R> {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        let line = self.0.next()?.unwrap();
        Some(serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}")))
    }
}
