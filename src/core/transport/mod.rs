//! How anything is asked: a call, its exchange over a connection of the pool, its answer.

mod attempt;
pub mod body;
pub mod call;
pub mod client;
mod error;
pub mod exchange;
pub mod gate;
pub mod lanes;
mod pieces;
pub mod pool;
mod progress;
mod proxy;
pub mod rate;
mod resolver;
mod response;
pub mod server;
mod tunnel;
pub mod yields;
