//! How far the exchange under way has come with its connection. The parts of the HTTP library tell it here.

use std::cell::Cell;

/// The connection of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// None is made: the exchange takes a kept connection.
    Kept,
    /// One is being made; nothing has been sent on it.
    Opening,
    Failed,
    /// A new one stands, so the request may have been sent.
    Opened,
}

struct Progress {
    connection: Cell<Connection>,
    /// Connections that were given up since nobody answered there.
    attempt: Cell<usize>,
    /// Addresses that the name has, once it is looked up.
    addresses: Cell<usize>,
}

tokio::task_local! {
    static PROGRESS: Progress;
}

/// Runs an exchange whose progress is watched; says also how far it has come.
pub async fn watch<F: Future>(exchange: F) -> (F::Output, Connection) {
    let progress = Progress { connection: Cell::new(Connection::Kept), attempt: Cell::new(0), addresses: Cell::new(0) };
    PROGRESS.scope(progress, async { (exchange.await, connection()) }).await
}

/// The state within [`watch`].
pub fn connection() -> Connection {
    PROGRESS.with(|progress| progress.connection.get())
}

/// Sets the state, unless an idle connection has won: then the new one is made outside of [`watch`] and goes to the pool.
fn set(connection: Connection) {
    let _ = PROGRESS.try_with(|progress| progress.connection.set(connection));
}

/// Watches the making of a connection, with proxy and TLS.
pub async fn connecting<C, E>(connecting: impl Future<Output = Result<C, E>>) -> Result<C, E> {
    set(Connection::Opening);
    let made = connecting.await;
    set(if made.is_ok() { Connection::Opened } else { Connection::Failed });
    made
}

/// Tells how many addresses a name has; returns which of them this attempt begins with.
pub fn attempt_of(addresses: usize) -> usize {
    let attempt = PROGRESS.try_with(|progress| {
        progress.addresses.set(addresses);
        progress.attempt.get()
    });
    attempt.unwrap_or_default().checked_rem(addresses).unwrap_or_default()
}

/// Begins again with the next address, if there is one that was not tried and nothing was sent.
pub fn next_attempt() -> bool {
    PROGRESS.with(|progress| {
        let next = progress.attempt.get() + 1;
        let is_worth_it = progress.connection.get() == Connection::Opening && next < progress.addresses.get();
        if is_worth_it {
            progress.attempt.set(next);
            progress.connection.set(Connection::Kept);
        }
        is_worth_it
    })
}
