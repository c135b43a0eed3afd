//! One request as data: what an endpoint consists of.

use std::fmt;
use std::sync::Arc;

use reqwest::Method;
use reqwest::header::HeaderValue;

use crate::core::segment::PathSegment;

/// What a call is about, in the words of messages. Each start has a request id, which goes out as X-Request-Id: by it an
/// access log tells whether the start arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// A bulk operation, by its id.
    Operation(PathSegment),
    /// The start of a bulk operation, which has no id yet.
    Start { request_id: HeaderValue },
    /// The start of a clone of an object.
    Clone { object: PathSegment, request_id: HeaderValue },
    /// The objects that a search finds.
    Search,
}

impl About {
    /// The bulk operation, if there is one.
    pub fn operation(&self) -> Option<&PathSegment> {
        match self {
            Self::Operation(id) => Some(id),
            Self::Start { .. } | Self::Clone { .. } | Self::Search => None,
        }
    }

    /// The id of the bulk operation, if there is one.
    pub fn id(&self) -> Option<&str> {
        self.operation().map(PathSegment::as_str)
    }

    pub fn request_id(&self) -> Option<&str> {
        self.request_id_header()?.to_str().ok()
    }

    pub fn request_id_header(&self) -> Option<&HeaderValue> {
        match self {
            Self::Operation(_) | Self::Search => None,
            Self::Start { request_id } | Self::Clone { request_id, .. } => Some(request_id),
        }
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operation(id) => write!(f, "bulk operation {id}")?,
            Self::Start { .. } => f.write_str("start of a bulk operation")?,
            Self::Clone { object, .. } => write!(f, "clone of object {object}")?,
            Self::Search => f.write_str("search for objects")?,
        }
        match self.request_id() {
            Some(id) => write!(f, " (X-Request-Id {id})"),
            None => Ok(()),
        }
    }
}

/// A request, and how the body of a 200 is read.
pub struct Call<T> {
    pub about: About,
    pub method: Method,
    /// Already encoded.
    pub path: String,
    /// JSON; empty for none.
    pub body: Vec<u8>,
    /// Whether the request may be sent again when its connection has died (RFC 9110 section 9.2.2). Not the method decides:
    /// a search changes nothing, and is a POST.
    pub is_repeatable: bool,
    pub read: Reader<T>,
}

/// How a body becomes a value. An error says in words what is wrong with the body.
pub enum Reader<T> {
    /// The whole body at once; a short one.
    Whole(fn(&[u8]) -> Result<T, String>),
    /// A body of any length, as it comes: by a new reader for each answer.
    Stream(Arc<dyn Fn() -> Box<dyn StreamReader<T>> + Send + Sync>),
}

pub trait StreamReader<T>: Send {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), String>;
    /// The value, once the body has ended.
    fn finish(self: Box<Self>) -> Result<T, String>;
}
