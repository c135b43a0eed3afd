//! Foreign text made fit for a message: escaped and cut; and text made fit for a path.

use std::fmt::Write;
use std::path::Path;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};

/// All but RFC 3986 "unreserved" (section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Characters of a server's text that one of our messages may quote.
const MAX_QUOTED: usize = 300;

/// Escapes what could forge a log line or a terminal's state: controls, line ends, marks that turn the direction of
/// writing. Cuts at [`MAX_QUOTED`].
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_QUOTED) + 3);
    for (count, c) in text.chars().enumerate() {
        if count == MAX_QUOTED {
            out.push_str("...");
            break;
        }
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if c.is_control() || is_invisible(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out
}

/// A path as a message shows it. Bytes that are no UTF-8 are shown as they are: the name may be in another encoding.
pub fn of_path(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    if text.is_empty() { "''".to_owned() } else { escape(&text) }
}

/// Bidirectional controls, zero-width marks and line separators (UAX 9, UAX 14).
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{61c}' | '\u{feff}')
}

/// The first `limit` bytes of a body as text, never half a character.
pub fn head(body: &[u8], limit: usize) -> String {
    let cut = body.get(..limit).unwrap_or(body);
    let mut text = String::from_utf8_lossy(cut).into_owned();
    if cut.len() < body.len() && text.ends_with('\u{fffd}') {
        text.pop();
    }
    text
}

pub fn percent_encode(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, RESERVED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_could_forge_a_line() {
        assert_eq!(escape("a\r\nb\x1b[31m\u{202e}é"), "a\\r\\nb\\u{1b}[31m\\u{202e}é");
    }

    #[test]
    #[cfg(unix)]
    fn a_path_is_one_line_in_any_encoding() {
        use std::os::unix::ffi::OsStrExt;
        let path = |bytes| of_path(Path::new(std::ffi::OsStr::from_bytes(bytes)));
        assert_eq!(path("/é\r\n\u{202e}".as_bytes()), "/é\\r\\n\\u{202e}");
        assert_eq!(path(b"\xcb\xcf\xc4 \xff.pem"), "\\xcb\\xcf\\xc4 \\xff.pem");
        assert_eq!(path(b""), "''");
    }

    #[test]
    fn cuts_long_text() {
        assert_eq!(escape(&"é".repeat(400)).chars().count(), MAX_QUOTED + 3);
    }

    #[test]
    fn heads_end_on_a_character() {
        assert_eq!(head("aé".as_bytes(), 2), "a");
        assert_eq!(head("aé".as_bytes(), 3), "aé");
        assert_eq!(head(b"a\xff", 9), "a\u{fffd}");
    }
}
