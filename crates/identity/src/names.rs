//! Names that people compare on a screen and read out.

use unicode_normalization::{UnicodeNormalization, is_nfc};

/// Whether a name can be shown to whoever decides about it: it has single blanks between words, does not command a terminal,
/// and has one spelling in Unicode.
pub(crate) fn is_plain_name(name: &str) -> bool {
    name.split(' ').all(|word| !word.is_empty()) && !name.chars().any(is_invisible) && is_nfc(name)
}

/// Whether a character is not seen, so that two names could look alike: controls, Unicode's format characters (category Cf)
/// and default-ignorable ones, and blanks that are no space.
fn is_invisible(character: char) -> bool {
    let is_unseen = matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    );
    character.is_control() || is_unseen || (character.is_whitespace() && character != ' ')
}

/// A name as people compare it: without the difference of upper and lower case, and of characters that Unicode holds to be
/// the same (NFKC). Letters of other alphabets that look alike stay different.
pub fn folded(name: &str) -> String {
    let lower: String = name.nfkc().flat_map(char::to_lowercase).collect();
    lower.nfkc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_person_cannot_tell_from_another_are_not_plain() {
        for name in ["north", "Zürich", "Städtisches Klinikum 2", "Клиника", "病院"] {
            assert!(is_plain_name(name), "{name}");
        }
        let unseen = [
            "",
            " north",
            "north ",
            "no  rth",
            "nor\u{200b}th",
            "north\u{3164}",
            "north\u{e0041}",
            "nor\u{fe0f}th",
        ];
        // A terminal's command, a change of direction, and the decomposed form of a letter.
        let others = ["nor\u{1b}[2Jth", "north\u{61c}", "\u{202e}htron", "Zu\u{308}rich"];
        for name in unseen.into_iter().chain(others) {
            assert!(!is_plain_name(name), "{}", name.escape_unicode());
        }
    }

    #[test]
    fn names_that_differ_in_case_or_width_alone_are_folded_to_one() {
        for (one, other) in [("North", "north"), ("Ｎorth", "north"), ("ﬁrst", "FIRST"), ("Zürich", "ZÜRICH")]
        {
            assert_eq!(folded(one), folded(other));
        }
        assert_ne!(folded("north"), folded("south"));
    }
}
