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
mod reading;
mod search;
mod start;
mod status;
mod twin;
mod waiting;

use pyo3::prelude::*;

/// A function, since the list of a declarative module is exported before anything else runs.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // First of all: classes and hooks of a sub-interpreter would outlive it, and its exit would end the main one's requests.
    engine::check_interpreter(module.py())?;
    engine::count_forks()?;
    // Cargo writes a development version in another way than Python (PEP 440).
    module.add("__version__", env!("CARGO_PKG_VERSION").replace("-dev.", ".dev"))?;
    module.add_class::<client::Client>()?;
    module.add_class::<engine::Awaitable>()?;
    module.add_class::<engine::CompletionQueue>()?;
    module.add_class::<outcome::Step>()?;
    module.add_class::<waiting::AsyncWaits>()?;
    module.add_class::<waiting::BulkIterator>()?;
    module.add_function(wrap_pyfunction!(arguments::_checked_id, module)?)?;
    module.add_function(wrap_pyfunction!(arguments::_host_name, module)?)?;
    module.add_function(wrap_pyfunction!(arguments::_shown_path, module)?)?;
    module.add_function(wrap_pyfunction!(engine::_before_fork, module)?)?;
    module.add_function(wrap_pyfunction!(engine::_shutdown, module)?)?;
    module.add_function(wrap_pyfunction!(status::get_bulk_status, module)?)?;

    let py = module.py();
    py.import("atexit")?.call_method1("register", (module.getattr("_shutdown")?,))?;
    Ok(())
}
