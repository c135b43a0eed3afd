//! The core: `api` makes the calls, `transport` sends them, `tls` secures connections. No Python below here.

pub mod api;
pub mod credentials;
pub mod failure;
pub mod mask;
pub mod origin;
pub mod segment;
pub mod text;
pub mod tls;
pub mod transport;
