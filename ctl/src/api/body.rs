//! Answers: whole ones, and ones that go on line by line. Always: at most `LINES_MAX` lines of an
//! answer wait for its reader.

use super::answer::{Fault, Problem, status_of};
use super::control::Refusal;
use super::{JSON, LINES};
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde::Serialize;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// Lines that may wait for a reader.
const LINES_MAX: usize = 4;

/// Body of an answer.
pub(super) enum Body {
    /// All of it.
    Whole(Option<Bytes>),
    /// Line by line.
    Lines(mpsc::Receiver<Bytes>),
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Body::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Body::Lines(lines) => {
                lines.poll_recv(cx).map(|line| line.map(|line| Ok(Frame::data(line))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            Body::Lines(_) => SizeHint::default(),
        }
    }
}

/// An answer of some type.
pub(super) fn whole(status: StatusCode, kind: &'static str, bytes: Bytes) -> Response<Body> {
    let body = if bytes.is_empty() { None } else { Some(bytes) };
    let mut response = Response::new(Body::Whole(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// An answer of one JSON text.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(mut bytes) => {
            bytes.push(b'\n');
            whole(status, JSON, Bytes::from(bytes))
        }
        // Reports are plain data; this would be a defect of ours.
        Err(cause) => {
            tracing::error!(%cause, "an answer is no JSON");
            whole(StatusCode::INTERNAL_SERVER_ERROR, JSON, Bytes::new())
        }
    }
}

/// An error.
pub(super) fn problem(refusal: &Refusal) -> Response<Body> {
    let status = status_of(&refusal.code);
    let mut response = json(status, &Problem { error: Fault::from(refusal) });
    if status == StatusCode::UNAUTHORIZED {
        // Browsers ask for name and password; the token is the password, for looking only.
        let ways = HeaderValue::from_static("Basic realm=\"lockstep\", Bearer realm=\"lockstep\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, ways);
    }
    response
}

/// Another method is needed.
pub(super) fn other_method(path: &str, methods: &[&str]) -> Response<Body> {
    let methods = methods.join(", ");
    let message = format!("{path}: it is there, but not with this method; use {methods}");
    let mut response = problem(&Refusal { code: "no-method".to_owned(), message });
    if let Ok(value) = HeaderValue::from_str(&methods) {
        response.headers_mut().insert(ALLOW, value);
    }
    response
}

/// An answer that goes on, and where its lines are put.
pub(super) fn lines() -> (mpsc::Sender<Bytes>, Response<Body>) {
    let (line, lines) = mpsc::channel(LINES_MAX);
    let mut response = Response::new(Body::Lines(lines));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(LINES));
    (line, response)
}

/// A value as a line.
pub(super) fn line(value: &impl Serialize) -> Bytes {
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    Bytes::from(bytes)
}
