//! Tokens with which operators ask a coordinator over HTTPS: what each may do, and what the coordinator keeps of them
//! (`CTRL-02`, `CTRL-03`).

mod book;
mod desk;
mod token;

pub use book::{MAX_TOKENS, TokenState};
pub use desk::{TOKENS, TokenDesk, TokenError, TokenRefusal, TokenUse};
pub use token::{OperatorRole, OperatorToken};
