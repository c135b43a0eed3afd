//! The statuses of many operations: bounded concurrency, results in the order asked for.

use futures_util::stream::{self, StreamExt};
use std::time::{Duration, Instant};

use super::answer::Status;
use super::exchange::{Connections, Server};
use super::failure::Failure;
use super::operation::Operation;

/// One outcome and how long its exchange took.
pub type Timed = (Result<Status, Failure>, Duration);

/// One exchange, timed.
pub async fn timed(connections: &Connections, server: &Server, operation: &Operation) -> Timed {
    let started = Instant::now();
    let outcome = connections.status(server, operation).await;
    (outcome, started.elapsed())
}

/// Asks for each operation once, at most `concurrency` at a time. With `stop_at_failure` the first failure ends it
/// all, dropping what is under way: then there is an outcome for some operations only.
pub async fn statuses(
    connections: &Connections,
    server: &Server,
    operations: &[Operation],
    concurrency: usize,
    stop_at_failure: bool,
) -> Vec<Option<Timed>> {
    let mut outcomes: Vec<Option<Timed>> = operations.iter().map(|_| None).collect();
    let ask = |place: usize| async move {
        let outcome = timed(connections, server, operations.get(place)?).await;
        Some((place, outcome))
    };
    let mut asked = stream::iter(0..operations.len()).map(ask).buffer_unordered(concurrency);
    while let Some(Some((place, outcome))) = asked.next().await {
        let failed = outcome.0.is_err();
        if let Some(slot) = outcomes.get_mut(place) {
            *slot = Some(outcome);
        }
        if failed && stop_at_failure {
            break;
        }
    }
    outcomes
}
