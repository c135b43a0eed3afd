//! name → addresses, with another one first at each attempt.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fmt, io, thread};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::watch;

use super::progress;
use crate::lock::lock;

/// Asks the system in a thread for each name. tokio's pool, which reqwest uses, panics where no thread can be started. Whoever
/// asks for a name that is being looked up waits for that answer.
#[derive(Default)]
pub struct Resolver(Arc<UnderWay>);

/// The look-ups that have no answer yet, each with its beginning.
type UnderWay = Mutex<HashMap<String, (Instant, LookUp)>>;

/// A look-up that takes longer may hang for ever, so that the next one to ask begins another. As long as resolvers try;
/// otherwise arbitrary.
const PATIENCE: Duration = Duration::from_secs(30);

type Found = Result<Vec<SocketAddr>, Unresolved>;
type LookUp = watch::Receiver<Option<Found>>;

/// A name without an address.
#[derive(Debug, Clone)]
pub struct Unresolved(Arc<io::Error>);

impl Unresolved {
    fn new(error: io::Error) -> Self {
        Self(Arc::new(error))
    }
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Unresolved {}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("under_way", &lock(&self.0).len()).finish()
    }
}

impl Resolver {
    /// The look-up of a name that is under way, or a new one.
    fn look_up(&self, name: &str) -> io::Result<LookUp> {
        let mut under_way = lock(&self.0);
        if let Some((begun, known)) = under_way.get(name)
            && begun.elapsed() < PATIENCE
        {
            return Ok(known.clone());
        }
        let begun = begin(name.to_owned(), self.0.clone())?;
        under_way.insert(name.to_owned(), (Instant::now(), begun.clone()));
        Ok(begun)
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let look_up = self.look_up(name.as_str());
        Box::pin(async move {
            let mut look_up = look_up.map_err(Unresolved::new)?;
            let found = look_up.wait_for(Option::is_some).await.map(|found| found.clone());
            let mut addresses = found.ok().flatten().unwrap_or_else(lost)?;
            let first = progress::attempt_of(addresses.len());
            addresses.rotate_left(first);
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Asks in a thread of its own, which takes the look-up out of those under way.
fn begin(name: String, under_way: Arc<UnderWay>) -> io::Result<LookUp> {
    let (answer, found) = watch::channel(None);
    let ask = move || {
        // The port is set by whoever connects.
        let addresses = (name.as_str(), 0).to_socket_addrs().map(Iterator::collect);
        lock(&under_way).remove(&name);
        let _ = answer.send(Some(addresses.map_err(Unresolved::new)));
    };
    let thread = thread::Builder::new().name("saymon-bulk-dns".to_owned());
    thread
        .spawn(ask)
        .map(|_| found)
        .map_err(|error| io::Error::other(format!("no thread can be started to resolve the name: {error}")))
}

fn lost() -> Found {
    Err(Unresolved::new(io::Error::other("the look-up was lost")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_meanwhile_waits_for_the_same_answer() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let resolver = Resolver::default();
        let (answer, found) = watch::channel(None);
        lock(&resolver.0).insert("monitor.invalid".to_owned(), (Instant::now(), found));
        let names: Vec<_> = (0..5).map(|_| resolver.resolve("monitor.invalid".parse().unwrap())).collect();
        let address: SocketAddr = "192.0.2.7:0".parse().unwrap();
        answer.send(Some(Ok(vec![address]))).unwrap();
        for name in names {
            assert_eq!(runtime.block_on(name).unwrap().collect::<Vec<_>>(), [address]);
        }
    }

    #[test]
    fn a_look_up_that_is_over_is_not_used_again() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let resolver = Resolver::default();
        for _ in 0..2 {
            assert!(runtime.block_on(resolver.resolve("localhost".parse().unwrap())).is_ok());
            assert!(lock(&resolver.0).is_empty());
        }
    }
}
