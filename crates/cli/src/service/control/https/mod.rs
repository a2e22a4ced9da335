//! The requests of the control socket, over HTTPS and with an operator's token (`CTRL-01` to `CTRL-05`). Each connection has one
//! request and one answer, so that what one of them takes of the coordinator is bounded by its deadlines.

mod answer;
mod exchange;
mod failures;
mod routes;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use cloister_transport::OperatorListener;

use super::ControlDesk;
use exchange::HttpExchange;
use failures::FailedTokens;
pub(crate) use routes::path_of;

/// How long a program may take (`CTRL-04`).
#[derive(Clone, Copy, Debug)]
struct Deadlines {
    /// From the end of the handshake until the header is there.
    header: Duration,
    /// From then on until the body is there.
    body: Duration,
    /// Until it takes a next part of the answer.
    write: Duration,
}

/// Time for a file of 16 MiB over a slow line, and little for what a line of text needs.
const DEADLINES: Deadlines = Deadlines {
    header: Duration::from_secs(10),
    body: Duration::from_mins(1),
    write: Duration::from_secs(10),
};

/// Answers requests for ever.
pub(crate) async fn serve_https(desk: Arc<ControlDesk>, listener: OperatorListener) -> Infallible {
    serve_within(desk, listener, DEADLINES).await
}

async fn serve_within(
    desk: Arc<ControlDesk>,
    mut listener: OperatorListener,
    deadlines: Deadlines,
) -> Infallible {
    let failures = Arc::new(FailedTokens::default());
    loop {
        let stream = listener.accept().await;
        let exchange = HttpExchange::new(desk.clone(), failures.clone(), stream.peer(), deadlines);
        tokio::spawn(Arc::new(exchange).serve(stream));
    }
}

#[cfg(test)]
mod tests;
