//! Scores and cohorts.

use std::collections::BTreeMap;

use cloister_alignment::cohort::{Choice, Cohort, MemberSketches, choose};
use cloister_alignment::score::{ExpertSketch, common_direction, consensus};
use cloister_alignment::scores::score_consensus;
use cloister_alignment::signs::sign_consensus;
use cloister_params::id::{BlockId, Digest, PartyId};
use cloister_params::per_block::PerBlock;
use cloister_params::plan::{CheckedPlan, PlannedBlock, RoundPlan, ScoringRule, SketchForm, SketchValues};
use cloister_wire::statement::{AnnouncedSketch, CohortChoice, ManifestCohort, WeightedMember};
use serde::Deserialize;

use crate::parties::Rounds;
use crate::vectors;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scores {
    inputs: Vec<Input>,
    cases: Vec<Score>,
    commons: Vec<Common>,
    signs: Vec<SignScore>,
    withheld: Vec<WithheldScore>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    sketches: Vec<Sketch>,
    common: Vec<i32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sketch {
    values: SketchValues,
    tokens: u32,
}

/// Agreements are for whoever looks for a difference; here threshold and consensus speak for them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Score {
    input: usize,
    rule: ScoringRule,
    #[serde(rename = "agreements")]
    _agreements: Vec<i64>,
    threshold: i64,
    consensus: Vec<Option<u32>>,
}

/// ALIGN-15
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignScore {
    sketches: Vec<Sketch>,
    minimum_tokens: u32,
    size: u16,
    consensus: Vec<Option<u32>>,
}

/// ALIGN-17
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WithheldScore {
    sketches: Vec<Sketch>,
    consensus: Vec<Option<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Common {
    sketches: Vec<Sketch>,
    minimum_tokens: u32,
    coordinates: usize,
    common: Vec<i32>,
}

impl Sketch {
    fn expert(&self) -> ExpertSketch {
        ExpertSketch { values: self.values.clone(), tokens: self.tokens }
    }
}

pub(crate) fn scores(file: Scores) {
    let rule = file.cases[0].rule;
    for case in &file.cases {
        let input = &file.inputs[case.input];
        let sketches: Vec<ExpertSketch> = input.sketches.iter().map(Sketch::expert).collect();
        let scored = consensus(&sketches.iter().collect::<Vec<_>>(), &input.common, &case.rule);
        assert_eq!((scored.threshold, scored.per_member), (case.threshold, case.consensus.clone()));
    }
    for case in &file.signs {
        let sketches: Vec<ExpertSketch> = case.sketches.iter().map(Sketch::expert).collect();
        let scored =
            sign_consensus(&sketches.iter().collect::<Vec<_>>(), case.minimum_tokens, case.size).per_member;
        assert_eq!(scored, case.consensus);
    }
    for case in &file.withheld {
        let sketches: Vec<ExpertSketch> = case.sketches.iter().map(Sketch::expert).collect();
        assert_eq!(score_consensus(&sketches.iter().collect::<Vec<_>>()).per_member, case.consensus);
    }
    for case in &file.commons {
        let sketches: Vec<ExpertSketch> = case.sketches.iter().map(Sketch::expert).collect();
        let rule = ScoringRule { minimum_tokens: case.minimum_tokens, ..rule };
        assert_eq!(common_direction(sketches.iter(), &rule, case.coordinates), case.common);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cohorts {
    sketches: BTreeMap<u32, Vec<AnnouncedSketch>>,
    signs: BTreeMap<u32, Vec<AnnouncedSketch>>,
    cases: Vec<CohortCase>,
    tables: Vec<Vec<PlannedBlock>>,
    withheld: Vec<WithheldCohorts>,
}

/// ALIGN-16, ALIGN-17
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WithheldCohorts {
    about: String,
    table: usize,
    cohort_floor: u16,
    max_weight: u8,
    scoring: ScoringRule,
    sketches: BTreeMap<u32, Vec<AnnouncedSketch>>,
    cohorts: Vec<ManifestCohort>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CohortCase {
    cohort_floor: u16,
    max_weight: u8,
    scoring: ScoringRule,
    announced: Vec<u32>,
    cohorts: Vec<ManifestCohort>,
}

/// A member's sketches by block.
pub(crate) fn member_sketches(announced: &[AnnouncedSketch]) -> MemberSketches {
    let mut sketches = MemberSketches::new();
    for AnnouncedSketch { block, values, tokens } in announced {
        sketches.insert(*block, ExpertSketch { values: values.clone(), tokens: *tokens });
    }
    sketches
}

fn listed(cohort: Cohort) -> ManifestCohort {
    let choice = match cohort.choice {
        Choice::Everyone => CohortChoice::Everyone,
        Choice::Aligned => CohortChoice::Aligned,
        Choice::Fallback => CohortChoice::Fallback,
        Choice::Void => CohortChoice::Void,
    };
    let members = cohort.members.iter();
    let members = members.map(|member| WeightedMember { member: member.party, weight: member.weight });
    ManifestCohort { block: cohort.block, choice, members: members.collect(), consensus: cohort.consensus }
}

pub(crate) fn cohorts(file: Cohorts) {
    let rounds: Rounds = vectors::read("rounds");
    let (epoch, plan) = (rounds.epoch(), rounds.first_plan().parse().unwrap());
    for case in file.cases {
        let mut plan: RoundPlan = plan.clone();
        plan.settings.cohort_floor = case.cohort_floor;
        plan.settings.max_weight = case.max_weight;
        plan.settings.scoring = case.scoring;
        let plan = CheckedPlan::check(plan, epoch.consortium(), epoch.digest()).unwrap();
        let sketches = match case.scoring.sketches {
            SketchForm::Pairs => &file.sketches,
            SketchForm::Signs => &file.signs,
            SketchForm::Withheld => panic!("these cases have sketches"),
        };
        let announced: BTreeMap<PartyId, MemberSketches> =
            case.announced.iter().map(|m| (PartyId(*m), member_sketches(&sketches[m]))).collect();
        let cohorts: Vec<ManifestCohort> =
            choose(&plan, epoch.consortium(), &announced).into_iter().map(listed).collect();
        assert_eq!(cohorts, case.cohorts);
        assert!((0u32..).map(BlockId).zip(&cohorts).all(|(block, cohort)| cohort.block == block));
    }
    for case in file.withheld {
        let mut plan: RoundPlan = plan.clone();
        plan.settings.blocks.clone_from(&file.tables[case.table]);
        // PLAN-22: with private training there are no regions.
        plan.settings.training.private = None;
        plan.parameters = PerBlock::from_table(&plan.settings.blocks, |_| Digest::default());
        plan.settings.cohort_floor = case.cohort_floor;
        plan.settings.max_weight = case.max_weight;
        plan.settings.scoring = case.scoring;
        let plan = CheckedPlan::check(plan, epoch.consortium(), epoch.digest()).unwrap();
        let announced =
            case.sketches.iter().map(|(member, announced)| (PartyId(*member), member_sketches(announced)));
        let cohorts = choose(&plan, epoch.consortium(), &announced.collect()).into_iter().map(listed);
        assert_eq!(cohorts.collect::<Vec<_>>(), case.cohorts, "{}", case.about);
    }
}
