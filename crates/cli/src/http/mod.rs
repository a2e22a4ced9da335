//! What HTTP needs at both ends of an operator's connection.

mod body;
mod stream;

pub(crate) use body::{BodyFault, MessageBody, next_data, read_body};
pub(crate) use stream::HttpStream;
