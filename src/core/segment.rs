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
            _ if text.len() > MAX_ID_BYTES => refuse("must be at most 255 bytes of UTF-8"),
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
            let path = format!("/a/{}/b", PathSegment::parse("id", id).unwrap().encoded());
            assert_eq!(origin.join(&path).as_str(), format!("https://h/a/{segment}/b"), "{id}");
        }
    }

    #[test]
    fn refuses() {
        for id in ["", ".", "..", "a\tb", "a\nb", "\0", "\u{7f}", "\u{85}", &"a".repeat(256), &"é".repeat(128)] {
            assert!(PathSegment::parse("object_id", id).is_err_and(|error| error.argument == "object_id"), "{id:?}");
        }
        assert!(PathSegment::parse("id", &"a".repeat(255)).is_ok());
    }
}
