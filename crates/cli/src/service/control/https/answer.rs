//! Answers, each with its status.

use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::DuplexStream;

use super::failures::SPAN;
use crate::http::MessageBody;

/// What a request is answered with.
pub(super) type HttpAnswer = Response<MessageBody>;

/// The answer to a request that was carried out.
pub(super) fn done(answer: &Value) -> HttpAnswer {
    with_json(StatusCode::OK, answer)
}

/// Why a request was not carried out, and what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct HttpRefusal {
    pub(super) status: StatusCode,
    pub(super) why: String,
}

impl HttpRefusal {
    pub(super) fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into() }
    }

    /// A request that cannot be read.
    pub(super) fn malformed(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, why)
    }

    pub(super) fn answer(&self) -> HttpAnswer {
        let mut answer = with_json(self.status, &json!({"error": self.why}));
        let headers = answer.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(RETRY_AFTER, HeaderValue::from(SPAN.as_secs()));
        }
        answer
    }
}

/// Lines of JSON, for as long as somebody writes them.
pub(super) fn lines(stream: DuplexStream) -> HttpAnswer {
    with_body(StatusCode::OK, "application/x-ndjson", MessageBody::Stream(stream))
}

fn with_json(status: StatusCode, value: &Value) -> HttpAnswer {
    with_body(status, "application/json", MessageBody::Whole(format!("{value}\n").into()))
}

fn with_body(status: StatusCode, kind: &'static str, body: MessageBody) -> HttpAnswer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
