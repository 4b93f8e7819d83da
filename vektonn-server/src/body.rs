//! The bodies of requests and answers: each within its limit, all of them together within theirs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::dto;
use crate::error::ApiError;
use crate::limits::Limits;

/// A body up to this size is parsed where it came.
const INLINE_BYTES_MAX: usize = 16 << 10;
/// A body up to this size is taken however much memory others have; so many requests at the same time may have it.
const SMALL_BYTES_MAX: usize = 64 << 10;
/// Room made for a body before its first byte; a longer one grows as it comes, whatever its header says.
const INITIAL_ROOM_BYTES_MAX: usize = 64 << 20;
/// Memory is accounted for in pieces of so many bytes.
const PIECE_BYTES: usize = 64 << 10;

/// Receives bodies.
pub(crate) struct Bodies {
    bytes_max: usize,
    pause_max: Duration,
    /// One permit for each piece of memory that bodies may take together.
    room: Arc<Semaphore>,
    /// Bytes of the answers that clients have not taken yet, and how many there may be for another one.
    answers: Arc<AtomicUsize>,
    answers_bytes_max: usize,
}

/// A body that has arrived. Its memory counts until it is dropped.
pub(crate) struct ReceivedBody {
    bytes: Vec<u8>,
    room: Option<OwnedSemaphorePermit>,
}

/// An answer on its way.
struct Answer {
    bytes: Vec<u8>,
    answers: Arc<AtomicUsize>,
}

impl Bodies {
    pub(crate) fn new(limits: &Limits) -> Self {
        let room_bytes_max = limits.all_bodies_bytes_max.max(limits.body_bytes_max);
        Self {
            bytes_max: limits.body_bytes_max,
            pause_max: Duration::from_secs(limits.body_pause_s_max),
            room: Arc::new(Semaphore::new(room_bytes_max.div_ceil(PIECE_BYTES))),
            answers: Arc::default(),
            answers_bytes_max: limits.all_bodies_bytes_max,
        }
    }

    /// Receives a whole body into one buffer.
    ///
    /// # Errors
    /// 415 for a wrong content type or encoding, 413 for too large a body, 429 if all bodies together are too large, 408 if the
    /// client pauses for too long.
    pub(crate) async fn receive(
        &self,
        headers: &HeaderMap,
        mut body: Body,
        deadline: Instant,
    ) -> Result<ReceivedBody, ApiError> {
        check_content_type(headers)?;
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        let announced = announced.unwrap_or_default();
        self.check_size(announced)?;
        let mut received =
            ReceivedBody { bytes: Vec::with_capacity(announced.min(INITIAL_ROOM_BYTES_MAX)), room: None };
        loop {
            let patience = deadline.min(Instant::now() + self.pause_max);
            let frame = tokio::time::timeout_at(patience.into(), body.frame());
            let Some(frame) = frame.await.map_err(|_| self.paused())? else { return Ok(received) };
            let frame =
                frame.map_err(|error| ApiError::bad_request(format!("The body broke off: {error}")))?;
            let Some(data) = frame.data_ref() else { continue };
            let bytes = received.bytes.len() + data.len();
            self.check_size(bytes)?;
            self.make_room(&mut received.room, bytes)?;
            received.bytes.extend_from_slice(data);
        }
    }

    /// An answer whose memory counts until the client has it.
    pub(crate) fn answer(&self, bytes: Vec<u8>) -> Body {
        self.answers.fetch_add(bytes.len(), Ordering::Relaxed);
        Body::from(Bytes::from_owner(Answer { bytes, answers: Arc::clone(&self.answers) }))
    }

    /// Whether there may be one more answer.
    ///
    /// # Errors
    /// 429 if clients have not taken those that there are.
    pub(crate) fn check_answers(&self) -> Result<(), ApiError> {
        if self.answers.load(Ordering::Relaxed) < self.answers_bytes_max {
            return Ok(());
        }
        let message = "The answers that clients have not read yet are too large together, try again later";
        Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, message))
    }

    fn check_size(&self, bytes: usize) -> Result<(), ApiError> {
        if bytes <= self.bytes_max {
            return Ok(());
        }
        let message = format!("The body must not be larger than {} bytes", self.bytes_max);
        Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message))
    }

    /// Accounts for so many bytes in all, of which there is room for some already.
    fn make_room(&self, room: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<(), ApiError> {
        let held = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = u32::try_from(bytes.div_ceil(PIECE_BYTES).saturating_sub(held)).unwrap_or(u32::MAX);
        if bytes <= SMALL_BYTES_MAX || missing == 0 {
            return Ok(());
        }
        let more = Arc::clone(&self.room).try_acquire_many_owned(missing).map_err(|_| {
            let message = "The requests that are running already are too large together, try again later";
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, message)
        })?;
        match room {
            Some(room) => room.merge(more),
            room => *room = Some(more),
        }
        Ok(())
    }

    fn paused(&self) -> ApiError {
        let pause = self.pause_max.as_secs();
        let message = format!("The body paused for {pause} s, or did not come within Request-Timeout");
        ApiError::new(StatusCode::REQUEST_TIMEOUT, message)
    }
}

impl AsRef<[u8]> for Answer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.answers.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

impl ReceivedBody {
    /// Parses the body: a large one on a thread of its own, for it would keep an async thread busy for too long.
    pub(crate) async fn parse<T: Send + 'static>(
        self,
        parse: impl FnOnce(&[u8]) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let parse = move |bytes: &[u8]| parse(dto::without_byte_order_mark(bytes));
        if self.bytes.len() <= INLINE_BYTES_MAX {
            return parse(&self.bytes);
        }
        tokio::task::spawn_blocking(move || parse(&self.bytes))
            .await
            .map_err(|_| ApiError::internal("Reading the body failed unexpectedly; the log says why"))?
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("The body must not be encoded, but Content-Encoding is {encoding:?}"),
        ));
    }
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let essence =
        value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if ["application/json", "text/json"].contains(&&*essence)
        || essence.starts_with("application/") && essence.ends_with("+json")
    {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        format!("Content-Type must be application/json, got {value:?}"),
    ))
}
