//! body → JSON object; error body → code and message; Retry-After. What all answers share.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::core::failure::{Failure, HttpFailure};
use crate::core::mask::Masks;
use crate::core::text;

/// Bytes of a body that are read at most; the documented answer has 18.
pub const BODY_LIMIT: usize = 64 * 1024;

/// Bytes of an error's body that are kept for the caller.
const BODY_EXCERPT: usize = 4096;

/// Python reads and writes integers of up to 4300 digits, unless the program has another limit (`sys.set_int_max_str_digits`).
const MAX_DIGITS: usize = 4300;

/// serde_json carries long integers under names of this kind (its feature `arbitrary_precision`), so an object with a field of
/// that name would be taken for a number.
const SERDE_PRIVATE: &str = "$serde_json::private::";

/// Reads a body that must be one JSON object. The fields named in `once` may come once; of other repeated names the last
/// counts, as in Python's `json`. The error says in words what the body is instead.
pub fn object(body: &[u8], once: &'static [&'static str]) -> Result<Map<String, Value>, String> {
    if body.is_empty() {
        return Err("an empty body".to_owned());
    }
    if body.starts_with(b"\xef\xbb\xbf") {
        return Err("a byte order mark before the JSON (RFC 8259 section 8.1)".to_owned());
    }
    if has_reserved_name(body) {
        return Err("a field name that is reserved".to_owned());
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let object = json
        .deserialize_map(Fields { once })
        .and_then(|fields| json.end().map(|()| fields))
        .map_err(|error| format!("not the documented JSON object: {error}"))?;
    match object.values().find_map(absurd_number) {
        Some(absurd) => Err(absurd.to_owned()),
        None => Ok(object),
    }
}

/// Whether any object of a body has a field of serde_json's own. It looks before serde_json does, which decodes a name and
/// then takes its object for a number.
fn has_reserved_name(body: &[u8]) -> bool {
    let mut rest = body;
    while let Some(start) = rest.iter().position(|byte| *byte == b'"') {
        let (string, behind) = split_string(rest.get(start..).unwrap_or_default());
        // Names that are too short are most of them.
        let is_name = string.len() > SERDE_PRIVATE.len() && behind.trim_ascii_start().starts_with(b":");
        if is_name && serde_json::from_slice(string).is_ok_and(|name: String| name.starts_with(SERDE_PRIVATE)) {
            return true;
        }
        rest = behind;
    }
    false
}

/// A JSON string with its quotes, and what stands behind it. The text begins with the string.
fn split_string(text: &[u8]) -> (&[u8], &[u8]) {
    let mut is_escaped = false;
    let end = text.iter().skip(1).position(|byte| {
        let ends = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        ends
    });
    end.and_then(|end| text.split_at_checked(end + 2)).unwrap_or((text, &[]))
}

/// Reads a documented boolean of an object.
pub fn boolean(object: &Map<String, Value>, name: &str) -> Result<bool, String> {
    match object.get(name) {
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(format!("a `{name}` that is not a boolean")),
        None => Err(format!("an object without `{name}`")),
    }
}

/// What Python cannot read, and what it reads as an infinity, which JSON cannot hold (RFC 8259 section 6).
fn absurd_number(value: &Value) -> Option<&'static str> {
    match value {
        Value::Number(number) => {
            let digits = number.as_str();
            if !digits.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
                let is_finite = digits.parse().is_ok_and(f64::is_finite);
                return (!is_finite).then_some("a number that is too large");
            }
            let digits = digits.strip_prefix('-').unwrap_or(digits);
            (digits.len() > MAX_DIGITS).then_some("an integer of more than 4300 digits")
        }
        Value::Array(items) => items.iter().find_map(absurd_number),
        Value::Object(fields) => fields.values().find_map(absurd_number),
        _ => None,
    }
}

/// The fields of an object, in the server's order.
struct Fields {
    once: &'static [&'static str],
}

impl<'de> Visitor<'de> for Fields {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, value)) = entries.next_entry::<String, Value>()? {
            if self.once.contains(&name.as_str()) && object.contains_key(&name) {
                return Err(serde::de::Error::custom(format!("`{name}` stands there twice")));
            }
            object.insert(name, value);
        }
        Ok(object)
    }
}

/// A 200 that is not the documented answer, with its content type and an excerpt.
pub fn undocumented(reason: &str, content_type: Option<&[u8]>, body: &[u8], is_cut: bool, masks: &Masks) -> Failure {
    let quote = |text: &[u8]| text::escape(&masks.mask(text));
    let mut message = format!("HTTP 200 with {}", quote(reason.as_bytes()));
    message.push_str(&match content_type {
        Some(content_type) => format!("; Content-Type {}", quote(content_type)),
        None => "; no Content-Type".to_owned(),
    });
    if !body.is_empty() {
        message.push_str(&format!("; it begins: {}", text::escape(&masked(body, is_cut, masks))));
    }
    Failure::BadAnswer { text: message }
}

/// Reads the answer to any other HTTP status.
pub fn read_error(http_status: u16, body: &[u8], is_cut: bool, masks: &Masks) -> HttpFailure {
    let member = |fields: &Map<String, Value>, name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
    let (mut code, mut message) = match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => (member(&fields, "code"), member(&fields, "message")),
        _ => (None, None),
    };
    // The server packs its own error into the message, as JSON inside a string.
    if let Some(Ok(Value::Object(inner))) = message.as_deref().map(serde_json::from_str) {
        message = member(&inner, "message").or(message);
        code = code.or_else(|| member(&inner, "code"));
    }
    // Escaping may spell the password again: a tab becomes \t, and a password may hold a backslash and a t.
    let mask = |text: String| {
        let masked = masks.mask(&text);
        let shown = text::escape(&masked);
        let again = masks.mask(&shown);
        if again == shown { masked } else { again }
    };
    let masked = masked(body, is_cut, masks);
    HttpFailure {
        http_status,
        code: code.map(mask),
        message: message.map(mask),
        gist: gist(&masked),
        body: text::head(masked.as_bytes(), BODY_EXCERPT),
        ..HttpFailure::default()
    }
}

/// A body as text without secrets. The mask comes before any further cut, which could leave half a secret.
fn masked(body: &[u8], is_cut: bool, masks: &Masks) -> String {
    if is_cut { masks.mask_cut(body) } else { masks.mask(body) }
}

/// What an answer in another shape says first: a page's title, which is where nginx puts its reason; a page's heading and the
/// text below, where haproxy does; or a first line.
fn gist(body: &str) -> Option<String> {
    let title = body.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>")).map(|(title, _)| title);
    let parts: Vec<_> = match title {
        Some(title) => vec![title.trim()],
        None if body.trim_start().starts_with('<') => {
            let texts = body.split('<').filter_map(|tag| Some(tag.split_once('>')?.1));
            texts.flat_map(str::lines).map(str::trim).filter(|text| !text.is_empty()).take(2).collect()
        }
        None => body.lines().map(str::trim).filter(|line| !line.is_empty()).take(1).collect(),
    };
    Some(text::escape(&parts.join(": "))).filter(|gist| !gist.is_empty())
}

/// What a 401 or a 407 asks for, if it is not Basic (RFC 9110 section 11.6.1). Takes the values of its header.
pub fn unmet_challenge<'a>(challenges: impl Iterator<Item = &'a str>) -> Option<String> {
    // A challenge begins with its scheme; what follows a comma is another challenge, or a parameter with a `=`.
    let schemes: Vec<_> = challenges
        .flat_map(|challenge| challenge.split(','))
        .filter_map(|part| part.split_whitespace().next())
        .filter(|word| !word.contains(['=', '"']))
        .collect();
    if schemes.is_empty() || schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case("basic")) {
        return None;
    }
    Some(format!("{} is asked for, and this package gives Basic alone", text::escape(&schemes.join(" or "))))
}

/// Retry-After in seconds or as a date (RFC 9110 section 10.2.3); rubbish is no header at all.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim_matches([' ', '\t']);
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::from(u32::MAX)).min(u64::from(u32::MAX))));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn someone() -> Masks {
        Masks::new(&["hunter22".to_owned()])
    }

    #[test]
    fn quotes_what_came() {
        let page = b"<html>\n\x1b[0m hunter22";
        let Failure::BadAnswer { text } = undocumented("x", Some(b"text/html"), page, false, &someone()) else {
            panic!()
        };
        assert_eq!(text, "HTTP 200 with x; Content-Type text/html; it begins: <html>\\n\\u{1b}[0m ***");
    }

    #[test]
    fn unwraps_the_double_encoded_401() {
        let body = br#"{"code":"InvalidCredentials","message":"{\"errorCode\":3,\"message\":\"Invalid login or password.\"}"}"#;
        let failure = read_error(401, body, false, &someone());
        assert_eq!(failure.code.as_deref(), Some("InvalidCredentials"));
        assert_eq!(failure.message.as_deref(), Some("Invalid login or password."));
        assert_eq!(failure.to_string(), "HTTP 401 InvalidCredentials: Invalid login or password.");
    }

    #[test]
    fn reads_errors_of_other_shapes() {
        for body in ["", "<html>", "[]", "{\"code\":1,\"message\":{}}", "{\"code\""] {
            let failure = read_error(502, body.as_bytes(), false, &someone());
            assert_eq!((failure.code, failure.message, failure.body.as_str()), (None, None, body));
        }
        let plain = read_error(400, br#"{"code":"InvalidContent","message":"Invalid JSON"}"#, false, &someone());
        assert_eq!(plain.to_string(), "HTTP 400 InvalidContent: Invalid JSON");
        assert_eq!(read_error(500, &vec![b'x'; 9000], true, &someone()).body.len(), BODY_EXCERPT);
        for (page, message) in [
            ("<html>\r\n<head><title>502 Bad Gateway</title>", "HTTP 502: 502 Bad Gateway"),
            (
                "<html><body><h1>502 Bad Gateway</h1>\nThe server returned an invalid response.\n</body></html>\n",
                "HTTP 502: 502 Bad Gateway: The server returned an invalid response.",
            ),
            ("<?xml version='1.0'?>\n<Error><Code>No</Code><Message>hunter22</Message></Error>", "HTTP 502: No: ***"),
            ("\n upstream < 1 \nmore", "HTTP 502: upstream < 1"),
            ("<html><body></body></html>", "HTTP 502"),
            ("<", "HTTP 502"),
        ] {
            assert_eq!(read_error(502, page.as_bytes(), false, &someone()).to_string(), message);
        }
    }

    #[test]
    fn names_the_schemes_that_are_not_basic() {
        let unmet = |values: &[&'static str]| unmet_challenge(values.iter().copied());
        for (values, schemes) in [
            (&["Digest realm=\"a, b\", nonce=\"x\", qop=\"auth\""][..], "Digest is"),
            (&["Negotiate", "NTLM"], "Negotiate or NTLM is"),
            (&["Negotiate, NTLM, Digest realm=x"], "Negotiate or NTLM or Digest is"),
            (&["Bearer realm=\"x\",error=\"invalid_token\""], "Bearer is"),
        ] {
            assert!(unmet(values).unwrap().starts_with(schemes), "{values:?}: {:?}", unmet(values));
        }
        for values in
            [&[][..], &[""], &["Basic realm=\"a\""], &["Negotiate", "bASIC realm=x"], &["Digest a=b, Basic realm=c"]]
        {
            assert_eq!(unmet(values), None, "{values:?}");
        }
        assert!(unmet(&["\u{1b}[31m"]).unwrap().starts_with("\\u{1b}"));
    }

    #[test]
    fn reads_retry_after() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        for (value, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("99999999999999999999999", Some(u64::from(u32::MAX))),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("+3", None),
            ("１", None),
            ("Sun, 99 Nov 1994 08:50:37 GMT", None),
        ] {
            assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value:?}");
        }
    }
}
