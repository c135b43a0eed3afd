//! Why a proxy opens no tunnel. hyper-util keeps the proxy's answer to itself, so the proxy is asked once more.

use std::time::Instant;

use reqwest::{ClientBuilder, Method, Request, Url};

use super::answer;
use super::progress;
use super::proxy::Route;
use super::response;
use super::server::Server;
use crate::core::failure::HttpFailure;

/// The answer to another CONNECT (RFC 9110 section 9.3.6), if it comes in half of the time that is left. None if it is no HTTP,
/// or opens the tunnel now.
pub async fn refusal(end: Instant, server: &Server, route: &Route, client: ClientBuilder) -> Option<HttpFailure> {
    let Route::Through(hop) = route else { return None };
    let origin = server.origin.url();
    // For an https URL reqwest itself opens a tunnel. CONNECT needs the port, which an http URL leaves out if it is 80.
    let target = format!("http://{}:{}", origin.host_str()?, origin.port_or_known_default()?);
    let target = Url::parse(&target).ok().filter(|url| url.port().is_some())?;
    let client = hop.apply(client).build().ok()?;
    let asked = async {
        let mut answered = client.execute(Request::new(Method::CONNECT, target)).await.ok()?;
        let status = answered.status();
        if status.is_success() {
            return None;
        }
        let body = response::body(&mut answered).await;
        Some(answer::read_error(status.as_u16(), &body.bytes, body.is_cut(), &route.masks(&server.credentials)))
    };
    let patience = end.saturating_duration_since(Instant::now()) / 2;
    // Watched apart: nothing of the call is sent on this connection.
    let (refusal, _) = tokio::time::timeout(patience, progress::watch(asked)).await.ok()?;
    refusal
}
