//! A response → the value of its body, or a failure with what the response tells of it.

use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use reqwest::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, PROXY_AUTHENTICATE, RETRY_AFTER,
    TRANSFER_ENCODING, WWW_AUTHENTICATE,
};
use reqwest::{Response, StatusCode};
use tokio::time::timeout;

use super::attempt::Attempt;
use super::body::{self, BODY_LIMIT};
use super::call::{Reader, StreamReader};
use super::error;
use crate::core::failure::{Failure, HttpFailure};
use crate::core::origin::Origin;
use crate::core::text;

/// Bytes of a body that are read as they come, at most.
const STREAM_LIMIT: usize = 1 << 30;

/// Bytes of such a body that are kept for the text of an error.
const BEGINNING: usize = 1024;

/// How long the body of an error may take, and of a proxy's refusal; half of what is left, if that is less.
pub const REASON_TIMEOUT: Duration = Duration::from_secs(2);

/// The value of a documented answer, or why there is none.
pub async fn read<T>(response: Response, attempt: &Attempt<'_, T>) -> Result<T, Failure> {
    if response.status() != StatusCode::OK {
        return Err(Failure::Http(Box::new(read_failure(response, attempt).await)));
    }
    if header(&response, CONTENT_ENCODING).is_some_and(|encoding| is_compressed(&encoding)) {
        // Masked before its bytes become text, which loses those that are no UTF-8.
        let encoding = response.headers().get(CONTENT_ENCODING).map(|value| attempt.masks().mask(value));
        let reason = format!("Content-Encoding {}, which was not asked for", encoding.unwrap_or_default());
        return Err(undocumented(&response, attempt, &reason, &Body::default()));
    }
    if let Some(why) = endless(&response, attempt) {
        let _ = attempt.endless.set(why);
    }
    match &attempt.call.read {
        Reader::Whole(read) => read_whole(response, attempt, *read).await,
        Reader::Stream(reader) => read_stream(response, attempt, reader()).await,
    }
}

async fn read_whole<T>(
    mut response: Response,
    attempt: &Attempt<'_, T>,
    read: fn(&[u8]) -> Result<T, String>,
) -> Result<T, Failure> {
    let is_too_long = response.content_length().is_some_and(|length| length > BODY_LIMIT as u64);
    let body = if is_too_long { arrived(&mut response) } else { read_body(&mut response).await };
    match &body.end {
        End::Complete => read(&body.bytes).map_err(|reason| undocumented(&response, attempt, &reason, &body)),
        End::TooLong => {
            let reason = format!("more than {} KiB of body", BODY_LIMIT / 1024);
            Err(undocumented(&response, attempt, &reason, &body))
        }
        End::Failed(failure) => Err(failure.clone()),
    }
}

async fn read_stream<T>(
    mut response: Response,
    attempt: &Attempt<'_, T>,
    mut reader: Box<dyn StreamReader<T>>,
) -> Result<T, Failure> {
    let (mut beginning, mut length) = (Body { bytes: Vec::new(), end: End::TooLong }, 0);
    loop {
        let chunk = response.chunk().await.map_err(|error| error::failure(&error))?;
        let Some(chunk) = chunk else { break };
        length += chunk.len();
        let room = BEGINNING.saturating_sub(beginning.bytes.len());
        beginning.bytes.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        let fed = if length > STREAM_LIMIT {
            Err(format!("more than {} GiB of body", STREAM_LIMIT >> 30))
        } else {
            reader.feed(&chunk)
        };
        // JSON is data, which no text of an error shows.
        let beginning = if is_json(&beginning.bytes) { &Body::default() } else { &beginning };
        fed.map_err(|reason| undocumented(&response, attempt, &reason, beginning))?;
    }
    if is_json(&beginning.bytes) {
        beginning = Body::default();
    } else if length <= BEGINNING {
        beginning.end = End::Complete;
    }
    reader.finish().map_err(|reason| undocumented(&response, attempt, &reason, &beginning))
}

/// Whether a body begins as JSON with more than one value in it does.
fn is_json(body: &[u8]) -> bool {
    matches!(body.trim_ascii_start().first(), Some(b'{' | b'['))
}

/// Why only the end of the connection ends an answer: it has no length, or a coding that is not chunked and goes before a length
/// (RFC 9112 section 6.3). A server that keeps the connection then keeps its client waiting.
fn endless<T>(response: &Response, attempt: &Attempt<'_, T>) -> Option<String> {
    if response.content_length().is_some() {
        return None;
    }
    let ends = "so it ends with the connection, which is still open";
    let Some(coding) = response.headers().get_all(TRANSFER_ENCODING).iter().next_back() else {
        return Some(format!("the answer has no length, {ends}"));
    };
    let coding = attempt.masks().mask(coding.as_bytes());
    let is_chunked = coding.rsplit(',').next().is_some_and(|last| last.trim().eq_ignore_ascii_case("chunked"));
    (!is_chunked).then(|| format!("the answer has Transfer-Encoding \"{}\", {ends}", text::escape(&coding)))
}

fn undocumented<T>(response: &Response, attempt: &Attempt<'_, T>, reason: &str, body: &Body) -> Failure {
    let content_type = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    body::undocumented(reason, content_type, &body.bytes, body.is_cut(), &attempt.masks())
}

async fn read_failure<T>(mut response: Response, attempt: &Attempt<'_, T>) -> HttpFailure {
    let (status, masks, origin) = (response.status(), attempt.masks(), &attempt.server.origin);
    // A body that breaks off or does not end takes nothing from what the status says.
    let patience = (attempt.time_left() / 2).min(REASON_TIMEOUT);
    // A success has data, which no text of an error shows.
    let is_data = status.is_success() && matches!(attempt.call.read, Reader::Stream(_));
    let body =
        if is_data { Body::default() } else { timeout(patience, read_body(&mut response)).await.unwrap_or_default() };
    let mut failure = body::read_error(status.as_u16(), &body.bytes, body.is_cut(), &masks);
    failure.retry_after = header(&response, RETRY_AFTER).and_then(|value| body::retry_after(&value, SystemTime::now()));
    if let Some(name) = challenge(status) {
        let values = response.headers().get_all(name).iter();
        let mask = |value: &HeaderValue| masks.mask(value);
        let values: Vec<_> = values.map(mask).collect();
        failure.advice = body::unmet_challenge(values.iter().map(String::as_str));
    }
    if status.is_redirection() {
        let location = header(&response, LOCATION);
        failure.may_be_done = may_be_done(status, location.as_deref(), origin);
        failure.advice = location.and_then(|target| redirect_advice(&target, origin)).map(|advice| masks.mask(&advice));
    }
    failure
}

/// The header that says which login is wanted (RFC 9110 section 11.6.1 and 11.7.1).
fn challenge(status: StatusCode) -> Option<HeaderName> {
    match status {
        StatusCode::UNAUTHORIZED => Some(WWW_AUTHENTICATE),
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Some(PROXY_AUTHENTICATE),
        _ => None,
    }
}

/// Whether a redirect may stand for a request that was done: 303 says so, and many frameworks write 302 for it. A 302 to another
/// origin leads to a login page; but a server behind a gateway of TLS may write http for its own.
fn may_be_done(status: StatusCode, location: Option<&str>, origin: &Origin) -> bool {
    let leads_elsewhere = |location: &str| {
        let here = origin.join("/");
        here.join(location).is_ok_and(|target| {
            let is_behind_tls = here.scheme() == "https" && target.scheme() == "http" && target.port().is_none();
            target.origin() != here.origin() && !(is_behind_tls && target.host() == here.host())
        })
    };
    match status {
        StatusCode::SEE_OTHER => true,
        StatusCode::FOUND => !location.is_some_and(leads_elsewhere),
        _ => false,
    }
}

/// Names a redirect's target by its origin alone: the rest may hold anything.
fn redirect_advice(location: &str, origin: &Origin) -> Option<String> {
    let target = origin.join("/").join(location).ok()?;
    if !matches!(target.scheme(), "http" | "https") {
        return Some(format!("a redirect to another scheme, {}, which is not followed", text::escape(target.scheme())));
    }
    let shown = target.origin().ascii_serialization();
    if shown == origin.as_str() {
        return Some(format!("a redirect within {shown}, which is not followed"));
    }
    let is_upgrade = target.scheme() == "https" && !origin.is_tls();
    if is_upgrade && target.host_str() == origin.url().host_str() {
        return Some(format!("a redirect, which is not followed; write {shown} as host"));
    }
    Some(format!("a redirect to {shown}, which is not followed; if that is the server, write it as host"))
}

fn header(response: &Response, name: HeaderName) -> Option<String> {
    response.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// A body up to its limit.
#[derive(Default)]
pub struct Body {
    pub bytes: Vec<u8>,
    end: End,
}

impl Body {
    pub fn is_cut(&self) -> bool {
        !matches!(self.end, End::Complete)
    }
}

#[derive(Default)]
enum End {
    #[default]
    Complete,
    TooLong,
    Failed(Failure),
}

/// What has arrived by now of a body that is too long by its own account.
fn arrived(response: &mut Response) -> Body {
    let chunk = response.chunk().now_or_never().and_then(|read| read.ok().flatten()).unwrap_or_default();
    Body { bytes: chunk.get(..BODY_LIMIT).unwrap_or(&chunk).to_vec(), end: End::TooLong }
}

/// Whether a content coding changes the body. Servers also say `none`, `utf-8` or nothing, which the body then bears out.
fn is_compressed(encoding: &str) -> bool {
    const COMPRESSIONS: [&str; 7] = ["br", "compress", "deflate", "gzip", "x-compress", "x-gzip", "zstd"];
    encoding.split(',').any(|coding| COMPRESSIONS.iter().any(|known| coding.trim().eq_ignore_ascii_case(known)))
}

/// Reads a body, not beyond the limit.
pub async fn read_body(response: &mut Response) -> Body {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let room = BODY_LIMIT - bytes.len();
                bytes.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
                if chunk.len() > room {
                    return Body { bytes, end: End::TooLong };
                }
            }
            Ok(None) => return Body { bytes, end: End::Complete },
            Err(error) => return Body { bytes, end: End::Failed(error::failure(&error)) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_redirect_after_the_deed_from_one_before() {
        let origin = Origin::parse("https://h").unwrap();
        let may_be_done =
            |status: u16, location| super::may_be_done(StatusCode::from_u16(status).unwrap(), location, &origin);
        assert!(may_be_done(303, None) && may_be_done(303, Some("https://other/login")));
        assert!(may_be_done(302, None) && may_be_done(302, Some("/done")) && may_be_done(302, Some("https://h:443/x")));
        assert!(may_be_done(302, Some("http://[")));
        assert!(may_be_done(302, Some("http://h/done")));
        assert!(!may_be_done(302, Some("https://other/login")) && !may_be_done(302, Some("http://other/")));
        assert!(!may_be_done(302, Some("http://h:8080/")) && !may_be_done(302, Some("https://h:8443/")));
        let plain = Origin::parse("http://h").unwrap();
        assert!(!super::may_be_done(StatusCode::FOUND, Some("https://h/x"), &plain));
        assert!(!may_be_done(301, Some("/x")) && !may_be_done(307, Some("/x")) && !may_be_done(308, Some("/x")));
    }

    #[test]
    fn names_where_a_redirect_leads() {
        let plain = Origin::parse("http://h").unwrap();
        assert_eq!(
            redirect_advice("https://h/x?token=1", &plain).unwrap(),
            "a redirect, which is not followed; write https://h as host"
        );
        assert!(redirect_advice("https://u:p@other:1/x", &plain).unwrap().contains(" https://other:1,"));
        assert!(redirect_advice("/login", &plain).unwrap().contains("within http://h,"));
        assert!(redirect_advice("javascript:alert(1)", &plain).unwrap().contains("scheme, javascript,"));
        assert_eq!(redirect_advice("http://[", &plain), None);
    }
}
