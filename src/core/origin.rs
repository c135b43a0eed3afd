//! host → origin (RFC 6454): scheme, name and port, and nothing else.

use std::net::{IpAddr, Ipv6Addr};

use reqwest::Url;

use super::failure::InvalidInput;

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    url: Url,
}

impl Origin {
    /// Reads `name`, `name:port`, `[v6]:port` or a bare IPv6 address, with `http://`, `https://` or neither
    /// (then https) before it and at most one `/` behind.
    pub fn parse(host: &str) -> Result<Self, InvalidInput> {
        let refuse = |reason: &str| Err(InvalidInput::new("host", reason));
        // The scheme goes first: `https://` put before `http://h` would name a host called "http".
        let (scheme, rest) = match host.split_once("://") {
            None => ("https", host),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => ("https", rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => ("http", rest),
            Some(_) => return refuse("must begin with http:// or https://, or with neither"),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.is_empty() {
            return refuse("must not be empty");
        }
        for c in authority.chars() {
            match c {
                '@' => return refuse("must not hold userinfo ('@'); login and password are given separately"),
                '/' => return refuse("must not hold a path"),
                '?' => return refuse("must not hold a query ('?')"),
                '#' => return refuse("must not hold a fragment ('#')"),
                '\\' => return refuse("must not hold a backslash"),
                '%' => return refuse("must not hold '%'"),
                _ if c.is_whitespace() || c.is_control() => {
                    return refuse("must not hold blanks or control characters");
                }
                '[' | ']' | ':' | '.' | '-' | '_' => {}
                _ if c.is_ascii_punctuation() => return refuse("must not hold punctuation but '.', '-' and '_'"),
                _ => {}
            }
        }
        let (name, port) = split_port(authority)?;
        if !name.starts_with('[') && !is_name(&name) {
            return refuse("is not a host name");
        }
        let port = port.map_or(String::new(), |port| format!(":{port}"));
        let url = Url::parse(&format!("{scheme}://{name}{port}/"))
            .map_err(|error| InvalidInput::new("host", format!("is not a host name: {error}")))?;
        // Some letters become punctuation on the way to ASCII: U+037E is a semicolon then (UTS 46).
        let odd = |c: char| c.is_ascii_punctuation() && !".-_".contains(c);
        if url.host_str().is_none_or(|name| !name.starts_with('[') && (!is_name(name) || name.contains(odd))) {
            return refuse("is not a host name");
        }
        Ok(Self { url })
    }

    /// `https://monitor.example.com:8443`, the port only where it is not the scheme's own.
    pub fn as_str(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// Name and port: `monitor.example.com:8443`.
    pub fn authority(&self) -> &str {
        self.as_str().split_once("://").map_or("", |(_, authority)| authority)
    }

    /// The bare name, an address without brackets; IDN as A-labels (RFC 5890).
    pub fn name(&self) -> &str {
        self.url.host_str().unwrap_or_default().trim_matches(['[', ']'])
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The URL of a path on this origin; `path` is already encoded.
    pub fn join(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(path);
        url
    }

    pub fn is_tls(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Plain http to another machine: whoever listens on the way reads the password.
    pub fn is_exposed(&self) -> bool {
        !self.is_tls() && !self.is_loopback()
    }

    /// This machine itself: no request to it goes over a network (RFC 1122 section 3.2.1.3, RFC 6761 section 6.3).
    pub fn is_loopback(&self) -> bool {
        let name = self.name().trim_end_matches('.');
        match name.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => name == "localhost" || name.ends_with(".localhost"),
        }
    }
}

/// `name:port`, `[v6]:port` and bare `v6` into the name as a URL has it, and the port.
pub fn split_port(authority: &str) -> Result<(String, Option<u16>), InvalidInput> {
    if authority.parse::<Ipv6Addr>().is_ok() {
        return Ok((format!("[{authority}]"), None));
    }
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (authority, None),
    };
    let bracketed = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bracketed {
        Some(address) if address.parse::<Ipv6Addr>().is_err() => {
            return Err(InvalidInput::new("host", "holds no IPv6 address between its brackets"));
        }
        None if name.contains([':', '[', ']']) => {
            return Err(InvalidInput::new("host", "is not name, name:port or [IPv6 address]:port"));
        }
        _ => {}
    }
    let port = match port {
        None => None,
        Some(digits) => match digits.parse::<u16>() {
            // Not "+80", which `parse` takes.
            Ok(port) if port > 0 && !digits.starts_with('+') => Some(port),
            _ => return Err(InvalidInput::new("host", "must have a port from 1 to 65535 behind its ':'")),
        },
    };
    Ok((name.to_owned(), port))
}

/// No empty and no overlong label (RFC 1035 section 2.3.4); one dot may end the name. Lengths count once it is ASCII.
fn is_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let fits = |text: &str, limit: usize| !text.is_empty() && (!text.is_ascii() || text.len() <= limit);
    fits(name, 253) && name.split('.').all(|label| fits(label, 63))
}
