//! One call on its way: to whom, by which route, until when.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::call::Call;
use super::proxy::Route;
use super::server::Server;
use crate::core::mask::Masks;

pub struct Attempt<'a, T> {
    pub server: &'a Server,
    pub route: &'a Route,
    pub call: &'a Call<T>,
    /// How often the password had been refused when the call began.
    pub refusals: u64,
    pub end: Instant,
    /// Why the answer may have no end, once its head is read.
    pub endless: OnceLock<String>,
}

impl<T> Attempt<'_, T> {
    pub fn time_left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// What hides the secrets of this call.
    pub fn masks(&self) -> Masks {
        self.route.masks(&self.server.credentials)
    }
}
