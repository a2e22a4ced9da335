//! The modules of a loaded model that an adapter can train, under the names that they have in transformers 5
//! at run time.

use tch::Tensor;

use crate::families::config::names::HEAD;
use crate::families::layers::attention::DecoderAttention;
use crate::families::layers::experts::ExpertProjection;
use crate::families::layers::head::Head;
use crate::families::layers::projection::{Lora, Projection, Whole};
use crate::families::layers::router::Router;
use crate::families::models::decoder::{Decoder, DecoderFeedForward};
use crate::families::models::switch::{self, ATTENTION_MAPS, Stack, Switch};
use crate::training::private::Recorder;

/// A module of a loaded model that an adapter can train.
pub(crate) struct Site<'a> {
    /// Such as `model.layers.0.self_attn.q_proj`.
    pub(crate) name: String,
    pub(crate) part: Part<'a>,
}

pub(crate) enum Part<'a> {
    Linear(&'a mut Projection),
    Experts(&'a mut ExpertProjection),
    Router(&'a mut Router),
    Head(&'a mut Head),
}

/// What kind of module a site is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SiteKind {
    /// A linear map outside of experts: attention, or a dense network of T5.
    Linear,
    /// One map of all experts of a layer.
    Experts,
    /// A router.
    Router,
    /// The head over classes, which a model has only from an adapter.
    Head,
}

/// A site without its weights.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SiteShape {
    /// The module's name.
    pub name: String,
    /// What it is.
    pub kind: SiteKind,
    /// The shape of its weight: `[out, in]`, or `[experts, out, in]`. For a head it is `[in]`, because the
    /// adapter determines how many classes there are.
    pub shape: Vec<usize>,
}

impl SiteShape {
    /// The shape of the first half of its low-rank addition: `[rank, in]`, or `[experts, rank, in]`.
    pub(crate) fn first_half(&self, rank: usize) -> Vec<usize> {
        // Empty for a linear map; the number of experts for stacked weights.
        let (experts, map) = self.shape.split_at(self.shape.len() - 2);
        [experts, &[rank, map[1]]].concat()
    }

    /// The shape of the second half: `[out, rank]`, or `[experts, out, rank]`.
    pub(crate) fn second_half(&self, rank: usize) -> Vec<usize> {
        let (experts, map) = self.shape.split_at(self.shape.len() - 2);
        [experts, &[map[0], rank]].concat()
    }
}

impl Site<'_> {
    pub(crate) fn shape(&self) -> SiteShape {
        let (kind, weight) = match &self.part {
            Part::Linear(map) => (SiteKind::Linear, &map.weight),
            Part::Experts(map) => (SiteKind::Experts, &map.weight),
            Part::Router(router) => (SiteKind::Router, &router.frozen),
            Part::Head(head) => {
                return SiteShape { name: self.name.clone(), kind: SiteKind::Head, shape: vec![head.width] };
            }
        };
        let shape = weight.size().iter().map(|&size| size as usize).collect();
        SiteShape { name: self.name.clone(), kind, shape }
    }

    /// The model's weight of a module; `None` for a head, which only an adapter has.
    pub(crate) fn frozen_weight(&self) -> Option<&Tensor> {
        match &self.part {
            Part::Linear(map) => Some(&map.weight),
            Part::Experts(map) => Some(&map.weight),
            Part::Router(router) => Some(&router.frozen),
            Part::Head(_) => None,
        }
    }

    /// Attaches a low-rank addition.
    pub(crate) fn attach_low(&mut self, lora: Lora) {
        match &mut self.part {
            Part::Linear(map) => map.lora = Some(lora),
            Part::Experts(map) => map.lora = Some(lora),
            Part::Router(_) | Part::Head(_) => unreachable!("shapes were checked: these are trained whole"),
        }
    }

    /// Attaches a weight that is trained whole.
    pub(crate) fn attach_whole(&mut self, weight: Tensor, recorder: Recorder) {
        let trained = Some(Whole { weight, recorder });
        match &mut self.part {
            Part::Experts(map) => map.trained = trained,
            Part::Router(router) => router.trained = trained,
            Part::Head(head) => head.trained = trained,
            Part::Linear(_) => unreachable!("shapes were checked: these have low-rank additions"),
        }
    }

    /// Removes what an adapter has attached, if anything.
    pub(crate) fn detach(&mut self) {
        match &mut self.part {
            Part::Linear(map) => map.lora = None,
            Part::Experts(map) => (map.lora, map.trained) = (None, None),
            Part::Router(router) => router.trained = None,
            Part::Head(head) => head.trained = None,
        }
    }
}

impl Decoder {
    /// The modules in the order of [`DecoderConfig::sites`](crate::families::DecoderConfig::sites), from
    /// which block numbers follow.
    pub(crate) fn sites(&mut self) -> Vec<Site<'_>> {
        let mut sites = Vec::new();
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let name = format!("model.layers.{index}");
            sites.extend(attention_sites(&name, &mut layer.attention));
            if let DecoderFeedForward::Sparse(sparse) = &mut layer.feed_forward {
                let (up, down) = (&mut sparse.experts.up, &mut sparse.experts.down);
                sites.extend([
                    Site { name: format!("{name}.mlp.experts.gate_up_proj"), part: Part::Experts(up) },
                    Site { name: format!("{name}.mlp.experts.down_proj"), part: Part::Experts(down) },
                    Site { name: format!("{name}.mlp.gate"), part: Part::Router(&mut sparse.router) },
                ]);
            }
        }
        sites.push(Site { name: HEAD.to_owned(), part: Part::Head(&mut self.score) });
        sites
    }
}

fn attention_sites<'a>(layer: &str, attention: &'a mut DecoderAttention) -> Vec<Site<'a>> {
    let mut sites = Vec::new();
    for (part, map) in attention.projections() {
        sites.push(Site { name: format!("{layer}.self_attn.{part}"), part: Part::Linear(map) });
    }
    sites
}

impl Switch {
    pub(crate) fn sites(&mut self) -> Vec<Site<'_>> {
        let mut sites = stack_sites("encoder", &mut self.encoder);
        sites.extend(stack_sites("decoder", &mut self.decoder));
        sites
    }
}

fn switch_attention_sites<'a>(name: &str, attention: &'a mut switch::SwitchAttention) -> Vec<Site<'a>> {
    let mut sites = Vec::new();
    for (map, projection) in ATTENTION_MAPS.iter().zip(&mut attention.maps) {
        sites.push(Site { name: format!("{name}.{map}"), part: Part::Linear(projection) });
    }
    sites
}

/// The modules of the encoder or of the decoder.
fn stack_sites<'a>(stack: &str, weights: &'a mut Stack) -> Vec<Site<'a>> {
    let mut sites = Vec::new();
    for (index, layer) in weights.layers.iter_mut().enumerate() {
        let name = format!("{stack}.block.{index}.layer");
        sites.extend(switch_attention_sites(&format!("{name}.0.SelfAttention"), &mut layer.attention));
        // T5 numbers the parts of a layer: the network follows the attention to the encoder, if there is one.
        let last = if layer.cross.is_some() { 2 } else { 1 };
        if let Some((_, cross)) = &mut layer.cross {
            sites.extend(switch_attention_sites(&format!("{name}.1.EncDecAttention"), cross));
        }
        let name = format!("{name}.{last}.mlp");
        match &mut layer.feed_forward {
            switch::SwitchFeedForward::Dense([up, down]) => sites.extend([
                Site { name: format!("{name}.wi"), part: Part::Linear(up) },
                Site { name: format!("{name}.wo"), part: Part::Linear(down) },
            ]),
            switch::SwitchFeedForward::Sparse(sparse) => {
                let (router, experts) = &mut **sparse;
                sites.extend([
                    Site { name: format!("{name}.experts.wi"), part: Part::Experts(&mut experts.up) },
                    Site { name: format!("{name}.experts.wo"), part: Part::Experts(&mut experts.down) },
                    Site { name: format!("{name}.router.classifier"), part: Part::Router(router) },
                ]);
            }
        }
    }
    sites
}
