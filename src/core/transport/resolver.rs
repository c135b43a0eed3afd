//! name → addresses, with another one first at each attempt.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fmt, io};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::watch;

use super::progress;
use crate::lock::lock;

/// Asks the system in a thread for each name. tokio's pool, which reqwest uses, panics where no thread can be started. Whoever
/// asks for a name that is being looked up waits for that answer.
pub struct Resolver {
    /// The last look-up of each name, with its beginning.
    look_ups: Mutex<HashMap<String, (Instant, LookUp)>>,
    start_thread: StartThread,
}

/// Starts a thread of that name. The core knows no signals, which no thread of this package may take.
pub type StartThread = fn(&'static str, Box<dyn FnOnce() + Send>) -> io::Result<()>;

/// A look-up that takes longer may hang for ever, so that the next one to ask begins another. As long as resolvers try;
/// otherwise arbitrary.
const PATIENCE: Duration = Duration::from_secs(30);

type Resolution = Result<Vec<SocketAddr>, Unresolved>;
type LookUp = watch::Receiver<Option<Resolution>>;

/// A name without an address, and why.
#[derive(Debug, Clone)]
pub struct Unresolved(Arc<(String, String)>);

/// How Rust begins the system's reason.
const REASON: &str = "failed to lookup address information: ";

/// The system's reasons that only say the same again (glibc).
const SAME: [&str; 2] = ["Name or service not known", "No address associated with hostname"];

impl Unresolved {
    fn new(name: &str, error: &io::Error) -> Self {
        let reason = error.to_string();
        Self(Arc::new((name.to_owned(), reason.strip_prefix(REASON).unwrap_or(&reason).to_owned())))
    }
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, reason) = &*self.0;
        write!(f, "Could not resolve host: {name}")?;
        if SAME.contains(&reason.as_str()) { Ok(()) } else { write!(f, " ({reason})") }
    }
}

impl StdError for Unresolved {}

impl Resolver {
    pub fn new(start_thread: StartThread) -> Self {
        Self { look_ups: Mutex::default(), start_thread }
    }

    /// The look-up of a name that is under way, or a new one.
    fn look_up(&self, name: &str) -> io::Result<LookUp> {
        let mut look_ups = lock(&self.look_ups);
        // One that is over has an answer, or its thread has dropped the other end.
        let goes_on = |look_up: &LookUp| look_up.borrow().is_none() && look_up.has_changed().is_ok();
        look_ups.retain(|_, (begun, look_up)| begun.elapsed() < PATIENCE && goes_on(look_up));
        if let Some((_, known)) = look_ups.get(name) {
            return Ok(known.clone());
        }
        let begun = self.begin(name.to_owned())?;
        look_ups.insert(name.to_owned(), (Instant::now(), begun.clone()));
        Ok(begun)
    }

    /// Asks in a thread of its own.
    fn begin(&self, name: String) -> io::Result<LookUp> {
        let (answer, found) = watch::channel(None);
        let ask = move || {
            // The port is set by whoever connects.
            let addresses = (name.as_str(), 0).to_socket_addrs().map(Iterator::collect);
            let _ = answer.send(Some(addresses.map_err(|error| Unresolved::new(&name, &error))));
        };
        (self.start_thread)("saymon-bulk-dns", Box::new(ask))
            .map(|()| found)
            .map_err(|error| io::Error::other(format!("no thread can be started to resolve the name: {error}")))
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let look_up = self.look_up(name.as_str());
        Box::pin(async move {
            let mut look_up = look_up.map_err(|error| Unresolved::new(name.as_str(), &error))?;
            let found = look_up.wait_for(Option::is_some).await.map(|found| found.clone());
            let mut addresses = found.ok().flatten().unwrap_or_else(|| lost(name.as_str()))?;
            let first = progress::attempt_of(addresses.len());
            addresses.rotate_left(first);
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

fn lost(name: &str) -> Resolution {
    Err(Unresolved::new(name, &io::Error::other("the look-up was lost")))
}

/// For the tests of the core.
#[cfg(test)]
pub const PLAIN_THREAD: StartThread =
    |name, work| std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_meanwhile_waits_for_the_same_answer() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let resolver = Resolver::new(PLAIN_THREAD);
        let (answer, found) = watch::channel(None);
        lock(&resolver.look_ups).insert("monitor.invalid".to_owned(), (Instant::now(), found));
        let names: Vec<_> = (0..5).map(|_| resolver.resolve("monitor.invalid".parse().unwrap())).collect();
        let address: SocketAddr = "192.0.2.7:0".parse().unwrap();
        answer.send(Some(Ok(vec![address]))).unwrap();
        for name in names {
            assert_eq!(runtime.block_on(name).unwrap().collect::<Vec<_>>(), [address]);
        }
    }

    #[test]
    fn its_threads_are_started_as_it_was_told() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let resolver = Resolver::new(|name, _| Err(io::Error::other(name)));
        let Err(error) = runtime.block_on(resolver.resolve("localhost".parse().unwrap())) else { panic!() };
        assert!(error.to_string().contains("saymon-bulk-dns"), "{error}");
    }

    #[test]
    fn a_look_up_that_is_over_is_not_used_again() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let resolver = Resolver::new(PLAIN_THREAD);
        let before: SocketAddr = "192.0.2.7:0".parse().unwrap();
        let (thread, answered) = watch::channel(Some(Ok(vec![before])));
        let (_, lost) = watch::channel(None);
        for over in [answered, lost] {
            lock(&resolver.look_ups).insert("localhost".to_owned(), (Instant::now(), over));
            let now = runtime.block_on(resolver.resolve("localhost".parse().unwrap())).unwrap();
            assert!(now.map(|address| address.ip()).all(|ip| ip.is_loopback()));
        }
        drop(thread);
    }
}
