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
    /// Whether requests need not wait for one another, although the credentials are not proved.
    has_open_gate: AtomicBool,
    is_closed: AtomicBool,
}

impl Server {
    pub fn new(origin: Origin, credentials: Credentials, request_timeout: Duration, site: Arc<Site>) -> Self {
        let [is_proved, has_open_gate, is_closed] = [const { AtomicBool::new(false) }; 3];
        Self { origin, credentials, request_timeout, site, is_proved, has_open_gate, is_closed }
    }

    /// What tells the place of this server from others, as long as it is known.
    pub fn place(&self) -> usize {
        Arc::as_ptr(&self.site).addr()
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
        self.is_proved.store(false, Ordering::Relaxed);
        self.has_open_gate.store(false, Ordering::Relaxed);
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

/// The first pause between two polls of a throttled server; otherwise arbitrary.
const FIRST: Duration = Duration::from_millis(50);

/// How soon after the last one a good answer may shorten the pause: time enough for the server to say that it is too short.
const EASE_INTERVAL: Duration = Duration::from_millis(100);

/// A pause below this is none.
const NEGLIGIBLE: Duration = Duration::from_millis(1);

/// How late a timer may be; what is less must not add up.
const LATENESS: Duration = Duration::from_millis(2);

/// How often all polls in line together look how far it has come: a thousand times a second at most.
const LOOK: Duration = Duration::from_millis(1);

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
    /// Polls that ever stood in line for their turn, and those that stand there no more.
    entered: AtomicU64,
    left: AtomicU64,
    /// The process whose polls they are.
    process: AtomicU64,
    /// The end of the longest Retry-After.
    resume: AtomicU64,
    /// Connections that are older may be dead.
    distrusted: AtomicU64,
}

impl Default for Site {
    fn default() -> Self {
        let [pause, slowed, eased, begun, entered, left, process, resume, distrusted] =
            [const { AtomicU64::new(0) }; 9];
        Self { born: Instant::now(), pause, slowed, eased, begun, entered, left, process, resume, distrusted }
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
            let slower = |pause: u64| {
                let twice = if pause == 0 { nanos(FIRST) } else { pause.saturating_mul(2) };
                // A wait with a small `longest` does not make those of others quicker.
                Some(twice.min(nanos(longest)).max(pause))
            };
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

    /// Empties the line in a forked child, where its parent's polls never leave.
    pub fn belongs_to(&self, process: u64) {
        if self.process.swap(process, Ordering::AcqRel) != process {
            self.left.store(self.entered.load(Ordering::Acquire), Ordering::Release);
        }
    }

    /// Waits for the turn of a poll: turns come in order, a pause apart. A poll that leaves the line moves up those behind it.
    /// A wait whose own longest pause is short against the others' takes its turn past the line.
    pub async fn turn(&self, longest: Duration) {
        let line = Line::enter(self);
        loop {
            let (now, pause) = (self.now(), self.pause.load(Ordering::Acquire));
            let waiting = self.entered.load(Ordering::Acquire).saturating_sub(self.left.load(Ordering::Acquire)).max(1);
            let own = line.since.saturating_add(nanos(longest).saturating_mul(waiting.saturating_add(1)));
            let resume = self.resume.load(Ordering::Acquire);
            if now >= own || (pause == 0 && now >= resume) {
                return;
            }
            let begun = self.begun.load(Ordering::Acquire);
            let turn = line.turn(begun, pause, resume);
            if now < turn {
                let look = pause.max(nanos(LOOK).saturating_mul(waiting));
                self.sleep_until(turn.min(own).min(now.saturating_add(look).max(resume))).await;
                continue;
            }
            let on_time = turn.max(now.saturating_sub(nanos(LATENESS))).max(1);
            if self.begun.compare_exchange(begun, on_time, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                // Whoever was ahead and did not begin in time comes next.
                self.left.fetch_max(line.ticket, Ordering::AcqRel);
                return;
            }
        }
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

/// A poll in line, until it begins or is given up.
struct Line<'a> {
    site: &'a Site,
    ticket: u64,
    since: u64,
}

impl<'a> Line<'a> {
    fn enter(site: &'a Site) -> Self {
        Self { site, ticket: site.entered.fetch_add(1, Ordering::AcqRel), since: site.now() }
    }

    /// When the turn of this poll is, as things stand.
    fn turn(&self, begun: u64, pause: u64, resume: u64) -> u64 {
        match self.ticket.saturating_sub(self.site.left.load(Ordering::Acquire)) {
            0 if begun == 0 => resume,
            0 => begun.saturating_add(pause).max(resume),
            // Later than that of those ahead, also if they never come.
            ahead => begun.max(resume).max(self.since).saturating_add(pause.saturating_mul(ahead.saturating_add(1))),
        }
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let entered = self.site.entered.load(Ordering::Acquire);
        let leave = |left| (left < entered).then_some(left + 1);
        let _ = self.site.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, leave);
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
    use futures_util::FutureExt;

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
        site.slowed.store(0, Ordering::Relaxed);
        site.throttle(None, FIRST);
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

    const PAUSE: Duration = Duration::from_millis(30);

    /// A site with that pause, and what polls its futures.
    fn throttled(pause: Duration) -> (Site, tokio::runtime::Runtime) {
        let site = Site::default();
        site.pause.store(nanos(pause), Ordering::Relaxed);
        (site, tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap())
    }

    fn in_line(site: &Site) -> u64 {
        site.entered.load(Ordering::Relaxed) - site.left.load(Ordering::Relaxed)
    }

    #[test]
    fn turns_come_in_order_a_pause_apart() {
        let (site, runtime) = throttled(PAUSE);
        let done = Mutex::new(Vec::new());
        let turns = (0..5).map(|number| {
            let (site, done) = (&site, &done);
            async move {
                site.turn(LONGEST).await;
                lock(done).push((number, Instant::now()));
            }
        });
        runtime.block_on(futures_util::future::join_all(turns));
        let (numbers, times): (Vec<_>, Vec<_>) = done.into_inner().unwrap().into_iter().unzip();
        assert_eq!(numbers, [0, 1, 2, 3, 4]);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= PAUSE - LATENESS), "{times:?}");
        assert_eq!(in_line(&site), 0);
    }

    #[test]
    fn those_behind_move_up() {
        let (site, runtime) = throttled(PAUSE);
        for eases in [false, true] {
            runtime.block_on(async {
                let mut ahead: Vec<_> = (0..50).map(|_| Box::pin(site.turn(LONGEST))).collect();
                let mut behind = Box::pin(site.turn(LONGEST));
                for turn in &mut ahead {
                    let _ = turn.now_or_never();
                }
                assert!((&mut behind).now_or_never().is_none());
                if eases {
                    site.pause.store(0, Ordering::Relaxed);
                } else {
                    ahead.clear();
                }
                let moved = Instant::now();
                behind.await;
                assert!(moved.elapsed() < PAUSE * 10);
            });
            assert_eq!(in_line(&site), 0);
        }
    }

    #[test]
    fn a_wait_with_short_pauses_is_not_held_up() {
        let (site, runtime) = throttled(Duration::from_secs(3600));
        runtime.block_on(site.turn(Duration::from_secs(3600)));
        site.throttle(Some(Duration::from_secs(3600)), Duration::from_secs(3600));
        let (began, begun) = (Instant::now(), site.begun.load(Ordering::Relaxed));
        runtime.block_on(site.turn(PAUSE));
        assert!(began.elapsed() < PAUSE * 10);
        assert_eq!(site.begun.load(Ordering::Relaxed), begun, "those in line are not held up either");
    }

    #[test]
    fn a_child_stands_behind_nobody() {
        let (site, runtime) = throttled(PAUSE);
        site.belongs_to(1);
        (0..1000).for_each(|_| std::mem::forget(Line::enter(&site)));
        site.belongs_to(1);
        assert_eq!(in_line(&site), 1000);
        site.belongs_to(2);
        assert_eq!(in_line(&site), 0);
        let began = Instant::now();
        runtime.block_on(site.turn(LONGEST));
        assert!(began.elapsed() < PAUSE * 10);
    }

    #[test]
    fn a_pause_that_the_server_asks_for_is_for_all_and_bounded() {
        let site = Site::default();
        let until = |site: &Site| Duration::from_nanos(site.resume.load(Ordering::Relaxed).saturating_sub(site.now()));
        site.throttle(Some(Duration::from_secs(3)), LONGEST);
        assert!(until(&site) > Duration::from_millis(2900));
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
