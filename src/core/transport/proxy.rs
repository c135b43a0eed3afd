//! The environment's proxy variables → the proxy that a request goes through.

use std::ffi::OsString;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use reqwest::{ClientBuilder, Proxy, Url};

use crate::core::credentials::{self, Credentials};
use crate::core::failure::InvalidInput;
use crate::core::mask::Masks;
use crate::core::origin::{self, Origin};

/// Lower case goes before upper case, as in curl and in Python's urllib.
const HTTP: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
const HTTPS: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const EXEMPT: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// Set under CGI, where a visitor's `Proxy` header becomes HTTP_PROXY. On Windows `http_proxy` is the same variable.
const CGI: &str = "REQUEST_METHOD";
const SPOOFED: &[&str] = if cfg!(windows) { &["HTTP_PROXY", "http_proxy"] } else { &["HTTP_PROXY"] };

/// The kinds of proxies. An error names them.
pub const SCHEMES: [&str; 6] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];

/// What desktops write for SOCKS 5 with names that the proxy resolves.
const DESKTOP_SOCKS: (&str, &str) = ("socks", "socks5h");

/// What the variables say of one origin at one moment. Equal readings may share connections. A value may hold a password, so
/// there is no `Debug`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Variables {
    /// The variable that counts, and its value.
    proxy: Option<(&'static str, OsString)>,
    exempt: OsString,
}

impl Variables {
    /// Each look-up costs each call, so it stops at the first variable that counts.
    pub fn read(origin: &Origin) -> Self {
        Self::of(origin, |name| std::env::var_os(name))
    }

    /// Refuses what the HTTP library cannot send. Behind a proxy it takes the brackets of an IPv6 address for a part of the name
    /// when it begins TLS, and when it resolves the name for a SOCKS proxy.
    pub fn check(&self, origin: &Origin) -> Result<(), InvalidInput> {
        let Some((variable, _)) =
            self.proxy.as_ref().filter(|_| origin.url().host_str().is_some_and(|h| h.starts_with('[')))
        else {
            return Ok(());
        };
        match Proxies::new(self).route(origin.url()) {
            Route::Through(hop) if origin.is_tls() || !hop.takes_ipv6() => {
                let reason = format!(
                    "must not be an IPv6 address behind this proxy ({variable}); give the name of the server, or put the address \
                     into no_proxy"
                );
                Err(InvalidInput::new("host", reason))
            }
            _ => Ok(()),
        }
    }

    /// None count for loopback, as in Go: a proxy elsewhere has another loopback, and would read the login of plain http.
    fn of(origin: &Origin, get: impl Fn(&str) -> Option<OsString>) -> Self {
        if origin.is_loopback() {
            return Self::default();
        }
        let set = |name: &&'static str| Some((*name, get(name)?)).filter(|(_, value)| !value.is_empty());
        let is_spoofed = |name: &str| SPOOFED.contains(&name) && get(CGI).is_some();
        let names = if origin.is_tls() { &HTTPS } else { &HTTP };
        let proxy = names.iter().filter_map(set).find(|(name, _)| !is_spoofed(name));
        let exempt = proxy.as_ref().and_then(|_| EXEMPT.iter().find_map(set));
        Self { proxy, exempt: exempt.map(|(_, list)| list).unwrap_or_default() }
    }
}

/// How a request gets to its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    Direct,
    Through(Hop),
    /// The variable of this name holds no proxy. A direct connection might be what somebody forbade.
    Unusable(&'static str),
}

impl Route {
    /// What masks the secrets of a request: the server's and the proxy's.
    pub fn masks(&self, credentials: &Credentials) -> Masks {
        let mut secrets = credentials.secrets();
        if let Self::Through(hop) = self {
            secrets.extend(hop.secrets());
        }
        Masks::new(&secrets)
    }
}

/// A proxy. Its URL may hold a password, so `Debug` shows the authority alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Hop {
    url: Url,
    /// Name and port, without credentials.
    pub authority: String,
    /// The variable that names the proxy.
    pub variable: &'static str,
}

impl Hop {
    /// Makes a client use this proxy for all that it asks.
    pub fn apply(&self, builder: ClientBuilder) -> ClientBuilder {
        let url = self.url.clone();
        builder.no_proxy().proxy(Proxy::custom(move |_| Some(url.clone())))
    }

    /// Whether the proxy itself is asked by TLS.
    pub fn is_tls(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Whether this system resolves the name of the server, and not the proxy.
    pub fn resolves_here(&self) -> bool {
        matches!(self.url.scheme(), "socks4" | "socks5")
    }

    fn takes_ipv6(&self) -> bool {
        matches!(self.url.scheme(), "http" | "https" | "socks5h")
    }

    /// What proves the login to the proxy, whose page may echo it.
    fn secrets(&self) -> Vec<String> {
        let decoded = |part| percent_decode_str(part).decode_utf8_lossy();
        let (login, password) = (decoded(self.url.username()), decoded(self.url.password().unwrap_or_default()));
        if login.is_empty() && password.is_empty() {
            return Vec::new();
        }
        // The login may hold an escaped colon, and a password behind it. Without any password, the login may be a key.
        let pair = if password.is_empty() { login.to_string() } else { format!("{login}:{password}") };
        let (name, proof) = pair.split_once(':').unwrap_or(("", &pair));
        [credentials::secrets(&login, &password), credentials::secrets(name, proof)].concat()
    }
}

impl std::fmt::Debug for Hop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.authority)
    }
}

/// The proxy of one reading, and the hosts that it is not for.
#[derive(Debug)]
pub struct Proxies {
    route: Route,
    exempt: Vec<Exemption>,
}

impl Proxies {
    pub fn new(variables: &Variables) -> Self {
        let route = match &variables.proxy {
            None => Route::Direct,
            Some((name, value)) => {
                value.to_str().and_then(|value| hop(name, value)).map_or(Route::Unusable(name), Route::Through)
            }
        };
        let exempt = variables.exempt.to_string_lossy();
        let entries = exempt.split(|c: char| c == ',' || c.is_whitespace());
        Self { route, exempt: entries.filter_map(Exemption::parse).collect() }
    }

    pub fn route(&self, target: &Url) -> &Route {
        if self.exempt.iter().any(|exemption| exemption.covers(target)) { &Route::Direct } else { &self.route }
    }

    /// Makes a client use this proxy and no other.
    pub fn apply(self: &Arc<Self>, builder: ClientBuilder) -> ClientBuilder {
        let (builder, proxies) = (builder.no_proxy(), self.clone());
        if self.route == Route::Direct {
            return builder;
        }
        builder.proxy(Proxy::custom(move |target| match proxies.route(target) {
            Route::Through(hop) => Some(hop.url.clone()),
            Route::Direct | Route::Unusable(_) => None,
        }))
    }
}

/// Reads `[scheme://][login[:password]@]name[:port][/]`. No other parser may see the value before: each splits a raw `@`,
/// `/`, `?` or `#` of a password elsewhere, and takes a piece of the password for a host (RFC 3986 section 3.2).
fn hop(variable: &'static str, value: &str) -> Option<Hop> {
    let (scheme, rest) = value.split_once("://").unwrap_or(("http", value));
    let mut scheme = scheme.to_ascii_lowercase();
    if scheme == DESKTOP_SOCKS.0 {
        scheme = DESKTOP_SOCKS.1.to_owned();
    }
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user, place) = authority.split_once('@').map_or((None, authority), |(user, place)| (Some(user), place));
    let is_misread = place.contains('@') || rest.get(authority.len()..)?.contains('@');
    let is_garbled = user.is_some_and(|user| percent_decode_str(user).decode_utf8().is_err());
    if is_misread || is_garbled || !SCHEMES.contains(&scheme.as_str()) {
        return None;
    }
    let (name, port) = origin::split_port(place).ok()?;
    let name = Origin::parse(&format!("http://{name}")).ok()?.authority().to_owned();
    let authority = port.map_or_else(|| name.clone(), |port| format!("{name}:{port}"));
    let user = user.map_or_else(String::new, |user| format!("{user}@"));
    let url = Url::parse(&format!("{scheme}://{user}{authority}")).ok()?;
    Some(Hop { url, authority, variable })
}

/// One entry of NO_PROXY.
#[derive(Debug, PartialEq)]
struct Exemption {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Debug, PartialEq)]
enum Hosts {
    All,
    Network(IpNet),
    /// A name and all below it.
    Domain(String),
    /// All below a name, as `*.example.com` says.
    Subdomains(String),
}

impl Exemption {
    /// Reads `*`, an address, a network, or a name that may begin with `.` or `*.`; all but a network may have a port.
    fn parse(entry: &str) -> Option<Self> {
        if let Ok(network) = entry.parse() {
            return Some(Self { hosts: Hosts::Network(network), port: None });
        }
        if entry == "*" {
            return Some(Self { hosts: Hosts::All, port: None });
        }
        let (name, port) = origin::split_port(entry).ok()?;
        if name == "*" {
            return Some(Self { hosts: Hosts::All, port });
        }
        if let Some(address) = address(&name) {
            return Some(Self { hosts: Hosts::Network(address.into()), port });
        }
        let below = name.strip_prefix("*.");
        let bare = below.or_else(|| name.strip_prefix('.')).unwrap_or(&name);
        let bare = Origin::parse(&format!("http://{bare}")).ok()?.name().trim_end_matches('.').to_owned();
        let hosts = if below.is_some() { Hosts::Subdomains(bare) } else { Hosts::Domain(bare) };
        Some(Self { hosts, port })
    }

    fn covers(&self, target: &Url) -> bool {
        if self.port.is_some() && self.port != target.port_or_known_default() {
            return false;
        }
        let host = target.host_str().unwrap_or_default();
        let name = host.trim_end_matches('.');
        let is_below = |domain: &str| name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
        match &self.hosts {
            Hosts::All => true,
            Hosts::Network(network) => address(host).is_some_and(|address| network.contains(&address)),
            Hosts::Domain(domain) => name == domain || is_below(domain),
            Hosts::Subdomains(domain) => is_below(domain),
        }
    }
}

fn address(name: &str) -> Option<IpAddr> {
    name.trim_matches(['[', ']']).parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The proxy's authority; none for a direct connection.
    fn through(variables: &[(&str, &str)], target: &str) -> Option<String> {
        let target = Url::parse(target).unwrap();
        let origin = Origin::parse(&format!("{}://h", target.scheme())).unwrap();
        let get = |name: &str| Some(variables.iter().find(|(known, _)| *known == name)?.1.into());
        match Proxies::new(&Variables::of(&origin, get)).route(&target) {
            Route::Direct => None,
            Route::Through(hop) => Some(hop.authority.clone()),
            Route::Unusable(name) => Some(format!("unusable {name}")),
        }
    }

    #[test]
    fn takes_the_first_variable_that_is_not_empty() {
        let both = [("HTTP_PROXY", "upper:1"), ("http_proxy", "lower:1")];
        assert_eq!(through(&both, "http://h").unwrap(), "lower:1");
        assert_eq!(through(&both, "https://h"), None);
        assert_eq!(through(&[("http_proxy", ""), ("HTTP_PROXY", "upper:1")], "http://h").unwrap(), "upper:1");
        let all = [("https_proxy", ""), ("all_proxy", "all:1"), ("HTTP_PROXY", "upper:1")];
        assert_eq!(through(&all, "https://h").unwrap(), "all:1");
        assert_eq!(through(&all, "http://h").unwrap(), "upper:1");
        let exempt = [("http_proxy", "p:1"), ("no_proxy", ""), ("NO_PROXY", "h")];
        assert_eq!(through(&exempt, "http://h"), None);
    }

    #[test]
    fn under_cgi_only_http_proxy_is_a_visitors() {
        let with = |name, target| through(&[("REQUEST_METHOD", "GET"), (name, "p:1")], target);
        assert_eq!(with("HTTP_PROXY", "http://h"), None);
        assert_eq!(with("http_proxy", "http://h").is_none(), cfg!(windows));
        for name in ["all_proxy", "ALL_PROXY"] {
            assert_eq!(with(name, "http://h").unwrap(), "p:1", "{name}");
        }
        assert_eq!(with("HTTPS_PROXY", "https://h").unwrap(), "p:1");
    }

    #[test]
    fn reads_a_proxy() {
        for (value, url, authority) in [
            ("proxy", "http://proxy/", "proxy"),
            ("proxy:3128", "http://proxy:3128/", "proxy:3128"),
            ("HTTP://Proxy:3128/", "http://proxy:3128/", "proxy:3128"),
            ("https://proxy:80", "https://proxy:80/", "proxy:80"),
            ("socks5h://proxy:80", "socks5h://proxy:80", "proxy:80"),
            ("http://[2001:DB8::0:1]:3128", "http://[2001:db8::1]:3128/", "[2001:db8::1]:3128"),
            ("http://пример.рф:1", "http://xn--e1afmkfd.xn--p1ai:1/", "xn--e1afmkfd.xn--p1ai:1"),
            ("http://a:b%40c%23@proxy:3128", "http://a:b%40c%23@proxy:3128/", "proxy:3128"),
            ("http://a:b:c@proxy:3128", "http://a:b%3Ac@proxy:3128/", "proxy:3128"),
            (
                "http://логин:пароль@proxy:1/x",
                "http://%D0%BB%D0%BE%D0%B3%D0%B8%D0%BD:%D0%BF%D0%B0%D1%80%D0%BE%D0%BB%D1%8C@proxy:1/",
                "proxy:1",
            ),
        ] {
            let hop = hop("http_proxy", value).unwrap();
            assert_eq!((hop.url.as_str(), hop.authority.as_str()), (url, authority), "{value}");
            assert_eq!(format!("{hop:?}"), authority);
        }
    }

    #[test]
    fn refuses_what_others_would_split_within_a_password() {
        for value in [
            "http://svc:Winter#1@proxy:3128", "http://svc:123456#x@proxy:3128", "http://svc:Win/ter@proxy:3128",
            "svc:Win?ter@proxy:3128", "http://svc:p@ss@proxy:3128", "http://svc@corp:Win/ter@proxy:3128",
            "http://svc:Winter#1", "http://svc:%ff@proxy:3128", "ftp://proxy", "//proxy", "http://", "http://:3128",
            "http://proxy:", "http://proxy:0", "http://proxy:3128:1", " http://proxy", "http://pro xy", "http:proxy",
        ] {
            assert_eq!(hop("http_proxy", value), None, "{value}");
            assert_eq!(through(&[("all_proxy", value)], "https://h").unwrap(), "unusable all_proxy");
        }
    }

    #[test]
    fn knows_whom_no_proxy_exempts() {
        for (list, target, exempt) in [
            ("*", "http://h", true),
            ("h", "http://h:8080", true),
            ("H", "http://h", true),
            ("h.", "http://h", true),
            ("h", "http://h.", true),
            ("h:8080", "http://h:8080", true),
            ("h:8080", "http://h", false),
            ("h:80", "http://h", true),
            ("h:443", "https://h", true),
            ("a,  h", "http://h", true),
            ("a h", "http://h", true),
            ("example.com", "http://example.com", true),
            ("example.com", "http://a.example.com", true),
            ("example.com", "http://badexample.com", false),
            (".example.com", "http://a.b.example.com", true),
            (".example.com", "http://example.com", true),
            ("*.example.com", "http://a.example.com", true),
            ("*.example.com", "http://example.com", false),
            ("*.example.com:8443", "https://a.example.com:8443", true),
            ("*:8443", "https://h:8443", true),
            ("*:8443", "https://h", false),
            ("пример.рф", "http://xn--e1afmkfd.xn--p1ai", true),
            ("127.0.0.1", "http://127.0.0.1:1", true),
            ("127.0.0.1:1", "http://127.0.0.1:1", true),
            ("127.0.0.1:2", "http://127.0.0.1:1", false),
            ("127.0.0.0/8", "http://127.9.9.9", true),
            ("127.0.0.0/8", "http://128.0.0.1", false),
            ("127.0.0.0/8", "http://localhost", false),
            ("::1", "http://[::1]:1", true),
            ("[::1]", "http://[::1]", true),
            ("[::1]:1", "http://[::1]:1", true),
            ("2001:db8::/32", "http://[2001:db8::1]", true),
            ("10.0.0.1", "http://[::ffff:10.0.0.1]", true),
            ("", "http://h", false),
            (",;%/", "http://h", false),
        ] {
            let variables = [("all_proxy", "p:1"), ("no_proxy", list)];
            assert_eq!(through(&variables, target).is_none(), exempt, "{list} {target}");
        }
    }
}
