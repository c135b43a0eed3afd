//! The HTTP clients of a transport, and what they have in common.

use std::sync::Arc;
use std::time::Instant;

use reqwest::{Client, ClientBuilder, redirect};
use rustls::ClientConfig;
use tower::layer::layer_fn;

use super::gate::Gates;
use super::progress::{Openings, Watched};
use super::proxy::{Proxies, Variables};
use super::rate::Rate;
use super::resolver::{Resolver, StartThread};
use super::server::{Known, Server};
use crate::core::origin::Origin;

/// What the transports of a process have in common.
#[derive(Clone)]
pub struct Shared {
    pub gates: Arc<Gates>,
    pub rates: Arc<Known<Origin, Rate>>,
    resolver: Arc<Resolver>,
}

impl Shared {
    pub fn new(start_thread: StartThread) -> Self {
        Self { gates: Arc::default(), rates: Arc::default(), resolver: Arc::new(Resolver::new(start_thread)) }
    }
}

/// What the clients of a transport have in common: one TLS configuration, the proxies of one reading of the environment.
pub struct Settings {
    tls: ClientConfig,
    pub proxies: Arc<Proxies>,
    pub shared: Shared,
}

impl Settings {
    pub fn new(tls: ClientConfig, variables: &Variables, shared: &Shared) -> Self {
        Self { tls, proxies: Arc::new(Proxies::new(variables)), shared: shared.clone() }
    }

    /// A client without proxies.
    pub fn builder(&self) -> ClientBuilder {
        let openings = Openings::default();
        Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            // A line that begins with a blank continues the one above; a client replaces the fold (RFC 9112 section 5.2).
            .http1_allow_obsolete_multiline_headers_in_responses(true)
            .user_agent(concat!("saymon-bulk/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(self.shared.resolver.clone())
            .connector_layer(layer_fn(move |connector| Watched::new(connector, openings.clone())))
    }

    /// A client that keeps no connection.
    pub fn one_way_client(&self) -> Result<Client, reqwest::Error> {
        self.proxies.apply(self.builder()).pool_max_idle_per_host(0).build()
    }
}

/// A client that keeps its connections, made when it is needed.
#[derive(Debug, Default)]
pub struct KeptClient {
    made: Option<(Client, Instant)>,
}

impl KeptClient {
    /// The client, made again if its connections may be dead.
    pub fn get(&mut self, settings: &Settings, server: &Server) -> Result<Client, reqwest::Error> {
        if let Some((client, made)) = &self.made
            && server.trusts_connections_since(*made)
        {
            return Ok(client.clone());
        }
        let client = settings.proxies.apply(settings.builder()).build()?;
        self.made = Some((client.clone(), Instant::now()));
        Ok(client)
    }
}
