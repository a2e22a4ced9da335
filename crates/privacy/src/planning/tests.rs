use super::*;

fn budget() -> Budget {
    Budget::new(4.0, 1e-6).expect("a budget")
}

fn member(bits: u8) -> MemberTarget {
    let ring = RingWidth::new(bits).expect("supported");
    MemberTarget { budget: budget(), rounds: 25, members: 10, coordinates: 1_000_000, ring }
}

#[test]
fn a_members_plan_keeps_to_its_target_and_not_by_much() {
    let plan = member(32).plan().expect("fits");
    assert!(plan.epsilon_by_filter <= 4.0 && plan.epsilon_by_filter > 3.99, "{plan:?}");
    assert!(plan.epsilon.epsilon <= 4.0 && plan.epsilon.epsilon > 3.9, "{plan:?}");
    assert!(plan.bits_used <= 32);
    let less = SummedNoise { sigma: plan.noise_steps - 1, parties: 3, length: 1_000_000 };
    let rho = less.rho(plan.sensitivity).expect("in range");
    assert!(budget().admit(&member(32).account(rho)).is_err(), "one step less is too little");
}

#[test]
fn narrower_rings_have_coarser_clips_until_none_fits() {
    let (wide, narrow) = (member(32).plan().expect("fits"), member(24).plan().expect("fits"));
    assert!(narrow.clip_steps < wide.clip_steps && narrow.bits_used <= 24, "{narrow:?}");
    let strict = MemberTarget { rounds: 10_000_000, ..member(16) };
    assert!(matches!(strict.plan(), Err(PlanningError::Ring { bits: 16, .. })));
}

/// PRIV-05: rare records, which one order of Rényi divergences counts many times.
#[test]
fn hardly_anything_of_a_target_is_lost() {
    for (epsilon, micro, epochs) in [(1.0, 100, 2), (3.0, 10_000, 10), (0.5, 1000, 20)] {
        let budget = Budget::new(epsilon, 1e-6).expect("a budget");
        let target =
            RecordTarget { budget, rounds: 1, local_epochs: epochs, sampling_probability_micro: micro };
        let plan = target.plan().expect("reachable");
        assert!((0.97 * epsilon..=epsilon).contains(&plan.epsilon.epsilon), "{plan:?}");
    }
}

/// Steps beyond 32 bits are counted, and cost more than fewer do.
#[test]
fn any_number_of_rounds_is_counted() {
    let target = |rounds| RecordTarget {
        budget: Budget::new(50.0, 1e-6).expect("a budget"),
        rounds,
        local_epochs: 1000,
        sampling_probability_micro: 200,
    };
    let noise = |rounds| target(rounds).plan().expect("reachable").noise_multiplier_milli;
    let (few, many) = (noise(850), noise(1700));
    assert_eq!(target(850).steps(1000), 4_250_000_000, "more than 32 bits hold");
    assert!((1.35..1.45).contains(&(f64::from(many) / f64::from(few))), "{few} {many}");
    let all = target(u32::MAX);
    assert_eq!(all.steps(1000), u64::from(u32::MAX) * 5_000_000);
    assert!(all.account(1000).epsilon(1e-6).epsilon > 1e5);
}

#[test]
fn a_records_plan_keeps_to_its_target() {
    let q = sampling_probability_micro(50, 2000).expect("a sample");
    let target = RecordTarget { budget: budget(), rounds: 5, local_epochs: 1, sampling_probability_micro: q };
    let plan = target.plan().expect("reachable");
    assert_eq!((plan.steps, plan.sampling_probability_micro), (200, 25_000));
    assert!(plan.epsilon_by_filter <= 4.0 && plan.epsilon_by_filter > 3.98, "{plan:?}");
    assert!(plan.epsilon.epsilon <= plan.epsilon_by_filter && plan.epsilon.method == "pld", "{plan:?}");
    let less = plan.noise_multiplier_milli - 1;
    assert!(target.budget_for(less).admit(&target.account(less)).is_err(), "a thousandth less is too little");
    assert!(matches!(sampling_probability_micro(0, 10), Err(PlanningError::Batch { .. })));
    assert!(matches!(sampling_probability_micro(11, 10), Err(PlanningError::Batch { .. })));
}
