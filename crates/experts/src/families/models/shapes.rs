//! The modules of a model that an adapter can train, from the configuration alone. Nothing is loaded. The
//! lists must be those of [`sites`](super::sites), which has the modules of a loaded model: both fix the
//! order of a round's blocks.

use crate::families::config::names::HEAD;
use crate::families::config::switch::SwitchConfig;
use crate::families::config::{AttentionConfig, DecoderConfig, FeedForwardConfig, MoeConfig};
use crate::families::models::sites::{SiteKind, SiteShape};
use crate::families::models::switch::ATTENTION_MAPS;

fn site(kind: SiteKind, name: String, shape: &[usize]) -> SiteShape {
    SiteShape { name, kind, shape: shape.to_vec() }
}

impl DecoderConfig {
    /// The modules that an adapter can train, layer by layer, and last the head over classes.
    pub fn sites(&self) -> Vec<SiteShape> {
        let mut sites = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let name = format!("model.layers.{index}");
            for (part, outputs, inputs) in self.attention_maps() {
                sites.push(site(SiteKind::Linear, format!("{name}.self_attn.{part}"), &[outputs, inputs]));
            }
            if let (FeedForwardConfig::Sparse, Some(moe)) = (layer, &self.moe) {
                // Gate and up are one module, as at run time in transformers 5, and so share one `A`.
                let maps = [("gate_up_proj", 2 * moe.intermediate), ("down_proj", moe.intermediate)];
                sites.extend(sparse(&format!("{name}.mlp"), maps, "gate", self.hidden, moe));
            }
        }
        // Listed for every decoder. Only settings with classes train it.
        sites.push(site(SiteKind::Head, HEAD.to_owned(), &[self.hidden]));
        sites
    }

    /// Name, outputs and inputs of each map of attention.
    fn attention_maps(&self) -> Vec<(&'static str, usize, usize)> {
        let (hidden, heads) = (self.hidden, self.heads);
        match self.attention {
            AttentionConfig::Grouped { key_value_heads, head, .. } => vec![
                ("q_proj", heads * head, hidden),
                ("k_proj", key_value_heads * head, hidden),
                ("v_proj", key_value_heads * head, hidden),
                ("o_proj", hidden, heads * head),
            ],
            AttentionConfig::Latent { query_rank, key_value_rank, rotary, plain, value, .. } => {
                let query = heads * (plain + rotary);
                let mut maps = match query_rank {
                    None => vec![("q_proj", query, hidden)],
                    Some(rank) => vec![("q_a_proj", rank, hidden), ("q_b_proj", query, rank)],
                };
                maps.extend([
                    ("kv_a_proj_with_mqa", key_value_rank + rotary, hidden),
                    ("kv_b_proj", heads * (plain + value), key_value_rank),
                    ("o_proj", hidden, heads * value),
                ]);
                maps
            }
        }
    }
}

/// The experts and the router of a block. The first map comes with its rows, the second with its columns; the
/// other dimension of both is the hidden width.
fn sparse(
    block: &str,
    [(up, rows), (down, columns)]: [(&str, usize); 2],
    router: &str,
    hidden: usize,
    moe: &MoeConfig,
) -> [SiteShape; 3] {
    [
        site(SiteKind::Experts, format!("{block}.experts.{up}"), &[moe.experts, rows, hidden]),
        site(SiteKind::Experts, format!("{block}.experts.{down}"), &[moe.experts, hidden, columns]),
        site(SiteKind::Router, format!("{block}.{router}"), &[moe.experts, hidden]),
    ]
}

impl SwitchConfig {
    /// The modules that an adapter can train, first those of the encoder.
    /// There is no head over classes.
    pub fn sites(&self) -> Vec<SiteShape> {
        let mut sites = self.stack_sites("encoder", &self.encoder);
        sites.extend(self.stack_sites("decoder", &self.decoder));
        sites
    }

    fn stack_sites(&self, stack: &str, layers: &[bool]) -> Vec<SiteShape> {
        let mut sites = Vec::new();
        let parts: &[&str] = match stack {
            "encoder" => &["SelfAttention"],
            _ => &["SelfAttention", "EncDecAttention"],
        };
        for (index, &has_experts) in layers.iter().enumerate() {
            let name = format!("{stack}.block.{index}.layer");
            for (place, part) in parts.iter().enumerate() {
                sites.extend(self.attention_sites(&format!("{name}.{place}.{part}")));
            }
            let block = format!("{name}.{}.mlp", parts.len());
            // Experts of T5 are not gated, so both maps have the same width.
            let maps = [("wi", self.intermediate), ("wo", self.intermediate)];
            match has_experts {
                true => sites.extend(sparse(&block, maps, "router.classifier", self.hidden, &self.moe)),
                false => sites.extend([
                    site(SiteKind::Linear, format!("{block}.wi"), &[self.intermediate, self.hidden]),
                    site(SiteKind::Linear, format!("{block}.wo"), &[self.hidden, self.intermediate]),
                ]),
            }
        }
        sites
    }

    fn attention_sites(&self, name: &str) -> Vec<SiteShape> {
        let wide = self.heads * self.head;
        let mut sites = Vec::new();
        for map in ATTENTION_MAPS {
            let shape = if map == "o" { [self.hidden, wide] } else { [wide, self.hidden] };
            sites.push(site(SiteKind::Linear, format!("{name}.{map}"), &shape));
        }
        sites
    }
}
