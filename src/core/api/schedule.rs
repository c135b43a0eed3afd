//! When a wait polls and when it ends: pauses, the deadline, which failures are tolerated. Reads no clock.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

use crate::core::failure::{Cause, Failure};

/// Each pause is a tenth of the time waited so far: the end of an operation is noticed at most a tenth of its duration late.
const PAUSE_RATIO: f64 = 0.1;

/// After a failure, each pause is this many times the one before.
const PAUSE_GROWTH: f64 = 1.5;

/// Each pause is changed at random by up to this part, so that many waits do not ask in step.
const JITTER: f64 = 0.1;

/// How far the last poll may run past the deadline.
pub const OVERRUN: Duration = Duration::from_secs(1);

/// How much longer than a last poll the caller waits for the other end of a wait, before the wait ends all the same; otherwise
/// arbitrary.
pub const CALLER_GRACE: Duration = Duration::from_secs(2);

/// The longest time that a wait counts with: 136 years.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// How to wait.
#[derive(Debug, Clone)]
pub struct Plan {
    /// One limit over everything; None is for ever, zero asks once.
    pub timeout: Option<Duration>,
    /// The shortest pause between two polls.
    pub interval: Duration,
    /// The longest pause; never less than `interval`.
    pub max_interval: Duration,
    /// Tolerated failures in a row.
    pub retries: u32,
    /// Polls under way at the same time.
    pub concurrency: usize,
}

impl Plan {
    pub fn asks_once(&self) -> bool {
        self.timeout == Some(Duration::ZERO)
    }

    pub fn longest_pause(&self) -> Duration {
        self.max_interval.max(self.interval)
    }

    /// The pause after an answer that came at this age of the wait.
    pub fn pause_at(&self, age: Duration) -> Duration {
        age.mul_f64(PAUSE_RATIO).max(self.interval).min(self.longest_pause())
    }

    /// The pause after the next failure in a row.
    pub fn grown(&self, pause: Duration) -> Duration {
        let limit = self.longest_pause();
        // Compared as floats: the product may be more than a Duration holds.
        if pause.as_secs_f64() * PAUSE_GROWTH >= limit.as_secs_f64() { limit } else { pause.mul_f64(PAUSE_GROWTH) }
    }
}

pub fn jittered(pause: Duration) -> Duration {
    // The standard library seeds its hashers at random: enough to spread polls.
    let random = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
    pause.mul_f64(1.0 - JITTER + 2.0 * JITTER * random)
}

/// When a wait ends.
#[derive(Debug)]
pub struct Deadline {
    at: Instant,
    /// When the last polls must be done. Set by the first of them: a process that was stopped finds its deadline long past.
    end: OnceLock<Instant>,
}

impl Deadline {
    pub fn new(started: Instant, plan: &Plan) -> Self {
        let at = started + plan.timeout.unwrap_or(FOREVER).min(FOREVER);
        // Each operation that is asked once has the whole time of a request.
        let end = if plan.asks_once() { OnceLock::from(started + FOREVER) } else { OnceLock::new() };
        Self { at, end }
    }

    pub fn at(&self) -> Instant {
        self.at
    }

    /// Whether a poll at this moment is the last.
    pub fn has_passed(&self, now: Instant) -> bool {
        now >= self.at
    }

    /// Until when a poll may wait for its turn. After the deadline this is the end of the last polls.
    pub fn end(&self, now: Instant) -> Instant {
        if self.has_passed(now) { *self.end.get_or_init(|| now + OVERRUN) } else { self.at }
    }

    /// How long a poll that begins now may take; None if it must not begin.
    pub fn time_for_poll(&self, now: Instant, request_timeout: Duration) -> Option<Duration> {
        let end = if self.has_passed(now) { self.end(now) } else { self.at.max(now + OVERRUN) };
        (now < end).then(|| (end - now).min(request_timeout))
    }

    /// The time of the next poll.
    pub fn next_poll(&self, now: Instant, pause: Duration) -> Instant {
        (now + pause.min(FOREVER)).min(self.at)
    }
}

/// Whether the server says that it is asked too often.
pub fn is_throttling(failure: &Failure) -> bool {
    matches!(failure, Failure::Http(failure) if matches!(failure.http_status, 429 | 503))
}

/// Whether polling goes on after a failure. Before the first good answer, a name or a protocol is more likely wrong than
/// down.
pub fn is_tolerable(failure: &Failure, answered: bool) -> bool {
    match failure {
        Failure::Http(failure) => matches!(failure.http_status, 408 | 429 | 500 | 502 | 503 | 504),
        // A server that restarts is the commonest trouble of a wait.
        Failure::Timeout { .. } | Failure::Transport { cause: Cause::Cut | Cause::Connect, .. } => true,
        Failure::Transport { cause: Cause::Resolve | Cause::Tls, .. } => answered,
        Failure::Transport { cause: Cause::Certificate | Cause::Proxy, .. }
        | Failure::BadAnswer { .. }
        | Failure::Uncertain(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::failure::HttpFailure;

    const SECOND: Duration = Duration::from_secs(1);

    fn plan(interval: u32, max_interval: u32) -> Plan {
        Plan {
            timeout: None,
            interval: SECOND * interval,
            max_interval: SECOND * max_interval,
            retries: 0,
            concurrency: 1,
        }
    }

    #[test]
    fn the_last_poll_begins_at_the_deadline_and_overruns_it_a_little() {
        let start = Instant::now();
        let deadline = |timeout| Deadline::new(start, &Plan { timeout, ..plan(1, 10) });
        let ten = deadline(Some(SECOND * 10));
        assert_eq!(ten.time_for_poll(start, SECOND * 30), Some(SECOND * 10));
        assert_eq!(ten.time_for_poll(start, SECOND * 3), Some(SECOND * 3));
        let near = start + SECOND * 10 - SECOND / 10;
        assert_eq!((ten.has_passed(near), ten.end(near)), (false, start + SECOND * 10));
        assert_eq!(ten.time_for_poll(near, SECOND * 30), Some(OVERRUN));
        assert_eq!(ten.next_poll(start, SECOND), start + SECOND);
        assert_eq!(ten.next_poll(start, Duration::MAX), start + SECOND * 10);
        // The process was stopped for an hour. The first poll that finds it sets the end.
        let late = start + SECOND * 3600;
        assert!(ten.has_passed(late));
        assert_eq!(ten.time_for_poll(late, SECOND * 30), Some(OVERRUN));
        assert_eq!(ten.time_for_poll(late + OVERRUN / 2, SECOND * 30), Some(OVERRUN / 2));
        assert_eq!(ten.time_for_poll(late + OVERRUN, SECOND * 30), None);
    }

    #[test]
    fn a_wait_for_ever_and_one_that_asks_once_end_no_poll() {
        let start = Instant::now();
        for (timeout, has_passed) in [(None, false), (Some(Duration::ZERO), true)] {
            let deadline = Deadline::new(start, &Plan { timeout, ..plan(1, 10) });
            let late = start + SECOND * 3600;
            assert_eq!(deadline.has_passed(start), has_passed);
            assert_eq!(deadline.time_for_poll(late, SECOND * 30), Some(SECOND * 30));
            assert!(deadline.end(late) > late + SECOND * 3600);
        }
    }

    #[test]
    fn a_pause_is_a_tenth_of_the_age_within_its_limits() {
        let pause = |age: f64| plan(1, 10).pause_at(Duration::from_secs_f64(age)).as_secs_f64();
        assert_eq!([0.0, 9.0, 10.0, 25.0, 100.0, 7200.0].map(pause), [1.0, 1.0, 1.0, 2.5, 10.0, 10.0]);
        assert_eq!(plan(30, 10).pause_at(Duration::MAX), Duration::from_secs(30));
    }

    #[test]
    fn pauses_after_failures_grow_to_their_limit() {
        let mut pause = Duration::from_secs(1);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            pauses.push(pause.as_secs_f64());
            pause = plan(1, 10).grown(pause);
        }
        assert_eq!(pauses, [1.0, 1.5, 2.25, 3.375, 5.0625, 7.59375, 10.0, 10.0]);
        assert_eq!(plan(30, 10).grown(Duration::from_secs(30)), Duration::from_secs(30));
    }

    #[test]
    fn jitter_stays_within_a_tenth_and_varies() {
        let pauses: Vec<f64> = (0..200).map(|_| jittered(Duration::from_secs(10)).as_secs_f64()).collect();
        assert!(pauses.iter().all(|pause| (9.0..=11.0).contains(pause)));
        assert!(pauses.iter().any(|pause| *pause < 9.5) && pauses.iter().any(|pause| *pause > 10.5));
    }

    #[test]
    fn tells_the_tolerable_from_the_fatal() {
        let http = |http_status| Failure::Http(Box::new(HttpFailure { http_status, ..HttpFailure::default() }));
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(is_tolerable(&http(status), false), "{status}");
        }
        for status in [204, 301, 304, 400, 401, 403, 404, 410, 501, 505] {
            assert!(!is_tolerable(&http(status), true), "{status}");
        }
        let transport = |cause| Failure::Transport { cause, text: String::new() };
        for cause in [Cause::Resolve, Cause::Tls] {
            assert!(!is_tolerable(&transport(cause), false) && is_tolerable(&transport(cause), true), "{cause:?}");
        }
        assert!(is_tolerable(&transport(Cause::Cut), false) && is_tolerable(&transport(Cause::Connect), false));
        assert!(is_tolerable(&Failure::Timeout { limit: OVERRUN, on_kept: false, reason: None }, false));
        assert!(!is_tolerable(&transport(Cause::Certificate), true) && !is_tolerable(&transport(Cause::Proxy), true));
        assert!(!is_tolerable(&Failure::BadAnswer { text: String::new() }, true));
    }
}
