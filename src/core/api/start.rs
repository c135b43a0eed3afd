//! The two requests that start a bulk operation → its id. The vendor's "Run Bulk Operation for Objects" and "Clone Object in
//! Background".

use std::fmt;

use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::Value;

use crate::core::failure::InvalidInput;
use crate::core::segment::PathSegment;
use crate::core::transport::body;
use crate::core::transport::call::{About, Call, Reader};

/// The server's answer: `bulkId` is an id that a status can be asked for, `finished` a boolean.
#[derive(Debug, Clone, PartialEq)]
pub struct Started {
    pub id: PathSegment,
    /// The whole answer.
    pub body: Vec<u8>,
}

/// As log lines say it.
impl fmt::Display for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bulkId={}", self.id)
    }
}

/// `POST /node/api/bulk/objects` with this JSON body.
pub fn objects(body: Vec<u8>, request_id: &str) -> Result<Call<Started>, InvalidInput> {
    let about = About::Start { request_id: header(request_id)? };
    Ok(start(about, "/node/api/bulk/objects".to_owned(), body))
}

/// `POST /node/api/objects/:id/clone-bulk` with an empty body.
pub fn clone(object: PathSegment, request_id: &str) -> Result<Call<Started>, InvalidInput> {
    let path = format!("/node/api/objects/{}/clone-bulk", object.encoded());
    let about = About::Clone { object, request_id: header(request_id)? };
    Ok(start(about, path, Vec::new()))
}

/// Never repeatable: a start that is sent twice runs twice.
fn start(about: About, path: String, body: Vec<u8>) -> Call<Started> {
    Call { about, method: Method::POST, path, body, is_repeatable: false, read: Reader::Whole(read) }
}

fn header(request_id: &str) -> Result<HeaderValue, InvalidInput> {
    HeaderValue::try_from(request_id).map_err(|_| InvalidInput::new("request_id", "does not fit into a header"))
}

/// Reads the body of a 200.
pub fn read(body: &[u8]) -> Result<Started, String> {
    let object = body::object(body, &["bulkId", "finished"])?;
    body::boolean(&object, "finished")?;
    let id = match object.get("bulkId") {
        Some(Value::String(id)) => {
            PathSegment::parse("bulkId", id).map_err(|error| format!("a `bulkId` that {}", error.reason))?
        }
        Some(_) => return Err("a `bulkId` that is not a string".to_owned()),
        None => return Err("an object without `bulkId`".to_owned()),
    };
    Ok(Started { id, body: body.to_vec() })
}
