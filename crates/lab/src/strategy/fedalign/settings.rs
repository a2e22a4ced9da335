//! FedAlign-MoE's settings, as configuration files have them.

use cloister_alignment::reference::Gate;
use cloister_experts::{RegionForm, RoutingForm};
use serde::{Deserialize, Serialize};

use super::cohorts::CohortRule;

/// Which signals open the gate between two members.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signal {
    /// Regions and directions.
    Both,
    /// Regions alone.
    Regions,
    /// Directions alone.
    Directions,
}

impl Signal {
    pub(super) fn gate(self) -> Gate {
        match self {
            Self::Both => Gate::Both,
            Self::Regions => Gate::Regions,
            Self::Directions => Gate::Directions,
        }
    }
}

/// What a router's consistency weight counts; all but the first are ablations.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConsistencyOf {
    /// Overlap times margin.
    #[default]
    Both,
    /// Overlap alone.
    Overlap,
    /// Margin alone.
    Margin,
}

/// How members' routers are combined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RouterRule {
    /// They are summed by texts and consistency weights (`ALIGN-12`).
    Weighted(ConsistencyOf),
    /// They are summed by texts alone: an ablation.
    Averaged,
    /// They stay with their members.
    Local,
}

/// FedAlign-MoE (Fang et al., arXiv 2603.21276), in the form of `protocols/alignment.md` or an ablation of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "FedAlignTable", into = "FedAlignTable")]
pub struct FedAlignMoE {
    /// `lambda` of the routing regulariser; 0 trains without it.
    pub routing_penalty: f64,
    /// What the regulariser compares.
    pub routing_form: RoutingForm,
    /// How members' routers are combined.
    pub routers: RouterRule,
    /// Who is summed for an expert.
    pub cohorts: CohortRule,
    /// Which signals open the gate between two members.
    pub signal: Signal,
    /// How a member computes its experts' regions, which it announces as sketches.
    pub region_form: RegionForm,
}

impl Default for FedAlignMoE {
    fn default() -> Self {
        Self {
            routing_penalty: 0.1,
            routing_form: RoutingForm::Adaptive,
            routers: RouterRule::Weighted(ConsistencyOf::Both),
            cohorts: CohortRule::Aligned,
            signal: Signal::Both,
            region_form: RegionForm::Mean,
        }
    }
}

/// The same as keys of a file. Three keys together are one [`RouterRule`]: published configurations have them
/// so, and an enum has no state for their contradictions.
#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FedAlignTable {
    routing_penalty: f64,
    routing_form: RoutingForm,
    /// Whether routers are weighted by their consistency.
    consistency: bool,
    /// What their consistency counts.
    consistency_of: ConsistencyOf,
    /// Whether each member keeps a router of its own.
    local_gate: bool,
    cohorts: CohortRule,
    signal: Signal,
    region_form: RegionForm,
}

impl Default for FedAlignTable {
    fn default() -> Self {
        FedAlignMoE::default().into()
    }
}

impl TryFrom<FedAlignTable> for FedAlignMoE {
    type Error = String;

    fn try_from(table: FedAlignTable) -> Result<Self, String> {
        let routers = match (table.local_gate, table.consistency, table.consistency_of) {
            (false, true, what) => RouterRule::Weighted(what),
            (false, false, ConsistencyOf::Both) => RouterRule::Averaged,
            (true, true, ConsistencyOf::Both) => RouterRule::Local,
            (false, false, _) => {
                return Err(
                    "`consistency_of` says what `consistency` counts, which is false; leave one of them out"
                        .to_owned(),
                );
            }
            (true, ..) => {
                return Err("with `local_gate = true` no router is summed, so leave `consistency` and \
                            `consistency_of` out"
                    .to_owned());
            }
        };
        let FedAlignTable { routing_penalty, routing_form, cohorts, signal, region_form, .. } = table;
        Ok(Self { routing_penalty, routing_form, routers, cohorts, signal, region_form })
    }
}

impl From<FedAlignMoE> for FedAlignTable {
    fn from(settings: FedAlignMoE) -> Self {
        let FedAlignMoE { routing_penalty, routing_form, routers, cohorts, signal, region_form } = settings;
        let consistency_of = match routers {
            RouterRule::Weighted(what) => what,
            RouterRule::Averaged | RouterRule::Local => ConsistencyOf::Both,
        };
        Self {
            routing_penalty,
            routing_form,
            // A local gate is written with `consistency = true`, its default: reading it back must not be a
            // contradiction.
            consistency: routers != RouterRule::Averaged,
            consistency_of,
            local_gate: routers == RouterRule::Local,
            cohorts,
            signal,
            region_form,
        }
    }
}
