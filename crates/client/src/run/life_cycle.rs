//! Where a hospital's client stands with its coordinator.

use std::sync::Arc;

use cloister_crypto::consortium::Epoch;
use cloister_transport::Link;

/// The stages of a client whose notes and model are loaded. Each stage awaits only what its data allows: frames need a link,
/// and the final model needs the end of the last round.
///
/// ```text
/// Connecting --> Serving --> Finishing
///      ^            |
///      +-- Disconnected
/// ```
pub(super) enum LifeCycle {
    /// No link yet. The client tries to make one.
    Connecting,
    /// Frames and the training thread's reports are awaited on this link.
    Serving(Box<Link>),
    /// The link broke, for this reason. The client waits, and connects again.
    Disconnected(String),
    /// The coordinator sent a later edition of the consortium file, whose epoch begins next.
    BeginningEdition(Arc<Epoch>),
    /// The program was told to stop. The link, if there was one, is closed.
    Stopping,
    /// The coordinator closed the link, because the last round has ended. Only the training thread's reports are awaited.
    Finishing,
}
