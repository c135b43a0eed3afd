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
mod runtime;
mod terms;
mod waits;

use pyo3::prelude::*;

#[pymodule]
mod _core {
    use super::*;

    #[pymodule_export]
    use super::asyncio::_shutdown;
    #[pymodule_export]
    use super::client::Client;
    #[pymodule_export]
    use super::functions::{_checked_id, _get_bulk_status_future, get_bulk_status};
    #[pymodule_export]
    use super::waits::{AsyncWaits, Waits};

    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.py().import("atexit")?.call_method1("register", (module.getattr("_shutdown")?,))?;
        Ok(())
    }
}
