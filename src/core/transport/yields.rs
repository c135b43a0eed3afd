//! The yields that a runtime owes when it runs only while a call drives it.
//!
//! Connections are tasks of the runtime of a blocking call. They make progress only while a call drives it, and when the driven
//! future yields to them.

use std::time::Duration;

/// Yields until a dropped request has closed its connection: the dispatcher sees the drop, shuts the connection down, and
/// its task ends. Found by test (a peer counts its open connections).
const UNTIL_CLOSED: usize = 3;

/// Yields for each idle connection: one for its task, one for the task that its end wakes.
const FOR_EACH_CONNECTION: usize = 2;

/// Yields for the runtime's own tasks. Found by test.
const FOR_THE_RUNTIME: usize = 8;

/// Bounds the yields of one call, otherwise arbitrary: a process has fewer connections.
const AT_MOST: usize = 20_000;

/// Lets connections act before the runtime stops. The connection of a dropped request closes here.
pub async fn let_connections_settle() {
    for _ in 0..UNTIL_CLOSED {
        let_others_run().await;
    }
}

/// Lets connections read what has arrived, after a time in which nothing ran. The driver looks at the sockets before it wakes a
/// timer; a task that only yields may run many times in between.
pub async fn read_connections() {
    tokio::time::sleep(Duration::from_millis(1)).await;
    let_connections_settle().await;
}

/// Lets all tasks run that are ready now, and those that they wake. A new task runs after all that are ready.
pub async fn let_ready_tasks_run() {
    for _ in 0..UNTIL_CLOSED {
        let _ = tokio::spawn(async {}).await;
    }
}

/// Lets the other tasks of the runtime run, and its driver, once.
pub async fn let_others_run() {
    tokio::task::yield_now().await;
}

/// Lets connections of an idle runtime read what arrived since it was last driven: those that the server has closed end.
pub async fn poll_idle_connections(connections: usize) {
    let yields = connections.saturating_mul(FOR_EACH_CONNECTION).saturating_add(FOR_THE_RUNTIME);
    for _ in 0..yields.min(AT_MOST) {
        tokio::task::yield_now().await;
    }
}
