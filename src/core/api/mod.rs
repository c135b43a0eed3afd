//! What the server can be asked, one file an endpoint; then many at once, and waiting.

pub mod batch;
pub mod listener;
pub mod schedule;
pub mod search;
pub mod start;
pub mod status;
pub mod waiting;
