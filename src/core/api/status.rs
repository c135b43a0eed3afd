//! `GET /node/api/bulk/:id/status`, the vendor's "Get Bulk Operation Status" → whether the operation has finished.

use std::fmt;
use std::sync::Arc;

use reqwest::Method;

use crate::core::segment::PathSegment;
use crate::core::transport::body;
use crate::core::transport::call::{About, Call, Reader};

/// Bytes of an answer that a wait holds for its end; the documented answer has 18. Otherwise arbitrary.
const MAX_HELD: usize = 1024;

/// The server's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    pub finished: bool,
    /// The body, if it holds more than `finished`. Many answers may be held at once, and a tree of values takes sixty times the
    /// room.
    pub body: Option<Arc<[u8]>>,
}

impl Status {
    /// The same without a long body.
    pub fn shortened(&self) -> Self {
        let body = self.body.clone().filter(|body| body.len() <= MAX_HELD);
        Self { finished: self.finished, body }
    }
}

/// As log lines say it.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "finished={}", self.finished)
    }
}

/// Asks for the status of one operation.
pub fn call(id: &PathSegment) -> Call<Status> {
    Call {
        about: About::Operation(id.clone()),
        method: Method::GET,
        path: format!("/node/api/bulk/{}/status", id.encoded()),
        body: Vec::new(),
        is_repeatable: true,
        read: Reader::Whole(read),
    }
}

/// Reads the body of a 200.
pub fn read(body: &[u8]) -> Result<Status, String> {
    let object = body::object(body, &["finished"])?;
    let finished = body::boolean(&object, "finished")?;
    Ok(Status { finished, body: (object.len() > 1).then(|| body.into()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_keeps_no_long_body() {
        let long = format!(r#"{{"finished":false,"a":"{}"}}"#, "x".repeat(MAX_HELD));
        let status = read(long.as_bytes()).unwrap();
        assert!(status.body.is_some());
        assert!(status.shortened().body.is_none() && !status.shortened().finished);
        let short = read(br#"{"finished":false,"a":1}"#).unwrap();
        assert_eq!(short.shortened(), short);
    }
}
