//! How anything is asked: a call, its exchange over a connection of the pool, its answer.

pub mod answer;
pub mod call;
mod cause;
pub mod certificate;
pub mod exchange;
mod file_stamp;
pub mod gate;
mod identity;
pub mod pem;
mod platform;
pub mod pool;
mod progress;
mod provider;
mod proxy;
mod resolver;
mod response;
pub mod server;
mod tls;
mod trust;
mod tunnel;
mod words;
pub mod yields;
