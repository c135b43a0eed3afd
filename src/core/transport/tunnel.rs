//! Why a proxy opens no tunnel. hyper-util keeps the proxy's answer to itself, so the proxy is asked once more.

use reqwest::{ClientBuilder, Method, Request, Url};
use tokio::time::timeout;

use super::attempt::Attempt;
use super::body;
use super::progress;
use super::proxy::Route;
use super::response;
use crate::core::failure::HttpFailure;

/// The answer to another CONNECT (RFC 9110 section 9.3.6). None if there is no time or no answer, if the tunnel opens now, and
/// for port 80.
pub async fn refusal<T>(attempt: &Attempt<'_, T>, client: ClientBuilder) -> Option<HttpFailure> {
    let Route::Through(hop) = attempt.route else { return None };
    // Once for the head and once for the body.
    let patience = (attempt.time_left() / 3).min(response::REASON_TIMEOUT);
    if patience.is_zero() {
        return None;
    }
    let origin = attempt.server.origin.url();
    // For an https URL reqwest itself opens a tunnel. CONNECT needs the port, which an http URL leaves out if it is 80.
    let target = format!("http://{}:{}", origin.host_str()?, origin.port_or_known_default()?);
    let target = Url::parse(&target).ok().filter(|url| url.port().is_some())?;
    let client = hop.apply(client).build().ok()?;
    // Watched apart: nothing of the call is sent on this connection.
    let asked = progress::watch(attempt.server.place(), client.execute(Request::new(Method::CONNECT, target)));
    let mut answered = timeout(patience, asked).await.ok()?.0.ok()?;
    let status = answered.status();
    if status.is_success() {
        return None;
    }
    // A body that does not end takes nothing from what the status says.
    let body = timeout(patience, response::read_body(&mut answered)).await.unwrap_or_default();
    Some(body::read_error(status.as_u16(), &body.bytes, body.is_cut(), &attempt.masks()))
}
