//! What a round publishes of the model that it started from (`PRIV-15`).

use cloister_params::block::BlockKind;
use cloister_params::evaluation::PublishedEvaluation;
use cloister_params::id::BlockId;
use cloister_params::plan::RoundSettings;

use crate::model::Model;

impl Model {
    /// The evaluation that a round with these settings left in the model after it, where `opened` has each opened block with the
    /// number of members in its sum. None if the settings have no evaluation, or if its sum was not opened.
    pub fn evaluation(
        &self,
        settings: &RoundSettings,
        opened: &[(BlockId, u32)],
    ) -> Option<PublishedEvaluation> {
        let mut blocks = settings.blocks.iter();
        let block = blocks.find(|block| block.shape.kind == BlockKind::Evaluation)?;
        let (_, members) = opened.iter().find(|(opened, _)| *opened == block.shape.id)?;
        PublishedEvaluation::new(block, self.blocks().get(block.shape.id)?, *members)
    }
}

#[cfg(test)]
mod tests {
    use cloister_cluster::plan::{template, with_evaluation};

    use super::*;

    /// PRIV-15
    #[test]
    fn an_evaluation_is_published_if_its_sum_was_opened() {
        let without = template(2, 5, 1);
        let settings = with_evaluation(without.clone());
        let id = BlockId(without.blocks.len() as u32);
        let mut blocks: Vec<Vec<f32>> = without.blocks.iter().map(|_| vec![0.0]).collect();
        blocks.push(vec![300.0, 400.0]);
        let model = Model::new(blocks);
        assert_eq!(model.evaluation(&without, &[(id, 4)]), None, "a task without one");
        assert_eq!(model.evaluation(&settings, &[]), None, "a void block keeps older counts");
        let published = model.evaluation(&settings, &[(id, 4)]).expect("opened");
        assert_eq!(published.accuracy(), Some(0.75));
    }
}
