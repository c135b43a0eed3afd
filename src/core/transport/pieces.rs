//! A long body in pieces, so that an answer that comes before the body's end is read.
//!
//! A server may refuse a request by its head, as haproxy does, and close the connection. The answer is lost if a write fails
//! before it is read, and hyper reads when the runtime has looked at the socket. So there is a pause before each piece.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use tokio::time::sleep;

/// Bytes of a piece, and of a body that is sent at once: a record of TLS. With the pause they make some 10 MB a second.
const PIECE: usize = 16 * 1024;

/// The shortest time after which a timer fires, and the runtime looks at its sockets before that.
const PAUSE: Duration = Duration::from_millis(1);

/// The body of a request. Its length is no part of it and stands in a header.
pub fn body(content: Vec<u8>) -> reqwest::Body {
    if content.len() <= PIECE {
        return content.into();
    }
    let rest = Bytes::from(content);
    let first = rest.len();
    reqwest::Body::wrap(StreamBody::new(stream::unfold(rest, move |mut rest| async move {
        if rest.len() < first {
            sleep(PAUSE).await;
        }
        let piece = rest.split_to(rest.len().min(PIECE));
        (!piece.is_empty()).then(|| (Ok::<_, Infallible>(Frame::data(piece)), rest))
    })))
}
