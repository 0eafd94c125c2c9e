//! A fetch session on the client's side (KIP-227): after the first request only what changed is sent.

use std::collections::BTreeMap;

use ottla_model::{ErrorCode, TopicPartition, Uuid};
use ottla_protocol::api::fetch::{FetchPartition, FetchTopic, ForgottenTopic};

/// What one Fetch request says about its session.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SessionPart {
    pub session_id: i32,
    pub session_epoch: i32,
    pub topics: Vec<FetchTopic>,
    pub forgotten: Vec<ForgottenTopic>,
    /// Whether a topic has no id, so that only versions with names will do.
    pub lacks_ids: bool,
}

/// The session with one node. One request at a time: [`Self::next`], then [`Self::answered`] or [`Self::failed`].
#[derive(Debug, Default)]
pub struct FetchSession {
    id: i32,
    epoch: i32,
    sent: BTreeMap<TopicPartition, (Uuid, FetchPartition)>,
}

impl FetchSession {
    /// The next request for `wanted`, with topic ids for versions that have them.
    pub fn next(&mut self, wanted: BTreeMap<TopicPartition, (Uuid, FetchPartition)>) -> SessionPart {
        let lacks_ids = wanted.values().any(|(id, _)| id.is_zero());
        let (session_id, session_epoch) = (self.id, self.epoch);
        let mut part = SessionPart { session_id, session_epoch, lacks_ids, ..Default::default() };
        for (partition, (topic_id, fetch)) in &wanted {
            let known = self.epoch != 0
                && self.sent.get(partition).is_some_and(|sent| *sent == (*topic_id, fetch.clone()));
            if !known {
                let fetch = fetch.clone();
                match part.topics.last_mut().filter(|topic| *topic.topic == *partition.topic) {
                    Some(topic) => topic.partitions.push(fetch),
                    None => part.topics.push(FetchTopic {
                        topic: (&*partition.topic).into(),
                        topic_id: *topic_id,
                        partitions: vec![fetch],
                    }),
                }
            }
        }
        if self.epoch != 0 {
            for (partition, (topic_id, _)) in &self.sent {
                // A topic that was made anew under its name is another one to the session.
                if wanted.get(partition).is_none_or(|(wanted, _)| wanted != topic_id) {
                    match part
                        .forgotten
                        .last_mut()
                        .filter(|topic| topic.topic_id == *topic_id && *topic.topic == *partition.topic)
                    {
                        Some(topic) => topic.partitions.push(partition.partition),
                        None => part.forgotten.push(ForgottenTopic {
                            topic: (&*partition.topic).into(),
                            topic_id: *topic_id,
                            partitions: vec![partition.partition],
                        }),
                    }
                }
            }
        }
        self.sent = wanted;
        part
    }

    /// A request for `wanted` that makes no session, of one that has none.
    pub fn next_without_session(
        &mut self,
        wanted: BTreeMap<TopicPartition, (Uuid, FetchPartition)>,
    ) -> SessionPart {
        SessionPart { session_epoch: -1, ..self.next(wanted) }
    }

    /// The topic that the session knows by this id.
    pub fn topic_of(&self, topic_id: Uuid) -> Option<&TopicPartition> {
        self.sent.iter().find(|(_, (id, _))| *id == topic_id).map(|(partition, _)| partition)
    }

    /// The node answered with this error of the whole and this session; 0: it made none.
    pub fn answered(&mut self, error: ErrorCode, session_id: i32) {
        match error {
            ErrorCode::None if session_id == 0 => *self = Self::default(),
            ErrorCode::None => {
                // Epoch 0 asks for a new session; behind the largest comes 1.
                self.epoch = if self.id == session_id { self.epoch.checked_add(1).unwrap_or(1) } else { 1 };
                self.epoch = self.epoch.max(1);
                self.id = session_id;
            }
            ErrorCode::FetchSessionIdNotFound => *self = Self::default(),
            _ => self.failed(),
        }
    }

    /// The request that ends the session at the node, if there is one.
    pub fn close(&mut self) -> Option<SessionPart> {
        let part = SessionPart { session_id: self.id, session_epoch: -1, ..Default::default() };
        let open = self.id != 0;
        *self = Self::default();
        open.then_some(part)
    }

    /// No answer came: the session may be ahead or not. It is closed by the next request, which begins a new one.
    pub fn failed(&mut self) {
        self.epoch = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(offsets: &[(i32, i64)]) -> BTreeMap<TopicPartition, (Uuid, FetchPartition)> {
        let fetch = |&(partition, fetch_offset): &(i32, i64)| {
            let fetch = FetchPartition { partition, fetch_offset, ..Default::default() };
            (TopicPartition::new("t", partition), (Uuid::ONE, fetch))
        };
        offsets.iter().map(fetch).collect()
    }

    fn sent(part: &SessionPart) -> (i32, i32, Vec<i32>, Vec<i32>) {
        let topics = part.topics.iter().flat_map(|t| t.partitions.iter().map(|p| p.partition)).collect();
        let forgotten = part.forgotten.iter().flat_map(|t| t.partitions.iter().copied()).collect();
        (part.session_id, part.session_epoch, topics, forgotten)
    }

    #[test]
    fn only_changes_are_sent() {
        let mut session = FetchSession::default();
        assert_eq!(sent(&session.next(wanted(&[(0, 0), (1, 0)]))), (0, 0, vec![0, 1], vec![]));
        session.answered(ErrorCode::None, 7);
        assert_eq!(sent(&session.next(wanted(&[(0, 5), (1, 0)]))), (7, 1, vec![0], vec![]));
        session.answered(ErrorCode::None, 7);
        assert_eq!(sent(&session.next(wanted(&[(0, 5)]))), (7, 2, vec![], vec![1]));
        session.answered(ErrorCode::None, 7);
        assert_eq!(sent(&session.next(wanted(&[(0, 5), (1, 0)]))), (7, 3, vec![1], vec![]));
    }

    #[test]
    fn a_session_that_broke_begins_anew_in_full() {
        let mut session = FetchSession::default();
        session.next(wanted(&[(0, 0)]));
        session.answered(ErrorCode::None, 7);
        session.next(wanted(&[(0, 0)]));
        session.failed();
        assert_eq!(sent(&session.next(wanted(&[(0, 0)]))), (7, 0, vec![0], vec![]));
        session.answered(ErrorCode::None, 8);
        assert_eq!(sent(&session.next(wanted(&[(0, 0)]))), (8, 1, vec![], vec![]));
        session.answered(ErrorCode::FetchSessionIdNotFound, 0);
        assert_eq!(sent(&session.next(wanted(&[(0, 0)]))), (0, 0, vec![0], vec![]));
        session.answered(ErrorCode::None, 0);
        assert_eq!(sent(&session.next(wanted(&[(0, 0)]))), (0, 0, vec![0], vec![]), "no session was made");
    }

    #[test]
    fn the_epoch_behind_the_last_is_the_first() {
        let mut session = FetchSession { id: 7, epoch: i32::MAX, ..Default::default() };
        session.answered(ErrorCode::None, 7);
        assert_eq!(session.epoch, 1);
    }

    #[test]
    fn a_session_is_closed_once() {
        let mut session = FetchSession::default();
        assert_eq!(session.close(), None);
        session.next(wanted(&[(0, 5)]));
        session.answered(ErrorCode::None, 9);
        let part = session.close().unwrap();
        assert_eq!(sent(&part), (9, -1, vec![], vec![]));
        assert_eq!(session.close(), None);
    }
}
