//! id → one path segment (RFC 3986 section 3.3).

use std::fmt;
use std::sync::Arc;

use super::failure::InvalidInput;
use super::text;

/// Bytes of UTF-8 in an id; the documented ones are UUIDs of 36.
const MAX_ID_BYTES: usize = 255;

/// An id that stays one segment of a path. Its `Display` is fit for a message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathSegment {
    text: Arc<str>,
}

impl PathSegment {
    /// Reads an id; `argument` is what a refusal calls it.
    pub fn parse(argument: &'static str, text: &str) -> Result<Self, InvalidInput> {
        let refuse = |reason: &str| Err(InvalidInput::new(argument, reason));
        match text {
            "" => refuse("must not be empty"),
            // Encoding does not help: "%2e%2e" is a dot segment too (RFC 3986 section 6.2.2.3).
            "." | ".." => refuse("must not be '.' or '..'"),
            _ if text.len() > MAX_ID_BYTES => refuse(&format!("must be at most {MAX_ID_BYTES} bytes of UTF-8")),
            _ if text.chars().any(char::is_control) => refuse("must not hold control characters"),
            _ => Ok(Self { text: text.into() }),
        }
    }

    /// The id as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The id as it stands in a path.
    pub fn encoded(&self) -> impl fmt::Display {
        text::percent_encode(&self.text)
    }
}

impl fmt::Display for PathSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::escape(&self.text))
    }
}
