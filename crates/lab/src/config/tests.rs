//! Which configurations are accepted, and which are rejected with which reason.

use super::*;

const LEAST: &str = "dataset = \"x\"\n[data]\ntrain = [\"a.jsonl\"]\n";

fn parse(settings: &[&str]) -> Result<Config, LabError> {
    let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
    Config::parse(LEAST, "file", &settings)
}

#[test]
fn settings_replace_what_the_file_says_and_typing_errors_are_refused() {
    let config = parse(&["strategy.num_rounds=3", "strategy.name=FedProx", "data.test=t.jsonl"]);
    let config = config.expect("a configuration");
    assert_eq!((config.strategy.training.num_rounds, config.strategy.kind.name()), (3, "FedProx"));
    assert_eq!(config.data.test, Some(PathBuf::from("t.jsonl")));
    for wrong in ["strategy.rounds=3", "strategy", "dataset.x=1", "scoring.coordinates=48"] {
        assert!(parse(&[wrong]).is_err(), "{wrong}");
    }
}

#[test]
fn the_test_file_has_the_limit_of_the_others_unless_it_has_its_own() {
    let both = |settings: &[&str]| {
        let data = parse(settings).expect("a configuration").quick().data;
        (data.limit, data.limit_of_test())
    };
    assert_eq!(both(&["data.limit=20"]), (20, 20));
    assert_eq!(both(&["data.limit=20", "data.test_limit=30"]), (20, 30));
    assert_eq!(both(&["data.limit=20", "data.test_limit=0"]), (20, 400));
    let whole = parse(&["data.limit=20", "data.test_limit=0"]).expect("a configuration");
    assert_eq!(whole.data.limit_of_test(), 0);
}

#[test]
fn private_training_and_what_is_not_private_exclude_each_other() {
    let error = parse(&["strategy.private.noise_multiplier=2"]).expect_err("the head is not private");
    assert!(error.to_string().contains("head.kind"), "{error}");
    let training = ["strategy.name=FedAvg", "strategy.balanced=false", "head.kind=none"];
    let settings = [&training[..], &["strategy.private.noise_multiplier=2"]].concat();
    let private = parse(&settings).expect("a configuration").strategy.training.private.expect("private");
    assert_eq!((private.noise_multiplier, private.clipping_norm, private.delta), (2.0, 1.0, 1e-5));
    assert!(parse(&[&settings[..], &["strategy.private.delta=1"]].concat()).is_err());
}

#[test]
fn noise_on_heads_is_for_masks_and_a_head_that_is_estimated_again_starts_as_none() {
    let noised = ["head.noise.noise_multiplier=2", "secure=true"];
    let noise = parse(&noised).expect("a configuration").head.noise.expect("noise");
    assert_eq!((noise.noise_multiplier, noise.delta), (2.0, 1e-5));
    let bare = parse(&noised[..1]).expect_err("it would not be noised");
    assert!(bare.to_string().contains("secure"), "{bare}");
    assert!(parse(&["head.noise.noise_multiplier=0", "secure=true"]).is_err());
    let again = ["strategy.head_every=2", "strategy.name=FedAvg", "head.kind=none"];
    assert!(parse(&again).is_ok() && parse(&again[..2]).is_err());
    assert!(parse(&[&again[..], &["secure=true"]].concat()).is_ok());
    assert!(parse(&["partition.miscoded=11"]).is_err());
    let within = [
        "strategy.region_form=within-classes",
        "strategy.name=FedAlignMoE",
        "head.kind=none",
        "model.folder=x",
    ];
    assert!(parse(&within[..3]).is_ok() && parse(&within).is_err());
    assert!(parse(&["strategy.expert_clip=0"]).is_err() && parse(&["strategy.expert_clip=64"]).is_ok());
}

#[test]
fn settings_at_their_defaults_leave_digests_of_earlier_runs_as_they_were() {
    let text = toml::to_string(&parse(&[]).expect("a configuration")).expect("plain data");
    assert!(
        ["miscoded", "noise =", "head_every", "test_limit"].iter().all(|new| !text.contains(new)),
        "{text}"
    );
}

#[test]
fn what_masks_hide_is_not_asked_for_behind_them() {
    let error = parse(&["secure=true", "strategy.name=FedMoE"]).expect_err("it needs token counts");
    assert!(error.to_string().contains("FedMoE"), "{error}");
    assert!(parse(&["secure=true", "strategy.name=FedAlignMoE", "strategy.cohorts=soft"]).is_err());
    assert!(parse(&["secure=true"]).is_ok());
}

#[test]
fn the_head_alone_is_the_default_and_needs_one() {
    assert_eq!(parse(&[]).expect("a configuration").strategy.kind.name(), "Head");
    let error = parse(&["head.kind=none"]).expect_err("nothing would be measured");
    assert!(error.to_string().contains("name another strategy"), "{error}");
}

#[test]
fn a_setting_of_another_strategy_is_an_error_that_names_that_strategy() {
    let error =
        parse(&["strategy.name=FedAvg", "strategy.proximal=0.5"]).expect_err("FedAvg has no such term");
    assert!(error.to_string().contains("FedProx"), "{error}");
    assert!(parse(&["strategy.name=FedProx", "strategy.proximal=0.5"]).is_ok());
    assert!(parse(&["strategy.name=FedAvg", "strategy.proximal=0.1"]).is_ok(), "as manifests have it");
    let error = parse(&["strategy.name=FedSgd"]).expect_err("there is no such strategy");
    assert!(error.to_string().contains("FedAlignMoE"), "{error}");
    for contradiction in [
        ["strategy.consistency=false", "strategy.consistency_of=margin"],
        ["strategy.local_gate=true", "strategy.consistency=false"],
    ] {
        let settings = [&["strategy.name=FedAlignMoE"][..], &contradiction].concat();
        assert!(parse(&settings).is_err(), "{contradiction:?}");
        assert!(parse(&settings[..2]).is_ok(), "control");
    }
}

/// A plan's fields are narrower than the configuration's, and 65,600 would be planned as 64.
#[test]
fn numbers_that_a_plan_has_no_room_for_are_refused_by_name() {
    for (setting, name) in [
        ("strategy.batch_size=65600", "strategy.batch_size"),
        ("strategy.batch_size=0", "strategy.batch_size"),
        ("strategy.local_epochs=1001", "strategy.local_epochs"),
        ("strategy.learning_rate=-0.1", "strategy.learning_rate"),
        ("scoring.beta=300.0", "scoring.beta"),
        ("scoring.consensus_fraction=-0.5", "scoring.consensus_fraction"),
    ] {
        let error = parse(&["strategy.name=FedAvg", setting]).expect_err(setting).to_string();
        assert!(error.contains(name) && error.contains("a plan has room for"), "{error}");
    }
    assert!(parse(&["strategy.name=FedAvg", "strategy.batch_size=65535", "scoring.beta=255.0"]).is_ok());
}
