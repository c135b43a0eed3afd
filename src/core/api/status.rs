//! `GET /node/api/bulk/:id/status`, the vendor's "Get Bulk Operation Status" → whether the operation has finished.

use std::fmt;
use std::sync::Arc;

use reqwest::Method;
use serde_json::{Map, Value};

use crate::core::segment::PathSegment;
use crate::core::transport::body;
use crate::core::transport::call::{About, Call, Reader};

/// Bytes of an answer that a wait keeps for its end; the documented answer has 18. Otherwise arbitrary.
const MAX_KEPT: usize = 1024;

/// The server's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    pub finished: bool,
    /// The body, if it holds more than `finished`. Many answers may be held at once, and a tree of values takes sixty times the
    /// room.
    body: Option<Arc<[u8]>>,
}

impl Status {
    /// The whole object, if it holds more than `finished`.
    pub fn object(&self) -> Option<Map<String, Value>> {
        parsed(self.body.as_ref()?).ok()
    }

    /// The same without a long body.
    pub fn shortened(&self) -> Self {
        let body = self.body.clone().filter(|body| body.len() <= MAX_KEPT);
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
    let object = parsed(body)?;
    let finished = body::boolean(&object, "finished")?;
    Ok(Status { finished, body: (object.len() > 1).then(|| body.into()) })
}

fn parsed(body: &[u8]) -> Result<Map<String, Value>, String> {
    body::object(body, &["finished"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_documented_answer() {
        assert!(read(br#"{"finished": true}"#).unwrap().finished);
        assert!(!read(b" {\"finished\":false}\r\n").unwrap().finished);
    }

    #[test]
    fn keeps_fields_and_order() {
        let status = read(br#"{"z":1,"finished":true,"a":{"b":[null,1.5,36893488147419103232]},"z":2}"#).unwrap();
        assert_eq!(
            Value::Object(status.object().unwrap()).to_string(),
            r#"{"z":2,"finished":true,"a":{"b":[null,1.5,36893488147419103232]}}"#
        );
        let status = read(br#"{"finished":false,"a":1,"a":2}"#).unwrap();
        assert_eq!(Value::Object(status.object().unwrap()).to_string(), r#"{"finished":false,"a":2}"#);
    }

    #[test]
    fn a_wait_keeps_no_long_body() {
        let long = format!(r#"{{"finished":false,"a":"{}"}}"#, "x".repeat(MAX_KEPT));
        let status = read(long.as_bytes()).unwrap();
        assert_eq!(status.object().unwrap().len(), 2);
        assert!(status.shortened().object().is_none() && !status.shortened().finished);
        let short = read(br#"{"finished":false,"a":1}"#).unwrap();
        assert_eq!(short.shortened(), short);
    }

    #[test]
    fn refuses_the_rest() {
        let deep = [b"{\"finished\":true,\"a\":".as_slice(), &b"[".repeat(5000), &b"]".repeat(5000), b"}"].concat();
        let long = format!("{{\"finished\":true,\"a\":[{}]}}", "9".repeat(4301));
        for body in [
            b"".as_slice(),
            b" ",
            b"[true]",
            b"true",
            b"\"true\"",
            b"null",
            b"{}",
            b"{\"finished\":1}",
            b"{\"finished\":\"true\"}",
            b"{\"finished\":null}",
            b"{\"finished\":[true]}",
            b"{\"Finished\":true}",
            b"{\"finished\":true}x",
            b"{\"finished\":true}{}",
            b"{\"finished\":true,}",
            b"{\"finished\":True}",
            b"{\"finished\":true,\"finished\":true}",
            b"{\"a\":1,\"finished\":true,\"finished\":true}",
            b"{\"finished\":{},\"a\":1}",
            b"{\"finished\":true,\"a\":NaN}",
            b"{\"finished\":true,\"f\\u0069nished\":false}",
            b"\xef\xbb\xbf{\"finished\":true}",
            b"{\"finished\":true,\"a\":\"\xff\"}",
            b"{\"finished\":true,\"a\":\"\\ud800\"}",
            b"{'finished':true}",
            b"{\"finished\":true",
            b"\0{\"finished\":true}",
            &deep,
            long.as_bytes(),
        ] {
            assert!(read(body).is_err(), "{:?}", String::from_utf8_lossy(body));
        }
    }
}
