//! Labels as names of classes: one spelling for each, and which differ so little that they may be meant to be one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use unicode_normalization::UnicodeNormalization;

use crate::files::rows::normal;

/// Checks that no class is named twice, blanks around names and their forms not counted.
pub(crate) fn check_differ(classes: &[String]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    match classes.iter().find(|class| !seen.insert(normal(class))) {
        Some(class) => Err(format!("the class “{class}” is named twice")),
        None => Ok(()),
    }
}

/// The number of a label's class among these. The label itself is not told where there is none: it may be a note's text in the
/// wrong column.
pub(crate) fn class_number(label: &str, classes: &[String]) -> Result<usize, String> {
    let same = classes.iter().position(|class| class == label);
    if let Some(number) = same.or_else(|| classes.iter().position(|class| normal(class) == label)) {
        return Ok(number);
    }
    let near = classes.iter().find(|class| skeleton(class) == skeleton(label));
    let near = near.map_or_else(String::new, |class| {
        format!("; it differs from “{class}” in case, blanks, form or the writing of a number only")
    });
    Err(format!("its label is none of the task's classes: {}{near}", classes.join(", ")))
}

/// Classes that may be meant to be one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Twins(pub Vec<String>);

impl fmt::Display for Twins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(|name| format!("“{name}”")).collect();
        write!(
            f,
            "the classes {} differ in case, blanks, form or the writing of a number only, and are separate classes; if one is \
             meant, correct the labels",
            names.join(", ")
        )
    }
}

/// Classes that differ so little that they may be meant to be one: in case, in blanks, in Unicode's compatibility forms, or as
/// `1` and `1.0` do.
pub fn near_twins(classes: &[String]) -> Vec<Twins> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for class in classes {
        groups.entry(skeleton(class)).or_default().push(class.clone());
    }
    groups.into_values().filter(|group| group.len() > 1).map(Twins).collect()
}

/// What labels have in common that differ in case, blanks or form only.
fn skeleton(label: &str) -> String {
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

    #[test]
    fn labels_have_one_spelling() {
        assert_eq!(normal(" heart\t"), "heart");
        assert_eq!(normal("bu\u{308}ro"), "büro");
        let classes = ["Heart".to_owned(), "bu\u{308}ro ".to_owned()];
        assert_eq!(class_number(&normal("büro"), &classes), Ok(1));
        let error = class_number("heart", &classes).expect_err("another case");
        assert!(error.contains("it differs from “Heart” in case"), "{error}");
        let error = class_number("a whole note", &classes).expect_err("no class");
        assert!(error.contains("none of the task's classes: Heart, ") && !error.contains("note"), "{error}");
    }

    #[test]
    fn near_twins_are_told_and_others_are_not() {
        let groups = |classes: &[&str]| -> Vec<Vec<String>> {
            let classes: Vec<String> = classes.iter().map(|&class| class.to_owned()).collect();
            near_twins(&classes).into_iter().map(|twins| twins.0).collect()
        };
        assert_eq!(groups(&["HEART", "Heart", "bone", "heart"]), [["HEART", "Heart", "heart"]]);
        assert_eq!(groups(&["left knee", "left  knee"]), [["left knee", "left  knee"]]);
        assert_eq!(groups(&["1", "1.0", "2", "ﬁbula", "fibula"]), [["1", "1.0"], ["ﬁbula", "fibula"]]);
        assert!(groups(&["heart", "hearts", "1", "10", "a1", "a2"]).is_empty());
        assert!(Twins(vec!["A".into(), "a".into()]).to_string().contains("“A”, “a” differ in case"));
    }
}
