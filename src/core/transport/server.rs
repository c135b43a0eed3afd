//! The server of a call: where it is, who asks, and what the process has learnt of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::core::credentials::Credentials;
use crate::core::origin::Origin;
use crate::lock::lock;

/// The server, who asks, and how long one exchange may last. Clients and forked children share it, so that what changes is
/// atomic: a fork must find no lock held.
#[derive(Debug)]
pub struct Server {
    pub origin: Origin,
    pub credentials: Credentials,
    pub request_timeout: Duration,
    pub site: Arc<Site>,
    is_proved: AtomicBool,
    is_closed: AtomicBool,
}

impl Server {
    pub fn new(origin: Origin, credentials: Credentials, request_timeout: Duration, site: Arc<Site>) -> Self {
        let (is_proved, is_closed) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { origin, credentials, request_timeout, site, is_proved, is_closed }
    }

    /// Whether the server has accepted the credentials of this client once.
    pub fn is_proved(&self) -> bool {
        self.is_proved.load(Ordering::Relaxed)
    }

    pub fn prove(&self) {
        self.is_proved.store(true, Ordering::Relaxed);
    }

    /// Whether the client is closed; its calls and waits end then.
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }
}

/// The first pause between two polls of a throttled server; otherwise arbitrary.
const FIRST: Duration = Duration::from_millis(50);

/// How soon after the last one a good answer may shorten the pause: time enough for the server to say that it is too short.
const EASE_INTERVAL: Duration = Duration::from_millis(100);

/// A pause below this is none.
const NEGLIGIBLE: Duration = Duration::from_millis(1);

/// How late a timer may be; what is less must not add up.
const LATENESS: Duration = Duration::from_millis(2);

/// What a process has learnt of an origin. All its clients of that origin share it.
#[derive(Debug)]
pub struct Site {
    /// The times below are nanoseconds from here.
    born: Instant,
    /// Pause between two polls of all waits together, in nanoseconds; 0 if the server does not throttle.
    pause: AtomicU64,
    /// When polls became rarer last.
    slowed: AtomicU64,
    /// When polls became more frequent last.
    eased: AtomicU64,
    /// When the last poll began while the server throttled; 0 if none did.
    begun: AtomicU64,
    /// The end of the longest Retry-After.
    resume: AtomicU64,
    /// Connections that are older may be dead.
    distrusted: AtomicU64,
}

impl Default for Site {
    fn default() -> Self {
        let [pause, slowed, eased, begun, resume, distrusted] = [const { AtomicU64::new(0) }; 6];
        Self { born: Instant::now(), pause, slowed, eased, begun, resume, distrusted }
    }
}

impl Site {
    fn nanoseconds(&self, moment: Instant) -> u64 {
        u64::try_from(moment.saturating_duration_since(self.born).as_nanos()).unwrap_or(u64::MAX)
    }

    fn moment(&self, nanoseconds: u64) -> Instant {
        self.born + Duration::from_nanos(nanoseconds)
    }

    /// The server has answered 429 or 503: polls get twice as rare, and pause for as long as it asks. Nothing pauses for
    /// longer than `longest`. Polls that were under way together are one reason to slow down.
    pub fn throttle(&self, retry_after: Option<Duration>, longest: Duration) {
        let now = self.nanoseconds(Instant::now());
        let pause = self.pause.load(Ordering::Acquire).max(nanos(FIRST));
        let again = |slowed: u64| (slowed == 0 || now >= slowed.saturating_add(pause)).then_some(now.max(1));
        if self.slowed.fetch_update(Ordering::AcqRel, Ordering::Acquire, again).is_ok() {
            let first = nanos(FIRST);
            let slower =
                |pause: u64| Some(if pause == 0 { first } else { pause.saturating_mul(2) }.min(nanos(longest)));
            let _ = self.pause.fetch_update(Ordering::AcqRel, Ordering::Acquire, slower);
        }
        if let Some(delay) = retry_after {
            self.resume.fetch_max(self.nanoseconds(Instant::now() + delay.min(longest)), Ordering::AcqRel);
        }
    }

    /// The server has answered: polls get more frequent again, by a tenth.
    pub fn ease(&self) {
        if self.pause.load(Ordering::Acquire) == 0 {
            return;
        }
        let now = self.nanoseconds(Instant::now());
        let again = |eased: u64| (now >= eased.saturating_add(nanos(EASE_INTERVAL))).then_some(now);
        if self.eased.fetch_update(Ordering::AcqRel, Ordering::Acquire, again).is_err() {
            return;
        }
        let faster = |pause: u64| {
            let faster = pause - pause / 10;
            (pause > 0).then_some(if faster < nanos(NEGLIGIBLE) { 0 } else { faster })
        };
        let _ = self.pause.fetch_update(Ordering::AcqRel, Ordering::Acquire, faster);
    }

    /// Begins a poll now if the rate allows one, or tells when to try again. Nothing is reserved, so a wait that ends before its
    /// turn leaves nothing behind. `since` is when the caller began to try. It pauses for no longer than its own `longest`,
    /// whatever another wait was asked for.
    pub fn begin(&self, since: Instant, longest: Duration) -> Result<(), Instant> {
        let now = self.nanoseconds(Instant::now());
        let resume = self.resume.load(Ordering::Acquire);
        if now < resume {
            let resume = resume.min(self.nanoseconds(since).saturating_add(nanos(longest)));
            if now < resume {
                return Err(self.moment(resume));
            }
        }
        let pause = self.pause.load(Ordering::Acquire).min(nanos(longest));
        if pause == 0 {
            return Ok(());
        }
        let next = |begun: u64| if begun == 0 { 0 } else { begun.saturating_add(pause) };
        let on_time = now.saturating_sub(nanos(LATENESS).min(pause / 2));
        let begin = |begun| (next(begun) <= now).then(|| next(begun).max(on_time).max(1));
        match self.begun.fetch_update(Ordering::AcqRel, Ordering::Acquire, begin) {
            Ok(_) => Ok(()),
            Err(begun) => Err(self.moment(next(begun))),
        }
    }

    /// A kept connection was silent until a time-out: those that are as old may be dead too.
    pub fn distrust_connections(&self) {
        self.distrusted.fetch_max(self.nanoseconds(Instant::now()), Ordering::AcqRel);
    }

    /// Whether connections may be used that were made after that moment.
    pub fn trusts_connections_since(&self, moment: Instant) -> bool {
        self.nanoseconds(moment) >= self.distrusted.load(Ordering::Acquire)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Sites that are kept; bounds memory, otherwise arbitrary.
const MAX_SITES: usize = 256;

/// The sites of a process.
#[derive(Default)]
pub struct Sites(Mutex<Vec<(Origin, Arc<Site>)>>);

impl Sites {
    pub fn of(&self, origin: &Origin) -> Arc<Site> {
        let mut known = lock(&self.0);
        if let Some((_, site)) = known.iter().find(|(known, _)| known == origin) {
            return site.clone();
        }
        if known.len() >= MAX_SITES {
            known.remove(0);
        }
        let site = Arc::new(Site::default());
        known.push((origin.clone(), site.clone()));
        site
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(10);

    #[test]
    fn a_throttled_server_is_asked_more_rarely_and_recovers() {
        let mut site = Site::default();
        let begin = |site: &Site| site.begin(Instant::now(), LONGEST);
        assert_eq!([begin(&site), begin(&site)], [Ok(()), Ok(())]);
        let slow = |site: &Site, times: u64| {
            for _ in 0..times {
                site.slowed.store(0, Ordering::Relaxed);
                site.throttle(None, LONGEST);
                site.throttle(None, LONGEST); // of a poll that was under way with the first
            }
        };
        slow(&site, 4);
        assert_eq!(begin(&site), Ok(()));
        let next = begin(&site).unwrap_err();
        assert!((FIRST * 4..=FIRST * 8).contains(&(next - Instant::now())));
        assert_eq!(begin(&site), Err(next), "a try reserves nothing");
        assert!(site.begin(Instant::now(), FIRST).unwrap_err() <= Instant::now() + FIRST, "a shorter pause of its own");
        site.born -= FIRST * 8;
        assert_eq!(begin(&site), Ok(()));
        slow(&site, 100);
        assert_eq!(site.pause.load(Ordering::Relaxed), nanos(LONGEST));
        (0..100).for_each(|_| {
            site.eased.store(0, Ordering::Relaxed);
            site.born -= EASE_INTERVAL;
            site.ease();
            site.ease(); // of a poll that was under way with the first
        });
        assert_eq!(site.pause.load(Ordering::Relaxed), 0);
        assert_eq!([begin(&site), begin(&site)], [Ok(()), Ok(())]);
    }

    #[test]
    fn a_pause_that_the_server_asks_for_is_for_all_and_bounded() {
        let mut site = Site::default();
        let began = Instant::now();
        site.throttle(Some(Duration::from_secs(3)), LONGEST);
        let pause = |site: &Site, longest| site.begin(began, longest).unwrap_err() - began;
        assert!(pause(&site, LONGEST) >= Duration::from_secs(3));
        site.throttle(Some(Duration::from_secs(3600)), LONGEST);
        assert!(pause(&site, LONGEST) <= LONGEST);
        assert_eq!(pause(&site, Duration::from_secs(1)), Duration::from_secs(1));
        site.born -= Duration::from_secs(1);
        assert_eq!(site.begin(began - Duration::from_secs(1), Duration::from_secs(1)), Ok(()));
    }

    #[test]
    fn distrusts_what_is_older() {
        let site = Site::default();
        let before = Instant::now();
        assert!(site.trusts_connections_since(before));
        site.distrust_connections();
        assert!(!site.trusts_connections_since(before));
        assert!(site.trusts_connections_since(Instant::now()));
    }
}
