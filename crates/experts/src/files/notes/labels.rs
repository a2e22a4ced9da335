//! Labels as names of classes: how they are compared, and which ones look like two spellings of one class.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use unicode_normalization::UnicodeNormalization;

use crate::files::rows::normal;

/// Checks that no class is named twice. Blanks around names and their Unicode forms make no difference.
pub(crate) fn check_differ(classes: &[String]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    match classes.iter().find(|class| !seen.insert(normal(class))) {
        Some(class) => Err(format!("the class “{class}” is named twice")),
        None => Ok(()),
    }
}

/// The place of a label's class in `classes`, from 0. `label` has no blanks around it and is in Unicode's form NFC.
///
/// # Errors
/// A sentence with the classes, and the one that the label nearly is. It never has the label itself, which may be a
/// note's text in the wrong column.
pub(crate) fn class_number(label: &str, classes: &[String]) -> Result<usize, String> {
    // A task file may spell a class with blanks around it, so its normal form counts too; an exact match comes first.
    let exact = classes.iter().position(|class| class == label);
    if let Some(number) = exact.or_else(|| classes.iter().position(|class| normal(class) == label)) {
        return Ok(number);
    }
    let near = classes.iter().find(|class| skeleton(class) == skeleton(label));
    let near = near.map_or_else(String::new, |class| {
        format!("; it differs from “{class}” only in case, blanks, Unicode form or how a number is written")
    });
    Err(format!("its label is not one of the task's classes: {}{near}", classes.join(", ")))
}

/// Names of two or more classes that may be spellings of one. Displayed, they are a warning to the hospital.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Twins(pub Vec<String>);

impl fmt::Display for Twins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(|name| format!("“{name}”")).collect();
        write!(
            f,
            "the classes {} differ only in case, blanks, Unicode form or how a number is written, and count as separate \
             classes; if one class is meant, correct the labels",
            names.join(", ")
        )
    }
}

/// Groups of classes that may be spellings of one: they differ only in case, in blanks, in Unicode's compatibility
/// forms, or as `1` and `1.0` do. Every class of a group trains separately, so this is a warning, not an error.
pub fn near_twins(classes: &[String]) -> Vec<Twins> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for class in classes {
        groups.entry(skeleton(class)).or_default().push(class.clone());
    }
    groups.into_values().filter(|group| group.len() > 1).map(Twins).collect()
}

/// A key that is equal for labels that differ only in case, blanks, Unicode form or how a number is written.
fn skeleton(label: &str) -> String {
    // Lower case may undo the composed form, so the text is composed a second time.
    let plain: String =
        label.nfkc().flat_map(char::to_lowercase).filter(|letter| !letter.is_whitespace()).nfkc().collect();
    match plain.parse::<f64>() {
        Ok(number) if number.is_finite() => number.to_string(),
        _ => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn twins_among(classes: &[&str]) -> Vec<Vec<String>> {
        let classes: Vec<String> = classes.iter().map(|&class| class.to_owned()).collect();
        near_twins(&classes).into_iter().map(|twins| twins.0).collect()
    }

    #[test]
    fn labels_have_one_spelling() {
        assert_eq!(normal(" heart\t"), "heart");
        assert_eq!(normal("bu\u{308}ro"), "büro");
        let classes = ["Heart".to_owned(), "bu\u{308}ro ".to_owned()];
        assert_eq!(class_number(&normal("büro"), &classes), Ok(1));
        let error = class_number("heart", &classes).expect_err("another case");
        assert!(error.contains("it differs from “Heart” only in case"), "{error}");
        let error = class_number("a whole note", &classes).expect_err("no class");
        assert!(
            error.contains("not one of the task's classes: Heart, ") && !error.contains("note"),
            "{error}"
        );
    }

    #[test]
    fn near_twins_are_reported_and_others_are_not() {
        assert_eq!(twins_among(&["HEART", "Heart", "bone", "heart"]), [["HEART", "Heart", "heart"]]);
        assert_eq!(twins_among(&["left knee", "left  knee"]), [["left knee", "left  knee"]]);
        assert_eq!(twins_among(&["1", "1.0", "2", "ﬁbula", "fibula"]), [["1", "1.0"], ["ﬁbula", "fibula"]]);
        assert!(twins_among(&["heart", "hearts", "1", "10", "a1", "a2"]).is_empty());
        assert!(Twins(vec!["A".into(), "a".into()]).to_string().contains("“A”, “a” differ only in case"));
    }
}
