//! Training as the rest of Cloister sees it: blocks in, updates out.

use std::path::PathBuf;

use cloister_experts::Precision;
use cloister_experts::classifier::embedding::{EMBEDDING_WIDTH, second_moments};
use cloister_experts::synthetic::{self, Style};
use cloister_experts::{
    BlockError, BlockVectors, Device, Encoder, ExpertsError, Frozen, LocalTraining, ModelConfig, Note,
    Trainer, Windows, block_vectors, initial_blocks,
};
use cloister_params::block::BlockKind;

fn minilm() -> Option<PathBuf> {
    let folder = std::env::var_os("CLOISTER_MINILM").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("SKIPPED: CLOISTER_MINILM names no folder with MiniLM's weights");
    }
    folder
}

fn config() -> ModelConfig {
    ModelConfig::new(synthetic::CLASSES.map(str::to_owned).to_vec())
}

fn notes(count: usize, seed: u64) -> Vec<Note> {
    synthetic::generate(count, &[1.0; 8], Style::Bullets, seed)
}

fn encoder() -> Option<Encoder> {
    Some(Encoder::open(&minilm()?, config(), 1, Device::Cpu).expect("the weights are there"))
}

fn trainer(count: usize) -> Option<Trainer> {
    let encoder = encoder()?;
    Some(Trainer::new(&encoder, encoder.features(&notes(count, 1)).expect("the labels are known")))
}

fn settings() -> LocalTraining {
    LocalTraining { seed: 3, ..LocalTraining::default() }
}

/// A model with no coordinate at 0 but those that are reserved.
fn scrambled(config: &ModelConfig) -> BlockVectors {
    let initial = initial_blocks(config);
    let values = initial
        .iter()
        .map(|(shape, values)| {
            let reserved = matches!(shape.kind, BlockKind::Router { .. }).then(|| values.len() - 1);
            let value = |index| {
                if Some(index) == reserved { 0.0 } else { (index % 97) as f32 * 1e-4 + 1e-4 }
            };
            match shape.kind {
                BlockKind::Routing { .. } => values.to_vec(),
                _ => (0..values.len()).map(value).collect(),
            }
        })
        .collect();
    block_vectors(config, values).expect("lengths are kept")
}

#[test]
fn trainers_and_encoders_can_move_to_a_worker_thread() {
    fn movable<T: Send>() {}
    movable::<Encoder>();
    movable::<Trainer>();
}

#[test]
fn what_is_loaded_can_be_read_back() {
    let Some(mut trainer) = trainer(4) else { return };
    assert_eq!(trainer.blocks().expect("finite"), initial_blocks(&config()));
    let blocks = scrambled(&config());
    trainer.load(&blocks).expect("the same configuration");
    assert_eq!(trainer.blocks().expect("finite"), blocks);
}

#[test]
fn training_is_deterministic_and_leaves_nothing_behind() {
    let Some(mut trainer) = trainer(16) else { return };
    let initial = initial_blocks(&config());
    let first = trainer.train(&settings(), &mut |_| ()).expect("training works");
    trainer.load(&initial).expect("the same configuration");
    let second = trainer.train(&settings(), &mut |_| ()).expect("training works");
    assert_eq!(first, second);
    trainer.load(&initial).expect("the same configuration");
    let other_order = LocalTraining { seed: 4, ..settings() };
    assert_ne!(first, trainer.train(&other_order, &mut |_| ()).expect("training works"));
}

#[test]
fn training_learns_and_its_update_is_the_difference() {
    for precision in [Precision::Float32, Precision::Bfloat16] {
        let Some(encoder) = encoder() else { return };
        learns(&encoder.in_precision(precision));
    }
}

fn learns(encoder: &Encoder) {
    let held_out = encoder.features(&notes(60, 2)).expect("the labels are known");
    let mut trainer = Trainer::new(encoder, encoder.features(&notes(80, 1)).expect("the labels are known"));
    let before = trainer.evaluate(&held_out);
    let mut steps = Vec::new();
    let result = trainer
        .train(&LocalTraining { epochs: 4, ..settings() }, &mut |progress| steps.push(progress))
        .expect("training works");
    let after = trainer.evaluate(&held_out);

    assert!(result.loss_last < 0.5 * result.loss_first, "{} → {}", result.loss_first, result.loss_last);
    assert!(after.overall.accuracy() > before.overall.accuracy() + 0.4, "{before:?} → {after:?}");
    assert_eq!(after.overall.total, 60);
    assert_eq!(after.per_class.iter().map(|class| class.correct).sum::<usize>(), after.overall.correct);
    assert_eq!((steps.len(), steps[39].step, steps[39].steps), (40, 40, 40));

    let trained = trainer.blocks().expect("finite");
    for (((shape, update), trained), start) in
        result.updates.iter().zip(trained.values()).zip(initial_blocks(&config()).values())
    {
        if !matches!(shape.kind, BlockKind::Routing { .. }) {
            let differences: Vec<f32> =
                trained.iter().zip(start).map(|(after, before)| after - before).collect();
            assert_eq!(update, differences, "{}", shape.kind);
        }
    }
}

#[test]
fn a_long_note_in_windows_stays_one_note() {
    let Some(encoder) = encoder() else { return };
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("long-notes.jsonl");
    let line =
        |note: &Note| format!("{{\"text\": {:?}, \"label\": {:?}}}\n", note.text.repeat(6), note.label);
    let lines: String = notes(8, 1).iter().map(line).collect();
    std::fs::write(&path, format!("{lines}{{\"text\": \"a\", \"label\": \"x\"}}"))
        .expect("it can be written");
    let read = |most| encoder.read_features(&path, (0, 1), Windows { most, overlap: 4 }, &mut |_| ());
    let unknown = read(1).err().expect("the last note has another label").to_string();
    assert!(
        unknown.contains("long-notes.jsonl, line 9: its label is not one of the task's classes"),
        "{unknown}"
    );
    std::fs::write(&path, lines).expect("it can be written");
    let (cut, split) = (read(1).expect("valid notes"), read(64).expect("valid notes"));
    assert_eq!((cut.notes(), split.notes()), (8, 8));
    assert_eq!((cut.truncated(), split.truncated()), (8, 0));
    assert!(split.tokens() > 2 * cut.tokens(), "{} and {}", cut.tokens(), split.tokens());
    assert!(matches!(
        encoder.read_features(&path, (0, 1), Windows { most: 2, overlap: 62 }, &mut |_| ()),
        Err(ExpertsError::Settings(_))
    ));
    let mut trainer = Trainer::new(&encoder, split);
    let result = trainer.train(&settings(), &mut |_| ()).expect("training works");
    assert_eq!((result.notes, trainer.evaluate(trainer.features()).overall.total), (8, 8));
    std::fs::remove_file(path).expect("it was written");
}

#[test]
fn the_statistics_are_consistent() {
    let Some(mut trainer) = trainer(12) else { return };
    let result = trainer.train(&settings(), &mut |_| ()).expect("training works");
    assert_eq!((result.notes, result.regions.len(), result.margins.len()), (12, 16, 2));
    for layer in 0..2_u16 {
        let regions = &result.regions[usize::from(layer) * 8..][..8];
        assert!(regions.iter().enumerate().all(|(e, r)| (r.layer, usize::from(r.expert)) == (layer, e)));
        let distribution = result.updates.get(BlockKind::Routing { layer }).expect("a block of the table");
        assert!((distribution.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        let router = result.updates.get(BlockKind::Router { layer }).expect("a block of the table");
        assert_eq!(router.last(), Some(&0.0));
        assert!(result.margins[usize::from(layer)].iter().all(|margin| (0.0..1.0).contains(margin)));
    }
    let tokens =
        |layer: usize| result.regions[layer * 8..][..8].iter().map(|region| region.tokens).sum::<u64>();
    assert_eq!(tokens(0), tokens(1));
    assert_eq!(tokens(0) % 2, 0);
}

#[test]
fn an_expert_without_tokens_does_not_move() {
    let Some(mut trainer) = trainer(24) else { return };
    let probe = trainer.train(&settings(), &mut |_| ()).expect("training works");
    let mut values = initial_blocks(&config()).into_values();
    for layer in 0..2 {
        // Against the mean hidden state of all tokens, so that no token goes to the last expert.
        let mean = &probe.regions[layer * 8].mean_hidden;
        let router = &mut values[16 + layer];
        router[7 * 384..8 * 384].iter_mut().zip(mean).for_each(|(weight, mean)| *weight = -mean);
    }
    trainer
        .load(&block_vectors(&config(), values).expect("lengths are kept"))
        .expect("the same configuration");
    let result = trainer.train(&settings(), &mut |_| ()).expect("training works");
    for layer in 0..2 {
        assert_eq!(result.regions[usize::from(layer) * 8 + 7].tokens, 0);
        let unused =
            result.updates.get(BlockKind::Expert { layer, expert: 7 }).expect("a block of the table");
        assert!(unused.iter().all(|&value| value == 0.0));
        let moved = (0..7).filter(|&expert| {
            let update =
                result.updates.get(BlockKind::Expert { layer, expert }).expect("a block of the table");
            update.iter().any(|&value| value != 0.0)
        });
        assert!(moved.count() >= 2);
    }
}

#[test]
fn a_published_routing_distribution_pulls_the_routing_towards_it() {
    let Some(mut trainer) = trainer(16) else { return };
    let mut published = [0.02_f32; 8];
    published[5] = 0.86;
    let mut values = initial_blocks(&config()).into_values();
    values[19] = published.to_vec();
    values[20] = published.to_vec();
    let model = block_vectors(&config(), values).expect("lengths are kept");
    let mut share = |routing_penalty| {
        trainer.load(&model).expect("the same configuration");
        let settings = LocalTraining { epochs: 3, routing_penalty, ..settings() };
        let result = trainer.train(&settings, &mut |_| ()).expect("training works");
        result.updates.get(BlockKind::Routing { layer: 0 }).expect("a block of the table")[5]
    };
    let (without, with) = (share(0.0), share(5.0));
    assert!(with > without + 0.02, "{without} → {with}");
}

#[test]
fn long_notes_are_cut_and_counted() {
    let Some(encoder) = encoder() else { return };
    let note = |words: usize| Note { text: "pain ".repeat(words), label: "neurology".to_owned() };
    let features =
        encoder.features(&[note(10), note(62), note(63), note(500)]).expect("the labels are known");
    assert_eq!((features.notes(), features.tokens(), features.truncated()), (4, 12 + 64 + 64 + 64, 2));
}

#[test]
fn a_model_travels_through_a_checkpoint() {
    let Some(mut trainer) = trainer(8) else { return };
    trainer.train(&settings(), &mut |_| ()).expect("training works");
    let blocks = trainer.blocks().expect("finite");
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("trained.safetensors");
    cloister_experts::classifier::checkpoint::write_checkpoint(&path, &config(), &blocks)
        .expect("it can be written");
    let read = cloister_experts::classifier::checkpoint::read_checkpoint(&path).expect("it can be read");
    assert_eq!(read, (config(), blocks));
}

#[test]
fn bad_notes_and_folders_are_refused() {
    let Some(encoder) = encoder() else { return };
    assert!(matches!(encoder.features(&[]), Err(ExpertsError::NoNotes)));
    let stranger = Note { text: "a note".to_owned(), label: "astrology".to_owned() };
    let error = encoder.features(&[notes(1, 1).remove(0), stranger]).err().expect("the label is unknown");
    assert!(
        error
            .to_string()
            .starts_with("note 2 (counted from 1) has a label that is none of the model's classes"),
        "{error}"
    );
    let nowhere =
        Encoder::open("no/such/folder".as_ref(), config(), 1, Device::Cpu).err().expect("there is no folder");
    assert!(matches!(nowhere, ExpertsError::File { .. }), "{nowhere}");
    let folder = minilm().expect("the encoder has been read");
    assert!(matches!(Encoder::open(&folder, config(), 0, Device::Cpu), Err(ExpertsError::Config(_))));
}

#[test]
fn bad_settings_and_models_are_refused() {
    let Some(mut trainer) = trainer(8) else { return };
    for wrong in [
        LocalTraining { epochs: 0, ..settings() },
        LocalTraining { batch_size: 0, ..settings() },
        LocalTraining { learning_rate: f64::NAN, ..settings() },
        LocalTraining { routing_penalty: -1.0, ..settings() },
    ] {
        assert!(matches!(trainer.train(&wrong, &mut |_| ()), Err(ExpertsError::Settings(_))), "{wrong:?}");
    }
    let other = ModelConfig { rank: 4, ..config() };
    let refused = trainer.load(&initial_blocks(&other)).expect_err("the rank differs");
    assert!(
        matches!(refused, ExpertsError::Blocks(BlockError::Length { expected: 15360, got: 7680, .. })),
        "{refused}"
    );
    let wild = LocalTraining { learning_rate: 1e38, epochs: 3, ..settings() };
    let diverged = trainer.train(&wild, &mut |_| ()).expect_err("no model survives this");
    assert!(
        matches!(
            diverged,
            ExpertsError::Diverged { .. } | ExpertsError::Blocks(BlockError::NotFinite { .. })
        ),
        "{diverged}"
    );
}

fn moved(values: &[f32]) -> f32 {
    values.iter().map(|value| value * value).sum::<f32>().sqrt()
}

#[test]
fn what_is_frozen_stays_and_a_proximal_term_holds_the_rest_back() {
    let Some(mut trainer) = trainer(24) else {
        return;
    };
    let initial = initial_blocks(&config());
    let mut train = |settings: LocalTraining| {
        trainer.load(&initial).expect("the blocks fit");
        trainer.train(&settings, &mut |_| ()).expect("training succeeds").updates
    };
    let free = train(settings());
    let frozen = train(LocalTraining { frozen: Frozen { routers: true, head: true }, ..settings() });
    let held = train(LocalTraining { proximal: 10.0, ..settings() });
    let router = BlockKind::Router { layer: 0 };
    for kind in [router, BlockKind::Shared] {
        let moved_in = |updates: &BlockVectors| moved(updates.get(kind).expect("the block is there"));
        assert_eq!(moved_in(&frozen), 0.0);
        assert!(moved_in(&free) > 0.0 && moved_in(&held) < moved_in(&free), "{kind}");
    }
}

#[test]
fn offsets_are_added_to_the_logits() {
    let Some(encoder) = encoder() else {
        return;
    };
    let features = encoder.features(&notes(20, 1)).expect("the labels are known");
    let perfect: Vec<f32> = features
        .labels()
        .iter()
        .flat_map(|&label| (0..8).map(move |class| if class == label { 5.0 } else { 0.0 }))
        .collect();
    let wrong_shape = encoder.features(&notes(20, 1)).expect("known").with_offsets(&perfect[8..], 8);
    assert!(matches!(wrong_shape, Err(ExpertsError::Settings(_))));
    let selected =
        features.with_offsets(&perfect, 8).expect("a row a note").select(&[3, 1, 7]).expect("some");
    let trainer = Trainer::new(&encoder, encoder.features(&notes(4, 2)).expect("known"));
    let score = trainer.evaluate(&selected).overall;
    assert_eq!((score.correct, score.total), (3, 3));
}

#[test]
fn embeddings_end_with_the_model_s_own_mean_and_moments_are_sums_of_squares() {
    let Some(encoder) = encoder() else {
        return;
    };
    let notes = notes(5, 1);
    let together = encoder.embeddings(&notes, 1, &mut |_, _| ()).expect("plain text");
    assert_eq!(together.len(), 5 * EMBEDDING_WIDTH);
    let alone = encoder.embeddings(&notes[3..4], 1, &mut |_, _| ()).expect("plain text");
    let same = alone.iter().zip(&together[3 * EMBEDDING_WIDTH..]).all(|(a, b)| (a - b).abs() < 1e-4);
    assert!(same, "the order and the batch do not matter");
    let text = notes.iter().map(|note| note.text.as_str()).collect::<Vec<_>>().join(" ");
    let long = [Note { text, label: notes[0].label.clone() }];
    let embedded = |windows| encoder.embeddings(&long, windows, &mut |_, _| ()).expect("plain text");
    assert_ne!(embedded(1), embedded(2), "a second window is read");
    assert_eq!(embedded(100), embedded(200), "and no more than there are");
    assert_eq!(second_moments(&[1.0, 2.0, 0.0, 3.0], 2), [1.0, 2.0, 2.0, 13.0]);
}
