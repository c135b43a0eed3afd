//! A long body in pieces, so that an answer that comes before the body's end is read.
//!
//! A server may refuse a request by its head, as haproxy does, and close the connection. The answer is lost if a write fails
//! before it is read, and hyper reads when the runtime has looked at the socket. So there is a pause before each piece.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// Bytes of a piece, and of a body that is sent at once: a record of TLS. With the pause they make some 10 MB a second.
const PIECE: usize = 16 * 1024;

/// The shortest time after which a timer fires, and the runtime looks at its sockets before that.
const PAUSE: Duration = Duration::from_millis(1);

struct Pieces {
    rest: Bytes,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
        }
        let length = self.rest.len().min(PIECE);
        if length == 0 {
            return Poll::Ready(None);
        }
        self.pause = Some(Box::pin(sleep(PAUSE)));
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// The body of a request.
pub fn body(content: Vec<u8>) -> reqwest::Body {
    if content.len() <= PIECE {
        content.into()
    } else {
        reqwest::Body::wrap(Pieces { rest: content.into(), pause: None })
    }
}
