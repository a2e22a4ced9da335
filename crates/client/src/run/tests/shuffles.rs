//! What trainings have in common.

use super::*;

/// TRAIN-07: the plan and the model of two trainings are the same, and what they are shuffled by is not.
#[test]
fn shuffles_do_not_follow_from_the_plan() {
    let trainings = [(); 2].map(|()| {
        let (mut world, config, _folder) = site("shuffles");
        let settings = world.template_mut().clone();
        let mut events = |_| ();
        let (mut client, given) = client(&config, &settings, &mut events);
        world.start_round();
        show(&mut world, &mut client);
        let (_, plan, seed) = train_job(&given);
        (plan, seed.value())
    });
    assert_eq!(trainings[0].0, trainings[1].0, "control: the world is seeded, and so the plan is the same");
    assert_ne!(trainings[0].1, trainings[1].1);
}
