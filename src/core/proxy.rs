//! The environment's proxies: read once for a store of connections, named where one fails.

use hyper::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::ClientBuilder;

use super::origin::Origin;

/// Variables that say which proxy to use, and for what.
pub const VARIABLES: [&str; 9] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    // Tells a CGI program, where HTTP_PROXY is a header of the visitor's.
    "REQUEST_METHOD",
];

#[derive(Debug)]
pub struct Proxies {
    /// None: the environment exempts every host.
    matcher: Option<Matcher>,
    unusable: Vec<String>,
}

impl Proxies {
    pub fn from_env() -> Self {
        let value = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        // The library takes "*" for every name, and forgets the addresses.
        let exempt = ["NO_PROXY", "no_proxy"]
            .iter()
            .filter_map(|name| value(name))
            .any(|list| list.split(',').any(|entry| entry.trim() == "*"));
        let is_proxy =
            |value: String| Matcher::builder().all(value).build().intercept(&Uri::from_static("http://h/")).is_some();
        let unusable = VARIABLES
            .iter()
            .filter(|name| name.to_ascii_lowercase().ends_with("_proxy") && !name.eq_ignore_ascii_case("no_proxy"))
            .filter(|name| value(name).is_some_and(|value| !is_proxy(value)))
            .map(|name| (*name).to_owned())
            .collect();
        Self { matcher: (!exempt).then(Matcher::from_system), unusable }
    }

    /// The same proxies for reqwest, which reads the same environment.
    pub fn apply(&self, builder: ClientBuilder) -> ClientBuilder {
        if self.matcher.is_some() { builder } else { builder.no_proxy() }
    }

    /// The variable that names no proxy although it should for this origin. Going there directly instead might be
    /// what somebody forbade.
    pub fn unusable(&self, origin: &Origin) -> Option<&str> {
        self.matcher.as_ref()?;
        let scheme = origin.as_str().split_once("://").map_or("", |(scheme, _)| scheme);
        let applies = |name: &str| {
            let name = name.to_ascii_lowercase();
            name.strip_suffix("_proxy").is_some_and(|which| which == scheme || which == "all")
        };
        self.unusable.iter().map(String::as_str).find(|name| applies(name))
    }

    /// The proxy on the way to this origin, without its credentials.
    pub fn on_the_way_to(&self, origin: &Origin) -> Option<String> {
        let proxy = self.matcher.as_ref()?.intercept(&origin.as_str().parse().ok()?)?;
        Some(proxy.uri().authority()?.to_string())
    }
}
