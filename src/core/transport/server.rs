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

/// A poll that waits for its turn looks at half of the way whether turns come sooner by now, but not for less than this.
const SHORT_WAY: Duration = Duration::from_millis(50);

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
    /// When the next turn is that nobody has.
    next: AtomicU64,
    /// How many polls wait for a turn that they have. In a forked child the parent's count, which only makes a bound wider.
    waiting: AtomicU64,
    /// The end of the longest Retry-After.
    resume: AtomicU64,
    /// Connections that are older may be dead.
    distrusted: AtomicU64,
}

impl Default for Site {
    fn default() -> Self {
        let [pause, slowed, eased, next, waiting, resume, distrusted] = [const { AtomicU64::new(0) }; 7];
        Self { born: Instant::now(), pause, slowed, eased, next, waiting, resume, distrusted }
    }
}

impl Site {
    fn now(&self) -> u64 {
        self.nanoseconds(Instant::now())
    }

    fn nanoseconds(&self, moment: Instant) -> u64 {
        u64::try_from(moment.saturating_duration_since(self.born).as_nanos()).unwrap_or(u64::MAX)
    }

    /// The server has answered 429 or 503: polls get twice as rare, and pause for as long as it asks. Nothing pauses for
    /// longer than `longest`. Polls that were under way together are one reason to slow down.
    pub fn throttle(&self, retry_after: Option<Duration>, longest: Duration) {
        let now = self.now();
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
        let now = self.now();
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

    /// Whether a poll may begin at once, since the server does not throttle.
    pub fn is_free(&self) -> bool {
        self.pause.load(Ordering::Acquire) == 0 && self.resume.load(Ordering::Acquire) <= self.now()
    }

    /// Waits for the turn of a poll. Turns are taken in order, one for each wait at a time. `longest` bounds the pause and the
    /// Retry-After, whatever another wait was asked for.
    pub async fn turn(&self, longest: Duration) {
        let latest = self.now().saturating_add(nanos(longest));
        loop {
            self.sleep_until(self.resume.load(Ordering::Acquire).min(latest)).await;
            self.take_turn(longest).await;
            if self.now() >= self.resume.load(Ordering::Acquire).min(latest) {
                return;
            }
        }
    }

    async fn take_turn(&self, longest: Duration) {
        let current = || self.pause.load(Ordering::Acquire).min(nanos(longest));
        let mut pause = current();
        if pause == 0 {
            return;
        }
        let (_waiting, mut turn) = self.reserve(pause);
        loop {
            let now = self.now();
            let left = turn.saturating_sub(now);
            if left == 0 {
                return;
            }
            if current() < pause {
                // The server answers again, so all turns come sooner.
                turn = now + scaled(left, current(), pause);
                pause = current();
            } else {
                let is_short = left <= nanos(SHORT_WAY);
                self.sleep_until(if is_short { turn } else { now + left / 2 }).await;
            }
        }
    }

    /// The next turn. Those who gave theirs up are not counted any more, so it comes after those who wait and a pause.
    fn reserve(&self, pause: u64) -> (Waiting<'_>, u64) {
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        let now = self.now();
        let latest = now.saturating_add(pause.saturating_mul(before.saturating_add(1)));
        let turn = |next: u64| next.min(latest).max(now);
        let after = |next| Some(turn(next).saturating_add(pause));
        let next = self.next.fetch_update(Ordering::AcqRel, Ordering::Acquire, after).unwrap_or_else(|next| next);
        (Waiting(self), turn(next))
    }

    async fn sleep_until(&self, nanoseconds: u64) {
        if nanoseconds > self.now() {
            tokio::time::sleep_until((self.born + Duration::from_nanos(nanoseconds)).into()).await;
        }
    }

    /// A kept connection was silent until a time-out: those that are as old may be dead too.
    pub fn distrust_connections(&self) {
        self.distrusted.fetch_max(self.now(), Ordering::AcqRel);
    }

    /// Whether connections may be used that were made after that moment.
    pub fn trusts_connections_since(&self, moment: Instant) -> bool {
        self.nanoseconds(moment) >= self.distrusted.load(Ordering::Acquire)
    }
}

/// A poll that has a turn, until it begins or is given up.
struct Waiting<'a>(&'a Site);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

fn scaled(time: u64, numerator: u64, denominator: u64) -> u64 {
    let scaled = u128::from(time) * u128::from(numerator) / u128::from(denominator.max(1));
    u64::try_from(scaled).unwrap_or(time)
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
        assert!(site.is_free());
        let slow = |site: &Site, times: u64| {
            for _ in 0..times {
                site.slowed.store(0, Ordering::Relaxed);
                site.throttle(None, LONGEST);
                site.throttle(None, LONGEST); // of a poll that was under way with the first
            }
        };
        slow(&site, 4);
        assert!(!site.is_free());
        assert_eq!(site.pause.load(Ordering::Relaxed), nanos(FIRST * 8));
        slow(&site, 100);
        assert_eq!(site.pause.load(Ordering::Relaxed), nanos(LONGEST));
        (0..100).for_each(|_| {
            site.eased.store(0, Ordering::Relaxed);
            site.born -= EASE_INTERVAL;
            site.ease();
            site.ease(); // of a poll that was under way with the first
        });
        assert_eq!(site.pause.load(Ordering::Relaxed), 0);
        assert!(site.is_free());
    }

    #[test]
    fn turns_come_in_order_and_one_that_is_given_up_delays_nobody() {
        let site = Site::default();
        let pause = nanos(LONGEST);
        let now = site.now();
        let taken: Vec<_> = (0..4).map(|_| site.reserve(pause)).collect();
        let turns: Vec<u64> = taken.iter().map(|(_, turn)| *turn).collect();
        assert!(turns[0] - now < pause);
        assert!(turns.windows(2).all(|pair| pair[1] - pair[0] == pause), "{turns:?}");
        drop(taken);
        assert_eq!(site.waiting.load(Ordering::Relaxed), 0);
        for _ in 0..100 {
            let (_, turn) = site.reserve(pause);
            assert!(turn <= site.now() + pause);
        }
    }

    #[test]
    fn a_pause_that_the_server_asks_for_is_for_all_and_bounded() {
        let site = Site::default();
        let until = |site: &Site| Duration::from_nanos(site.resume.load(Ordering::Relaxed) - site.now());
        site.throttle(Some(Duration::from_secs(3)), LONGEST);
        assert!(until(&site) > Duration::from_secs(2));
        site.throttle(Some(Duration::from_secs(3600)), LONGEST);
        assert!(until(&site) <= LONGEST);
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
