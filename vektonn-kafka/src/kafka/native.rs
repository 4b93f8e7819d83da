//! The parts of librdkafka that `rdkafka` has no safe functions for: topic ids, the ends of many topics at once, one
//! setting of each topic without a client of its own, reading and producing in batches, sending at once, and whether an
//! unacknowledged record may have been written.
//!
//! All unsafe code of this crate is here. Pointers from librdkafka do not leave this file, apart from the
//! client's own, which `rdkafka` keeps alive as long as the borrow of the client lasts.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::ProducerContext;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::util::IntoOpaque;
use rdkafka_sys as sys;
use uuid::Uuid;

use crate::LogRecord;

/// An answer for each topic.
pub(super) type PerTopic<T> = BTreeMap<String, Result<T, RDKafkaErrorCode>>;

/// What a broker says about a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Description {
    pub(super) id: Uuid,
    pub(super) partitions: usize,
    /// Partition 0 can be read and written.
    pub(super) has_leader: bool,
}

/// Which end of a topic is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Earliest,
    /// After the last record that a reader of committed records sees.
    Latest,
}

/// A pointer that is freed with this.
struct Owned<T> {
    ptr: NonNull<T>,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// # Safety
    /// The pointer is null, or nobody else frees it and `free` is the function that does.
    unsafe fn new(ptr: *mut T, free: unsafe extern "C" fn(*mut T)) -> Result<Self, RDKafkaErrorCode> {
        let ptr = NonNull::new(ptr).ok_or(RDKafkaErrorCode::Fail)?;
        Ok(Self { ptr, free })
    }

    fn as_ptr(&self) -> *mut T {
        self.ptr.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: by the contract of `new` this is the one call that frees the pointer.
        unsafe { (self.free)(self.as_ptr()) }
    }
}

type Event = Owned<sys::rd_kafka_event_t>;
type Options = Owned<sys::rd_kafka_AdminOptions_t>;

/// Describes the topics. Those that do not exist have an error each.
pub(super) fn describe_topics<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    timeout: Duration,
) -> Result<PerTopic<Description>, RDKafkaErrorCode> {
    let names = c_strings(topics)?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: the array has as many valid strings as is said; librdkafka copies them. The collection is ours
    // to destroy.
    let collection = unsafe {
        let collection = sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        Owned::new(collection, sys::rd_kafka_TopicCollection_destroy)?
    };
    let options = options(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, timeout)?;
    let event = request(client, timeout, |queue| {
        // SAFETY: client, collection, options and queue are alive; librdkafka copies what it needs of the
        // collection and the options.
        unsafe {
            sys::rd_kafka_DescribeTopics(client.native_ptr(), collection.as_ptr(), options.as_ptr(), queue);
        }
    })?;
    let mut count = 0;
    // SAFETY: the event is alive to the end of this function and owns everything reached from it; a result of
    // another type would be null, which is checked. Arrays have `count` entries.
    unsafe {
        let result = sys::rd_kafka_event_DescribeTopics_result(event.as_ptr());
        if result.is_null() {
            return Err(RDKafkaErrorCode::Fail);
        }
        let found = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        Ok(slice(found, count).iter().map(|&topic| (topic_name(topic), description(topic))).collect())
    }
}

/// # Safety
/// The description is alive.
unsafe fn topic_name(topic: *const sys::rd_kafka_TopicDescription_t) -> String {
    // SAFETY: the description owns its name, a C string.
    unsafe { text(sys::rd_kafka_TopicDescription_name(topic)) }
}

/// # Safety
/// The description is alive.
unsafe fn description(
    topic: *const sys::rd_kafka_TopicDescription_t,
) -> Result<Description, RDKafkaErrorCode> {
    // SAFETY: all that is reached belongs to the description. A null error means success, which its code says.
    unsafe {
        let code = sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(topic)).into();
        if code != RDKafkaErrorCode::NoError {
            return Err(code);
        }
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        let high = sys::rd_kafka_Uuid_most_significant_bits(id);
        let low = sys::rd_kafka_Uuid_least_significant_bits(id);
        let mut count = 0;
        let partitions = sys::rd_kafka_TopicDescription_partitions(topic, &mut count);
        let has_leader = slice(partitions, count).iter().any(|&partition| {
            sys::rd_kafka_TopicPartitionInfo_partition(partition) == 0
                && !sys::rd_kafka_TopicPartitionInfo_leader(partition).is_null()
        });
        let id = Uuid::from_u64_pair(high.cast_unsigned(), low.cast_unsigned());
        Ok(Description { id, partitions: count, has_leader })
    }
}

/// The first or the last offset of partition 0 of each topic.
pub(super) fn list_offsets<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    end: End,
    timeout: Duration,
) -> Result<PerTopic<u64>, RDKafkaErrorCode> {
    let names = c_strings(topics)?;
    let spec = match end {
        End::Earliest => sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST,
        End::Latest => sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST,
    } as i32;
    // SAFETY: the list is ours to destroy; adding copies the name and returns an entry that lives as long as the
    // list is not changed, so it is written at once.
    let partitions = unsafe {
        let list = sys::rd_kafka_topic_partition_list_new(names.len() as i32);
        let list = Owned::new(list, sys::rd_kafka_topic_partition_list_destroy)?;
        for name in &names {
            let entry = sys::rd_kafka_topic_partition_list_add(list.as_ptr(), name.as_ptr(), 0);
            (*entry).offset = i64::from(spec);
        }
        list
    };
    let options = options(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, timeout)?;
    // SAFETY: the options are alive and were made for this operation; the error is ours to destroy.
    unsafe {
        let level = sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED;
        let error = sys::rd_kafka_AdminOptions_set_isolation_level(options.as_ptr(), level);
        if let Ok(error) = Owned::new(error, sys::rd_kafka_error_destroy) {
            return Err(sys::rd_kafka_error_code(error.as_ptr()).into());
        }
    }
    let event = request(client, timeout, |queue| {
        // SAFETY: client, list, options and queue are alive; librdkafka copies the list and the options.
        unsafe {
            sys::rd_kafka_ListOffsets(client.native_ptr(), partitions.as_ptr(), options.as_ptr(), queue);
        }
    })?;
    let mut count = 0;
    // SAFETY: as in `describe_topics`.
    unsafe {
        let result = sys::rd_kafka_event_ListOffsets_result(event.as_ptr());
        if result.is_null() {
            return Err(RDKafkaErrorCode::Fail);
        }
        let infos = sys::rd_kafka_ListOffsets_result_infos(result, &mut count);
        let entry = |&info: &*const sys::rd_kafka_ListOffsetsResultInfo_t| {
            let partition = &*sys::rd_kafka_ListOffsetsResultInfo_topic_partition(info);
            let offset = match partition.err.into() {
                RDKafkaErrorCode::NoError => {
                    u64::try_from(partition.offset).map_err(|_| RDKafkaErrorCode::Fail)
                }
                code => Err(code),
            };
            (text(partition.topic), offset)
        };
        Ok(slice(infos, count).iter().map(entry).collect())
    }
}

/// One setting of each topic that tells it.
pub(super) fn topic_settings<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    setting: &CStr,
    timeout: Duration,
) -> Result<BTreeMap<String, String>, RDKafkaErrorCode> {
    let names = c_strings(topics)?;
    let resource = |name: &CString| {
        // SAFETY: the resource is ours to destroy; name and setting are copied. A setting that is asked for has no value yet.
        unsafe {
            let kind = sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
            let resource = sys::rd_kafka_ConfigResource_new(kind, name.as_ptr());
            let resource = Owned::new(resource, sys::rd_kafka_ConfigResource_destroy)?;
            sys::rd_kafka_ConfigResource_set_config(resource.as_ptr(), setting.as_ptr(), c"".as_ptr());
            Ok(resource)
        }
    };
    let resources: Vec<_> = names.iter().map(resource).collect::<Result<_, RDKafkaErrorCode>>()?;
    let mut pointers: Vec<_> = resources.iter().map(Owned::as_ptr).collect();
    let options = options(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, timeout)?;
    let event = request(client, timeout, |queue| {
        // SAFETY: client, options and queue are alive, and so are the resources, of which the array has as many as is
        // said; librdkafka copies them and the options.
        unsafe {
            let (first, count) = (pointers.as_mut_ptr(), pointers.len());
            sys::rd_kafka_DescribeConfigs(client.native_ptr(), first, count, options.as_ptr(), queue);
        }
    })?;
    let mut count = 0;
    // SAFETY: as in `describe_topics`. A resource that has an error has no settings; one that is not told has no value.
    unsafe {
        let result = sys::rd_kafka_event_DescribeConfigs_result(event.as_ptr());
        if result.is_null() {
            return Err(RDKafkaErrorCode::Fail);
        }
        let resources = sys::rd_kafka_DescribeConfigs_result_resources(result, &mut count);
        let told = slice(resources, count).iter().filter_map(|&resource| {
            let mut count = 0;
            let entries = sys::rd_kafka_ConfigResource_configs(resource, &mut count);
            let is_it = |entry: &&_| CStr::from_ptr(sys::rd_kafka_ConfigEntry_name(**entry)) == setting;
            let value = sys::rd_kafka_ConfigEntry_value(*slice(entries, count).iter().find(is_it)?);
            let name = sys::rd_kafka_ConfigResource_name(resource);
            (!value.is_null()).then(|| (text(name), text(value)))
        });
        Ok(told.collect())
    }
}

fn options<C: ClientContext>(
    client: &Client<C>,
    operation: sys::rd_kafka_admin_op_t,
    timeout: Duration,
) -> Result<Options, RDKafkaErrorCode> {
    let mut why = [0; 256];
    // SAFETY: the client is alive, the options are ours to destroy, and the buffer is as long as is said.
    unsafe {
        let options = sys::rd_kafka_AdminOptions_new(client.native_ptr(), operation);
        let options = Owned::new(options, sys::rd_kafka_AdminOptions_destroy)?;
        let timeout_ms = milliseconds(timeout).max(1);
        let code = sys::rd_kafka_AdminOptions_set_request_timeout(
            options.as_ptr(),
            timeout_ms,
            why.as_mut_ptr(),
            why.len(),
        );
        match code.into() {
            RDKafkaErrorCode::NoError => Ok(options),
            code => Err(code),
        }
    }
}

/// Sends a request that answers to the queue, and waits for the answer.
fn request<C: ClientContext>(
    client: &Client<C>,
    timeout: Duration,
    send: impl FnOnce(*mut sys::rd_kafka_queue_t),
) -> Result<Event, RDKafkaErrorCode> {
    // The request times out by itself; the margin is for its answer to arrive.
    let wait_ms = milliseconds(timeout + Duration::from_millis(500));
    // SAFETY: the queue is ours to destroy, and so is each event taken from it. An answer that comes after the
    // queue is destroyed is dropped by librdkafka, which counts references to the queue.
    unsafe {
        let queue = sys::rd_kafka_queue_new(client.native_ptr());
        let queue = Owned::new(queue, sys::rd_kafka_queue_destroy)?;
        send(queue.as_ptr());
        let event = sys::rd_kafka_queue_poll(queue.as_ptr(), wait_ms);
        let event = Owned::new(event, sys::rd_kafka_event_destroy)
            .map_err(|_| RDKafkaErrorCode::OperationTimedOut)?;
        match sys::rd_kafka_event_error(event.as_ptr()).into() {
            RDKafkaErrorCode::NoError => Ok(event),
            code => Err(code),
        }
    }
}

/// A record for a producer, and what its delivery report is to carry.
pub(super) struct Outgoing<'a, O> {
    pub(super) key: &'a [u8],
    pub(super) value: Option<&'a [u8]>,
    pub(super) opaque: O,
}

/// Hands records for partition 0 of a topic to a producer, in this order. Those it does not take come back.
///
/// One call for all of them: the topic is looked up once, not once for each record.
pub(super) fn produce<'a, C: ProducerContext>(
    client: &Client<C>,
    topic: &str,
    records: impl Iterator<Item = Outgoing<'a, C::DeliveryOpaque>>,
) -> Vec<(C::DeliveryOpaque, RDKafkaErrorCode)> {
    let message = |record: Outgoing<'a, C::DeliveryOpaque>| sys::rd_kafka_message_t {
        err: sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
        rkt: ptr::null_mut(),
        partition: 0,
        payload: record.value.map_or(ptr::null_mut(), |value| value.as_ptr().cast_mut().cast()),
        len: record.value.map_or(0, <[u8]>::len),
        key: record.key.as_ptr().cast_mut().cast(),
        key_len: record.key.len(),
        offset: 0,
        _private: record.opaque.into_ptr(),
    };
    let mut messages: Vec<_> = records.map(message).collect();
    let mut refuse_all = |code: sys::rd_kafka_resp_err_t| messages.iter_mut().for_each(|one| one.err = code);
    match CString::new(topic) {
        Err(_) => refuse_all(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION),
        // SAFETY: the client is alive, the name is copied, and the reference to the topic is ours to release. The
        // array has as many messages as is said; their keys and values outlive the call, which copies them.
        Ok(name) => unsafe {
            let topic = sys::rd_kafka_topic_new(client.native_ptr(), name.as_ptr(), ptr::null_mut());
            match Owned::new(topic, sys::rd_kafka_topic_destroy) {
                Err(_) => refuse_all(sys::rd_kafka_last_error()),
                Ok(topic) => {
                    let (first, count) = (messages.as_mut_ptr(), messages.len() as i32);
                    sys::rd_kafka_produce_batch(topic.as_ptr(), 0, sys::RD_KAFKA_MSG_F_COPY, first, count);
                }
            }
        },
    }
    let refused = messages.into_iter().filter_map(|message| match message.err.into() {
        RDKafkaErrorCode::NoError => None,
        // SAFETY: librdkafka did not take this message, so nobody else has what was made a pointer above.
        code => Some((unsafe { C::DeliveryOpaque::from_ptr(message._private) }, code)),
    });
    refused.collect()
}

/// Lets a producer send at once what it was given, lingering or not; waits for at most `time` until all of it is
/// acknowledged.
pub(super) fn send_now<C: ClientContext>(client: &Client<C>, time: Duration) {
    // SAFETY: the client is alive. Delivery reports are events, which another thread takes, so this only waits.
    // That time is up before everything is acknowledged is no error here.
    unsafe { sys::rd_kafka_flush(client.native_ptr(), milliseconds(time)) };
}

/// Whether a record that was not acknowledged may be in the log.
pub(super) fn may_be_written(message: &BorrowedMessage<'_>) -> bool {
    // SAFETY: the message is alive as long as it is borrowed.
    let status = unsafe { sys::rd_kafka_message_status(message.ptr()) };
    status != sys::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED
}

/// Lets a producer fail for good, as a broker's answer can.
#[cfg(test)]
pub(super) fn fail_for_good<C: ClientContext>(client: &Client<C>) {
    let code = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    // SAFETY: client and text are alive; the text is copied.
    unsafe { sys::rd_kafka_test_fatal_error(client.native_ptr(), code, c"a test".as_ptr()) };
}

/// What a consumer has for its reader.
#[derive(Debug)]
pub(super) enum Fetched {
    Record(LogRecord),
    /// The topic ends here, for now.
    End {
        next_offset: u64,
    },
    Error(RDKafkaErrorCode),
}

/// A consumer that is read in batches. Its messages carry their topic even where `rdkafka` leaves it out.
///
/// Reading like this hands the client's log to librdkafka's own handler, which prints to stderr: the client's
/// log level must be the one that logs nothing.
pub(super) struct BatchConsumer<C: ConsumerContext> {
    // Dropped before the consumer: librdkafka wants queues destroyed first.
    queue: Owned<sys::rd_kafka_queue_t>,
    messages: Vec<*mut sys::rd_kafka_message_t>,
    consumer: BaseConsumer<C>,
}

// SAFETY: librdkafka's queues may be used from any thread, and no messages are held between calls.
unsafe impl<C: ConsumerContext> Send for BatchConsumer<C> {}

impl<C: ConsumerContext> BatchConsumer<C> {
    /// `batch` is the number of messages taken at once.
    pub(super) fn new(consumer: BaseConsumer<C>, batch: usize) -> Result<Self, RDKafkaErrorCode> {
        // SAFETY: the consumer is alive; the reference to its queue is ours to release.
        let queue = unsafe {
            let queue = sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr());
            Owned::new(queue, sys::rd_kafka_queue_destroy)?
        };
        Ok(Self { queue, messages: vec![ptr::null_mut(); batch], consumer })
    }

    pub(super) fn consumer(&self) -> &BaseConsumer<C> {
        &self.consumer
    }

    /// Waits for a message, at most for `timeout`, and takes it and what else is there, up to a batch. Returns
    /// whether more may be there. Errors that are about no topic are left out.
    pub(super) fn fetch(&mut self, timeout: Duration, mut take: impl FnMut(&str, Fetched)) -> bool {
        let mut count = self.receive(0, 1, timeout);
        if count == 1 {
            count += self.receive(1, self.messages.len() - 1, Duration::ZERO);
        }
        let mut topic = (ptr::null_mut(), String::new());
        for &message in &self.messages[..count] {
            // SAFETY: librdkafka has filled this entry with a message that is ours to destroy, which happens at
            // the end of each turn.
            unsafe {
                let message = Message(message);
                let rkt = (*message.0).rkt;
                if rkt.is_null() {
                    continue;
                }
                if rkt != topic.0 {
                    topic = (rkt, text(sys::rd_kafka_topic_name(rkt)));
                }
                take(&topic.1, message.fetched());
            }
        }
        count == self.messages.len()
    }

    fn receive(&mut self, at: usize, count: usize, timeout: Duration) -> usize {
        let room = &mut self.messages[at..at + count];
        // SAFETY: the queue is alive, and the array has room for as many pointers as is said.
        let received = unsafe {
            sys::rd_kafka_consume_batch_queue(
                self.queue.as_ptr(),
                milliseconds(timeout),
                room.as_mut_ptr(),
                room.len(),
            )
        };
        usize::try_from(received).unwrap_or(0)
    }

    /// The end of the topic as told with the last fetched data; includes records not committed yet.
    pub(super) fn cached_high_watermark(&self, topic: &str) -> u64 {
        let Ok(topic) = CString::new(topic) else { return 0 };
        let (mut low, mut high) = (0, 0);
        // SAFETY: client and name are alive, and the offsets are written before the call returns.
        let code = unsafe {
            let client = self.consumer.client().native_ptr();
            sys::rd_kafka_get_watermark_offsets(client, topic.as_ptr(), 0, &mut low, &mut high)
        };
        if RDKafkaErrorCode::from(code) == RDKafkaErrorCode::NoError {
            u64::try_from(high).unwrap_or(0)
        } else {
            0
        }
    }
}

/// A message that is ours to destroy.
struct Message(*mut sys::rd_kafka_message_t);

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: the message came from librdkafka and was not destroyed yet.
        unsafe { sys::rd_kafka_message_destroy(self.0) }
    }
}

impl Message {
    fn fetched(&self) -> Fetched {
        // SAFETY: the message is alive, and owns its key and payload of the lengths it says.
        unsafe {
            let message = &*self.0;
            let offset = u64::try_from(message.offset).unwrap_or(0);
            match message.err.into() {
                RDKafkaErrorCode::NoError => Fetched::Record(LogRecord {
                    offset,
                    key: bytes(message.key.cast(), message.key_len).unwrap_or_default(),
                    value: bytes(message.payload.cast(), message.len),
                }),
                RDKafkaErrorCode::PartitionEOF => Fetched::End { next_offset: offset },
                RDKafkaErrorCode::AutoOffsetReset if self.tells_of_truncation() => {
                    Fetched::Error(RDKafkaErrorCode::LogTruncation)
                }
                code => Fetched::Error(code),
            }
        }
    }

    /// Whether the words of an error are that the log was truncated: where there is no offset to reset to, it is told by
    /// nothing else.
    fn tells_of_truncation(&self) -> bool {
        // SAFETY: the message is alive, and its payload are the words; descriptions are static.
        unsafe {
            let truncation = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__LOG_TRUNCATION;
            let said = bytes((*self.0).payload.cast(), (*self.0).len).unwrap_or_default();
            String::from_utf8_lossy(&said).contains(&text(sys::rd_kafka_err2str(truncation)))
        }
    }
}

/// # Safety
/// The pointer is null, or valid for as many bytes.
unsafe fn bytes(pointer: *const u8, length: usize) -> Option<Vec<u8>> {
    // SAFETY: as the caller promises.
    (!pointer.is_null()).then(|| unsafe { std::slice::from_raw_parts(pointer, length) }.to_vec())
}

/// # Safety
/// The pointer is null, or to a C string.
unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// # Safety
/// The pointer is null, or to an array of as many entries that lives long enough.
unsafe fn slice<'a, T>(pointer: *const T, count: usize) -> &'a [T] {
    if pointer.is_null() {
        return &[];
    }
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts(pointer, count) }
}

fn c_strings(texts: &[&str]) -> Result<Vec<CString>, RDKafkaErrorCode> {
    let strings = texts.iter().map(|&text| CString::new(text));
    strings.collect::<Result<_, _>>().map_err(|_| RDKafkaErrorCode::InvalidTopic)
}

fn milliseconds(duration: Duration) -> i32 {
    // Rounded up: waiting for 0 ms again and again would be busy waiting.
    i32::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
}
