//! What can go wrong, before the network ([`InvalidInput`]) and on it ([`Failure`]).

use std::fmt;
use std::time::Duration;

/// An argument that cannot be used. The text names the argument and never shows its value:
/// a host may carry a password by mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidInput {
    pub argument: &'static str,
    pub reason: String,
}

impl InvalidInput {
    pub fn new(argument: &'static str, reason: impl Into<String>) -> Self {
        Self { argument, reason: reason.into() }
    }
}

impl fmt::Display for InvalidInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.argument, self.reason)
    }
}

impl std::error::Error for InvalidInput {}

/// TLS or an HTTP client that cannot be set up on this system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetupFailure(pub String);

impl fmt::Display for SetupFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SetupFailure {}

/// Why an exchange gave no documented answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// Any HTTP status but 200.
    Http(Box<HttpFailure>),
    /// No complete HTTP answer came.
    Transport { cause: Cause, text: String },
    /// The exchange took longer than its limit. On a kept connection it may only mean that this one has died.
    /// `reason` says why an answer that has begun may have no end, or why nothing was sent.
    Timeout { limit: Duration, on_kept: bool, reason: Option<String> },
    /// A 200 that is not the documented answer.
    BadAnswer { text: String },
    /// A request that must not be sent twice was cut short: the server may have acted on it. Holds the plain failure.
    Uncertain(Box<Failure>),
}

/// An answer whose HTTP status is not 200. Its texts are the server's, without secrets.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HttpFailure {
    pub http_status: u16,
    pub code: Option<String>,
    pub message: Option<String>,
    /// What a body of another shape says first.
    pub gist: Option<String>,
    pub body: String,
    pub retry_after: Option<Duration>,
    /// For a redirect and for a login that this package does not give: what to do about it.
    pub advice: Option<String>,
    /// Whether the answer is one that servers give after they have done what was asked (RFC 9110 sections 15.4.3 and 15.4.4).
    pub may_be_done: bool,
}

/// What kept the answer from coming; waiting treats them differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The name has no address.
    Resolve,
    /// No connection: refused, unreachable, or a proxy that would not tunnel.
    Connect,
    /// A TLS handshake that failed for another reason than the certificate. The server has read no request.
    Tls,
    /// A certificate that is not to be trusted.
    Certificate,
    /// A proxy that refuses the login or this server, and would refuse it again.
    Proxy,
    /// A connection that ended, or spoke no HTTP, before the answer was complete.
    Cut,
}

impl Cause {
    pub fn name(self) -> &'static str {
        match self {
            Self::Resolve => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Certificate => "certificate",
            Self::Proxy => "proxy",
            Self::Cut => "cut",
        }
    }
}

impl Failure {
    /// Whether every other call of the client would be refused too: the credentials are wrong, at the server or at a proxy. Sent
    /// again, a wrong password locks an account.
    pub fn refuses_all(&self) -> bool {
        match self {
            Self::Http(failure) => matches!(failure.http_status, 401 | 407),
            Self::Transport { cause, .. } => *cause == Cause::Proxy,
            Self::Uncertain(failure) => failure.refuses_all(),
            Self::Timeout { .. } | Self::BadAnswer { .. } => false,
        }
    }

    /// The failure itself, without what it leaves uncertain.
    pub fn plain(&self) -> &Self {
        match self {
            Self::Uncertain(failure) => failure,
            failure => failure,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(failure) => failure.fmt(f),
            Self::Transport { text, .. } | Self::BadAnswer { text } => f.write_str(text),
            Self::Uncertain(failure) => failure.fmt(f),
            Self::Timeout { limit, reason, .. } => {
                // What is left of a deadline has nanoseconds.
                let seconds = limit.as_secs_f64();
                let shown = if seconds < 0.001 { seconds } else { (seconds * 1000.0).round() / 1000.0 };
                write!(f, "no complete answer within {shown} s")?;
                reason.as_ref().map_or(Ok(()), |why| write!(f, ": {why}"))
            }
        }
    }
}

impl fmt::Display for HttpFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP {}", self.http_status)?;
        if let Some(code) = self.code.as_ref().filter(|code| !code.is_empty()) {
            write!(f, " {}", super::text::escape(code))?;
        }
        if let Some(message) = self.message.as_ref().filter(|message| !message.is_empty()) {
            write!(f, ": {}", super::text::escape(message))?;
        }
        if let (None, None, Some(gist)) = (&self.code, &self.message, &self.gist) {
            write!(f, ": {gist}")?;
        }
        if let Some(advice) = &self.advice {
            write!(f, ": {advice}")?;
        }
        Ok(())
    }
}
