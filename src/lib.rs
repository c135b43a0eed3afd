//! SAYMON bulk operations. [`core`] does the work and knows nothing of Python; `bindings` shows it to Python as
//! `saymon_bulk._core`.

#![deny(unsafe_code)]

#[cfg(feature = "python")]
mod bindings;
pub mod core;
mod lock;
