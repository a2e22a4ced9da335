//! Attaches adapters to models.

use std::collections::BTreeMap;

use tch::Tensor;

use crate::error::ExpertsError;
use crate::families::adapter::write::plain;
use crate::families::adapter::{Adapter, Trained};
use crate::families::models::published::PublishedModel;
use crate::families::models::sites::Part;
use crate::training::private::Recorder;

impl PublishedModel {
    /// Copies of the biases of the routers that are among these modules, in 32-bit floats on the CPU.
    pub(crate) fn corrections(&mut self, modules: &BTreeMap<String, Trained>) -> BTreeMap<String, Tensor> {
        let mut corrections = BTreeMap::new();
        for site in self.sites_mut().iter().filter(|site| modules.contains_key(&site.name)) {
            if let Part::Router(router) = &site.part
                && let Some(correction) = &router.correction
            {
                corrections.insert(site.name.clone(), plain(correction).copy());
            }
        }
        corrections
    }

    /// Attaches an adapter: from now on the model computes with it, and gradients reach its tensors. Each
    /// input of an addition is left out with the probability `dropout`, which is 0 outside of training.
    ///
    /// # Errors
    /// [`ExpertsError::Adapter`] if the adapter belongs to another model; then nothing is attached.
    pub fn attach(&mut self, adapter: &Adapter, dropout: f64) -> Result<(), ExpertsError> {
        self.attach_recorded(adapter, dropout, &|_| Recorder::default())
    }

    /// As [`attach`](Self::attach). `recorder` returns, for the name of a module, what records the products
    /// with its tensors.
    pub(crate) fn attach_recorded(
        &mut self,
        adapter: &Adapter,
        dropout: f64,
        recorder: &dyn Fn(&str) -> Recorder,
    ) -> Result<(), ExpertsError> {
        // Before anything is attached: an adapter of another model must not leave a model half changed.
        adapter.check(&self.sites())?;
        for mut site in self.sites_mut() {
            // Modules that this adapter does not train must lose what an earlier adapter attached.
            site.detach();
            if let Some(lora) = adapter.lora(&site.name, dropout, recorder(&site.name)) {
                site.attach_low(lora);
            } else if let Some(Trained::Whole(weight)) = adapter.modules.get(&site.name) {
                let recorder = recorder(&site.name);
                // The model and the adapter share one tensor, so each step of the optimizer acts on the next
                // pass.
                site.attach_whole(weight.shallow_clone(), recorder);
            }
        }
        Ok(())
    }
}
