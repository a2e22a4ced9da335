//! The functions that templates call. They behave as in `transformers`, except that there is no clock.

use std::error::Error as StdError;
use std::fmt;

use cloister_params::limits::Date;
use minijinja::{Error, ErrorKind};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// Starting with the weekday of 1970-01-01.
const WEEKDAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// Why a template rejects messages.
#[derive(Debug)]
pub(super) enum Raised {
    /// The words of the template, which may quote a message.
    ByTemplate(String),
    /// The words of a function of this module, which never quote a message.
    ByFunction(String),
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::ByTemplate(words) | Self::ByFunction(words)) = self;
        f.write_str(words)
    }
}

impl StdError for Raised {}

fn refused(why: Raised) -> Error {
    Error::new(ErrorKind::InvalidOperation, "it refuses").with_source(why)
}

/// The error that a template cannot be used here; `words` quote no message.
pub(super) fn refused_here(words: String) -> Error {
    refused(Raised::ByFunction(words))
}

/// `raise_exception(words)`.
pub(super) fn raise(words: String) -> Result<String, Error> {
    Err(refused(Raised::ByTemplate(words)))
}

/// `strftime_now(format)`, with a date that all members agreed on. With a clock, each hospital and each round
/// would learn another text.
pub(super) fn strftime(today: Option<Date>, format: &str) -> Result<String, Error> {
    let today = today.ok_or_else(|| {
        refused_here(
            "it prints today's date, but the task names none; write the task with `cloister experts task --date \
             YYYY-MM-DD`"
                .to_owned(),
        )
    })?;
    let mut text = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let directive = match letters.next() {
            // `%-d` is an extension of the C library, which Python passes on: no leading zero.
            Some('-') => format!("-{}", letters.next().map(String::from).unwrap_or_default()),
            other => other.map(String::from).unwrap_or_default(),
        };
        text += &directive_text(today, &directive).ok_or_else(|| {
            refused_here(format!("it prints a date with %{directive}, which is not supported"))
        })?;
    }
    Ok(text)
}

/// What a directive of `strftime` prints for midnight of a date, in English; `None` if the directive is not
/// supported.
fn directive_text(date: Date, directive: &str) -> Option<String> {
    let (year, month, day) = (date.year(), date.month(), date.day());
    let month_name = MONTHS[usize::from(month) - 1];
    let weekday = (date.days_since_1970() % 7) as usize;
    Some(match directive {
        "Y" => year.to_string(),
        "y" => format!("{:02}", year % 100),
        "m" => format!("{month:02}"),
        "-m" => month.to_string(),
        "B" => month_name.to_owned(),
        "b" | "h" => month_name[..3].to_owned(),
        "d" => format!("{day:02}"),
        "-d" => day.to_string(),
        "e" => format!("{day:2}"),
        "A" => WEEKDAYS[weekday].to_owned(),
        "a" => WEEKDAYS[weekday][..3].to_owned(),
        "F" => date.to_string(),
        // A task names a day only, so the time is midnight.
        "H" | "M" | "S" => "00".to_owned(),
        "I" => "12".to_owned(),
        "p" => "AM".to_owned(),
        "T" | "X" => "00:00:00".to_owned(),
        "%" => "%".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> Date {
        Date::try_from(text.to_owned()).expect("a day")
    }

    #[test]
    fn dates_are_printed_as_python_does() {
        let printed =
            |text: &str, format: &str| strftime(Some(date(text)), format).expect("known directives");
        assert_eq!(
            printed("2026-11-29", "%A, %d %b %Y; %B %-d %y, %F, 100 %%"),
            "Sunday, 29 Nov 2026; November 29 26, 2026-11-29, 100 %"
        );
        assert_eq!(printed("2024-02-05", "%a %e/%-m %I:%M %p"), "Mon  5/2 12:00 AM");
        for (today, format, expected) in
            [(Some(date("2024-02-05")), "%c", "%c"), (None, "%d", "--date YYYY-MM-DD")]
        {
            let error = strftime(today, format).expect_err(expected);
            let reason = error.source().expect("a reason").to_string();
            assert!(reason.contains(expected), "{reason}");
        }
    }
}
