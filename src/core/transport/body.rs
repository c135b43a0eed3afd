//! body → JSON object; error body → code and message; Retry-After. What all answers share.

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, SystemTime};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
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

/// Reads a body that must be one JSON object. The fields named in `once` may come once; of other repeated names the last
/// counts, as in Python's `json`. The error says in words what the body is instead.
pub fn object(body: &[u8], once: &'static [&'static str]) -> Result<Map<String, Value>, String> {
    if body.is_empty() {
        return Err("an empty body".to_owned());
    }
    if body.starts_with(b"\xef\xbb\xbf") {
        return Err("a byte order mark before the JSON (RFC 8259 section 8.1)".to_owned());
    }
    let Fields(fields) =
        serde_json::from_slice(body).map_err(|error| format!("not the documented JSON object: {error}"))?;
    let mut object = Map::new();
    for (name, value) in fields {
        if once.contains(&name.as_str()) && object.contains_key(&name) {
            return Err(format!("an object with `{name}` twice"));
        }
        object.insert(name, value);
    }
    match object.values().find_map(absurd_number) {
        Some(absurd) => Err(absurd),
        None => Ok(object),
    }
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
fn absurd_number(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => {
            let digits = number.as_str().trim_start_matches('-');
            if digits.bytes().take_while(u8::is_ascii_digit).count() > MAX_DIGITS {
                return Some(format!("an integer of more than {MAX_DIGITS} digits"));
            }
            let is_finite = digits.bytes().all(|b| b.is_ascii_digit()) || digits.parse().is_ok_and(f64::is_finite);
            (!is_finite).then(|| "a number that is too large".to_owned())
        }
        Value::Array(items) => items.iter().find_map(absurd_number),
        Value::Object(fields) => fields.values().find_map(absurd_number),
        _ => None,
    }
}

/// The fields of an object in their order, each as often as it comes.
pub struct Fields<V>(pub Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Fields<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Pairs<V> {
            type Value = Fields<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Pairs(PhantomData))
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
}
