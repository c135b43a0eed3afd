//! How far the exchange under way has come with its connection. The parts of the HTTP library tell it here.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{Service, ServiceExt};

use super::server::Known;
use super::yields;

/// How many connections of a client to one server may be in the making at the same time: enough for many single calls.
const MAX_OPENINGS: usize = 16;

/// The connection of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// None is made: the exchange takes a kept connection.
    Kept,
    /// One is being made, and nothing has been sent.
    Opening,
    Failed,
    /// A new one stands, so the request may have been sent.
    Opened,
}

struct Progress {
    /// What tells the server from others.
    server: usize,
    connection: Cell<Connection>,
    /// Connections that were given up since nobody answered there.
    attempt: Cell<usize>,
    /// Addresses that the name has, once it is looked up.
    addresses: Cell<usize>,
}

impl Progress {
    /// The attempt after this one, if a connection is being made and the name has another address.
    fn next(&self) -> Option<usize> {
        let next = self.attempt.get() + 1;
        (self.connection.get() == Connection::Opening && next < self.addresses.get()).then_some(next)
    }
}

tokio::task_local! {
    static PROGRESS: Progress;
}

/// Runs an exchange with a server whose progress is watched; says also how far it has come. An `async fn` would hold the exchange
/// three times.
pub fn watch<F: Future>(server: usize, exchange: F) -> impl Future<Output = (F::Output, Connection)> {
    let progress =
        Progress { server, connection: Cell::new(Connection::Kept), attempt: Cell::new(0), addresses: Cell::new(0) };
    PROGRESS.scope(progress, exchange.map(|output| (output, connection())))
}

/// The state within [`watch`].
pub fn connection() -> Connection {
    PROGRESS.with(|progress| progress.connection.get())
}

/// Sets the state. A connection that is made outside of [`watch`] has none.
fn set(connection: Connection) {
    let _ = PROGRESS.try_with(|progress| progress.connection.set(connection));
}

/// Polls an exchange. As long as it makes a connection, its connector sets `Opening` at each poll. If it does not, an idle
/// connection has won, and the request goes on that one.
pub fn poll<F: Future>(exchange: Pin<&mut F>, context: &mut Context<'_>) -> Poll<F::Output> {
    if connection() == Connection::Opening {
        set(Connection::Kept);
    }
    exchange.poll(context)
}

/// Limits how many connections of a client to one server are in the making at the same time. hyper-util begins one for each
/// request that finds no idle one, takes whichever is free first, and lets the other go on: a server that is slow to accept
/// would get hundreds.
#[derive(Debug, Clone, Default)]
pub struct Openings(Arc<Known<usize, Semaphore>>);

impl Openings {
    /// The leave to begin a connection; none if the request has taken another one meanwhile. Then hyper-util goes on outside of
    /// [`watch`].
    async fn next(&self) -> Option<OwnedSemaphorePermit> {
        let server = PROGRESS.try_with(|progress| progress.server).ok()?;
        let of_server = self.0.of(server, || Semaphore::new(MAX_OPENINGS));
        let mut opening = pin!(async {
            // The connection of the request before may be on its way back to the pool.
            yields::let_connections_settle().await;
            of_server.acquire_owned().await
        });
        poll_fn(|context| {
            if PROGRESS.try_with(|progress| progress.connection.set(Connection::Opening)).is_err() {
                return Poll::Ready(None);
            }
            opening.as_mut().poll(context).map(Result::ok)
        })
        .await
    }
}

/// A connector whose connections are watched in the making, with proxy and TLS. The HTTP library clones the connector several
/// times for each request and rarely calls it, so the clones share the service within.
#[derive(Clone)]
pub struct Watched<S> {
    connector: Arc<S>,
    openings: Openings,
}

impl<S> Watched<S> {
    pub fn new(connector: S, openings: Openings) -> Self {
        Self { connector: Arc::new(connector), openings }
    }
}

impl<S, T> Service<T> for Watched<S>
where
    S: Service<T, Future: Send, Response: Send, Error: From<io::Error> + Send> + Clone + Send + Sync + 'static,
    T: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    /// Each call waits for a connector of its own.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: T) -> Self::Future {
        let (connector, openings) = (S::clone(&self.connector), self.openings.clone());
        Box::pin(async move {
            // The name is looked up for each connection.
            let _ = PROGRESS.try_with(|progress| progress.addresses.set(0));
            let Some(_opening) = openings.next().await else {
                return Err(io::Error::other("no request waits for this connection any more").into());
            };
            let mut making = pin!(connector.oneshot(target));
            let made = poll_fn(|context| {
                set(Connection::Opening);
                making.as_mut().poll(context)
            })
            .await;
            set(if made.is_ok() { Connection::Opened } else { Connection::Failed });
            made
        })
    }
}

/// Tells how many addresses a name has; returns which of them this attempt begins with.
pub fn attempt_of(addresses: usize) -> usize {
    let attempt = PROGRESS.try_with(|progress| {
        progress.addresses.set(addresses);
        progress.attempt.get()
    });
    attempt.unwrap_or_default().checked_rem(addresses).unwrap_or_default()
}

/// Waits until nothing was sent and the name has an address that was not tried. It has no waker: whoever waits polls the exchange
/// first in the same poll, and nothing else changes the state.
pub async fn another_address() {
    poll_fn(|_| if PROGRESS.with(Progress::next).is_some() { Poll::Ready(()) } else { Poll::Pending }).await;
}

/// Begins again with the next address, if there is one that was not tried and nothing was sent.
pub fn next_attempt() -> bool {
    PROGRESS.with(|progress| {
        let next = progress.next();
        if let Some(next) = next {
            progress.attempt.set(next);
            progress.connection.set(Connection::Kept);
        }
        next.is_some()
    })
}
