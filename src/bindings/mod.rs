//! The core shown to Python: `saymon_bulk._core`. What is decided here is about Python alone.

mod arguments;
mod batch;
mod cached;
mod client;
mod convert;
mod engine;
mod errors;
mod log;
mod outcome;
mod start;
mod status;
mod twin;
mod waiting;

use pyo3::prelude::*;
use pyo3::types::IntoPyDict;

#[pymodule]
mod _core {
    use super::*;

    #[pymodule_export]
    use super::arguments::{_checked_id, _host_name};
    #[pymodule_export]
    use super::client::Client;
    #[pymodule_export]
    use super::engine::{_before_fork, _shutdown, Awaitable, CompletionQueue};
    #[pymodule_export]
    use super::outcome::Step;
    #[pymodule_export]
    use super::status::get_bulk_status;
    #[pymodule_export]
    use super::waiting::{AsyncWaits, Waits};

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
