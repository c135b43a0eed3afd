//! The core shown to Python. Converts, and decides nothing.

mod arguments;
mod asyncio;
mod background;
mod client;
mod convert;
mod errors;
mod functions;
mod lane;
mod log;
mod mailbox;
mod many;
mod once;
mod runtime;
mod terms;
mod waits;

use pyo3::prelude::*;
use pyo3::types::IntoPyDict;

#[pymodule]
mod _core {
    use super::*;

    #[pymodule_export]
    use super::asyncio::{_before_fork, _shutdown, Awaited};
    #[pymodule_export]
    use super::client::Client;
    #[pymodule_export]
    use super::functions::{_checked_id, _get_bulk_status_future, get_bulk_status};
    #[pymodule_export]
    use super::mailbox::Mailbox;
    #[pymodule_export]
    use super::waits::{AsyncWaits, Waits};

    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        py.import("atexit")?.call_method1("register", (module.getattr("_shutdown")?,))?;
        // Where processes can fork.
        if let Ok(register) = py.import("os")?.getattr("register_at_fork") {
            register.call((), Some(&[("before", module.getattr("_before_fork")?)].into_py_dict(py)?))?;
        }
        Ok(())
    }
}
