//! The server of a call: where it is, who asks, and what the process has learnt of its connections.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::core::credentials::Credentials;
use crate::core::origin::Origin;
use crate::lock::lock;

/// The server, who asks, and how long one exchange may last. Clients and forked children share it, so what changes is atomic: a
/// fork must find no lock held.
#[derive(Debug)]
pub struct Server {
    pub origin: Origin,
    pub credentials: Credentials,
    pub request_timeout: Duration,
    silence: Arc<Silence>,
    is_proved: AtomicBool,
    /// Whether requests need not wait for one another, although the credentials are not proved.
    has_open_gate: AtomicBool,
    is_closed: AtomicBool,
    /// How often the credentials were refused.
    refusals: AtomicU64,
}

impl Server {
    pub fn new(origin: Origin, credentials: Credentials, request_timeout: Duration, silence: Arc<Silence>) -> Self {
        let [is_proved, has_open_gate, is_closed] = [const { AtomicBool::new(false) }; 3];
        let refusals = AtomicU64::new(0);
        Self { origin, credentials, request_timeout, silence, is_proved, has_open_gate, is_closed, refusals }
    }

    /// What tells the place of this server from others, as long as it is known.
    pub fn place(&self) -> usize {
        Arc::as_ptr(&self.silence).addr()
    }

    /// A kept connection was silent until a time-out. Those that are as old may be dead too.
    pub fn distrust_connections(&self) {
        self.silence.end.fetch_max(self.silence.since_start(Instant::now()), Ordering::AcqRel);
    }

    /// Whether connections may be used that were made at that moment.
    pub fn trusts_connections_since(&self, moment: Instant) -> bool {
        self.silence.since_start(moment) >= self.silence.end.load(Ordering::Acquire)
    }

    /// An HTTP answer has come from this origin, through whichever client.
    pub fn has_spoken(&self) -> bool {
        self.silence.has_spoken.load(Ordering::Relaxed)
    }

    pub fn note_answer(&self) {
        if !self.has_spoken() {
            self.silence.has_spoken.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the server has accepted the credentials of this client once.
    pub fn is_proved(&self) -> bool {
        self.is_proved.load(Ordering::Relaxed)
    }

    /// Whether many requests of this client may go at the same time.
    pub fn is_open(&self) -> bool {
        self.is_proved() || self.has_open_gate.load(Ordering::Relaxed)
    }

    pub fn prove(&self) {
        self.is_proved.store(true, Ordering::Relaxed);
    }

    /// The credentials were refused.
    pub fn doubt(&self) {
        self.refusals.fetch_add(1, Ordering::Release);
        self.is_proved.store(false, Ordering::Relaxed);
        self.has_open_gate.store(false, Ordering::Relaxed);
    }

    pub fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Acquire)
    }

    /// Nobody answers, or there is one call alone.
    pub fn open_gate(&self) {
        self.has_open_gate.store(true, Ordering::Relaxed);
    }

    /// Somebody answers again, and may refuse the credentials next.
    pub fn shut_gate(&self) {
        self.has_open_gate.store(false, Ordering::Relaxed);
    }

    /// Whether the client is closed; its calls and waits end then.
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }
}

/// When a kept connection to an origin was silent last, and whether it has ever spoken. All clients of that origin share it.
#[derive(Debug)]
pub struct Silence {
    start: Instant,
    /// Nanoseconds after the start; 0 if no connection was silent.
    end: AtomicU64,
    has_spoken: AtomicBool,
}

impl Default for Silence {
    fn default() -> Self {
        Self { start: Instant::now(), end: AtomicU64::new(0), has_spoken: AtomicBool::new(false) }
    }
}

impl Silence {
    fn since_start(&self, moment: Instant) -> u64 {
        u64::try_from(moment.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// So many may be known before those that nobody uses are forgotten; bounds memory, otherwise arbitrary.
const MAX_UNUSED: usize = 256;

/// What a process knows of each origin, client or place.
#[derive(Debug)]
pub struct Known<K, V>(Mutex<HashMap<K, Arc<V>>>);

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V> Known<K, V> {
    pub fn of(&self, key: K, make: impl FnOnce() -> V) -> Arc<V> {
        let mut known = lock(&self.0);
        if known.len() >= MAX_UNUSED {
            known.retain(|_, value| Arc::strong_count(value) > 1);
        }
        known.entry(key).or_insert_with(|| Arc::new(make())).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distrusts_what_is_older() {
        let origin = Origin::parse("h").unwrap();
        let (credentials, silences) = (Credentials::new("login", "password").unwrap(), Known::default());
        let server = || {
            Server::new(
                origin.clone(),
                credentials.clone(),
                Duration::ZERO,
                silences.of(origin.clone(), Silence::default),
            )
        };
        let before = Instant::now();
        assert!(server().trusts_connections_since(before));
        server().distrust_connections();
        assert!(!server().trusts_connections_since(before));
        assert!(server().trusts_connections_since(Instant::now()));
    }
}
