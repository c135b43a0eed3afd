//! The rate of polls to one origin: it falls when the server answers 429 or 503, and rises again with its good answers.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::time::{sleep_until, timeout};

use crate::lock::lock;

/// The first pause between two polls of a throttled server; otherwise arbitrary.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// A shorter pause counts as zero.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// How soon after the last one a good answer may shorten the pause: time enough for the server to say that it is too short.
const EASE_INTERVAL: Duration = Duration::from_millis(100);

/// How late a timer may be. Lateness up to this does not lengthen the next pause.
const TIMER_LATENESS: Duration = Duration::from_millis(2);

/// The waits of a process for operations of one origin share it.
#[derive(Debug)]
pub struct Rate {
    state: Mutex<State>,
    /// First come, first served. The first poll waits for its time, and the others for the first.
    queue: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    /// Between two polls of all waits together; zero if the server does not throttle.
    pause: Duration,
    throttled_at: Option<Instant>,
    eased_at: Option<Instant>,
    polled_at: Option<Instant>,
    /// The end of the longest Retry-After.
    resume_at: Option<Instant>,
    queued: u32,
    /// Answers of 429 and 503.
    throttlings: u64,
}

impl Default for Rate {
    fn default() -> Self {
        Self { state: Mutex::default(), queue: Semaphore::new(1) }
    }
}

impl Rate {
    /// The server has answered 429 or 503: the pause doubles, and polls stop for as long as the server asks. Neither is longer
    /// than `longest`. Polls that were under way together double the pause once.
    pub fn throttle(&self, retry_after: Option<Duration>, longest: Duration) {
        let (mut state, now) = (lock(&self.state), Instant::now());
        state.throttlings += 1;
        if state.throttled_at.is_none_or(|last| now >= last + state.pause.max(FIRST_PAUSE)) {
            state.throttled_at = Some(now);
            // A wait with a small `longest` does not shorten the pauses of others.
            state.pause = state.pause.saturating_mul(2).max(FIRST_PAUSE).min(longest).max(state.pause);
        }
        state.resume_at = state.resume_at.max(retry_after.map(|delay| now + delay.min(longest)));
    }

    /// How often the server has throttled.
    pub fn throttlings(&self) -> u64 {
        lock(&self.state).throttlings
    }

    /// The server has answered: the pause shrinks by a tenth.
    pub fn ease(&self) {
        let (mut state, now) = (lock(&self.state), Instant::now());
        if state.pause.is_zero() || state.eased_at.is_some_and(|last| now < last + EASE_INTERVAL) {
            return;
        }
        state.eased_at = Some(now);
        let pause = state.pause - state.pause / 10;
        state.pause = if pause < SHORTEST_PAUSE { Duration::ZERO } else { pause };
    }

    /// Whether a poll may begin at once, since the server does not throttle.
    pub fn is_free(&self) -> bool {
        let state = lock(&self.state);
        state.pause.is_zero() && state.resume_at.is_none_or(|resume| resume <= Instant::now())
    }

    /// Waits until a poll may begin: polls begin in order, a pause apart. No poll waits longer than `longest`, its own longest
    /// pause, for each poll ahead of it, and once more. A Retry-After holds it up until its `deadline` at most.
    pub async fn wait_for_slot(&self, longest: Duration, deadline: Instant) {
        let queued = Queued::enter(&self.state);
        let slot = async {
            loop {
                // Outside of the queue, where those with an earlier deadline would wait for this one.
                while let Some(resume) = self.resume(deadline) {
                    sleep_until(resume.into()).await;
                }
                let _first = self.queue.acquire().await;
                while self.resume(deadline).is_none() {
                    let Some(slot) = self.begin() else { return };
                    sleep_until(slot.into()).await;
                }
            }
        };
        let _ = timeout(longest.saturating_mul(queued.place.saturating_add(1)), slot).await;
    }

    /// When the server wants to be asked again, if that has not come, and not after the deadline.
    fn resume(&self, deadline: Instant) -> Option<Instant> {
        let resume = lock(&self.state).resume_at?.min(deadline);
        (resume > Instant::now()).then_some(resume)
    }

    /// Begins a poll if a pause has passed since the last one; returns that time if not.
    fn begin(&self) -> Option<Instant> {
        let (mut state, now) = (lock(&self.state), Instant::now());
        let due = state.polled_at.map_or(now, |last| last + state.pause);
        if due > now {
            return Some(due);
        }
        state.polled_at = Some(if now - due > TIMER_LATENESS { now } else { due });
        None
    }
}

/// A poll in the queue, until it begins or is given up.
struct Queued<'a> {
    state: &'a Mutex<State>,
    /// 1 is the first.
    place: u32,
}

impl<'a> Queued<'a> {
    fn enter(state: &'a Mutex<State>) -> Self {
        let mut locked = lock(state);
        locked.queued += 1;
        Self { state, place: locked.queued }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        lock(self.state).queued -= 1;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::join_all;

    use super::*;

    const LONGEST: Duration = Duration::from_secs(10);
    const PAUSE: Duration = Duration::from_millis(30);

    /// No deadline.
    fn later() -> Instant {
        Instant::now() + Duration::from_secs(86_400)
    }

    fn throttled(pause: Duration) -> Rate {
        let rate = Rate::default();
        lock(&rate.state).pause = pause;
        rate
    }

    fn pause(rate: &Rate) -> Duration {
        lock(&rate.state).pause
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    #[test]
    fn a_throttled_server_is_asked_more_rarely_and_recovers() {
        let rate = Rate::default();
        assert!(rate.is_free());
        let throttle = |times: u32, longest: Duration| {
            for _ in 0..times {
                lock(&rate.state).throttled_at = None;
                rate.throttle(None, longest);
                rate.throttle(None, longest); // of a poll that was under way with the first
            }
        };
        throttle(4, LONGEST);
        assert_eq!(pause(&rate), FIRST_PAUSE * 8);
        assert!(!rate.is_free());
        throttle(100, LONGEST);
        throttle(1, FIRST_PAUSE);
        assert_eq!(pause(&rate), LONGEST);
        for _ in 0..100 {
            lock(&rate.state).eased_at = None;
            rate.ease();
            rate.ease(); // of a poll that was under way with the first
        }
        assert!(rate.is_free());
    }

    #[test]
    fn polls_begin_in_order_a_pause_apart() {
        let rate = throttled(PAUSE);
        let began = Mutex::new(Vec::new());
        let polls = (0..5).map(|number| {
            let (rate, began) = (&rate, &began);
            async move {
                rate.wait_for_slot(LONGEST, later()).await;
                lock(began).push((number, lock(&rate.state).polled_at.unwrap()));
            }
        });
        run(join_all(polls));
        let (numbers, times): (Vec<_>, Vec<_>) = began.into_inner().unwrap().into_iter().unzip();
        assert_eq!(numbers, [0, 1, 2, 3, 4]);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= PAUSE), "{times:?}");
        assert_eq!(lock(&rate.state).queued, 0);
    }

    #[test]
    fn those_behind_move_up() {
        for eases in [false, true] {
            let rate = throttled(PAUSE);
            run(async {
                let mut ahead: Vec<_> = (0..1000).map(|_| Box::pin(rate.wait_for_slot(LONGEST, later()))).collect();
                let mut behind = Box::pin(rate.wait_for_slot(LONGEST, later()));
                for poll in &mut ahead {
                    let _ = poll.now_or_never();
                }
                assert!((&mut behind).now_or_never().is_none());
                let moved = Instant::now();
                if eases {
                    lock(&rate.state).pause = Duration::ZERO;
                    drop(ahead.remove(0)); // it has begun
                    join_all(ahead).await;
                } else {
                    drop(ahead);
                }
                behind.await;
                assert!(moved.elapsed() < PAUSE * 500);
                assert_eq!(lock(&rate.state).queued, 0);
            });
        }
    }

    #[test]
    fn a_wait_with_short_pauses_is_not_held_up() {
        const HOUR: Duration = Duration::from_secs(3600);
        let rate = throttled(HOUR);
        run(rate.wait_for_slot(HOUR, later()));
        rate.throttle(Some(HOUR), HOUR);
        let polled_at = lock(&rate.state).polled_at;
        run(rate.wait_for_slot(PAUSE, later()));
        assert_eq!(lock(&rate.state).polled_at, polled_at, "those in the queue are not held up either");
    }

    #[test]
    fn a_pause_that_the_server_asks_for_is_for_all_and_bounded() {
        let rate = Rate::default();
        let resume = || lock(&rate.state).resume_at.unwrap().saturating_duration_since(Instant::now());
        rate.throttle(Some(Duration::from_secs(3)), LONGEST);
        assert!(resume() <= Duration::from_secs(3) && !rate.is_free());
        rate.throttle(Some(Duration::from_secs(3600)), LONGEST);
        assert!(resume() > Duration::from_secs(3) && resume() <= LONGEST);
    }
}
