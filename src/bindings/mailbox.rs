//! Results on their way to an event loop: the background leaves them in the loop's mailbox, the loop comes for them.
//!
//! So no foreign thread has to enter the interpreter, where a fork or the exit could catch it (a child forked then may hang,
//! up to CPython 3.11; a process that finalises then aborts, up to 3.13), and all that has come is fetched in one go.

use std::collections::HashMap;
#[cfg(unix)]
use std::io::{Read, Write};
use std::mem;
#[cfg(unix)]
use std::os::{fd::AsRawFd, unix::net::UnixStream};
use std::sync::{Arc, Mutex};

use pyo3::exceptions::{PyNotImplementedError, PyRuntimeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};

use super::once::Name;
use super::runtime::Engine;
use super::terms::lock;

/// What a loop calls when there is post.
const DELIVER: &str = "deliver";

/// Makes the value of an awaited future, on the loop's own thread. Holds nothing of Python's: it may be dropped elsewhere.
type Finish = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// The mailbox of one event loop, which keeps it as the reader of its bell.
#[pyclass(frozen, weakref, module = "saymon_bulk._core")]
pub struct Mailbox {
    running: Py<PyWeakrefReference>,
    post: Arc<Post>,
    addressees: Mutex<Addressees>,
}

/// The futures that are awaited, by number.
#[derive(Default)]
struct Addressees {
    futures: HashMap<u64, Py<PyAny>>,
    last: u64,
}

impl Mailbox {
    /// That of a loop which runs on this thread.
    pub fn of<'py>(running: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Self>> {
        let py = running.py();
        let background = &Engine::current().background;
        if let Some(known) = lock(background).mailboxes.of(running) {
            return Ok(known);
        }
        let mailbox = Self::new(running)?.into_bound(py);
        lock(background).mailboxes.add(&mailbox)?;
        Ok(mailbox)
    }

    fn new(running: &Bound<'_, PyAny>) -> PyResult<Py<Self>> {
        let py = running.py();
        let with = |bell| {
            let running = PyWeakrefReference::new(running)?.unbind();
            let post = Arc::new(Post { letters: Mutex::default(), bell });
            Py::new(py, Self { running, post, addressees: Mutex::default() })
        };
        #[cfg(unix)]
        {
            let (rung, heard) = UnixStream::pair()?;
            rung.set_nonblocking(true)?;
            heard.set_nonblocking(true)?;
            let reader = heard.as_raw_fd();
            let mailbox = with(Bell::Socket { rung, heard })?;
            match running.call_method1("add_reader", (reader, mailbox.getattr(py, DELIVER)?)) {
                Ok(_) => return Ok(mailbox),
                Err(error) if error.is_instance_of::<PyNotImplementedError>(py) => {}
                Err(error) => return Err(error),
            }
        }
        with(Bell::CallSoon)
    }

    /// An envelope for the result of a future of this loop.
    pub fn expect(&self, future: Py<PyAny>) -> Envelope {
        let mut addressees = lock(&self.addressees);
        addressees.last += 1;
        let number = addressees.last;
        addressees.futures.insert(number, future);
        Envelope { post: self.post.clone(), number, is_sent: false }
    }

    /// The future of that number, which is not expected any more.
    pub fn strike(&self, number: u64) -> Option<Py<PyAny>> {
        lock(&self.addressees).futures.remove(&number)
    }
}

#[pymethods]
impl Mailbox {
    /// Hands out what has come; called by the loop.
    fn deliver(&self, py: Python<'_>) {
        for (number, finish) in self.post.fetch() {
            let Some(future) = self.strike(number) else { continue };
            let future = future.bind(py);
            if let Err(error) = hand_over(future, finish) {
                error.write_unraisable(py, Some(future));
            }
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Ok(addressees) = self.addressees.try_lock() else { return Ok(()) };
        addressees.futures.values().try_for_each(|future| visit.call(future))
    }
}

static DONE: Name = Name::new("done");
static SET_RESULT: Name = Name::new("set_result");
static SET_EXCEPTION: Name = Name::new("set_exception");

fn hand_over(future: &Bound<'_, PyAny>, finish: Finish) -> PyResult<()> {
    let py = future.py();
    if future.call_method0(&DONE)?.is_truthy()? {
        return Ok(());
    }
    match finish(py) {
        Ok(value) => future.call_method1(&SET_RESULT, (value,))?,
        Err(error) => future.call_method1(&SET_EXCEPTION, (error,))?,
    };
    Ok(())
}

/// The mailboxes of a process. No Python code may run while it is locked: who waits for the lock has the interpreter.
#[derive(Default)]
pub struct Mailboxes(Vec<Py<PyWeakrefReference>>);

impl Mailboxes {
    fn alive<'py>(&self, py: Python<'py>) -> impl Iterator<Item = Bound<'py, Mailbox>> {
        self.0.iter().filter_map(move |mailbox| mailbox.bind(py).upgrade()?.cast_into().ok())
    }

    fn of<'py>(&self, running: &Bound<'py, PyAny>) -> Option<Bound<'py, Mailbox>> {
        let py = running.py();
        self.alive(py).find(|mailbox| mailbox.get().running.bind(py).upgrade().is_some_and(|of| of.is(running)))
    }

    fn with<'py>(&self, py: Python<'py>, post: &Arc<Post>) -> Option<Bound<'py, Mailbox>> {
        self.alive(py).find(|mailbox| Arc::ptr_eq(&mailbox.get().post, post))
    }

    fn add(&mut self, mailbox: &Bound<'_, Mailbox>) -> PyResult<()> {
        let py = mailbox.py();
        self.0.retain(|known| known.bind(py).upgrade().is_some());
        self.0.push(PyWeakrefReference::new(mailbox)?.unbind());
        Ok(())
    }
}

/// What is sent to one future. If it is lost by a panic it tells that; if by the exit, nobody is to hear of it.
pub struct Envelope {
    post: Arc<Post>,
    pub number: u64,
    is_sent: bool,
}

impl Envelope {
    pub fn send(mut self, finish: Finish) {
        self.is_sent = true;
        self.post.leave(self.number, finish);
    }
}

impl Drop for Envelope {
    fn drop(&mut self) {
        if !self.is_sent && lock(&Engine::current().background).running().is_some() {
            let lost = |_: Python<'_>| Err(PyRuntimeError::new_err("the request was lost by an error of saymon_bulk"));
            self.post.leave(self.number, Box::new(lost));
        }
    }
}

/// The side of a mailbox that is the background's: nothing of Python's is in it.
struct Post {
    letters: Mutex<Vec<(u64, Finish)>>,
    bell: Bell,
}

/// How a loop hears that there is post.
enum Bell {
    /// It reads a socket.
    #[cfg(unix)]
    Socket { rung: UnixStream, heard: UnixStream },
    /// It has no readers (the proactor of Windows), and is told by `call_soon_threadsafe`.
    CallSoon,
}

impl Post {
    fn leave(self: &Arc<Self>, number: u64, finish: Finish) {
        let mut letters = lock(&self.letters);
        letters.push((number, finish));
        let is_first = letters.len() == 1;
        drop(letters);
        if is_first {
            self.ring();
        }
    }

    fn ring(self: &Arc<Self>) {
        match &self.bell {
            // A socket that is full has been heard, and one that is closed never will be.
            #[cfg(unix)]
            Bell::Socket { rung, .. } => drop((&mut &*rung).write(&[1])),
            Bell::CallSoon => {
                let post = self.clone();
                if let Some(driver) = lock(&Engine::current().background).running() {
                    driver.apart(move || {
                        let _ = Python::try_attach(|py| call_soon(py, &post));
                    });
                }
            }
        }
    }

    /// The bell is silenced first: a letter that comes after the look rings again.
    fn fetch(&self) -> Vec<(u64, Finish)> {
        #[cfg(unix)]
        if let Bell::Socket { heard, .. } = &self.bell {
            drop((&mut &*heard).read(&mut [0; 16]));
        }
        mem::take(&mut *lock(&self.letters))
    }
}

/// A loop that was closed in the meantime wants no post.
fn call_soon(py: Python<'_>, post: &Arc<Post>) {
    let Some(mailbox) = lock(&Engine::current().background).mailboxes.with(py, post) else { return };
    let Some(running) = mailbox.get().running.bind(py).upgrade() else { return };
    let told = mailbox.getattr(DELIVER).and_then(|deliver| running.call_method1("call_soon_threadsafe", (deliver,)));
    drop(told);
}
