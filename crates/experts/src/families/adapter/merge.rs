//! Merges an adapter into a model's weights, for programs that cannot load adapters.

use std::path::Path;

use tch::{Kind, Tensor};

use crate::error::ExpertsError;
use crate::families::adapter::write::plain;
use crate::families::adapter::{Adapter, Trained, labels, sizes};
use crate::families::config::Family;
use crate::families::config::names::{HEAD, expert_maps, expert_module};
use crate::families::config::read::read_family;
use crate::families::weights::target::check_target;
use crate::families::weights::write::{copy_others, stored, write};
use crate::families::weights::{Checkpoint, INDEX};
use crate::model_files::unusable;

/// Writes the model of the folder `model` with an adapter added to it into the folder `target`. Files and
/// tensors have the same names, the weights have the precision in which they were stored, and all files that
/// hold no weights are copied. The tensors of one file are in memory at a time.
///
/// A head over classes becomes `score.weight` in the last file, in 32-bit floats, and `config.json` gets the
/// names of the classes and the family's architecture for sequence classification. transformers has none for
/// OLMoE, so there the architecture stays, and a program that uses the model must itself multiply the last
/// hidden state of each text's last token by `score.weight`.
///
/// # Errors
/// [`ExpertsError::Target`] if that would overwrite the model, [`ExpertsError::File`],
/// [`ExpertsError::Content`], or [`ExpertsError::Adapter`] if a module of the adapter
/// has no weight in the model.
pub fn write_merged(model: &Path, adapter: &Adapter, target: &Path) -> Result<(), ExpertsError> {
    check_target(model, target)?;
    let (family, _) = read_family(&model.join("config.json"))?;
    let checkpoint = Checkpoint::open(model)?;
    let changes = changes(&checkpoint, family, adapter);
    let head = format!("{HEAD}.weight");
    // Checked before anything is written.
    changes.iter().try_for_each(|(name, change)| check_place(&checkpoint, name, change))?;
    copy_others(model, target)?;
    let mut shards = checkpoint.shards();
    let added = adapter.head().filter(|_| !checkpoint.has(&head));
    if let (Some(_), Some((path, last))) = (added, shards.last_mut()) {
        // Released language models have no such tensor, so it needs a file, and an index needs its entry.
        last.push(&head);
        let index = target.join(INDEX);
        if index.is_file() {
            labels::index(&index, &head, file_name(path)?)?;
        }
    }
    for (path, names) in &shards {
        write_shard(&checkpoint, names, &changes, &target.join(file_name(path)?))?;
    }
    match adapter.classes.is_empty() {
        true => Ok(()),
        false => labels::configure(&target.join("config.json"), family, &adapter.classes),
    }
}

/// The last part of a path, as text.
fn file_name(path: &Path) -> Result<&str, ExpertsError> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.ok_or_else(|| unusable(path, "its name is not valid UTF-8".to_owned()))
}

/// How an adapter changes a weight.
enum Change {
    /// By adding this.
    Added(Tensor),
    /// By putting this in its place.
    Replaced(Tensor),
}

/// Checks that the model has a tensor of the shape of a change. Only a head may be new.
fn check_place(checkpoint: &Checkpoint, name: &str, change: &Change) -> Result<(), ExpertsError> {
    let (Change::Added(tensor) | Change::Replaced(tensor)) = change;
    let expected = sizes(tensor);
    match checkpoint.shape(name) {
        None if name == format!("{HEAD}.weight") => Ok(()),
        None => Err(ExpertsError::Adapter(format!("the model has no tensor {name} to add it to"))),
        Some(shape) if shape == expected => Ok(()),
        Some(shape) => Err(ExpertsError::Adapter(format!(
            "the model's tensor {name} has the shape {shape:?}, and the adapter changes one of the shape {expected:?}"
        ))),
    }
}

/// All changes, with the names that the tensors have on disk.
fn changes(checkpoint: &Checkpoint, family: Family, adapter: &Adapter) -> Vec<(String, Change)> {
    let mut changes = Vec::new();
    for (name, trained) in &adapter.modules {
        let (weight, change): (Tensor, fn(Tensor) -> Change) = match trained {
            Trained::Whole(weight) => (plain(weight), Change::Replaced),
            // For experts a batched product: one `[out, in]` for each of them.
            Trained::Low { a, b } => (plain(b).matmul(&plain(a)) * adapter.scale, Change::Added),
        };
        match checkpoint.has(name) {
            // All experts are in one tensor, under the name that transformers 5 has for it at run time.
            true => changes.push((name.clone(), change(weight))),
            false => changes.extend(on_tensors(family, &checkpoint.module(family, name), weight, change)),
        }
    }
    changes
}

/// The changes of the tensors that make up a module's weight: one for a linear map or a router, several for
/// experts.
fn on_tensors(
    family: Family,
    module: &str,
    weight: Tensor,
    change: fn(Tensor) -> Change,
) -> Vec<(String, Change)> {
    if weight.dim() == 2 {
        return vec![(format!("{module}.weight"), change(weight))];
    }
    let (experts, map) = module.rsplit_once('.').unwrap_or((module, ""));
    let maps = expert_maps(family, map);
    let mut changes = Vec::new();
    for expert in 0..weight.size()[0] {
        for (map, rows) in maps.iter().zip(weight.get(expert).chunk(maps.len() as i64, 0)) {
            let name = expert_module(family, experts, expert as usize, map);
            changes.push((format!("{name}.weight"), change(rows)));
        }
    }
    changes
}

/// Writes one file of the merged model.
fn write_shard(
    checkpoint: &Checkpoint,
    names: &[&str],
    changes: &[(String, Change)],
    path: &Path,
) -> Result<(), ExpertsError> {
    let mut tensors = Vec::new();
    for &name in names {
        let change = changes.iter().find(|(changed, _)| changed == name).map(|(_, change)| change);
        tensors.push(stored(vec![name.to_owned()], &changed(checkpoint, name, change)?));
    }
    write(&tensors, path)
}

/// One tensor after its change, in the precision in which it was stored. A new tensor has 32-bit floats.
fn changed(checkpoint: &Checkpoint, name: &str, change: Option<&Change>) -> Result<Tensor, ExpertsError> {
    Ok(match change {
        Some(Change::Replaced(weight)) if !checkpoint.has(name) => weight.shallow_clone(),
        Some(Change::Replaced(weight)) => weight.to_kind(checkpoint.take_any(name)?.kind()),
        Some(Change::Added(added)) => {
            let stored = checkpoint.take_any(name)?;
            // Added in 32-bit floats, so that the sum is rounded once.
            (stored.to_kind(Kind::Float) + added).to_kind(stored.kind())
        }
        None => checkpoint.take_any(name)?,
    })
}
