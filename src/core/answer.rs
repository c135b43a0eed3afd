//! body → status; error body → code and message. Strict: what is not the documented answer is no answer.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::credentials::Credentials;
use super::failure::{Failure, HttpFailure};
use super::text;

/// Bytes of a body that are read at most; the documented answer has 18.
pub const BODY_LIMIT: usize = 64 * 1024;

/// Bytes of an error's body that are kept for the caller.
const KEPT: usize = 4096;

/// Python reads integers of up to 4300 digits (`sys.get_int_max_str_digits`).
const DIGITS: usize = 4300;

const RESERVED: &[u8] = b"$serde_json::private::";

/// The server's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    pub finished: bool,
    /// The whole object with `finished` in its place, if it holds more than that.
    pub object: Option<Box<Map<String, Value>>>,
}

/// Reads the body of a 200; the error tells in words what it is instead of the documented object.
pub fn read_status(body: &[u8]) -> Result<Status, String> {
    if body.is_empty() {
        return Err("an empty body".to_owned());
    }
    if body.starts_with(b"\xef\xbb\xbf") {
        return Err("a byte order mark before the JSON (RFC 8259 section 8.1)".to_owned());
    }
    // Long integers travel through serde_json under names of this kind, so a server's own would be taken for one.
    if body.windows(RESERVED.len()).any(|window| window == RESERVED) {
        return Err("a field name that is reserved".to_owned());
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let (finished, object) = json
        .deserialize_map(Fields)
        .and_then(|fields| json.end().map(|()| fields))
        .map_err(|error| format!("not the documented JSON object: {error}"))?;
    if object.as_ref().is_some_and(|object| object.values().any(has_absurd_number)) {
        return Err("an integer of more than 4300 digits".to_owned());
    }
    match finished {
        Some(Value::Bool(finished)) => Ok(Status { finished, object }),
        Some(_) => Err("a `finished` that is not a boolean".to_owned()),
        None => Err("an object without `finished`".to_owned()),
    }
}

fn has_absurd_number(value: &Value) -> bool {
    match value {
        Value::Number(number) => {
            let digits = number.as_str();
            digits.len() > DIGITS && digits.bytes().all(|b| b.is_ascii_digit() || b == b'-')
        }
        Value::Array(items) => items.iter().any(has_absurd_number),
        Value::Object(fields) => fields.values().any(has_absurd_number),
        _ => false,
    }
}

/// `finished`, and the whole object in the server's order if it holds more: the documented answer has that one field, and
/// many answers may be held at once. `finished` may come once; of other repeated names the last counts, as in Python's
/// `json`.
struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = (Option<Value>, Option<Box<Map<String, Value>>>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let (mut finished, mut object) = (None::<Value>, None::<Box<Map<_, _>>>);
        while let Some((name, value)) = entries.next_entry::<String, Value>()? {
            if name == "finished" && finished.replace(value.clone()).is_some() {
                return Err(serde::de::Error::custom("`finished` stands there twice"));
            }
            if let Some(object) = &mut object {
                object.insert(name, value);
            } else if name != "finished" {
                let first = finished.iter().map(|finished| ("finished".to_owned(), finished.clone()));
                object = Some(Box::new(first.chain([(name, value)]).collect()));
            }
        }
        Ok((finished, object))
    }
}

/// A 200 that is no status, told with its content type and an excerpt.
pub fn not_a_status(reason: &str, content_type: Option<&str>, body: &[u8], credentials: &Credentials) -> Failure {
    let quote = |text: &str| text::escape(&credentials.mask(text));
    let mut told = format!("HTTP 200 with {}", quote(reason));
    told.push_str(&match content_type {
        Some(content_type) => format!("; Content-Type {}", quote(content_type)),
        None => "; no Content-Type".to_owned(),
    });
    if !body.is_empty() {
        told.push_str(&format!("; it begins: {}", text::escape(&foreign(body, credentials))));
    }
    Failure::Answer { text: told }
}

/// Reads the answer to any other HTTP status; `body` may be cut.
pub fn read_error(status: u16, body: &[u8], credentials: &Credentials) -> HttpFailure {
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
    let mask = |text: String| credentials.mask(&text);
    let masked = foreign(body, credentials);
    HttpFailure {
        status,
        code: code.map(mask),
        message: message.map(mask),
        gist: gist(&masked),
        body: text::head(masked.as_bytes(), KEPT),
        ..HttpFailure::default()
    }
}

/// A body as text without secrets. Masked before it is cut further, or half a secret could stand at the end.
fn foreign(body: &[u8], credentials: &Credentials) -> String {
    let text = String::from_utf8_lossy(body);
    if body.len() < BODY_LIMIT { credentials.mask(&text) } else { credentials.mask_cut(&text) }
}

/// What an answer in another shape says first: a page's title, which is where nginx puts its reason, or a first line.
fn gist(body: &str) -> Option<String> {
    let title = body.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>")).map(|(title, _)| title);
    let line = title.or_else(|| body.lines().find(|line| !line.trim().is_empty()))?;
    Some(text::escape(line.trim()))
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

    fn someone() -> Credentials {
        Credentials::new("login", "hunter22").unwrap()
    }

    #[test]
    fn reads_the_documented_answer() {
        assert!(read_status(br#"{"finished": true}"#).unwrap().finished);
        assert!(!read_status(b" {\"finished\":false}\r\n").unwrap().finished);
    }

    #[test]
    fn keeps_fields_and_order() {
        let status =
            read_status(br#"{"z":1,"finished":true,"a":{"b":[null,1.5,36893488147419103232]},"z":2}"#).unwrap();
        assert_eq!(
            Value::Object(*status.object.unwrap()).to_string(),
            r#"{"z":2,"finished":true,"a":{"b":[null,1.5,36893488147419103232]}}"#
        );
        let status = read_status(br#"{"finished":false,"a":1,"a":2}"#).unwrap();
        assert_eq!(Value::Object(*status.object.unwrap()).to_string(), r#"{"finished":false,"a":2}"#);
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
            assert!(read_status(body).is_err(), "{:?}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn quotes_what_came() {
        let Failure::Answer { text } = not_a_status("x", Some("text/html"), b"<html>\n\x1b[0m hunter22", &someone())
        else {
            panic!()
        };
        assert_eq!(text, "HTTP 200 with x; Content-Type text/html; it begins: <html>\\n\\u{1b}[0m ***");
    }

    #[test]
    fn unwraps_the_double_encoded_401() {
        let body = br#"{"code":"InvalidCredentials","message":"{\"errorCode\":3,\"message\":\"Invalid login or password.\"}"}"#;
        let failure = read_error(401, body, &someone());
        assert_eq!(failure.code.as_deref(), Some("InvalidCredentials"));
        assert_eq!(failure.message.as_deref(), Some("Invalid login or password."));
        assert_eq!(failure.to_string(), "HTTP 401 InvalidCredentials: Invalid login or password.");
    }

    #[test]
    fn reads_errors_of_other_shapes() {
        for body in ["", "<html>", "[]", "{\"code\":1,\"message\":{}}", "{\"code\""] {
            let failure = read_error(502, body.as_bytes(), &someone());
            assert_eq!((failure.code, failure.message, failure.body.as_str()), (None, None, body));
        }
        let plain = read_error(400, br#"{"code":"InvalidContent","message":"Invalid JSON"}"#, &someone());
        assert_eq!(plain.to_string(), "HTTP 400 InvalidContent: Invalid JSON");
        assert_eq!(read_error(500, &vec![b'x'; 9000], &someone()).body.len(), KEPT);
        let page = b"<html>\r\n<head><title>502 Bad Gateway</title>";
        assert_eq!(read_error(502, page, &someone()).to_string(), "HTTP 502: 502 Bad Gateway");
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
