//! Files that only grow, of one record a line, in which damage is told from a write that a crash cut off.
//!
//! Each line is `digest text`, with `digest = SHA-256(len(tag):u8 ‖ tag ‖ digest before ‖ text)` in hexadecimal
//! digits, and 32 zero bytes before the first line. So no line can be changed, removed or inserted unnoticed but by
//! writing all later ones anew.
//!
//! What follows the last line break was cut off while it was written, before anybody relied on it, if it is the
//! beginning of a line, or nothing but zeros: a crash may leave a file longer than its bytes. Everything else is
//! damage, or another program's file, and is rejected. A file that damage has shortened within its last line cannot
//! be told from one that a crash cut off.

use sha2::{Digest as _, Sha256};

/// The length of a digest in hexadecimal digits.
const DIGEST_DIGITS: usize = 64;

/// The rule by which the lines of one kind of file are chained.
#[derive(Clone, Copy, Debug)]
pub struct LineChain {
    /// Separates the digests of this kind of file from all others of the project.
    tag: &'static str,
}

/// What a file of chained lines holds.
#[derive(PartialEq, Eq, Debug)]
pub struct ChainedLines<'a> {
    /// The digest and the text of each whole line, oldest first.
    pub lines: Vec<([u8; 32], &'a str)>,
    /// How many bytes they take. What follows was cut off while it was written.
    pub length: usize,
}

/// A line that a crash cannot have left as it is.
#[derive(PartialEq, Eq, Debug)]
pub struct BrokenLine {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it. It holds none of the line's text.
    pub why: String,
}

impl LineChain {
    /// The chain of files with this tag, which has at most 255 bytes.
    pub const fn new(tag: &'static str) -> Self {
        Self { tag }
    }

    /// The digest of a line with this text after a line with the digest `previous`; 32 zero bytes before the
    /// first line.
    pub fn digest(self, previous: &[u8; 32], text: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        // The tag's length ends it.
        hash.update([self.tag.len() as u8]);
        hash.update(self.tag);
        hash.update(previous);
        hash.update(text);
        hash.finalize().into()
    }

    /// A whole line, its line break included.
    pub fn line(self, previous: &[u8; 32], text: &str) -> String {
        format!("{} {text}\n", hex::encode(self.digest(previous, text)))
    }

    /// Reads and verifies a file. `first` is the text of the line with which such a file begins, if it is known: a
    /// file without a whole line must then be the beginning of this line.
    ///
    /// # Errors
    /// The first line that is neither whole nor cut off by a crash.
    pub fn read<'a>(self, first: Option<&str>, bytes: &'a [u8]) -> Result<ChainedLines<'a>, BrokenLine> {
        let length = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let (whole, tail) = bytes.split_at(length);
        let (mut lines, mut head) = (Vec::new(), [0; 32]);
        for line in whole.split_inclusive(|byte| *byte == b'\n') {
            let (digest, text) = self
                .whole_line(&head, &line[..line.len() - 1])
                .map_err(|why| BrokenLine { line: lines.len() + 1, why })?;
            lines.push((digest, text));
            head = digest;
        }
        let first = first.filter(|_| lines.is_empty());
        self.check_tail(&head, tail, first).map_err(|why| BrokenLine { line: lines.len() + 1, why })?;
        Ok(ChainedLines { lines, length })
    }

    /// A line without its line break.
    fn whole_line<'a>(self, previous: &[u8; 32], line: &'a [u8]) -> Result<([u8; 32], &'a str), String> {
        let line = std::str::from_utf8(line).map_err(|_| "it is not text")?;
        let (digest, text) =
            line.split_once(' ').ok_or("it is not an entry: a digest and a text were expected")?;
        let expected = self.digest(previous, text);
        if digest != hex::encode(expected) {
            let expected = hex::encode(expected);
            return Err(format!(
                "its digest is not {expected}, which its content and the lines before it make"
            ));
        }
        Ok((expected, text))
    }

    /// Checks that what follows the last whole line is a line that was cut off.
    fn check_tail(self, previous: &[u8; 32], tail: &[u8], first: Option<&str>) -> Result<(), String> {
        // With its line break changed, a whole line would be dropped as if it were cut off.
        if tail.split_last().is_some_and(|(_, line)| self.whole_line(previous, line).is_ok()) {
            return Err("its line break was changed".to_owned());
        }
        let written = tail.iter().rposition(|byte| *byte != 0).map_or(0, |end| end + 1);
        let written = &tail[..written];
        let begins = match first {
            Some(first) => self.line(previous, first).as_bytes().starts_with(written),
            None => {
                let (digest, rest) = written.split_at(written.len().min(DIGEST_DIGITS));
                let digits = digest.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                digits && rest.first().is_none_or(|byte| *byte == b' ')
            }
        };
        if begins { Ok(()) } else { Err("it is not the beginning of a line of such a file".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: LineChain = LineChain::new("cloister/v1/test");
    const TEXTS: [&str; 4] = ["begun", "one", "a longer text", "last"];

    fn file() -> String {
        let (mut file, mut head) = (String::new(), [0; 32]);
        for text in TEXTS {
            file += &CHAIN.line(&head, text);
            head = CHAIN.digest(&head, text);
        }
        file
    }

    fn texts<'a>(read: &ChainedLines<'a>) -> Vec<&'a str> {
        read.lines.iter().map(|(_, text)| *text).collect()
    }

    fn read(bytes: &[u8]) -> Result<ChainedLines<'_>, BrokenLine> {
        CHAIN.read(Some(TEXTS[0]), bytes)
    }

    /// PRIV-06, ROUND-04
    #[test]
    fn a_file_that_was_cut_anywhere_has_its_whole_lines() {
        let file = file();
        for length in 0..=file.len() {
            let whole = file[..length].matches('\n').count();
            let cut = read(&file.as_bytes()[..length]).expect("cut off by a crash");
            assert_eq!(texts(&cut), TEXTS[..whole], "{length}");
            assert_eq!(cut.length, file[..length].rfind('\n').map_or(0, |end| end + 1));
            // A file may have its new length without its bytes.
            let zeros = [&file.as_bytes()[..length], &[0; 40]].concat();
            assert_eq!(
                texts(&read(&zeros).expect("cut off by a crash")),
                TEXTS[..whole],
                "{length} and zeros"
            );
        }
    }

    /// PRIV-06, ROUND-04
    #[test]
    fn a_file_with_any_byte_changed_is_rejected() {
        let file = file();
        for place in 0..file.len() {
            for change in [0x01, 0x0a, 0x20, 0x80, 0xff] {
                let mut bytes = file.clone().into_bytes();
                bytes[place] ^= change;
                let broken = read(&bytes).expect_err("damage");
                assert_eq!(broken.line, file[..place].matches('\n').count() + 1, "{place} by {change}");
            }
        }
        assert_eq!(texts(&read(file.as_bytes()).expect("control")), TEXTS);
    }

    #[test]
    fn another_program_s_file_without_a_line_break_is_rejected() {
        for other in ["note,label", "abc", "0000", &"0".repeat(64)] {
            assert_eq!(read(other.as_bytes()).expect_err("another file").line, 1, "{other}");
        }
        assert_eq!(read(b"").expect("a new file").lines, []);
    }
}
