//! A request's way, top to bottom: where to, what about, who asks, how anything is sent and answered, what the server can
//! be asked. No Python below here.

pub mod api;
pub mod credentials;
pub mod failure;
pub mod mask;
pub mod origin;
pub mod segment;
pub mod text;
pub mod tls;
pub mod transport;
