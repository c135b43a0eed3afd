//! The way of a request, top to bottom: where to, what about, who asks, whom to trust, the exchange, its answer,
//! then many of them and waiting for them.

pub mod answer;
pub mod credentials;
pub mod exchange;
pub mod failure;
pub mod many;
pub mod operation;
pub mod origin;
pub mod proxy;
mod text;
pub mod trust;
pub mod waiting;
