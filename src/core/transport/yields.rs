//! The yields that a runtime owes when it runs only while a call drives it.
//!
//! Connections are tasks of the runtime of a blocking call. They make progress only while a call drives it, and when the driven
//! future yields to them.

use std::time::Duration;

/// A dropped request closes its connection in so many rounds: the dispatcher sees the drop, the connection shuts down, its task
/// ends. One more lets the driver look at the sockets first. Found by test (a peer counts its open connections).
const ROUNDS: usize = 4;

/// Lets connections take their next steps now, and not when this runtime is next driven: an abandoned request closes, one that is
/// done goes back to its pool, one that the server has closed ends.
pub async fn let_connections_settle() {
    for _ in 0..ROUNDS {
        // A new task runs after all that are ready; a yield of this future alone would let three of them run.
        let _ = tokio::spawn(async {}).await;
    }
}

/// Lets connections read what has arrived, after a time in which nothing ran. The driver looks at the sockets before it wakes a
/// timer; a task that only yields may run many times in between.
pub async fn read_connections() {
    tokio::time::sleep(Duration::from_millis(1)).await;
    let_connections_settle().await;
}

/// Lets the other tasks of the runtime run, and its driver, once. First of all in a runtime that was idle: a connection that looks
/// at its socket now closes if anything has come, which could be taken for the answer to the next request otherwise.
pub async fn let_others_run() {
    tokio::task::yield_now().await;
}
