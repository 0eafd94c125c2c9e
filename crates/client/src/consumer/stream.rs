//! A consumer as a stream of records.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use super::{Consumer, ConsumerRecord, Records};
use crate::error::Result;

type NextPoll = Pin<Box<dyn Future<Output = (Box<Consumer>, Result<Records>)> + Send>>;

/// The records of a consumer one by one; it never ends by itself. An error is an item, after which the stream goes on.
///
/// Records count as consumed when the poll after theirs begins, as with [`Consumer::poll`]: what was handed out and
/// not worked on when the program stops is read again. To commit exactly, stop with [`Self::into_consumer`].
pub struct RecordStream {
    state: State,
    waiting: VecDeque<ConsumerRecord>,
}

enum State {
    Idle(Box<Consumer>),
    Polling(NextPoll),
    /// Between the two, for no longer than a call.
    Taken,
}

impl RecordStream {
    pub(super) fn new(consumer: Consumer) -> Self {
        Self { state: State::Idle(Box::new(consumer)), waiting: VecDeque::new() }
    }

    /// The next record.
    pub async fn next(&mut self) -> Result<ConsumerRecord> {
        let next = std::future::poll_fn(|cx| self.poll_record(cx));
        next.await
    }

    /// The consumer again, after the poll under way.
    pub async fn into_consumer(self) -> Consumer {
        match self.state {
            State::Idle(consumer) => *consumer,
            State::Polling(poll) => *poll.await.0,
            State::Taken => unreachable!("a poll hands the consumer back"),
        }
    }

    fn poll_record(&mut self, cx: &mut Context<'_>) -> Poll<Result<ConsumerRecord>> {
        loop {
            if let Some(record) = self.waiting.pop_front() {
                return Poll::Ready(Ok(record));
            }
            let mut poll = match std::mem::replace(&mut self.state, State::Taken) {
                State::Polling(poll) => poll,
                State::Idle(mut consumer) => Box::pin(async move {
                    let records = consumer.next().await;
                    (consumer, records)
                }),
                State::Taken => unreachable!("a poll hands the consumer back"),
            };
            let polled = poll.as_mut().poll(cx);
            if polled.is_pending() {
                self.state = State::Polling(poll);
            }
            let (consumer, records) = ready!(polled);
            self.state = State::Idle(consumer);
            match records {
                Ok(records) => self.waiting.extend(records.iter().map(|record| record.to_shared())),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl std::fmt::Debug for RecordStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordStream").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

impl Stream for RecordStream {
    type Item = Result<ConsumerRecord>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_record(cx).map(Some)
    }
}
