//! What the training thread reports with.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::jobs::{Halt, WorkerReport};

/// The thread's end of its reports. Each report is a place between two steps.
pub(super) struct Reporter {
    reports: mpsc::UnboundedSender<WorkerReport>,
    halt: Arc<Halt>,
}

impl Reporter {
    pub(super) fn new(reports: mpsc::UnboundedSender<WorkerReport>, halt: Arc<Halt>) -> Self {
        Self { reports, halt }
    }

    /// Reports something; does not return if the program ends.
    pub(super) fn send(&self, report: WorkerReport) {
        self.halt.check();
        // Nobody reads the reports of a trial.
        let _ = self.reports.send(report);
    }
}
