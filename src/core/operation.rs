//! id → one path segment (RFC 3986 section 3.3).

use std::fmt;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::failure::InvalidInput;
use super::text;

/// Everything but RFC 3986 "unreserved" (section 2.3).
pub(super) const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Bytes of UTF-8 in an id; the documented ones are UUIDs of 36.
const LIMIT: usize = 255;

/// A bulk operation on the server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Operation {
    id: Arc<str>,
}

impl Operation {
    pub fn parse(id: &str) -> Result<Self, InvalidInput> {
        let refuse = |reason: &str| Err(InvalidInput::new("id", reason));
        match id {
            "" => refuse("must not be empty"),
            // Encoding cannot save these two: "%2e%2e" is a dot segment as well (RFC 3986 section 6.2.2.3).
            "." | ".." => refuse("must not be '.' or '..'"),
            _ if id.len() > LIMIT => refuse("must be at most 255 bytes of UTF-8"),
            _ if id.chars().any(char::is_control) => refuse("must not hold control characters"),
            _ => Ok(Self { id: id.into() }),
        }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// The path of the status request, as the vendor's page has it under "HTTP Request".
    pub fn status_path(&self) -> String {
        format!("/node/api/bulk/{}/status", utf8_percent_encode(&self.id, RESERVED))
    }
}

/// The id as a message may quote it.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::escape(&self.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::origin::Origin;

    #[test]
    fn stays_one_segment_through_the_url_library() {
        let origin = Origin::parse("h").unwrap();
        for (id, segment) in [
            ("079b3102-c326-4dd7-bf48-a945232b32d6", "079b3102-c326-4dd7-bf48-a945232b32d6"),
            ("%2e%2e", "%252e%252e"),
            ("...", "..."),
            ("a/../b", "a%2F..%2Fb"),
            ("a?b#c", "a%3Fb%23c"),
            ("a b+c~_.", "a%20b%2Bc~_."),
            ("\\", "%5C"),
            ("é\u{1f600}", "%C3%A9%F0%9F%98%80"),
        ] {
            let url = origin.join(&Operation::parse(id).unwrap().status_path());
            assert_eq!(url.as_str(), format!("https://h/node/api/bulk/{segment}/status"), "{id}");
        }
    }

    #[test]
    fn refuses() {
        for id in ["", ".", "..", "a\tb", "a\nb", "\0", "\u{7f}", "\u{85}", &"a".repeat(256), &"é".repeat(128)] {
            assert!(Operation::parse(id).is_err(), "{id:?}");
        }
        assert!(Operation::parse(&"a".repeat(255)).is_ok());
    }
}
