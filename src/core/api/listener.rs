//! The caller's end of a wait: takes the events, and knows by its own clock when the wait should have ended.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::schedule::{CALLER_GRACE, OVERRUN, Plan};
use super::status::Status;
use crate::core::failure::{Cause, Failure};
use crate::core::segment::PathSegment;
use crate::core::transport::call::About;
use crate::core::transport::exchange::Completed;

/// What happened in a wait.
#[derive(Debug)]
pub enum Event {
    /// One operation was asked for, `elapsed` after the start. `failures` counts its failures in a row.
    Polled { asked: Completed<Status>, elapsed: Duration, failures: u32, next: Next },
    /// The deadline passed; the last event.
    TimedOut { pending: Vec<Pending>, elapsed: Duration },
}

/// What a poll means for its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The wait is over: the operation has finished, or the failure is not tolerated.
    Over,
    /// Polling goes on.
    PollAgain,
    /// The deadline cut the poll off.
    CutOff,
}

/// An event on its way to the caller.
#[derive(Debug)]
pub struct Sent {
    pub(super) event: Event,
    /// Dropped when the caller has dealt with the event. Its operation is asked again after that, or at the deadline.
    pub(super) in_hand: Option<oneshot::Sender<()>>,
}

/// An operation that had not finished by the deadline.
#[derive(Debug)]
pub struct Pending {
    pub operation: PathSegment,
    /// The last good answer, without a long body.
    pub status: Option<Status>,
    /// The last failure since then.
    pub failure: Option<Failure>,
}

/// The caller's end of a wait.
#[derive(Debug)]
pub struct Listener {
    operations: Vec<PathSegment>,
    over: HashSet<PathSegment>,
    started: Instant,
    timeout: Option<Duration>,
    /// Whether each operation that is late is an event of its own.
    pub splits_the_late: bool,
    /// When the wait ends by the caller's clock, whatever the other end does.
    end: Option<Instant>,
    had_more_time: bool,
    /// After a refused password: the operations that share it, the last one first.
    refused: Option<(Failure, Vec<PathSegment>)>,
    received: VecDeque<Sent>,
    /// Of the last event.
    in_hand: Option<oneshot::Sender<()>>,
}

impl Listener {
    pub(super) fn new(operations: Vec<PathSegment>, plan: &Plan, started: Instant, request_timeout: Duration) -> Self {
        let requests = u32::try_from(operations.len()).unwrap_or(u32::MAX);
        // Each operation is asked once, one after the other if the password is not proved, after as long a time at the gate.
        let longest = if plan.asks_once() {
            Some(request_timeout.saturating_mul(2).saturating_mul(requests.saturating_add(1)))
        } else {
            plan.timeout.map(|timeout| timeout.saturating_add(OVERRUN))
        };
        let end = longest.and_then(|longest| started.checked_add(longest));
        Self {
            operations,
            over: HashSet::new(),
            started,
            timeout: plan.timeout,
            splits_the_late: false,
            end,
            had_more_time: false,
            refused: None,
            received: VecDeque::new(),
            in_hand: None,
        }
    }

    /// When the wait ends by the caller's clock.
    pub fn end(&self) -> Option<Instant> {
        self.end
    }

    /// Whether that end has come. A process that was suspended finds it past, so both ends of the wait get their time once more.
    pub fn has_ended(&mut self) -> bool {
        let now = Instant::now();
        if self.end.is_none_or(|end| now < end) {
            return false;
        }
        if !self.had_more_time {
            self.had_more_time = true;
            self.end = Some(now + OVERRUN + CALLER_GRACE);
            return false;
        }
        true
    }

    /// Takes what the other end has sent.
    pub fn receive(&mut self, sent: Vec<Sent>) {
        self.received.extend(sent);
    }

    /// The next event, if it is there. The caller has dealt with the one before.
    pub fn next_event(&mut self) -> Option<Event> {
        self.in_hand = None;
        while let Some(sent) = self.received.pop_front() {
            if let Some(event) = self.take(sent) {
                return Some(event);
            }
        }
        self.refusal()
    }

    /// The event. None for one that comes too late to be told: an answer of an operation that still runs, long after the deadline.
    fn take(&mut self, sent: Sent) -> Option<Event> {
        let Sent { mut event, in_hand } = sent;
        self.in_hand = in_hand;
        if let Event::TimedOut { pending, elapsed } = &mut event
            && self.splits_the_late
        {
            let (others, elapsed) = (pending.split_off(pending.len().min(1)), *elapsed);
            let of_one = |one| Event::TimedOut { pending: vec![one], elapsed };
            self.received.extend(others.into_iter().map(|one| Sent { event: of_one(one), in_hand: None }));
        }
        match &event {
            Event::Polled { asked: Completed { outcome: Ok(_), .. }, next: Next::PollAgain, elapsed, .. }
                if self.is_stale(*elapsed) =>
            {
                return None;
            }
            Event::Polled { asked, next, .. } => {
                if *next == Next::Over {
                    self.over.extend(asked.about.operation().cloned());
                }
                if let Err(failure) = &asked.outcome
                    && failure.refuses_all()
                {
                    let mut left = self.left();
                    left.reverse();
                    self.refused = Some((failure.clone(), left));
                }
            }
            Event::TimedOut { pending, .. } => self.over.extend(pending.iter().map(|one| one.operation.clone())),
        }
        Some(event)
    }

    /// Whether an answer is old, after the deadline. What the caller does with answers must not stretch the wait.
    fn is_stale(&self, answered: Duration) -> bool {
        let now = self.started.elapsed();
        self.timeout.is_some_and(|timeout| now > timeout + OVERRUN) && now > answered + OVERRUN
    }

    /// The next event of a wait that a refused password has ended; None if there is none.
    fn refusal(&mut self) -> Option<Event> {
        let (failure, left) = self.refused.as_mut()?;
        let operation = left.pop()?;
        let asked = Completed::unsent(About::Operation(operation.clone()), failure.clone());
        self.over.insert(operation);
        Some(Event::Polled { asked, elapsed: self.started.elapsed(), failures: 1, next: Next::Over })
    }

    /// Whether the wait for every operation is over.
    pub fn is_over(&self) -> bool {
        self.over.len() == self.operations.len()
    }

    /// The end by the caller's clock, which is the next event.
    pub fn give_up(&mut self) {
        let text =
            "the wait was not driven in time; this is an error of saymon_bulk, or its file descriptors were closed";
        let failure = Failure::Transport { cause: Cause::Cut, text: text.to_owned() };
        let pend = |operation| Pending { operation, status: None, failure: Some(failure.clone()) };
        let pending: Vec<_> = self.left().into_iter().map(pend).collect();
        let event = Event::TimedOut { pending, elapsed: self.started.elapsed() };
        self.received.push_back(Sent { event, in_hand: None });
    }

    fn left(&self) -> Vec<PathSegment> {
        self.operations.iter().filter(|operation| !self.over.contains(*operation)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::api::status;
    use crate::core::failure::HttpFailure;

    fn listener(ids: &[&str], timeout: Option<u64>) -> Listener {
        let plan = Plan {
            timeout: timeout.map(Duration::from_secs),
            interval: Duration::from_secs(1),
            max_interval: Duration::from_secs(10),
            retries: 0,
            concurrency: 16,
        };
        let operations = ids.iter().map(|id| PathSegment::parse("id", id).unwrap()).collect();
        Listener::new(operations, &plan, Instant::now(), Duration::from_secs(30))
    }

    fn polled(id: &str, outcome: Result<&str, Failure>, next: Next) -> Sent {
        let about = About::Operation(PathSegment::parse("id", id).unwrap());
        let outcome = outcome.map(|body| status::read(body.as_bytes()).unwrap());
        let asked = Completed { about, outcome, took: Some(Duration::ZERO) };
        Sent { event: Event::Polled { asked, elapsed: Duration::ZERO, failures: 0, next }, in_hand: None }
    }

    const RUNS: &str = r#"{"finished":false}"#;
    const ENDS: &str = r#"{"finished":true}"#;

    #[test]
    fn the_caller_s_clock_ends_a_wait_whose_other_end_is_silent() {
        let end = |ids: &[&str], timeout| Some(listener(ids, timeout).end()? - Instant::now());
        assert_eq!(end(&["a"], None), None);
        assert!(end(&["a"], Some(10)).is_some_and(|end| end <= Duration::from_secs(11)));
        // One that asks once has the time for each request and its way through the gate, and for one more.
        let once = end(&["x"; 40], Some(0)).unwrap();
        assert!(once > Duration::from_secs(41 * 60 - 1) && once <= Duration::from_secs(41 * 60));
        let mut listener = listener(&["a", "b", "c"], Some(10));
        assert!(!listener.has_ended());
        // Once more, as for a process that was suspended.
        listener.end = Some(Instant::now());
        assert!(!listener.has_ended() && listener.end().unwrap() > Instant::now() + OVERRUN);
        listener.end = Some(Instant::now());
        assert!(listener.has_ended());
        listener.receive(vec![polled("b", Ok(ENDS), Next::Over)]);
        assert!(listener.next_event().is_some() && listener.next_event().is_none());
        listener.give_up();
        let Some(Event::TimedOut { pending, .. }) = listener.next_event() else { panic!() };
        assert_eq!(pending.iter().map(|one| one.operation.as_str()).collect::<Vec<_>>(), ["a", "c"]);
        assert!(pending.iter().all(|one| one.status.is_none() && one.failure.is_some()));
        assert!(listener.is_over() && listener.next_event().is_none());
    }

    #[test]
    fn an_old_answer_after_the_deadline_is_passed_over_but_no_end() {
        let mut listener = listener(&["a", "b"], Some(10));
        listener.started -= Duration::from_secs(12);
        listener.receive(vec![polled("a", Ok(RUNS), Next::PollAgain), polled("b", Ok(ENDS), Next::Over)]);
        let Some(Event::Polled { asked, .. }) = listener.next_event() else { panic!() };
        assert_eq!(asked.about.id(), Some("b"));
        assert!(listener.next_event().is_none());
    }

    #[test]
    fn a_refused_password_is_the_outcome_of_all_that_are_left() {
        let mut listener = listener(&["a", "b", "c", "d"], None);
        let refusal = || Failure::Http(Box::new(HttpFailure { http_status: 401, ..HttpFailure::default() }));
        listener.receive(vec![polled("b", Ok(ENDS), Next::Over), polled("c", Err(refusal()), Next::Over)]);
        let events = std::iter::from_fn(|| listener.next_event());
        let ids: Vec<_> = events
            .filter_map(|event| match event {
                Event::Polled { asked, next: Next::Over, .. } => asked.about.id().map(str::to_owned),
                _ => None,
            })
            .collect();
        assert_eq!(ids, ["b", "c", "a", "d"]);
        assert!(listener.is_over());
    }

    #[test]
    fn an_operation_is_dealt_with_when_the_next_event_is_asked_for() {
        let mut listener = listener(&["a"], None);
        let (in_hand, mut dealt_with) = oneshot::channel();
        let Sent { event, .. } = polled("a", Ok(RUNS), Next::PollAgain);
        listener.receive(vec![Sent { event, in_hand: Some(in_hand) }]);
        assert!(listener.next_event().is_some());
        assert_eq!(dealt_with.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        assert!(listener.next_event().is_none());
        assert_eq!(dealt_with.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}
