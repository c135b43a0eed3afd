//! What must hold for any input. Shared by the fuzz targets and by tests/fuzz_corpus.rs.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use reqwest::Url;
use saymon_bulk::core::api::search::{self, Sink};
use saymon_bulk::core::api::{start, status};
use saymon_bulk::core::credentials::Credentials;
use saymon_bulk::core::failure::Failure;
use saymon_bulk::core::mask::Masks;
use saymon_bulk::core::origin::Origin;
use saymon_bulk::core::segment::PathSegment;
use saymon_bulk::core::tls::{certificate, pem};
use saymon_bulk::core::transport::body;
use saymon_bulk::core::transport::call::Reader;
use serde_json::Value;
use serde_json::value::RawValue;

const LOGIN: &str = "operator";
const PASSWORD: &str = "Tr0ub4dor&3";

/// The password as servers may write it: once and twice in JSON, in a URL and in HTML, and in base64.
const SPELLINGS: [&str; 8] = [
    "Tr0ub4dor\\u00263", "Tr0ub4dor%263", "Tr0ub4dor&#x26;3", "Tr0ub4dor\\\\u00263", "Tr0ub4dor%25263",
    "Tr0ub4dor&amp;#38;3", "Tr0ub4dor%5cu00263", "VHIwdWI0ZG9yJjM",
];

/// An accepted host is an origin and nothing else, and that origin is read back as itself.
pub fn host(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let origin = match Origin::parse(text) {
        Ok(origin) => origin,
        Err(error) => {
            assert_eq!(error.argument, "host");
            let marked = Origin::parse(&format!("h#Zq9{text}"));
            assert!(marked.is_err_and(|error| !error.to_string().contains("Zq9")), "the refusal repeats the value");
            return;
        }
    };
    let plain = text.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"));
    let scheme = if plain { "http://" } else { "https://" };
    let Some(authority) = origin.as_str().strip_prefix(scheme) else { unreachable!("another scheme: {origin:?}") };
    assert!(!authority.is_empty());
    assert!(authority.bytes().all(|b| b.is_ascii_graphic() && !b"/\\@?#%".contains(&b)), "{authority:?}");

    let again = Origin::parse(origin.as_str());
    assert_eq!(again.as_ref().map(Origin::as_str), Ok(origin.as_str()), "not read back as itself");
    assert_eq!(again.map(|again| again.is_exposed()), Ok(origin.is_exposed()));
    assert_eq!(Origin::parse(&format!("{}/", origin.as_str())).map(|o| o.join("/")), Ok(origin.join("/")));

    let url = origin.join("/node/api/bulk/x/status");
    assert_eq!(url.origin().ascii_serialization(), origin.as_str());
    assert_eq!(Url::parse(&format!("{}/node/api/bulk/x/status", origin.as_str())), Ok(url.clone()));
    assert_eq!((url.username(), url.password(), url.query(), url.fragment()), ("", None, None, None));
    assert_eq!(url.path(), "/node/api/bulk/x/status");
    assert!(plain || !origin.is_exposed());
}

/// An accepted id is one path segment, through the URL library too, and decodes to itself.
pub fn id(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let good = !matches!(text, "" | "." | "..") && text.len() <= 255 && !text.chars().any(char::is_control);
    let parsed = PathSegment::parse("id", text);
    assert_eq!(parsed.is_ok(), good);
    let Ok(operation) = parsed else { return };
    assert_eq!(operation.as_str(), text);
    assert_one_line(&operation.to_string(), 2400);

    let path = status::call(&operation).path;
    let segment = path.strip_prefix("/node/api/bulk/").and_then(|rest| rest.strip_suffix("/status"));
    let Some(segment) = segment else { unreachable!("another path: {path}") };
    assert!(segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)), "{segment}");
    assert_eq!(percent_decode_str(segment).collect::<Vec<u8>>(), text.as_bytes());

    for host in ["h", "http://[::1]:8080"] {
        let Ok(origin) = Origin::parse(host) else { unreachable!() };
        let url = origin.join(&path);
        assert_eq!(url.as_str(), format!("{}{path}", origin.as_str()));
        assert_eq!((url.query(), url.fragment()), (None, None));
        let segments: Vec<&str> = url.path_segments().into_iter().flatten().collect();
        assert_eq!(segments, ["node", "api", "bulk", segment, "status"]);
    }
}

/// An accepted answer is what any JSON reader sees in the body; a refused one has a reason, on one line.
pub fn answer(data: &[u8]) {
    let seen = match serde_json::from_slice(data) {
        Ok(Value::Object(fields)) => Some(fields),
        _ => None,
    };
    match status::read(data) {
        Ok(status) => {
            assert!(status.body.as_ref().is_none_or(|body| **body == *data), "another answer");
            let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(data).expect("JSON");
            assert_eq!(fields["finished"].get(), status.finished.to_string(), "another reader sees something else");
        }
        Err(reason) => {
            assert!(!reason.is_empty());
            let good = seen.is_some_and(|fields| fields.get("finished").is_some_and(Value::is_boolean));
            let strict = ["twice", "4300", "too large"].iter().any(|word| reason.contains(word));
            assert!(!good || strict, "refused for no reason: {reason}");
            let body = with_secrets(data);
            let content_type = body.get(..body.len().min(40));
            let failure = body::undocumented(&reason, content_type, &body, body.len().is_multiple_of(2), &someone());
            let Failure::BadAnswer { text } = failure else { unreachable!() };
            assert_one_line(&text, 9000);
            assert_clean(&text);
        }
    }
}

#[derive(Default)]
struct Kept(Vec<Value>);

impl Sink for Kept {
    fn take(&mut self, objects: &[u8]) -> Result<(), String> {
        let found: Vec<Value> = serde_json::from_slice(objects).map_err(|error| error.to_string())?;
        self.0.extend(found);
        Ok(())
    }
}

/// A search is read alike in one piece and in two. Each object of it is what any JSON reader sees, with an id of its own.
pub fn search(data: &[u8]) {
    let read = |pieces: [&[u8]; 2]| -> Result<Vec<Value>, String> {
        let call = search::call::<Kept>(Vec::new(), None);
        let Reader::Stream(reader) = call.read else { panic!("no stream") };
        let mut reader = reader();
        pieces.into_iter().try_for_each(|piece| reader.feed(piece))?;
        let found = reader.finish()?;
        assert_eq!(found.count, found.objects.0.len());
        Ok(found.objects.0)
    };
    let at = data.iter().fold(0, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let at = at % (data.len() + 1);
    let whole = read([data, &[]]);
    let split = read([&data[..at], &data[at..]]);
    assert_eq!(whole.as_ref().ok(), split.as_ref().ok(), "cut at {at}: {split:?}");
    match whole {
        Ok(objects) => {
            let seen = match serde_json::from_slice(data) {
                Ok(Value::Object(mut fields)) => fields.remove("objects").expect("the array"),
                seen => seen.expect("JSON"),
            };
            assert_eq!(seen, Value::Array(objects.clone()), "another reader sees something else");
            let ids: HashSet<_> = objects.iter().map(|one| one["id"].as_str().expect("an id")).collect();
            assert!(ids.len() == objects.len() && !ids.contains(""));
        }
        Err(reason) => assert!(!reason.is_empty()),
    }
}

/// An accepted start is what any JSON reader sees, with an id that a status can be asked for; a refused one has a reason.
pub fn start(data: &[u8]) {
    let seen = match serde_json::from_slice(data) {
        Ok(Value::Object(fields)) => Some(fields),
        _ => None,
    };
    match start::read(data) {
        Ok(started) => {
            assert_eq!(started.body, data, "another answer");
            let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(data).expect("JSON");
            assert_eq!(
                serde_json::from_str::<String>(fields["bulkId"].get()).ok().as_deref(),
                Some(started.id.as_str())
            );
            assert!(matches!(fields["finished"].get(), "true" | "false"));
            assert!(PathSegment::parse("id", started.id.as_str()).is_ok());
            assert_one_line(&started.to_string(), 2400);
        }
        Err(reason) => {
            assert!(!reason.is_empty());
            let good = seen.is_some_and(|fields| {
                let id = fields.get("bulkId").and_then(Value::as_str);
                let is_id = id.is_some_and(|id| PathSegment::parse("id", id).is_ok());
                is_id && fields.get("finished").is_some_and(Value::is_boolean)
            });
            let strict = ["twice", "4300", "too large"].iter().any(|word| reason.contains(word));
            assert!(!good || strict, "refused for no reason: {reason}");
        }
    }
}

/// Whatever a server says with an error: bounded, on one line, and without the password that it echoes.
pub fn error_body(data: &[u8]) {
    let Some((&first, rest)) = data.split_first() else { return };
    let status = 100 + 2 * u16::from(first);
    let failure = body::read_error(status, &with_secrets(rest), rest.len().is_multiple_of(2), &someone());
    assert_eq!(failure.http_status, status);
    assert!(failure.body.len() <= 4096);
    assert_clean(&failure.body);
    for text in [&failure.code, &failure.message, &failure.gist].into_iter().flatten() {
        assert_clean(text);
    }
    let challenges = String::from_utf8_lossy(rest);
    if let Some(advice) = body::unmet_challenge(challenges.lines()) {
        assert_one_line(&advice, 1300);
    }
    let told = failure.to_string();
    assert!(told.starts_with(&format!("HTTP {status}")));
    assert_one_line(&told, 9000);
    assert_clean(&told);
}

/// What stands in a CA file, or what a server shows: never a panic, and the mark of a CA is one octet.
pub fn certificate(data: &[u8]) {
    let chain = pem::chain(data).map_or(0, |chain| chain.len());
    let trusted = pem::certificates(data).into_iter().flatten().count();
    assert!(chain == 0 || trusted <= chain);
    let _ = pem::key(data);
    for found in pem::certificates(data).into_iter().flatten() {
        assert!(certificate::signed_part(&found).is_some());
        mark_of_a_ca(&found);
    }
    mark_of_a_ca(data);
}

fn mark_of_a_ca(der: &[u8]) {
    let _ = certificate::key(der).and_then(certificate::rsa_bits);
    let copy = certificate::without_ca_mark(der);
    assert_eq!(copy.is_some(), certificate::is_ca(der) == Some(true));
    let Some(copy) = copy else { return };
    assert_eq!(certificate::is_ca(&copy), Some(false));
    assert_eq!(copy.len(), der.len());
    let changed: Vec<_> = der.iter().zip(&copy).filter(|(before, after)| before != after).collect();
    assert_eq!(changed, [(&0xff, &0x00)]);
}

/// Digits are seconds, dates are counted from now, anything else is no header.
pub fn retry_after(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let pause = body::retry_after(&text, now);
    assert_eq!(body::retry_after(&format!(" \t{text}\t "), now), pause);
    let bare = text.trim_matches([' ', '\t']);
    if !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_digit()) {
        let digits = bare.trim_start_matches('0');
        let limit = u64::from(u32::MAX);
        let seconds = if digits.len() > 10 { limit } else { format!("0{digits}").parse().unwrap_or(limit).min(limit) };
        assert_eq!(pause, Some(Duration::from_secs(seconds)));
        return;
    }
    let Some(pause) = pause else { return };
    // The last year of a date is 9999.
    assert!(pause < Duration::from_secs(8000 * 366 * 86400));
    let spelled = httpdate::fmt_http_date(now + pause);
    assert_eq!(body::retry_after(&spelled, now), Some(pause));
    assert_eq!(body::retry_after(bare, now + pause), Some(Duration::ZERO));
}

fn someone() -> Masks {
    let Ok(credentials) = Credentials::new(LOGIN, PASSWORD) else { unreachable!() };
    Masks::new(&credentials.secrets())
}

/// Bytes that stand in no UTF-8 stand for the secrets here: so they get anywhere.
fn with_secrets(data: &[u8]) -> Vec<u8> {
    let token = STANDARD.encode(format!("{LOGIN}:{PASSWORD}"));
    let mut out = Vec::new();
    for byte in data {
        match byte {
            0xf5..=0xfc => out.extend_from_slice(SPELLINGS[usize::from(byte - 0xf5)].as_bytes()),
            0xfd => out.extend_from_slice(token.as_bytes()),
            0xfe => out.extend_from_slice(PASSWORD.as_bytes()),
            0xff => out.extend_from_slice(format!("{LOGIN}:{PASSWORD}").as_bytes()),
            _ => out.push(*byte),
        }
    }
    out
}

fn assert_clean(text: &str) {
    let token = STANDARD.encode(format!("{LOGIN}:{PASSWORD}"));
    for secret in [PASSWORD, &token].iter().chain(&SPELLINGS) {
        assert!(!text.contains(secret), "a secret in {text:?}");
    }
}

fn assert_one_line(text: &str, limit: usize) {
    assert!(text.len() <= limit, "{} bytes", text.len());
    assert!(!text.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202e}')), "{text:?}");
}
