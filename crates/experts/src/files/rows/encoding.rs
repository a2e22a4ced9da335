//! Encodings of text, and their conversion to UTF-8.

use std::io::{self, Read};
use std::str::FromStr;

use encoding_rs::{Decoder, DecoderResult};

use super::fault::ContentFault;

/// Bytes of the input that are decoded at a time, and of the output that wait to be read.
const BUFFER: usize = 16 << 10;

/// How a file's text is encoded: UTF-8 by default, or another encoding of the WHATWG's list, such as `windows-1252`,
/// parsed from its name. The hospital sets it with `--encoding`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Encoding(&'static encoding_rs::Encoding);

impl Encoding {
    pub(super) const UTF_16LE: Self = Self(encoding_rs::UTF_16LE);
    pub(super) const UTF_16BE: Self = Self(encoding_rs::UTF_16BE);

    /// The encoding that a byte-order mark at a text's start names.
    pub(super) fn from_mark(start: &[u8]) -> Option<Self> {
        encoding_rs::Encoding::for_bom(start).map(|(encoding, _)| Self(encoding))
    }

    /// The WHATWG's name of it, such as `windows-1252`.
    pub fn name(self) -> &'static str {
        self.0.name()
    }
}

impl Default for Encoding {
    fn default() -> Self {
        Self(encoding_rs::UTF_8)
    }
}

impl FromStr for Encoding {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        // The list's “replacement” stands for encodings that are unsafe in browsers, and decodes no text.
        encoding_rs::Encoding::for_label_no_replacement(name.as_bytes()).map(Self).ok_or_else(|| {
            "unknown encoding; common ones are utf-8, windows-1252 (Western Europe), windows-1250 (Central Europe), \
             windows-1251 (Cyrillic), iso-8859-15, shift_jis, gb18030, utf-16le"
                .to_owned()
        })
    }
}

/// Text of an encoding as UTF-8, without its byte-order mark. Bytes that are not text in the encoding are a fault of
/// their row. They are not replaced by U+FFFD, because the model would then learn from a text that nobody wrote.
pub(super) struct Utf8<R> {
    inner: R,
    encoding: Encoding,
    decoder: Decoder,
    input: Buffer,
    output: Buffer,
    state: DecodingState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum DecodingState {
    /// The inner reader may have more bytes.
    Reading,
    /// The inner reader has ended; its last bytes are in `input`.
    Read,
    /// Bytes that are not text follow. What was decoded before them is read first.
    Malformed,
    /// Everything is decoded.
    Ended,
}

/// A buffer, of which the range `rest` is still to be used.
struct Buffer {
    bytes: Vec<u8>,
    rest: std::ops::Range<usize>,
}

impl Buffer {
    fn new() -> Self {
        Self { bytes: vec![0; BUFFER], rest: 0..0 }
    }
}

impl<R: Read> Utf8<R> {
    pub(super) fn new(inner: R, encoding: Encoding) -> Self {
        // Removes no other encoding's mark: the encoding was chosen by the mark, if there is one.
        let decoder = encoding.0.new_decoder_with_bom_removal();
        Self {
            inner,
            encoding,
            decoder,
            input: Buffer::new(),
            output: Buffer::new(),
            state: DecodingState::Reading,
        }
    }

    /// The fault of bytes that are not text; they are not in the message.
    fn malformed(&self) -> io::Error {
        let name = self.encoding.name();
        ContentFault::Row(format!(
            "its text is not {name}; give the file's encoding with --encoding, such as windows-1252, or save it as UTF-8"
        ))
        .into()
    }

    /// Decodes input into the empty output, and reads more input if there is none.
    fn decode(&mut self) -> io::Result<()> {
        if self.state == DecodingState::Reading && self.input.rest.is_empty() {
            let length = self.inner.read(&mut self.input.bytes)?;
            self.input.rest = 0..length;
            self.state = if length == 0 { DecodingState::Read } else { DecodingState::Reading };
        }
        let (input, last) = (&self.input.bytes[self.input.rest.clone()], self.state == DecodingState::Read);
        // With `last`, a character that is cut off at the end is malformed; before, its rest may follow.
        let (result, read, written) =
            self.decoder.decode_to_utf8_without_replacement(input, &mut self.output.bytes, last);
        self.input.rest.start += read;
        self.output.rest = 0..written;
        self.state = match result {
            DecoderResult::Malformed(..) => DecodingState::Malformed,
            DecoderResult::InputEmpty if last => DecodingState::Ended,
            DecoderResult::InputEmpty | DecoderResult::OutputFull => self.state,
        };
        Ok(())
    }
}

impl<R: Read> Read for Utf8<R> {
    fn read(&mut self, wanted: &mut [u8]) -> io::Result<usize> {
        while self.output.rest.is_empty() {
            match self.state {
                DecodingState::Ended => return Ok(0),
                DecodingState::Malformed => {
                    // Once for each fault: a survey goes on with the bytes after it.
                    self.state = DecodingState::Reading;
                    return Err(self.malformed());
                }
                DecodingState::Reading | DecodingState::Read => self.decode()?,
            }
        }
        let length = wanted.len().min(self.output.rest.len());
        let start = self.output.rest.start;
        wanted[..length].copy_from_slice(&self.output.bytes[start..start + length]);
        self.output.rest.start += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8], name: &str) -> io::Result<String> {
        let mut text = String::new();
        Utf8::new(bytes, name.parse().expect("a known encoding")).read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn text_of_any_encoding_becomes_utf_8_or_a_fault() {
        assert_eq!(decoded(b"\xef\xbb\xbfM\xc3\xbcller", "utf-8").expect("it is"), "Müller");
        assert_eq!(decoded(b"M\xfcller \x80", "windows-1252").expect("it is"), "Müller €");
        assert_eq!(decoded(b"\xff\xfeM\0\xfc\0", "utf-16le").expect("it is"), "Mü");
        let long = "ü€😖".repeat(BUFFER);
        assert_eq!(decoded(long.as_bytes(), "utf-8").expect("it is"), long);
        for (bytes, name) in [
            (&b"M\xfcller"[..], "utf-8"),
            (b"cut \xc3", "utf-8"),
            (b"\x00\xd8M\0", "utf-16le"),
            (b"odd\0a", "utf-16le"),
        ] {
            let error = decoded(bytes, name).expect_err("it is not").to_string();
            assert!(error.contains("--encoding") && !error.contains("ller"), "{error}");
        }
        assert!("latin-9000".parse::<Encoding>().is_err() && "replacement".parse::<Encoding>().is_err());
    }

    #[test]
    fn what_comes_before_a_fault_is_read() {
        let mut reader = Utf8::new(&b"sound\nM\xfcller"[..], Encoding::default());
        let mut text = Vec::new();
        reader.read_to_end(&mut text).expect_err("a byte of Latin-1");
        assert_eq!(text, b"sound\nM");
    }
}
