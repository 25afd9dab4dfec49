//! What the safe crate does not offer of librdkafka: batches of messages over queues of our own,
//! the blocking wait for delivery reports, and the group's generation.
//!
//! Invariants:
//! - A pointer is only used while the client that it belongs to is alive: what holds the pointer
//!   holds the client too.
//! - A [`Message`] reached through [`Messages`] is filled and not yet destroyed.
//! - The consumer queue is never read in batches, only queues of our own: librdkafka turns a
//!   rebalance that such a call meets into a forced unassign.
//!
//! This module knows no topic, no transaction and no retry: it translates.
#![allow(unsafe_code, reason = "the one place that calls C")]

use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use cardlens_model::{Headers, Position, Record};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka_sys as sys;
use sys::rd_kafka_header_get_all as header;
use sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR as NO_ERROR;

use crate::client::Context;
use crate::writer::Reports;

/// A queue of our own to which partitions deliver.
pub struct Queue {
    ptr: *mut sys::RDKafkaQueue,
    client: Arc<BaseConsumer<Context>>,
}

// SAFETY: librdkafka's queues are thread safe.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Queue {
    /// A queue of this client.
    pub fn new(client: &Arc<BaseConsumer<Context>>) -> Self {
        // SAFETY: the client is alive; it stays so as long as this holds it.
        let ptr = unsafe { sys::rd_kafka_queue_new(client.client().native_ptr()) };
        Self { ptr, client: Arc::clone(client) }
    }

    /// From now on what is fetched of this partition comes here.
    pub fn take(&self, topic: &CStr, partition: i32) {
        let client = self.client.client().native_ptr();
        // SAFETY: client and queue are alive; the handle asked for is given back.
        unsafe {
            let own = sys::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition);
            if !own.is_null() {
                sys::rd_kafka_queue_forward(own, self.ptr);
                sys::rd_kafka_queue_destroy(own);
            }
        }
    }

    /// Ends a wait of [`Queue::fill`] on another thread.
    pub fn wake(&self) {
        // SAFETY: the queue is alive.
        unsafe { sys::rd_kafka_queue_yield(self.ptr) }
    }

    /// Replaces what is in `into` by what is here, sorted by partition, in order within each.
    pub fn fill(&self, into: &mut Messages, wait: Duration) {
        into.clear();
        into.client = Some(Arc::clone(&self.client));
        let room = into.slots.len();
        let slots: *mut *mut sys::RDKafkaMessage = into.slots.as_mut_ptr().cast();
        let mut take = |wait, most| {
            // SAFETY: a slot is a pointer, and `most` of them are left.
            let slots = unsafe { slots.add(into.len) };
            // SAFETY: as above; the queue is alive.
            let taken = unsafe { sys::rd_kafka_consume_batch_queue(self.ptr, wait, slots, most) };
            into.len += usize::try_from(taken).unwrap_or(0);
            into.len
        };
        // Only the first is waited for: a call waits until its whole array is full.
        if take(millis(wait), 1) > 0 {
            take(0, room - 1);
        }
        // By offset within each: then no room is needed to keep their order.
        into.slots[..into.len].sort_unstable_by_key(Message::place);
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: made by `new`, destroyed once.
        unsafe { sys::rd_kafka_queue_destroy(self.ptr) }
    }
}

/// A message or an error in the place of one, owned by [`Messages`].
#[repr(transparent)]
pub struct Message(*mut sys::RDKafkaMessage);

impl Message {
    fn raw(&self) -> &sys::RDKafkaMessage {
        // SAFETY: see the invariants of the module.
        unsafe { &*self.0 }
    }

    /// Its partition and offset; those of the place where an error was met.
    pub fn place(&self) -> (i32, i64) {
        (self.raw().partition, self.raw().offset)
    }

    /// Its key and its value; a tombstone has none.
    pub fn pair(&self) -> (Option<&[u8]>, Option<&[u8]>) {
        let raw = self.raw();
        (bytes(raw.key, raw.key_len), bytes(raw.payload, raw.len))
    }

    /// The error that it stands for.
    pub fn error(&self) -> Option<(RDKafkaErrorCode, String)> {
        // SAFETY: the message is alive, and its text with it.
        let text = || text(unsafe { sys::rd_kafka_message_errstr(self.0) });
        (self.raw().err != NO_ERROR).then(|| (self.raw().err.into(), text()))
    }

    /// It as a record.
    pub fn record(&self) -> Record<'_> {
        // SAFETY: the message is alive; the kind of the timestamp may be left out.
        let at = unsafe { sys::rd_kafka_message_timestamp(self.0, ptr::null_mut()) };
        let (key, value) = self.pair();
        Record {
            position: Position(self.raw().offset),
            appended_at: (at >= 0).then_some(at),
            key,
            value: value.unwrap_or_default(),
            headers: self,
        }
    }
}

impl Headers for Message {
    fn to_vec(&self) -> Vec<(String, Vec<u8>)> {
        let (mut copies, mut headers) = (Vec::new(), ptr::null_mut());
        let (mut name, mut value, mut len) = (ptr::null(), ptr::null(), 0);
        let (to, value_to, len_to) = (&raw mut name, &raw mut value, &raw mut len);
        // SAFETY: headers, names and values live as long as the message and are copied at once.
        unsafe {
            if sys::rd_kafka_message_headers(self.0, &raw mut headers) == NO_ERROR {
                while header(headers, copies.len(), to, value_to, len_to) == NO_ERROR {
                    copies.push((text(name), bytes(value, len).unwrap_or_default().to_vec()));
                }
            }
        }
        copies
    }
}

/// A batch of messages, destroyed with it or by the next [`Queue::fill`].
pub struct Messages {
    slots: Box<[Message]>,
    len: usize,
    /// Whose they are: a client waits in its destruction until they are given back.
    client: Option<Arc<BaseConsumer<Context>>>,
}

// SAFETY: messages belong to no thread.
unsafe impl Send for Messages {}

impl Messages {
    /// Room for `most` messages at a time, at least one.
    pub fn new(most: usize) -> Self {
        let slots = (0..most.max(1)).map(|_| Message(ptr::null_mut())).collect();
        Self { slots, len: 0, client: None }
    }

    /// What was taken.
    pub fn as_slice(&self) -> &[Message] {
        &self.slots[..self.len]
    }

    fn clear(&mut self) {
        for message in &self.slots[..std::mem::take(&mut self.len)] {
            // SAFETY: filled, and no longer counted as such.
            unsafe { sys::rd_kafka_message_destroy(message.0) }
        }
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The generation in which a consumer is a member of its group; -1 when it is none.
pub fn generation(consumer: &BaseConsumer<Context>) -> i32 {
    // SAFETY: the client is alive; what it returns is destroyed here, unless it is null.
    unsafe {
        let member = sys::rd_kafka_consumer_group_metadata(consumer.client().native_ptr());
        if member.is_null() {
            return -1;
        }
        let generation = sys::rd_kafka_consumer_group_metadata_generation_id(member);
        sys::rd_kafka_consumer_group_metadata_destroy(member);
        generation
    }
}

/// Waits for the producer's next event and adds the reports in it to `reports`; hands errors and
/// log lines to the context. Returns whether there was one.
pub fn next_event(producer: &BaseProducer<Context>, wait: Duration, reports: &mut Reports) -> bool {
    let context = producer.context();
    // SAFETY: client, queue and event are alive; what the event holds is not used after its end.
    unsafe {
        let queue = sys::rd_kafka_queue_get_main(producer.client().native_ptr());
        let event = sys::rd_kafka_queue_poll(queue, millis(wait));
        sys::rd_kafka_queue_destroy(queue);
        match sys::rd_kafka_event_type(event) {
            sys::RD_KAFKA_EVENT_DR => {
                while let Some(message) = sys::rd_kafka_event_message_next(event).as_ref() {
                    match message.err {
                        NO_ERROR => reports.delivered += 1,
                        err => _ = reports.failed.get_or_insert(err.into()),
                    }
                }
            }
            sys::RD_KAFKA_EVENT_ERROR => {
                context.failed(&text(sys::rd_kafka_event_error_string(event)));
            }
            sys::RD_KAFKA_EVENT_LOG => {
                let (mut facility, mut line, mut level) = (ptr::null(), ptr::null(), 0);
                let (to, line_to) = (&raw mut facility, &raw mut line);
                sys::rd_kafka_event_log(event, to, line_to, &raw mut level);
                context.logged(&text(facility), &text(line));
            }
            _ => {}
        }
        sys::rd_kafka_event_destroy(event);
        !event.is_null()
    }
}

fn text(from: *const c_char) -> String {
    // SAFETY: given by librdkafka: null, or ended by a zero and alive for now.
    unsafe { from.as_ref().map(|from| CStr::from_ptr(from).to_string_lossy().into_owned()) }
        .unwrap_or_default()
}

fn bytes<'a>(from: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: given by librdkafka: null, or of this length and alive as long as its message.
    (!from.is_null()).then(|| unsafe { std::slice::from_raw_parts(from.cast(), len) })
}

/// Rounded up: a wait of 0 would make a caller spin through its last millisecond.
fn millis(wait: Duration) -> i32 {
    i32::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
}
