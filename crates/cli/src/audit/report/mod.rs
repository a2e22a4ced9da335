//! The report of an audit: one page in plain words first, then what it follows from.

mod cohorts;
mod laws;

use std::time::{Duration, SystemTime};

use cloister_audit::{AuditClaim, ClaimVerdict, EvidenceReport, RoundSummary, SummarizedEnding};
use cloister_crypto::consortium::Epoch;
use cloister_params::consortium::Role;
use cloister_params::id::PartyId;
use cloister_params::limits::PrivacyUnit;
use cloister_params::plan::SketchForm;
use cloister_params::time::UtcTime;
use cloister_privacy::statement::Statement;

use crate::page::html::{escape, number, section, strong, table, text};
use crate::page::page;
use crate::whole_number::{counted, whole};

/// The privacy statement of one of the coordinator's ledgers.
pub(super) struct LedgerStatement {
    pub(super) unit: PrivacyUnit,
    pub(super) statement: Statement,
}

/// The whole page. Every text that comes from files is escaped.
pub(super) fn render(report: &EvidenceReport, epoch: &Epoch, statements: &[LedgerStatement]) -> String {
    let title = format!("Evidence of {}, edition {}", escape(epoch.consortium().name()), report.edition);
    let body = [
        format!("<header><h1>{title}</h1>{}</header>", verdict(report)),
        section("Who took part", &parties(report, epoch)),
        section("What was opened", &opened(report)),
        section("What hospitals told by design", &announced(report)),
        section("Privacy", &privacy(statements)),
        section("What was not proved", &not_proved(report)),
        section("Claims", &claims(report)),
        section("Rounds", &rounds(report)),
        section("Whose updates were summed", &cohorts::figures(report)),
        section("What these records can serve for", laws::TABLE),
        section("How to check this again", &again(report)),
    ];
    let footer = format!(
        "<footer>Written by cloister {} from the files beside it. It is no part of the evidence: check the files.</footer>",
        env!("CARGO_PKG_VERSION")
    );
    page(&title, &body.join("\n"), &footer)
}

fn verdict(report: &EvidenceReport) -> String {
    let (refuted, left) = (report.refuted().count(), report.not_checked().count());
    let proved = report.claims.len() - refuted - left;
    let counts = format!(
        "Of {} about these rounds, {} are proved, {} do not hold, and {} were not checked.",
        strong(&counted(report.claims.len(), "claim")),
        strong(&whole(proved)),
        strong(&whole(refuted)),
        strong(&whole(left))
    );
    let warning = match refuted {
        0 => String::new(),
        _ => "<p class=\"caution\">Something in these files is not as it was signed. The claims below say where. Do not rely \
              on what follows until it is explained.</p>"
            .to_owned(),
    };
    format!("<p class=\"lead\">{counts}</p>{warning}")
}

fn parties(report: &EvidenceReport, epoch: &Epoch) -> String {
    let consortium = epoch.consortium();
    let mut rows = Vec::new();
    for party in consortium.parties() {
        let roles: Vec<&str> = party.roles.iter().map(|role| role_name(*role)).collect();
        let announced = report.rounds.iter().filter(|round| round.announced.contains(&party.id)).count();
        let uploaded = report.rounds.iter().filter(|round| round.uploaded.contains(&party.id)).count();
        rows.push(vec![
            party.id.0.to_string(),
            escape(&party.name),
            escape(&party.organisation),
            roles.join(", "),
            whole(announced),
            whole(uploaded),
        ]);
    }
    let columns = [
        number("No."),
        text("Party"),
        text("Organisation"),
        text("Roles"),
        number("Rounds announced"),
        number("Rounds uploaded"),
    ];
    format!(
        "<p>The coordinator is {}. The governance key that the reader trusts signed this list.</p>{}",
        strong(&consortium.coordinator().name),
        table(&columns, &rows)
    )
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Member => "member",
        Role::Custodian => "custodian",
    }
}

/// The claims from which it follows that nothing else than the sums was opened.
const ABOUT_OPENING: [AuditClaim; 4] =
    [AuditClaim::Rounds, AuditClaim::Cohorts, AuditClaim::Seals, AuditClaim::Reveals];

fn opened(report: &EvidenceReport) -> String {
    let closed: Vec<&RoundSummary> =
        report.rounds.iter().filter(|round| round.ending == SummarizedEnding::Closed).collect();
    let sums: usize = closed.iter().map(|round| round.cohorts.len()).sum();
    let fewest = closed.iter().flat_map(|round| &round.cohorts).map(|cohort| cohort.summed.len()).min();
    let aborted = report.rounds.len() - closed.len();
    let smallest = fewest.map_or(String::new(), |fewest| {
        format!(" The smallest of them is over {}.", strong(&counted(fewest, "hospital")))
    });
    // Only seals and reveals show it.
    let is_shown = report.refuted().all(|claim| !ABOUT_OPENING.contains(&claim.claim));
    let alone = match is_shown {
        true => "No update of one hospital was opened: masks can be taken off such sums alone.",
        false => {
            "Whether an update of one hospital was opened as well, these files do not show: the claims say why."
        }
    };
    format!(
        "<p>{} of {} closed, and {} ended without a sum. In the closed rounds {} opened, each over the updates of \
         several hospitals.{smallest} {alone}</p>",
        strong(&whole(closed.len())),
        counted(report.examined, "round"),
        whole(aborted),
        match sums {
            1 => strong("1 sum") + " was",
            _ => strong(&counted(sums, "sum")) + " were",
        },
    )
}

fn announced(report: &EvidenceReport) -> String {
    let mut forms: Vec<SketchForm> = report.rounds.iter().map(|round| round.sketches).collect();
    forms.dedup();
    let mut items = String::new();
    for form in forms {
        let sentence = match form {
            SketchForm::Pairs => {
                "Noised sketches: for each hospital and expert two short lists of numbers. They can show how alike two \
                 hospitals' cases are, and they tell nearly as much as an update does."
            }
            SketchForm::Signs => {
                "Signs of noised sketches: for each hospital and expert one bit for each number of a short list. They can \
                 show how alike two hospitals' cases are."
            }
            SketchForm::Withheld => {
                "Scores: for each hospital one number for each group of experts, which says how well the group agrees with \
                 what was published before. No sketch was released."
            }
        };
        items.push_str(&format!("<li>{sentence}</li>"));
    }
    if items.is_empty() {
        return "<p>No round could be replayed.</p>".to_owned();
    }
    format!(
        "<p>To choose whose updates are summed, each hospital announced in each round:</p><ul>{items}</ul>\
         <p>The coordinator and every party of the consortium saw this, and it is in the logs of the rounds.</p>"
    )
}

fn privacy(statements: &[LedgerStatement]) -> String {
    if statements.is_empty() {
        return "<p>The folder has no ledger that can be read, so that nothing can be said of the privacy that was \
                spent.</p>"
            .to_owned();
    }
    let mut paragraphs =
        "<p>The coordinator's ledgers count what a hospital released that contributed to every round.</p>"
            .to_owned();
    for LedgerStatement { unit, statement } in statements {
        let heading = match unit {
            PrivacyUnit::Record => "For one record of one hospital",
            PrivacyUnit::Member => "For everything of one hospital",
        };
        paragraphs.push_str(&format!(
            "<h3>{heading}</h3><p>{}</p>",
            escape(&capitalised(statement.in_plain_words()))
        ));
    }
    paragraphs
}

/// A sentence that begins with a capital letter: a holder's name may not.
fn capitalised(sentence: &str) -> String {
    let mut characters = sentence.chars();
    characters.next().map_or(String::new(), |first| first.to_uppercase().chain(characters).collect())
}

fn not_proved(report: &EvidenceReport) -> String {
    let mut items = String::new();
    for claim in &report.claims {
        let (mark, why) = match &claim.verdict {
            ClaimVerdict::Proved => continue,
            ClaimVerdict::Refuted(why) => ("Does not hold", why),
            ClaimVerdict::NotChecked(why) => ("Not checked", why),
        };
        items.push_str(&format!(
            "<li><strong>{mark}:</strong> {}: {}.</li>",
            escape(claim.claim.sentence()),
            escape(why)
        ));
    }
    match items.is_empty() {
        true => "<p>Every claim is proved.</p>".to_owned(),
        false => format!("<ul>{items}</ul>"),
    }
}

fn claims(report: &EvidenceReport) -> String {
    let mut rows = Vec::new();
    for claim in &report.claims {
        let verdict = match &claim.verdict {
            ClaimVerdict::Proved => "proved",
            ClaimVerdict::Refuted(_) => "<strong>does not hold</strong>",
            ClaimVerdict::NotChecked(_) => "not checked",
        };
        rows.push(vec![verdict.to_owned(), escape(claim.claim.sentence()), code(claim.claim)]);
    }
    table(&[text("Verdict"), text("Claim"), text("In evidence.json")], &rows)
}

fn code(claim: AuditClaim) -> String {
    let name = serde_json::to_value(claim).ok();
    let name = name.as_ref().and_then(|name| name.as_str()).unwrap_or_default();
    format!("<code>{}</code>", escape(name))
}

fn rounds(report: &EvidenceReport) -> String {
    let mut rows = Vec::new();
    for round in &report.rounds {
        let ended = match round.ending {
            SummarizedEnding::Closed if round.rehearsal => "rehearsal".to_owned(),
            SummarizedEnding::Closed => "closed".to_owned(),
            SummarizedEnding::Aborted(reason) => format!("aborted: {}", cohorts::in_words(reason)),
        };
        let fewest = round.cohorts.iter().map(|cohort| cohort.summed.len()).min();
        let lost = missing(&round.announced, &round.uploaded);
        rows.push(vec![
            round.round.0.to_string(),
            round.time.and_then(time_of_day).unwrap_or_default(),
            ended,
            whole(round.announced.len()),
            whole(round.uploaded.len()),
            lost,
            whole(round.cohorts.len()),
            fewest.map_or(String::new(), whole),
            list(&round.signed_by),
        ]);
    }
    let columns = [
        number("Round"),
        text("Ended at"),
        text("How"),
        number("Announced"),
        number("Uploaded"),
        text("Did not upload"),
        number("Sums"),
        number("Fewest in a sum"),
        text("Ending signed by"),
    ];
    format!(
        "{}<p class=\"note\">Times are the coordinator's word. Nobody else signs them. Numbers are those of the parties \
         above.</p>",
        table(&columns, &rows)
    )
}

/// A time in UTC, from the seconds since 1970; none if no calendar has it.
fn time_of_day(seconds: u64) -> Option<String> {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
    Some(escape(&UtcTime::from_time(time).to_string()))
}

/// The parties of the first list that are not in the second.
fn missing(all: &[PartyId], some: &[PartyId]) -> String {
    let missing: Vec<PartyId> = all.iter().copied().filter(|party| !some.contains(party)).collect();
    list(&missing)
}

fn list(parties: &[PartyId]) -> String {
    let numbers: Vec<String> = parties.iter().map(|party| party.0.to_string()).collect();
    numbers.join(", ")
}

fn again(report: &EvidenceReport) -> String {
    let last = report.rounds.last();
    let task = last.map_or("unknown".to_owned(), |round| round.task.to_string());
    let model = last.map_or("unknown".to_owned(), |round| round.model.to_string());
    let log = report.log_size.map_or("no log".to_owned(), |size| format!("{} entries", whole(size as usize)));
    format!(
        "<dl><dt>Epoch</dt><dd><code>{}</code></dd><dt>Log of the epoch</dt><dd>{log}</dd>\
         <dt>Task of the last round</dt><dd><code>{task}</code></dd>\
         <dt>Model after the last round</dt><dd><code>{model}</code></dd></dl>\
         <p>Get the governance key and the consortium file from somebody you trust, not from this file. Then, on any \
         machine, without a network:</p>\
         <p><code>cloister audit verify BUNDLE --consortium consortium.toml --governance-key …</code></p>\
         <p>It exits with 0 if every claim is proved, with 3 if one does not hold, and with 4 if one was not checked. The \
         checkpoint and the tiles have C2SP's formats, which other programs read.</p>",
        report.epoch
    )
}
