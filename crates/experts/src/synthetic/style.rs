//! House styles: how a hospital puts a case into words.

use serde::{Deserialize, Serialize};

use super::Case;
use crate::draw::Draw;

/// A house style.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// Telegraphic, without verbs.
    Terse,
    /// Headings S, O, A and P.
    Soap,
    /// Headings in capitals.
    Capitals,
    /// Full of abbreviations.
    Abbreviated,
    /// Long dictated sentences.
    Dictated,
    /// Bullet lists.
    Bullets,
    /// A letter to a colleague.
    Letter,
    /// A form of labelled fields.
    Form,
}

/// What a style is made of.
struct Template {
    /// One of these stands for `{opening}`.
    openings: &'static [&'static str],
    /// The note, with names of a case's parts in braces.
    text: &'static str,
}

impl Style {
    /// Every style.
    pub const ALL: [Self; 8] = [
        Self::Terse,
        Self::Soap,
        Self::Capitals,
        Self::Abbreviated,
        Self::Dictated,
        Self::Bullets,
        Self::Letter,
        Self::Form,
    ];

    /// Puts a case into words.
    pub(crate) fn write(self, case: &Case, draw: &mut Draw) -> String {
        let template = self.template();
        let text = template.text.replace("{opening}", draw.pick(template.openings));
        let filled = case.parts().iter().fold(text, |text, (name, part)| text.replace(name, part));
        if self == Self::Abbreviated { abbreviate(&filled) } else { filled }
    }

    fn template(self) -> Template {
        match self {
            Self::Terse => TERSE,
            Self::Soap => SOAP,
            Self::Capitals => CAPITALS,
            Self::Abbreviated => ABBREVIATED,
            Self::Dictated => DICTATED,
            Self::Bullets => BULLETS,
            Self::Letter => LETTER,
            Self::Form => FORM,
        }
    }
}

const TERSE: Template = Template {
    openings: &["Seen today.", "Review.", "New.", "Walk-in."],
    text: "{opening} {age}, {sex}. {complaint 1}, {duration}. Also {complaint 2}. On exam {finding 1}, {finding 2}. \
           Nil else of note. {test} done. Takes {drug}, tolerates it. To do: {plan}.",
};

const SOAP: Template = Template {
    openings: &["reports", "describes", "presents with", "mentions"],
    text: "S: {age}-year-old {sex} {opening} {complaint 1} {duration}, also {complaint 2}.\n\
           O: {finding 1}. {finding 2}. {test} reviewed.\n\
           A: Symptoms as above, stable on {drug}.\n\
           P: {plan}.",
};

const CAPITALS: Template = Template {
    openings: &["PRESENTING COMPLAINT", "REASON FOR VISIT", "HISTORY"],
    text: "{opening}: {complaint 1} and {complaint 2} {duration} in a {age}-year-old {sex}.\n\
           EXAMINATION: {finding 1}; {finding 2}.\n\
           INVESTIGATIONS: {test}, report seen.\n\
           MEDICATION: {drug}.\n\
           PLAN: {plan}.",
};

// Blanks before punctuation, so that `abbreviate`, which looks for words between blanks, finds every word.
const ABBREVIATED: Template = Template {
    openings: &["patient", "known patient", "new patient"],
    text: "{age} yo {sex} , {opening} complains of {complaint 1} {duration} with {complaint 2} , otherwise well . \
           examination shows {finding 1} and {finding 2} . {test} requested . treatment {drug} . \
           follow-up {plan} .",
};

const DICTATED: Template = Template {
    openings: &["I had the pleasure of seeing this", "Today we saw this", "This is a pleasant"],
    text: "{opening} {age}-year-old {sex} who tells me of {complaint 1} {duration}, together with {complaint 2}, and on \
           examination there was {finding 1} as well as {finding 2}; {test} has been obtained, {pronoun} \
           continues on {drug}, and we will {plan}.",
};

const BULLETS: Template = Template {
    openings: &["seen in clinic", "seen on the ward", "seen with family"],
    text: "- {age}-year-old {sex}, {opening}\n- {complaint 1} {duration}\n- also {complaint 2}\n\
           - found: {finding 1}, {finding 2}\n- {test} done\n- takes {drug}\n- to do: {plan}",
};

const LETTER: Template = Template {
    openings: &["Dear colleague,", "Dear doctor,", "To whom it may concern,"],
    text: "{opening} thank you for referring this {age}-year-old {sex} with {complaint 1} {duration}. There was also \
           {complaint 2}. I found {finding 1} and {finding 2}. We arranged {test}. At present {pronoun} takes \
           {drug}. I would {plan}. Kind regards",
};

const FORM: Template = Template {
    openings: &["routine", "soon", "urgent"],
    text: "Age: {age} | Sex: {sex} | Priority: {opening} | Complaint: {complaint 1} | Onset: {duration} | \
           Associated: {complaint 2} | Findings: {finding 1} / {finding 2} | Tests: {test} | \
           Drug: {drug} | Next: {plan}",
};

const ABBREVIATIONS: [(&str, &str); 14] = [
    ("patient", "pt"),
    ("complains of", "c/o"),
    ("with", "w/"),
    ("examination", "exam"),
    ("shows", "->"),
    ("treatment", "tx"),
    ("follow-up", "f/u"),
    ("weeks", "wks"),
    ("months", "mos"),
    ("left", "L"),
    ("right", "R"),
    ("and", "&"),
    ("requested", "req"),
    ("woman", "F"),
];

fn abbreviate(text: &str) -> String {
    // The first and the last word need a blank beside them to be found.
    let padded = format!(" {text} ");
    let shorten = |text: String, (long, short): &(&str, &str)| {
        text.replace(&format!(" {long} "), &format!(" {short} "))
    };
    ABBREVIATIONS.iter().fold(padded, shorten).trim().to_owned()
}

impl Case {
    /// The parts that a template may name.
    fn parts(&self) -> [(&'static str, String); 11] {
        let (sex, pronoun) = if self.woman { ("woman", "she") } else { ("man", "he") };
        [
            ("{age}", self.age.to_string()),
            ("{sex}", sex.to_owned()),
            ("{pronoun}", pronoun.to_owned()),
            ("{duration}", self.duration.to_owned()),
            ("{complaint 1}", self.complaints[0].to_owned()),
            ("{complaint 2}", self.complaints[1].to_owned()),
            ("{finding 1}", self.findings[0].to_owned()),
            ("{finding 2}", self.findings[1].to_owned()),
            ("{test}", self.test.to_owned()),
            ("{drug}", self.drug.to_owned()),
            ("{plan}", self.plan.to_owned()),
        ]
    }
}
