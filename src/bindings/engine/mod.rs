//! What a process owns: runtimes for blocking calls, a background thread for asyncio, the TLS configurations of both.
//!
//! An engine belongs to one process. A forked child finds its parent's engine and leaves it alone, since the sockets, timers
//! and locks in it are the parent's. The child makes an engine of its own; an inherited one is leaked and never dropped.
//!
//! This is the one way in: the files beside it know nothing of the engine and get what they need handed down.

mod awaitable;
mod background;
mod blocking;
mod completions;
mod driven;
mod process;

use std::pin::pin;
use std::sync::{Arc, Mutex};

use futures_util::future::{Either, select};
use pyo3::prelude::*;
use pyo3_async_runtimes::get_running_loop;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::core::failure::InvalidInput;
use crate::core::origin::Origin;
use crate::core::transport::exchange::Transport;
use crate::core::transport::pool::{PoolKey, TlsConfigs};
use crate::core::transport::server::{Known, Server, Silence};
use crate::lock::lock;

use super::cached::{self, Interned};
use super::errors;
use background::{Asyncio, BackgroundRuntime};
use blocking::{RuntimeGuard, RuntimePool, is_within_a_runtime};
use completions::Queues;
use process::{PerProcess, Process, start_thread};

pub use awaitable::{Awaitable, running_loop};
pub use completions::CompletionQueue;
pub use driven::{Items, Received};
pub use process::{check_interpreter, count_forks};

/// All that a process owns.
pub struct Engine {
    pub process: Process,
    pub tls: TlsConfigs,
    runtimes: RuntimePool,
    asyncio: Mutex<Asyncio>,
    queues: Queues,
    /// Told when any client is closed.
    closing: Notify,
    silences: Known<Origin, Silence>,
    last_host: Mutex<Option<(String, Origin, Arc<Silence>)>>,
}

static ENGINE: PerProcess<Engine> = PerProcess::new();

impl Engine {
    /// This process's engine, made at first use and again after a fork. For the ends of a verb alone: what lies deeper is
    /// handed its part of the engine.
    pub fn current() -> &'static Self {
        ENGINE.get_or_make(|process| Self {
            process,
            tls: TlsConfigs::new(|name, work| start_thread(name, work).map(drop)),
            runtimes: RuntimePool::of(process),
            asyncio: Mutex::default(),
            queues: Queues::default(),
            closing: Notify::new(),
            silences: Known::default(),
            last_host: Mutex::default(),
        })
    }

    /// Reads a host. A script asks one server again and again, so the last host is kept.
    pub fn origin(&self, host: &str) -> Result<(Origin, Arc<Silence>), InvalidInput> {
        let mut last = lock(&self.last_host);
        if let Some((text, origin, silence)) = &*last
            && text == host
        {
            return Ok((origin.clone(), silence.clone()));
        }
        let origin = Origin::parse(host)?;
        let silence = self.silences.of(origin.clone(), Silence::default);
        *last = Some((host.to_owned(), origin.clone(), silence.clone()));
        Ok((origin, silence))
    }

    /// A runtime for one blocking call, and the transport in it.
    pub fn acquire(&'static self, key: &Arc<PoolKey>, server: &Server) -> PyResult<(RuntimeGuard, Transport)> {
        let mut runtime = self.runtimes.acquire()?;
        let transport = runtime.transport(key, &self.tls)?;
        overtake(&transport, server);
        Ok((runtime, transport))
    }

    /// The transport of all event loops.
    pub fn transport(&self, key: &Arc<PoolKey>, server: &Server) -> PyResult<Transport> {
        let transport = lock(&self.asyncio).clients.get_or_make(key, &self.tls)?;
        overtake(&transport, server);
        Ok(transport)
    }

    /// Starts a core future in the background. `finish` makes its Python value on the thread of the running loop; it gets None
    /// if the client was closed first.
    pub fn awaitable<F, C>(
        &'static self,
        py: Python<'_>,
        server: &Arc<Server>,
        future: F,
        finish: C,
    ) -> PyResult<Awaitable>
    where
        F: Future + Send + 'static,
        F::Output: Send,
        C: FnOnce(Python<'_>, Option<F::Output>) -> PyResult<Py<PyAny>> + Send + 'static,
    {
        let server = server.clone();
        // In a box: an async block that takes a future and pins it has room for two.
        let future = Box::pin(future);
        let future = async move {
            match select(future, pin!(self.closed(&server))).await {
                Either::Left((output, _)) => Some(output),
                Either::Right(_) => None,
            }
        };
        awaitable::start(py, self.process, &self.asyncio, &self.queues, future, finish)
    }

    async fn closed(&self, server: &Server) {
        loop {
            let closing = self.closing.notified();
            if server.is_closed() {
                return;
            }
            closing.await;
        }
    }

    /// Ends what a client asks in the background.
    pub fn close(server: &Server) {
        server.close();
        if let Some(engine) = ENGINE.get() {
            // A panic means that the descriptors of the background thread were closed by others.
            let _ = errors::caught(|| engine.closing.notify_waiters());
        }
    }

    /// Runs a core future in the background until it ends or is aborted.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> PyResult<AbortHandle> {
        let handle = lock(&self.asyncio).handle()?;
        Ok(background::spawn(&self.asyncio, &handle, future)?.abort_handle())
    }
}

/// The call of a signal's handler does not wait for the call that the handler has interrupted, which may be ahead at the gate.
fn overtake(transport: &Transport, server: &Server) {
    if is_within_a_runtime() {
        transport.overtake(server);
    }
}

/// Ends the background thread of this process while Python still works. Idempotent; blocking calls go on.
#[pyfunction]
pub fn _shutdown(py: Python<'_>) {
    let Some(engine) = ENGINE.get() else { return };
    let runtime = lock(&engine.asyncio).shut();
    py.detach(|| runtime.map(BackgroundRuntime::stop));
}

/// Called before every fork. A child must not find the set-up of pyo3-async-runtimes half done by a thread that it does not have.
#[pyfunction]
pub fn _before_fork(py: Python<'_>) -> PyResult<()> {
    static ASYNCIO: Interned = Interned::new("asyncio");
    if cached::imported(py, &ASYNCIO)?.is_some() {
        // Fails outside a loop, after the set-up.
        let _ = get_running_loop(py);
    }
    Ok(())
}
