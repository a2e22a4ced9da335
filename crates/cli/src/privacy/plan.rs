//! `cloister privacy plan`.

use clap::Args;
use cloister_params::fixed::RingWidth;
use cloister_params::limits::PrivacyUnit;
use cloister_privacy::accuracy::AccuracyCost;
use cloister_privacy::budget::{Budget, warning_about_delta};
use cloister_privacy::planning::{
    MemberPlan, MemberTarget, RecordPlan, RecordTarget, sampling_probability_micro,
};
use serde::Serialize;

use super::{Runs, Unit, print_json};
use crate::failure::{Failure, FailureKind};
use crate::output;

#[derive(Debug, Args)]
pub(super) struct PlanArguments {
    /// The ε to stay within.
    #[arg(long)]
    target_epsilon: f64,
    /// The δ at which ε is taken. It should be well below one divided by the number of records.
    #[arg(long)]
    delta: f64,
    /// Number of rounds.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Number of hospitals that take part.
    #[arg(long, value_parser = clap::value_parser!(u32).range(3..=300))]
    members: u32,
    /// Whose data is protected.
    #[arg(long, value_enum, default_value_t = Unit::Member)]
    unit: Unit,
    /// For unit `member`: number of coordinates of the whole update.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    coordinates: u64,
    /// For unit `member`: width of the ring that integers are summed in, in bits: 16, 24 or 32.
    #[arg(long, default_value_t = 32)]
    ring: u8,
    /// For unit `record`: number of the hospital's records. --batch-size divided by it is the sampling probability.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    records: Option<u32>,
    /// For unit `record`: probability that a record is in a step's batch, in millionths. Replaces --records.
    #[arg(long, conflicts_with = "records", value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    sampling_probability_micro: Option<u32>,
    /// For unit `record`: expected number of records in a batch.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: u32,
    /// For unit `record`: number of passes over the records in a round.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    local_epochs: u16,
    #[command(flatten)]
    runs: Runs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What is printed.
#[derive(Serialize)]
struct Answer {
    unit: PrivacyUnit,
    target: Budget,
    rounds: u32,
    members: u32,
    #[serde(flatten)]
    settings: PlannedSettings,
    /// Unit `member`: how many steps a coordinate of an update as long as the clip has; well below 1, rounding loses it.
    steps_of_a_coordinate: Option<f64>,
    /// The measured cost in accuracy of such noise, if runs were named.
    accuracy_cost: AccuracyCost,
    not_covered: &'static [&'static str],
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum PlannedSettings {
    MemberSettings(MemberPlan),
    RecordSettings(RecordPlan),
}

const NOT_COVERED_MEMBER: &[&str] =
    &["sketches and token counts, which cost far more at this unit than the update: cohorts are everyone"];
const NOT_COVERED_RECORD: &[&str] = &[
    "region sketches, token counts and routing distributions, which touch records directly and are charged on their own: \
     `cloister privacy cost` has them all",
];

pub(super) fn run(arguments: &PlanArguments) -> Result<(), Failure> {
    let target = Budget::new(arguments.target_epsilon, arguments.delta).map_err(usage)?;
    let (settings, not_covered) = match arguments.unit {
        Unit::Member => (member(arguments, target)?, NOT_COVERED_MEMBER),
        Unit::Record => (record(arguments, target)?, NOT_COVERED_RECORD),
    };
    let (unit, rounds, members) = (arguments.unit.into(), arguments.rounds, arguments.members);
    let accuracy_cost = arguments.runs.accuracy_cost()?;
    let steps_of_a_coordinate = match &settings {
        PlannedSettings::MemberSettings(plan) => {
            // A vector as long as the clip whose coordinates are equal has this many steps in each.
            Some(f64::from(plan.clip_steps) / (arguments.coordinates as f64).sqrt())
        }
        PlannedSettings::RecordSettings(_) => None,
    };
    let answer =
        Answer { unit, target, rounds, members, settings, steps_of_a_coordinate, accuracy_cost, not_covered };
    if arguments.json {
        return print_json(&answer);
    }
    print(&answer)
}

fn member(arguments: &PlanArguments, budget: Budget) -> Result<PlannedSettings, Failure> {
    let ring = RingWidth::new(arguments.ring);
    let ring = ring.ok_or_else(|| usage("--ring must be 16, 24 or 32"))?;
    let (rounds, members, coordinates) = (arguments.rounds, arguments.members, arguments.coordinates);
    let plan = MemberTarget { budget, rounds, members, coordinates, ring }.plan();
    plan.map(PlannedSettings::MemberSettings).map_err(usage)
}

fn record(arguments: &PlanArguments, budget: Budget) -> Result<PlannedSettings, Failure> {
    let (rounds, local_epochs) = (arguments.rounds, arguments.local_epochs);
    let sampling_probability_micro = match (arguments.sampling_probability_micro, arguments.records) {
        (Some(micro), _) => micro,
        (None, Some(records)) => sampling_probability_micro(arguments.batch_size, records).map_err(usage)?,
        (None, None) => {
            return Err(usage("unit `record` needs --records or --sampling-probability-micro"));
        }
    };
    if let Some(warning) =
        arguments.records.and_then(|records| warning_about_delta(budget.delta, records.into()))
    {
        output::tell(format_args!("warning: {warning}"));
    }
    let plan = RecordTarget { budget, rounds, local_epochs, sampling_probability_micro }.plan();
    plan.map(PlannedSettings::RecordSettings).map_err(usage)
}

fn print(answer: &Answer) -> Result<(), Failure> {
    let Budget { epsilon, delta, .. } = answer.target;
    output::line(format_args!(
        "unit {}, {} rounds, {} members, target ε = {epsilon} at δ = {delta:e}\n",
        answer.unit, answer.rounds, answer.members
    ))?;
    match &answer.settings {
        PlannedSettings::MemberSettings(plan) => {
            row("clip of the whole update, steps", plan.clip_steps.to_string())?;
            row("noise of each member, steps", plan.noise_steps.to_string())?;
            row("sensitivity with rounding, steps", format!("{:.1}", plan.sensitivity))?;
            row("honest members whose noise is counted", plan.honest_noises.to_string())?;
            row("noise multiplier", format!("{:.4}", plan.noise_multiplier))?;
            row("bits used of the ring's", format!("{} of {}", plan.bits_used, plan.bits_of_ring))?;
            row("norm of the noise in the mean, in clips", format!("{:.1}", plan.noise_of_mean_over_clip))?;
            print_epsilon(plan.epsilon_by_filter, plan.epsilon.epsilon, plan.epsilon.method)?;
        }
        PlannedSettings::RecordSettings(plan) => {
            let thousandths = f64::from(plan.noise_multiplier_milli) / 1e3;
            let millionths = f64::from(plan.sampling_probability_micro) / 1e6;
            row("noise multiplier of DP-SGD", format!("{thousandths:.3}"))?;
            row("sampling probability of a record", format!("{millionths:.6}"))?;
            row("steps in all", plan.steps.to_string())?;
            print_epsilon(plan.epsilon_by_filter, plan.epsilon.epsilon, plan.epsilon.method)?;
        }
    }
    row("cost in accuracy", accuracy_in_words(&answer.accuracy_cost))?;
    if let PlannedSettings::MemberSettings(plan) = &answer.settings
        && plan.noise_of_mean_over_clip > 1.0
    {
        output::line(
            "\nThe noise is larger than any mean of updates can be. Fewer coordinates, fewer rounds, more \
             members or a larger ε help.",
        )?;
    }
    if answer.steps_of_a_coordinate.is_some_and(|steps| steps < 1.0) {
        output::line(
            "\nA step is larger than a coordinate of most updates: rounding loses much of them. Take a wider ring.",
        )?;
    }
    if let PlannedSettings::RecordSettings(plan) = &answer.settings {
        let (multiplier, probability) = (plan.noise_multiplier_milli, plan.sampling_probability_micro);
        output::line(format_args!(
            "\nIn the round settings, with a clipping norm and a minimum of records of your choice:\n\
             [training.private]\nclipping_norm_milli = 1000\nnoise_multiplier_milli = {multiplier}\n\
             sampling_probability_micro = {probability}\nminimum_records = 100",
        ))?;
        output::line(format_args!(
            "\nIn the hospitals' policies; without it their ledgers count by one order, and refuse earlier:\n\
             [privacy.training]\nnoise_multiplier_milli = {multiplier}\n\
             sampling_probability_micro = {probability}\nsteps = {}",
            plan.steps
        ))?;
    }
    output::line("\nNot covered:")?;
    answer.not_covered.iter().try_for_each(|what| output::line(format_args!("- {what}")))
}

fn row(what: &str, value: String) -> Result<(), Failure> {
    output::line(format_args!("{what:<52}{value}"))
}

/// The cost in accuracy, with the run that it was measured on: that run's noise need not be this plan's.
fn accuracy_in_words(cost: &AccuracyCost) -> String {
    match cost {
        AccuracyCost::NotMeasured { reason } => format!("not measured: {reason}"),
        AccuracyCost::Measured { dataset, with_noise, without_noise, cost } => format!(
            "{:.1} points: {:.1} % with the run's noise (ε of training {:.2}), {:.1} % without, on {dataset}, {} seed(s)",
            100.0 * cost,
            100.0 * with_noise.accuracy,
            // A run whose ε is unknown promises nothing.
            with_noise.epsilon_of_training.unwrap_or(f64::INFINITY),
            100.0 * without_noise.accuracy,
            with_noise.seeds
        ),
    }
}

fn print_epsilon(by_filter: f64, epsilon: f64, method: &str) -> Result<(), Failure> {
    row("ε that the ledger will count", format!("{by_filter:.4}"))?;
    row("ε by the accountant", format!("{epsilon:.4} ({method})"))
}

fn usage(error: impl std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Usage, error)
}
