//! name → addresses, with another one first at each attempt.

use std::error::Error as StdError;
use std::net::{SocketAddr, ToSocketAddrs};
use std::{fmt, io, thread};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::oneshot;

use super::progress;

/// Asks the system in a thread for each look-up. tokio's pool, which reqwest uses, panics where no thread can be started.
pub struct Resolver;

/// A name without an address.
#[derive(Debug)]
pub struct Unresolved(io::Error);

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Unresolved {}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let mut addresses = look_up(name.as_str().to_owned()).await.map_err(Unresolved)?;
            let first = progress::attempt_of(addresses.len());
            addresses.rotate_left(first);
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

async fn look_up(name: String) -> io::Result<Vec<SocketAddr>> {
    let (answer, found) = oneshot::channel();
    let look_up = move || {
        // The port is set by whoever connects.
        let addresses = (name.as_str(), 0).to_socket_addrs().map(Iterator::collect);
        let _ = answer.send(addresses);
    };
    let started = thread::Builder::new().name("saymon-bulk-dns".to_owned()).spawn(look_up);
    started.map_err(|error| io::Error::other(format!("no thread can be started to resolve the name: {error}")))?;
    found.await.unwrap_or_else(|_| Err(io::Error::other("the look-up was lost")))
}
