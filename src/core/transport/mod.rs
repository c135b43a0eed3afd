//! How anything is asked: a call, its exchange over a connection of the pool, its answer.

pub mod answer;
pub mod call;
mod cause;
mod certificate;
pub mod exchange;
pub mod pool;
mod proxy;
mod tls;
pub mod yields;
