// These tests measure how long an explanation takes.
#![allow(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use super::*;
use crate::concentrated::SummedNoise;
use crate::ledger::{Charge, Opening};

fn release(released: Released, count: u64, mechanism: Mechanism) -> Release {
    let (coordinates, sensitivity, noise_per_member, honest_noises) = (1, 1.0, 1, 1);
    Release { released, count, coordinates, sensitivity, noise_per_member, honest_noises, mechanism }
}

/// What a round of private training charges for unit `record`, with eight experts in four layers.
fn round(noise_multiplier: f64) -> Vec<Release> {
    let noised = |sigma, parties, length, sensitivity| {
        Mechanism::from_noise(SummedNoise { sigma, parties, length }, sensitivity).expect("in range")
    };
    vec![
        release(
            Released::PrivateStep,
            34,
            Mechanism::Gaussian { noise_multiplier, sampling_probability: 0.03 },
        ),
        release(Released::RegionSketch, 8, noised(4096, 1, 64, 175.84)),
        release(Released::TokenCount, 8, noised(60, 1, 1, 60.0)),
        release(Released::RoutingHistogram, 4, noised(640, 3, 8, 40.0)),
    ]
}

fn history(rounds: impl Iterator<Item = Vec<Release>>) -> History {
    let opening = Opening { holder: "hospital 1".into(), unit: PrivacyUnit::Record, group_by: None };
    let charge = |(round, releases)| Charge {
        epoch: Digest([1; 32]),
        round: Round(round),
        model: Digest([2; 32]),
        releases,
        at: None,
    };
    let charges: Vec<Charge> = (1..).zip(rounds).map(charge).collect();
    History {
        opening,
        budgets: vec![],
        closed: vec![None; charges.len()],
        charges,
        sent: None,
        lines: vec![Digest([3; 32])],
    }
}

/// PRIV-07: each line is what its rounds alone come to, and a hundred rounds are explained in a time that
/// nobody minds: two seconds, and more here for machines that do other things as well.
#[test]
fn every_round_has_the_epsilon_up_to_it_and_a_hundred_take_no_time() {
    let began = Instant::now();
    let explanation = Explanation::from_history(&history((0..100).map(|_| round(1.1))), 1e-6, None);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    println!("a hundred rounds in {:?}", began.elapsed());
    let so_far = |round: usize| explanation.rounds[round - 1].so_far.expect("said for each");
    assert!((1..=100).all(|round| so_far(round).method == "pld"));
    let at = |round: usize| so_far(round).epsilon.expect("noised");
    assert!((1..100).all(|round| at(round) < at(round + 1)));
    let alone = history((0..7).map(|_| round(1.1))).account().epsilon(1e-6).epsilon;
    assert_eq!(at(7), alone);
}

/// A ledger that somebody wrote by hand, with figures as far out as a mechanism may have and none of them
/// twice.
#[test]
fn no_ledger_takes_forever() {
    let mut all = history((0..600).map(|at| {
        let sigma = 1e-6 * 1.05f64.powi(at);
        let mut releases = round(sigma);
        releases.iter_mut().for_each(|release| release.count = u64::MAX - at as u64);
        releases[1].mechanism = Mechanism::DiscreteGaussian {
            sigma: u32::MAX - at as u32,
            parties: 4096,
            coordinates: u64::MAX,
            sensitivity: 1e18 / (1.0 + f64::from(at)),
        };
        releases[2].mechanism = Mechanism::DiscreteGaussian {
            sigma: 1 + at as u32 % 64,
            parties: 1,
            coordinates: 1,
            sensitivity: f64::from(at),
        };
        releases
    }));
    all.charges[7].releases[1].mechanism = Mechanism::Concentrated { rho: 0.0 };
    let releases = || all.charges.iter().flat_map(|charge| &charge.releases);
    assert!(releases().all(|release| release.mechanism.is_valid()), "a ledger may say so");
    let too_many =
        Mechanism::DiscreteGaussian { sigma: 1, parties: u32::MAX, coordinates: 1, sensitivity: 1.0 };
    assert!(!too_many.is_valid(), "control: not so");
    let began = Instant::now();
    let explanation = Explanation::from_history(&all, 1e-6, Budget::new(4.0, 1e-6).ok());
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    println!("{} kinds in {:?}", all.account().kinds(), began.elapsed());
    let said: Vec<bool> = explanation.rounds.iter().map(|round| round.so_far.is_some()).collect();
    assert_eq!((said.len(), said.last()), (600, Some(&true)));
    assert!((1..=200).contains(&said.iter().filter(|said| **said).count()));
    assert!(explanation.spent.epsilon.is_none_or(|epsilon| epsilon > 1e6));
    assert!(!explanation.to_string().is_empty());
}

/// Rounds whose plans all differ cost a little more time, and no more than a little more ε.
#[test]
fn rounds_that_all_differ_are_taken_together() {
    let began = Instant::now();
    let all = history((0..1000).map(|at| round(1.1 + f64::from(at) * 1e-4)));
    let epsilon = all.account().epsilon(1e-6).epsilon;
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let [least, most] =
        [1.2, 1.1].map(|sigma| history((0..1000).map(|_| round(sigma))).account().epsilon(1e-6).epsilon);
    assert!((least..most).contains(&epsilon), "{least} {epsilon} {most}");
}
