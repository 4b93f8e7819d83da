//! What a client still sends when its request has been answered already.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::{Request, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

/// The rest of a body is read for so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request's body. What nobody has read of it when it is dropped is read and thrown away, for a client that sends everything
/// before it reads would find a broken connection instead of the answer, which says what is wrong.
pub(crate) struct Drained {
    body: Option<Incoming>,
}

/// Drains the body, unless the client waits to be asked for it.
pub(crate) fn drained(request: Request<Incoming>) -> Request<axum::body::Body> {
    let is_sent_anyway = !request.headers().contains_key(header::EXPECT);
    request.map(|body| match is_sent_anyway {
        true => axum::body::Body::new(Drained { body: Some(body) }),
        false => axum::body::Body::new(body),
    })
}

impl Body for Drained {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if let Poll::Ready(None | Some(Err(_))) = polled {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        if let Some(mut body) = self.body.take().filter(|body| !body.is_end_stream())
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(tokio::time::timeout(PATIENCE, async move {
                while let Some(Ok(_)) = body.frame().await {}
            }));
        }
    }
}
