//! The core shown to Python. Converts, and decides nothing.

mod arguments;
mod convert;
mod errors;
mod functions;
mod runtime;

use pyo3::prelude::*;

#[pymodule]
mod _core {
    #[pymodule_export]
    use super::functions::get_bulk_status;

    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
