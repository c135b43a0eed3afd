//! Work on threads of its own, which sends items through one channel to a caller that looks for signals meanwhile.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use tokio::sync::oneshot;

use crate::bindings::errors;
use crate::core::transport::server::Server;

use super::process::{Process, start_thread};

/// How often what blocks looks for signals: Ctrl-C must end it within 0.1 s.
pub const SIGNAL_CHECK: Duration = Duration::from_millis(50);

/// Looks for what may end a call or a wait: a signal's handler that raises, a fork, a closed client.
pub fn look(py: Python<'_>, process: Process, server: Option<&Server>) -> PyResult<()> {
    py.check_signals()?;
    // A handler may have forked, and the answer is the parent's.
    process.check()?;
    server.map_or(Ok(()), |server| errors::check_open(py, server))
}

enum Message<T> {
    Item(T),
    /// A thread has ended, with its last item or stopped.
    Ended(PyResult<Option<T>>),
}

/// Where work sends its items.
pub struct ItemSender<T>(mpsc::Sender<Message<T>>);

impl<T> ItemSender<T> {
    pub fn send(&self, item: T) {
        let _ = self.0.send(Message::Item(item));
    }
}

/// The items of threads that work. Dropped, it stops them.
pub struct Items<T> {
    pub process: Process,
    /// Whose closing ends the work.
    server: Option<Arc<Server>>,
    sender: mpsc::Sender<Message<T>>,
    /// None once it is dropped.
    received: Option<mpsc::Receiver<Message<T>>>,
    running: usize,
    stops: Vec<oneshot::Sender<()>>,
}

pub enum Received<T> {
    Item(T),
    /// Nothing came within the limit.
    Nothing,
    /// Nothing more will come.
    End,
}

impl<T: Send + 'static> Items<T> {
    pub fn new(process: Process, server: Option<Arc<Server>>) -> Self {
        let (sender, received) = mpsc::channel();
        Self { process, server, sender, received: Some(received), running: 0, stops: Vec::new() }
    }

    pub fn sender(&self) -> ItemSender<T> {
        ItemSender(self.sender.clone())
    }

    /// Starts a thread. Its work returns the last item; None if it was stopped before.
    pub fn spawn<W>(&mut self, work: W) -> PyResult<()>
    where
        W: FnOnce(oneshot::Receiver<()>) -> PyResult<Option<T>> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        let sender = self.sender.clone();
        let work = move || {
            let ended = errors::caught(|| work(stopped)).and_then(|ended| ended);
            let _ = sender.send(Message::Ended(ended));
        };
        start_thread("saymon-bulk-wait", work).map_err(errors::no_thread)?;
        self.stops.push(stop);
        self.running += 1;
        Ok(())
    }

    /// The next item, if it comes until then; the error of a thread that has failed. Signals are looked for meanwhile.
    pub fn next(&mut self, py: Python<'_>, until: Option<Instant>) -> PyResult<Received<T>> {
        look(py, self.process, self.server.as_deref())?;
        let Some(received) = &mut self.received else { return Ok(Received::End) };
        while self.running > 0 {
            let left = until.map_or(SIGNAL_CHECK, |until| until.saturating_duration_since(Instant::now()));
            let message = received.try_recv().or_else(|_| {
                let received = &mut *received;
                py.detach(move || received.recv_timeout(left.min(SIGNAL_CHECK)))
            });
            match message {
                Ok(Message::Item(item)) => return Ok(Received::Item(item)),
                Ok(Message::Ended(last)) => {
                    self.running -= 1;
                    if let Some(item) = last? {
                        return Ok(Received::Item(item));
                    }
                }
                Err(_) => {
                    look(py, self.process, self.server.as_deref())?;
                    if until.is_some() && left <= SIGNAL_CHECK {
                        return Ok(Received::Nothing);
                    }
                }
            }
        }
        Ok(Received::End)
    }
}

impl<T> Items<T> {
    /// Stops the threads. False where all that would wake them must be leaked, and is: in a forked child it is the parent's, and
    /// after a panic its descriptors were closed by others.
    pub fn end(&mut self) -> bool {
        let stops = std::mem::take(&mut self.stops);
        let mut is_sound = self.process.is_current();
        if is_sound {
            // One after the other: the panics of two destructors at once would end the process.
            for stop in stops {
                is_sound &= errors::caught(|| drop(stop)).is_ok();
            }
        } else {
            std::mem::forget(stops);
        }
        if !is_sound {
            std::mem::forget(self.received.take());
        }
        is_sound
    }
}

impl<T> Drop for Items<T> {
    fn drop(&mut self) {
        self.end();
    }
}
