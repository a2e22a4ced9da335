//! Random lists of operations.

use std::fmt;

use cloister_params::floors::{DEFAULT_CUSTODIANS, Floors};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde::Serialize;

use crate::invariants::Violation;
use crate::operation::{Attack, Configuration, Operation};
use crate::simulation::Simulation;

/// A list that broke a rule.
#[derive(Serialize)]
pub(crate) struct Failure {
    pub(crate) violation: Violation,
    pub(crate) configuration: Configuration,
    pub(crate) operations: Vec<Operation>,
}

/// What a run did and found.
#[derive(Default)]
pub(crate) struct Report {
    /// The largest roster of all lists.
    pub(crate) largest: u32,
    pub(crate) operations: usize,
    pub(crate) lists: usize,
    pub(crate) closed: usize,
    pub(crate) aborted: usize,
    pub(crate) stalled: usize,
    pub(crate) violations: Vec<Failure>,
}

impl Report {
    /// Adds a list that was carried out.
    pub(crate) fn count(&mut self, operations: usize, simulation: &Simulation) {
        self.lists += 1;
        self.operations += operations;
        self.closed += simulation.closed;
        self.aborted += simulation.aborted;
        self.stalled += usize::from(simulation.is_stuck());
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} operations in {} lists on rosters of up to {} members: {} rounds closed, {} aborted, {} stalled; {} violations",
            self.operations,
            self.lists,
            self.largest,
            self.closed,
            self.aborted,
            self.stalled,
            self.violations.len()
        )
    }
}

/// How often things go wrong in one list, in thousandths of its operations.
#[derive(Clone, Copy)]
struct Weather {
    faults: u32,
    /// Attacks while a round is under way.
    attacks: u32,
    /// Attacks between rounds.
    preparations: u32,
    kinds: &'static [Attack],
}

/// Runs lists until so many operations were carried out, or one breaks a rule: every third one is about what sums of
/// different rounds tell together.
pub(crate) fn explore(seed: u64, operations: usize) -> Report {
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let mut report = Report::default();
    while report.operations < operations && report.violations.is_empty() {
        if random.next_u32().is_multiple_of(3) {
            let configuration = configuration_of_differences(&mut random);
            run_differences(configuration, random.next_u64(), &mut report);
        } else {
            let configuration = random_configuration(&mut random);
            let length = 400 * configuration.members as usize;
            run_list(configuration, length, random.next_u64(), &mut report);
        }
    }
    report
}

/// The same with lists about sums of different rounds alone.
pub(crate) fn explore_differences(seed: u64, operations: usize) -> Report {
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let mut report = Report::default();
    while report.operations < operations && report.violations.is_empty() {
        let configuration = configuration_of_differences(&mut random);
        run_differences(configuration, random.next_u64(), &mut report);
    }
    report
}

/// Small rosters, mostly with rounds that can end without changing the model.
fn configuration_of_differences(random: &mut ChaCha20Rng) -> Configuration {
    let sizes = [3, 4, 5, 6, 6, 7, 8, 8];
    let members = sizes[random.next_u32() as usize % sizes.len()];
    let floors =
        Floors::for_roster(members as usize, members as usize).expect("rosters of these sizes have floors");
    let byzantine_custodians = random.next_u32() % (floors.malicious_custodians as u32 + 1);
    let corrupt = floors.corrupt_organisations as u32 - byzantine_custodians;
    let (corrupt_members, lying) = (random.next_u32() % (corrupt + 1), random.next_u32() % (corrupt + 1));
    let late_sketches = !random.next_u32().is_multiple_of(4);
    let trains_afresh = random.next_u32().is_multiple_of(2);
    let seed = random.next_u64();
    Configuration {
        experts: 1,
        seed,
        faults_are_watched: are_faults_watched(members, seed),
        byzantine_custodians,
        corrupt_members,
        coordinator_is_byzantine: true,
        late_sketches,
        lying_members: if late_sketches { lying } else { 0 },
        every_block_is_sketched: late_sketches,
        evaluation: random.next_u32().is_multiple_of(2),
        withheld: is_withheld(seed),
        trains_afresh,
        ..Configuration::with_members(members)
    }
}

/// Half of the seeds that would have signs have scores.
fn is_withheld(seed: u64) -> bool {
    seed % 8 == 7
}

fn random_configuration(random: &mut ChaCha20Rng) -> Configuration {
    let sizes = [3, 4, 5, 5, 6, 7, 7, 8, 9, 12];
    let large = random.next_u32().is_multiple_of(24);
    let members =
        if large { 13 + random.next_u32() % 28 } else { sizes[random.next_u32() as usize % sizes.len()] };
    let floors = Floors::for_roster(members as usize, (members as usize).min(DEFAULT_CUSTODIANS))
        .expect("rosters of these sizes have floors");
    let late_sketches = members <= 12 && random.next_u32().is_multiple_of(3);
    let experts = 1 + (random.next_u32() % 3) as u16;
    let seed = random.next_u64();
    Configuration {
        withheld: is_withheld(seed),
        experts,
        seed,
        faults_are_watched: are_faults_watched(members, seed),
        byzantine_custodians: random.next_u32() % (floors.malicious_custodians as u32 + 1),
        coordinator_is_byzantine: random.next_u32().is_multiple_of(2),
        late_sketches,
        lying_members: if late_sketches {
            random.next_u32() % (floors.corrupt_organisations as u32 + 1)
        } else {
            0
        },
        ..Configuration::with_members(members)
    }
}

/// Of so many small lists, faults are watched in one; it has at most so many operations.
const WATCHED: u64 = 10;
const WATCHED_LENGTH: usize = 600;

fn are_faults_watched(members: u32, seed: u64) -> bool {
    members <= 8 && seed.is_multiple_of(WATCHED)
}

/// Runs one list of at most so many operations, up to its first violation or until it is stuck.
pub(crate) fn run_list(configuration: Configuration, length: usize, seed: u64, report: &mut Report) {
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let attacks = if configuration.coordinator_is_byzantine { 30 } else { 0 };
    let faults = [0, 2, 8][random.next_u32() as usize % 3];
    let weather = Weather { faults, attacks, preparations: attacks, kinds: &Attack::ALL };
    run(configuration, weather, length, &mut random, report);
}

/// Runs one list about what sums of different rounds tell together.
pub(crate) fn run_differences(configuration: Configuration, seed: u64, report: &mut Report) {
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let faults = [0, 0, 2][random.next_u32() as usize % 3];
    let weather = Weather { faults, attacks: 1, preparations: 300, kinds: &Attack::OF_DIFFERENCES };
    let length = 600 * configuration.members as usize;
    run(configuration, weather, length, &mut random, report);
}

fn run(
    configuration: Configuration,
    weather: Weather,
    length: usize,
    random: &mut ChaCha20Rng,
    report: &mut Report,
) {
    report.largest = report.largest.max(configuration.members);
    let (mut weather, mut length) = (weather, length);
    if configuration.faults_are_watched {
        length = length.min(WATCHED_LENGTH);
        (weather.attacks, weather.kinds) = (200, &Attack::OF_FAULTS);
    }
    let mut simulation = Simulation::new(&configuration);
    let mut list = Vec::new();
    while list.len() < length && !simulation.is_stuck() {
        let operation = choose(&simulation, weather, random);
        list.push(operation);
        if let Err(violation) = simulation.apply(operation) {
            let operations = list.clone();
            report.violations.push(Failure { configuration, operations, violation });
            break;
        }
    }
    report.count(list.len(), &simulation);
}

/// The next operation: mostly deliveries, now and then a fault or an attack, and what moves a quiet world on.
fn choose(simulation: &Simulation, weather: Weather, random: &mut ChaCha20Rng) -> Operation {
    let number = random.next_u32();
    let roll = random.next_u32() % 1000;
    if roll < weather.faults {
        return fault(number, random);
    }
    let is_busy = simulation.world.coordinator.is_busy();
    let attacks = if is_busy { weather.attacks } else { weather.preparations };
    if roll < weather.faults + attacks {
        let attack = weather.kinds[random.next_u32() as usize % weather.kinds.len()];
        return Operation::Attack(attack, number);
    }
    if !is_busy && roll.is_multiple_of(4) {
        // One round in five is a rehearsal.
        let is_rehearsal = number.is_multiple_of(5);
        return if is_rehearsal { Operation::StartRehearsal } else { Operation::StartRound };
    }
    let away = simulation.away();
    if !away.is_empty() && (roll.is_multiple_of(40) || simulation.world.steps().is_empty()) {
        return Operation::Connect(away[number as usize % away.len()]);
    }
    if simulation.world.steps().is_empty() {
        return Operation::Expire;
    }
    Operation::Step(number)
}

fn fault(number: u32, random: &mut ChaCha20Rng) -> Operation {
    match random.next_u32() % 11 {
        10 => Operation::RestartCoordinator,
        0..4 => Operation::Disconnect(number),
        4..6 => Operation::Restart(number),
        6 => Operation::Silence(number),
        7 => Operation::Expire,
        _ => Operation::Duplicate(number),
    }
}
