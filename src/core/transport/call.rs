//! One request as data: what an endpoint consists of.

use std::fmt;

use reqwest::Method;

use crate::core::segment::PathSegment;

/// What a call is about, in the words of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// A bulk operation, by its id.
    Operation(PathSegment),
}

impl About {
    /// The id of the bulk operation.
    pub fn id(&self) -> &str {
        match self {
            Self::Operation(id) => id.as_str(),
        }
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operation(id) => write!(f, "bulk operation {id}"),
        }
    }
}

/// A request, and how the body of a 200 is read. The reader returns in words what is wrong with the body.
pub struct Call<T> {
    pub about: About,
    pub method: Method,
    /// Already encoded.
    pub path: String,
    pub read: fn(&[u8]) -> Result<T, String>,
}

impl<T> Call<T> {
    /// Whether the request may be sent again when its connection has died (RFC 9110 section 9.2.2).
    pub fn is_repeatable(&self) -> bool {
        self.method.is_idempotent()
    }
}
