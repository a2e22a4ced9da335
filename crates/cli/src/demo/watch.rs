//! Follows the processes' events: shows progress, kills the processes that the flags name, and collects the
//! results.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use cloister_params::block::BlockKind;
use serde_json::Value;

use super::consortium::DemoConsortium;
use super::processes::{ProcessEvent, Processes};
use super::result::{DemoResult, ExpertResult, MemberResult, RoundResult, WrittenFile};
use super::screen::Screen;
use super::text::Text;
use super::{DemoArguments, Kill};
use crate::failure::{Failure, FailureKind};

/// A consensus of 1 in the coordinator's fixed point, as its events have it.
const CONSENSUS_UNIT: f64 = 16384.0;

/// How many evaluated items were answered correctly.
#[derive(Clone, Copy, Default, Debug)]
struct Tally {
    correct: u64,
    total: u64,
}

impl Tally {
    fn from_json(value: &Value) -> Option<Self> {
        Some(Self { correct: value["correct"].as_u64()?, total: value["total"].as_u64()? })
    }

    fn add(&mut self, other: Self) {
        self.correct += other.correct;
        self.total += other.total;
    }

    fn accuracy(self) -> Option<f64> {
        (self.total > 0).then(|| self.correct as f64 / self.total as f64)
    }
}

/// What is known about the run so far.
pub(super) struct Watch<'a> {
    arguments: &'a DemoArguments,
    demo: &'a DemoConsortium,
    screen: &'a Screen,
    round: u64,
    round_started: Instant,
    rounds: Vec<RoundResult>,
    /// For each round, which hospitals have evaluated its model, each on its part of the held-out notes, and
    /// their sum.
    evaluations: BTreeMap<u64, (BTreeSet<u32>, Tally)>,
    /// How many rounds have been shown.
    shown: usize,
    /// The round in which each killed hospital was killed.
    killed: BTreeMap<u32, u64>,
    coordinator_is_killed: bool,
    /// Each hospital's evaluation of the final model, and of its model trained alone.
    finals: BTreeMap<u32, (Tally, Option<Tally>)>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(arguments: &'a DemoArguments, demo: &'a DemoConsortium, screen: &'a Screen) -> Self {
        Self {
            arguments,
            demo,
            screen,
            round: 0,
            round_started: Instant::now(),
            rounds: Vec::new(),
            evaluations: BTreeMap::new(),
            shown: 0,
            killed: BTreeMap::new(),
            coordinator_is_killed: false,
            finals: BTreeMap::new(),
        }
    }

    pub(super) async fn handle(
        &mut self,
        event: ProcessEvent,
        processes: &mut Processes,
    ) -> Result<(), Failure> {
        match event {
            ProcessEvent::Coordinator(event) => {
                self.handle_coordinator(&event);
                Ok(())
            }
            ProcessEvent::Hospital(party, event) => {
                self.handle_hospital(party, &event, processes);
                Ok(())
            }
            // Without an exit code it ended by a signal, the demo's own; with one it failed by itself.
            ProcessEvent::Ended(None, None, _) if self.coordinator_is_killed => {
                self.screen.note("the coordinator was killed and is started again");
                processes.restart_coordinator(self.arguments, self.demo)
            }
            ProcessEvent::Ended(party, code, words) => self.handle_end(party, code, &words),
        }
    }

    fn handle_coordinator(&mut self, event: &Value) {
        let party = number(&event["party"]);
        match event["event"].as_str().unwrap_or_default() {
            "planned" => {
                self.round = event["round"].as_u64().unwrap_or_default();
                self.round_started = Instant::now();
            }
            "announced" => self.screen.announced(party),
            "uploaded" => self.screen.waiting(party),
            "missing" => {
                self.screen.note(&format!("summed without the uploads of {}", event["parties"]));
            }
            "recovering" => self.screen.note(&format!(
                "the masks of {}, which did not reveal their secrets, are recovered from custodians' shares",
                event["parties"]
            )),
            "disconnected" => self.screen.lost(party, "no sign of life"),
            "peer_refused" | "refused" | "bad_letter" | "fault" | "barred" | "repeated" => {
                self.screen.note(&format!("coordinator: {event}"));
            }
            "round" => self.end_round(event),
            _ => {}
        }
    }

    fn handle_hospital(&mut self, party: u32, event: &Value, processes: &mut Processes) {
        match event["event"].as_str().unwrap_or_default() {
            "training" => {
                let (done, total) = (count(&event["done"]), count(&event["total"]));
                match event["local"] == true {
                    true => self.screen.training_alone(party, done, total),
                    false => self.screen.training(party, self.round, done, total),
                }
            }
            "reading" => self.screen.reading(party, count(&event["done"]), count(&event["total"])),
            "uploading" => {
                let (sent, total) = (count(&event["sent"]), count(&event["total"]));
                self.screen.uploading(party, sent, total);
                self.kill_if_due(party, sent, total, processes);
                if self.arguments.kill_coordinator == Some(self.round) && !self.coordinator_is_killed {
                    self.coordinator_is_killed = true;
                    processes.kill_coordinator();
                }
            }
            "evaluated" => {
                let round = count(&event["round"]);
                if let Some(tally) = Tally::from_json(&event["accuracy"]) {
                    let (parties, sum) = self.evaluations.entry(round).or_default();
                    parties.insert(party);
                    sum.add(tally);
                }
                self.show_rounds();
            }
            "finished" => {
                let federated = Tally::from_json(&event["federated"]);
                let local = Tally::from_json(&event["local"]);
                if let Some(federated) = federated {
                    self.finals.insert(party, (federated, local));
                }
                let accuracy = |tally: Option<Tally>| tally.and_then(Tally::accuracy);
                self.screen.finished(party, accuracy(federated), accuracy(local));
            }
            "not_evaluated" => {
                // A hospital that cannot evaluate counts as done, or the round would never be shown.
                let (parties, _) = self.evaluations.entry(count(&event["round"])).or_default();
                parties.insert(party);
                self.screen.note(&format!("hospital {party}: {}", event["reason"]));
                self.show_rounds();
            }
            "refused" | "fault" | "reconnecting" | "not_trained" => {
                self.screen.note(&format!("hospital {party}: {}", event["reason"]));
            }
            _ => {}
        }
    }

    /// Kills a hospital that `--kill` names in the middle of its upload, when some of its chunks are sent and some are not.
    fn kill_if_due(&mut self, party: u32, sent: u64, total: u64, processes: &mut Processes) {
        let due = Kill { party, round: self.round };
        // Past a third and before the end: some chunks have arrived and others cannot any more.
        if self.arguments.kill.contains(&due) && sent * 3 >= total && sent < total {
            processes.kill(party);
            self.killed.insert(party, self.round);
            self.screen.lost(party, "killed with SIGKILL in the middle of its upload");
        }
    }

    fn handle_end(&mut self, party: Option<u32>, code: Option<i32>, words: &str) -> Result<(), Failure> {
        match (party, code) {
            (_, Some(0)) => Ok(()),
            (Some(party), _) if self.killed.contains_key(&party) => Ok(()),
            (Some(party), code) => Err(Failure::error(format!(
                "hospital {party} ended with {}: {}",
                code.map_or("a signal".into(), |code| format!("status {code}")),
                words.trim()
            ))),
            (None, code) => {
                // The demo ends with the coordinator's status, which scripts look for.
                let kind = if code == Some(FailureKind::QuorumLost as i32) {
                    FailureKind::QuorumLost
                } else {
                    FailureKind::Error
                };
                Err(Failure::new(kind, format!("the coordinator: {}", words.trim())))
            }
        }
    }

    fn end_round(&mut self, event: &Value) {
        let opened: BTreeSet<u64> = numbers(&event["opened"]).into_iter().map(u64::from).collect();
        let blocks = &self.demo.settings.blocks;
        let cohorts = event["cohorts"].as_array().cloned().unwrap_or_default();
        let experts = cohorts.iter().filter_map(|cohort| {
            let block = cohort["block"].as_u64()?;
            let BlockKind::Expert { layer, expert } = blocks.get(usize::try_from(block).ok()?)?.shape.kind
            else {
                return None;
            };
            Some(ExpertResult {
                layer,
                expert,
                choice: cohort["choice"].as_str().unwrap_or_default().to_owned(),
                members: numbers(&cohort["members"]),
                consensus: consensus(&cohort["consensus"]),
                opened: opened.contains(&block),
            })
        });
        self.rounds.push(RoundResult {
            round: count(&event["round"]),
            closed: event["closed"] == true,
            announced: numbers(&event["announced"]),
            uploaded: numbers(&event["uploaded"]),
            accuracy: None,
            bytes_up: count(&event["bytes_up"]),
            seconds: self.round_started.elapsed().as_secs_f64(),
            experts: experts.collect(),
        });
        self.show_rounds();
    }

    /// Shows each round when every hospital that holds its model has evaluated it.
    fn show_rounds(&mut self) {
        while let Some(round) = self.rounds.get_mut(self.shown) {
            let evaluated = self.evaluations.get(&round.round);
            // A killed hospital does not evaluate any more, and nobody may wait for it.
            let alive = (1..=self.arguments.members).filter(|party| !self.killed.contains_key(party));
            let complete =
                evaluated.is_some_and(|(parties, _)| alive.clone().all(|party| parties.contains(&party)));
            // Rounds are shown in order, so a later one waits for this one.
            if round.closed && !complete {
                return;
            }
            round.accuracy = evaluated.and_then(|(_, tally)| tally.accuracy());
            self.screen.round(round);
            self.shown += 1;
        }
    }

    pub(super) fn into_result(self, text: &Text, wall_s: f64) -> Result<DemoResult, Failure> {
        let done = self.rounds.iter().filter(|round| round.closed).count() as u64;
        if done < self.arguments.rounds {
            let wanted = self.arguments.rounds;
            return Err(Failure::error(format!(
                "only {done} of {wanted} rounds closed; the lines above say why"
            )));
        }
        // A demo of dropouts in which nobody dropped out has shown nothing.
        if let Some(kill) = self.arguments.kill.iter().find(|kill| !self.killed.contains_key(&kill.party)) {
            return Err(Failure::error(format!(
                "hospital {} finished its upload in round {} before it was killed; try again",
                kill.party, kill.round
            )));
        }
        let members: Vec<MemberResult> = text
            .hospitals
            .iter()
            .map(|hospital| {
                let result = self.finals.get(&hospital.party);
                MemberResult {
                    party: hospital.party,
                    name: hospital.name.clone(),
                    style: hospital.style.clone(),
                    notes_by_class: hospital.notes_by_class(&text.classes),
                    local_accuracy: result.and_then(|(_, local)| (*local)?.accuracy()),
                    federated_accuracy: result.and_then(|(federated, _)| federated.accuracy()),
                    killed_in: self.killed.get(&hospital.party).copied(),
                }
            })
            .collect();
        if self.arguments.kill_coordinator.is_some() && !self.coordinator_is_killed {
            return Err(Failure::error("the uploads ended before the coordinator was killed; try again"));
        }
        // A killed hospital's folder has no final model.
        let survivor =
            members.iter().find(|member| member.killed_in.is_none()).map_or(1, |member| member.party);
        let model = self.demo.hospital(survivor).join("data").join(self.demo.trained);
        let files = vec![
            WrittenFile::new("federated model", &model),
            WrittenFile::new("log of each round", &self.demo.coordinator().join("data/rounds")),
            WrittenFile::new("consortium, settings, task", &self.demo.folder),
        ];
        Ok(DemoResult {
            text: text.description.clone(),
            classes: text.classes.clone(),
            sketches: self.arguments.sketches.into(),
            held_out: text.held_out.len(),
            members,
            rounds: self.rounds,
            wall_s,
            files,
        })
    }
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn number(value: &Value) -> u32 {
    value.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or_default()
}

fn numbers(value: &Value) -> Vec<u32> {
    value.as_array().map(|list| list.iter().map(number).collect()).unwrap_or_default()
}

fn consensus(value: &Value) -> Vec<Option<f64>> {
    let list = value.as_array().cloned().unwrap_or_default();
    list.iter().map(|entry| entry.as_f64().map(|fixed| fixed / CONSENSUS_UNIT)).collect()
}
