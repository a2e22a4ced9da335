//! The report of a run: one HTML page that needs no network, no script and no other file.

mod curve;
mod heat_map;
mod tables;

use super::format::{percent, seconds};
use super::result::{DemoResult, MemberResult};
use cloister_params::plan::SketchForm;

use crate::byte_count::bytes;
use crate::page::html::{escape, section, strong};
use crate::page::page;
use crate::whole_number::counted;

const VISIBILITY: &str = include_str!("visibility.html");

/// What the coordinator saw, where hospitals announced this of their experts.
fn visibility(form: SketchForm) -> String {
    let chosen = "Cohorts are chosen from them before any update is uploaded.";
    let (announced, limits) = match form {
        SketchForm::Pairs => (
            "<strong>Noised sketches</strong>: for each hospital and expert two short lists of numbers, which say what kind \
             of text the expert handled there and in which direction training moved it, and a count of its tokens, all with \
             noise.",
            "Sketches can show how alike two hospitals' case mixes are.",
        ),
        SketchForm::Signs => (
            "<strong>Signs of noised sketches</strong>: for each hospital and expert one bit for each number of a short \
             list, which says in which direction training moved the expert and what kind of text it handled there, and a \
             noised count of its tokens.",
            "Signs can show how alike two hospitals' case mixes are.",
        ),
        SketchForm::Withheld => (
            "<strong>Scores, and no sketches</strong>: for each hospital one number for each group of experts, which says how \
             well the group agrees with what was published before. Each hospital computes it itself. It has noise, or follows \
             from training that has noise.",
            "A score shows one hospital alone.",
        ),
    };
    VISIBILITY.replace("{announced}", &format!("<li>{announced} {chosen}</li>")).replace("{limits}", limits)
}

/// The whole page. Every text that comes from the result is escaped.
pub(crate) fn render(result: &DemoResult) -> String {
    let title = format!("Cloister demo: {} and one model", counted(result.members.len(), "hospital"));
    let body = [
        format!("<header><h1>{title}</h1>{}</header>", summary(result)),
        section("Accuracy over the rounds", &curve::figure(result)),
        section("Who was summed with whom", &heat_map::figures(result)),
        section("Rounds", &tables::rounds(result)),
        section("Hospitals", &tables::hospitals(result)),
        section("What the coordinator saw, and what it did not see", &visibility(result.sketches)),
        section("Files of this run", &tables::files(result)),
    ];
    page(&title, &body.join("\n"), &footer(result))
}

fn summary(result: &DemoResult) -> String {
    let sentences = [
        format!(
            "{} fine-tuned one Mixture-of-Experts language model together over {}, on {} ({}) that none of them sent to \
             anyone.",
            strong(&counted(result.members.len(), "hospital")),
            rounds(result),
            strong(&counted(result.notes(), "note")),
            escape(&result.text),
        ),
        accuracies(result),
        lost(result),
    ];
    format!("<p class=\"lead\">{}</p>", sentences.join(" "))
}

fn rounds(result: &DemoResult) -> String {
    let closed = result.rounds.iter().filter(|round| round.closed).count();
    let aborted = match result.rounds.len() - closed {
        0 => String::new(),
        aborted => format!(" and {aborted} aborted"),
    };
    strong(&counted(closed, "round")) + &aborted
}

fn accuracies(result: &DemoResult) -> String {
    let task = format!(
        "Measured on {} that no hospital trained on, to be sorted into {}",
        counted(result.held_out, "note"),
        if result.classes.len() == 1 {
            "1 class".to_owned()
        } else {
            format!("{} classes", result.classes.len())
        },
    );
    match (result.federated_accuracy(), result.mean_local_accuracy()) {
        (Some(federated), Some(local)) => format!(
            "{task}, the federated model is right in {} of cases; a model trained on one hospital's own notes alone, \
             in {} on average.",
            strong(&percent(federated)),
            strong(&percent(local)),
        ),
        (Some(federated), None) => {
            format!("{task}, it is right in {} of cases.", strong(&percent(federated)))
        }
        (None, _) => "No round closed with an accuracy, so there is no federated model to judge.".to_owned(),
    }
}

/// The hospitals that were killed, and those that were missing at the end for another reason.
fn lost(result: &DemoResult) -> String {
    let killed: Vec<String> = result
        .members
        .iter()
        .filter_map(|member| Some(format!("{} in round {}", hospital(member), member.killed_in?)))
        .collect();
    let missing: Vec<String> = missing(result).map(hospital).collect();
    match (killed.is_empty(), missing.is_empty()) {
        (true, true) => "No hospital was lost.".to_owned(),
        (false, true) => format!("Killed on purpose: {}.", killed.join(", ")),
        (true, false) => format!("Missing from the last round: {}.", missing.join(", ")),
        (false, false) => format!(
            "Killed on purpose: {}. Missing from the last round: {}.",
            killed.join(", "),
            missing.join(", ")
        ),
    }
}

/// Hospitals that were not killed on purpose, but whose uploads are not in the last closed round.
fn missing(result: &DemoResult) -> impl Iterator<Item = &MemberResult> {
    let last = result.last_closed();
    result.members.iter().filter(move |member| {
        // A hospital that was killed is listed as such, and would otherwise be named twice.
        member.killed_in.is_none() && last.is_some_and(|round| !round.uploaded.contains(&member.party))
    })
}

fn hospital(member: &MemberResult) -> String {
    format!("{} ({})", strong(&format!("hospital {}", member.party)), escape(&member.name))
}

fn footer(result: &DemoResult) -> String {
    format!(
        "<footer>Written by cloister {} at the end of a demo run: a coordinator and {} as processes on one machine, \
         {} s, {} of masked blocks.</footer>",
        env!("CARGO_PKG_VERSION"),
        counted(result.members.len(), "hospital"),
        seconds(result.wall_s),
        bytes(result.rounds.iter().map(|round| round.bytes_up).sum()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::summary::sample;

    #[test]
    fn the_page_names_every_hospital_class_and_file() {
        let result = sample::run(8, 5);
        let page = render(&result);
        assert!(result.members.iter().all(|member| page.contains(&escape(&member.name))));
        assert!(result.classes.iter().all(|class| page.contains(class.as_str())));
        assert!(result.files.iter().all(|file| page.contains(&escape(&file.path))));
        assert!(page.contains("<strong>hospital 7</strong> (Riverside Medical Center) in round 3"));
    }

    #[test]
    fn the_page_reaches_for_nothing_outside() {
        let page = render(&sample::run(8, 5)).replace("http-equiv", "");
        for outside in
            ["http", "<script", "<link", "<img", "<iframe", "src=", "href=", "url(", "@import", "style=\""]
        {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'\""));
    }

    #[test]
    fn no_text_of_the_result_becomes_markup() {
        let evil = "\"><script>alert('1')</script><b x='";
        let mut result = sample::run(8, 2);
        result.text = evil.to_owned();
        result.classes[0] = evil.to_owned();
        result.members[0].name = evil.to_owned();
        result.members[0].style = Some(evil.to_owned());
        result.members[0].killed_in = Some(1);
        result.rounds[1].experts[0].choice = evil.to_owned();
        result.files[0].what = evil.to_owned();
        result.files[0].path = evil.to_owned();
        let page = render(&result);
        assert!(!page.contains("<script") && !page.contains("<b x") && !page.contains("alert('1')"));
        assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;"));
    }

    #[test]
    fn the_summary_tells_killed_from_missing_hospitals() {
        let mut result = sample::run(8, 2);
        assert!(render(&result).contains("No hospital was lost."));
        result.rounds[1].uploaded.retain(|party| *party != 2);
        result.members[2].killed_in = Some(2);
        let page = render(&result);
        assert!(page.contains(
            "Killed on purpose: <strong>hospital 3</strong> (University Hospital West) in round 2."
        ));
        assert!(
            page.contains("Missing from the last round: <strong>hospital 2</strong> (Nordstadt Clinic).")
        );
    }

    #[test]
    fn every_tag_that_is_opened_is_closed() {
        let page = render(&sample::run(8, 5));
        for tag in [
            "section", "svg", "g", "title", "desc", "text", "tspan", "table", "tr", "td", "ul", "li",
            "figure",
        ] {
            let opened =
                page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn runs_that_came_to_nothing_have_a_report() {
        let mut result = sample::without_rounds();
        assert!(render(&result).contains("No round closed"));
        result.rounds.push(sample::aborted(1));
        assert!(render(&result).contains("aborted"));
        result.members.clear();
        result.classes.clear();
        result.files.clear();
        assert!(render(&result).contains("0 hospitals"));
    }
}
