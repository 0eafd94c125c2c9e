//! What goes wrong on order: faults that wait for requests of a kind, and what they do to them.

mod plain;
mod refusal;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use ottla_model::{ErrorCode, Uuid};
use ottla_protocol::ApiKey;
use ottla_server::api::{Intervention, RequestContext, RequestHook};
use ottla_server::node::Node;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::broker::Command;
use refusal::Asked;

/// Something that goes wrong with some requests; made by [`Fault::on`].
#[derive(Debug)]
pub struct Fault {
    filter: FaultBuilder,
    action: Action,
}

/// Which requests a fault is for.
#[derive(Clone, Debug)]
pub struct FaultBuilder {
    key: ApiKey,
    partition: Option<(String, i32)>,
    client_id: Option<String>,
    pass: u32,
    times: u32,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Error(ErrorCode),
    Delay(Duration),
    Close,
    LoseAnswer,
    Kill,
}

/// A fault that was injected.
#[derive(Clone, Debug)]
pub struct Armed {
    hits: Arc<AtomicU32>,
}

impl Armed {
    /// How often it has happened.
    pub fn hits(&self) -> u32 {
        self.hits.load(Ordering::Relaxed)
    }
}

impl Fault {
    /// A fault of requests of this kind: all of them, until the builder says otherwise.
    pub fn on(key: ApiKey) -> FaultBuilder {
        FaultBuilder { key, partition: None, client_id: None, pass: 0, times: u32::MAX }
    }
}

impl FaultBuilder {
    /// Only requests that name this partition.
    pub fn partition(mut self, topic: &str, partition: i32) -> Self {
        self.partition = Some((topic.to_owned(), partition));
        self
    }

    /// Only requests of the client that calls itself so.
    pub fn client_id(mut self, client_id: &str) -> Self {
        self.client_id = Some(client_id.to_owned());
        self
    }

    /// Lets so many requests pass first.
    pub fn after(mut self, requests: u32) -> Self {
        self.pass = requests;
        self
    }

    /// Happens so often, then never again.
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// The request is refused with this error, for all that it names, and not done.
    ///
    /// # Panics
    /// For requests whose answer has no place for an error; a node serves none.
    pub fn error(self, code: ErrorCode) -> Fault {
        assert!(refusal::is_known(self.key), "{:?} cannot be refused with an error", self.key);
        self.fault(Action::Error(code))
    }

    /// The request is done later. What the connection sends behind it waits too.
    pub fn delay(self, delay: Duration) -> Fault {
        self.fault(Action::Delay(delay))
    }

    /// The connection is closed, and the request not done.
    pub fn drop_connection(self) -> Fault {
        self.fault(Action::Close)
    }

    /// The request is done, and the connection closed before the answer leaves.
    pub fn lose_answer(self) -> Fault {
        self.fault(Action::LoseAnswer)
    }

    /// The broker is killed when the request comes.
    pub fn kill_broker(self) -> Fault {
        self.fault(Action::Kill)
    }

    fn fault(self, action: Action) -> Fault {
        Fault { filter: self, action }
    }
}

/// The faults of a broker.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    armed: Vec<(Fault, Arc<AtomicU32>)>,
    broker: Option<mpsc::WeakUnboundedSender<Command>>,
    /// Tells the names of topics.
    node: Weak<Node>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("armed", &self.armed).finish_non_exhaustive()
    }
}

impl Faults {
    pub fn arm(&self, fault: Fault) -> Armed {
        let hits = Arc::new(AtomicU32::new(0));
        self.state.lock().armed.push((fault, Arc::clone(&hits)));
        Armed { hits }
    }

    pub fn clear(&self) {
        self.state.lock().armed.clear();
    }

    pub fn set_broker(&self, broker: mpsc::WeakUnboundedSender<Command>) {
        self.state.lock().broker = Some(broker);
    }

    pub fn set_node(&self, node: &Arc<Node>) {
        self.state.lock().node = Arc::downgrade(node);
    }
}

impl RequestHook for Faults {
    fn intervene(&self, request: &RequestContext, body: Bytes) -> Option<Intervention> {
        let state = &mut *self.state.lock();
        if !state.armed.iter().any(|(fault, _)| fault.filter.key == request.api_key) {
            return None;
        }
        let asked = refusal::decode(request.api_key, request.api_version, body);
        let node = state.node.upgrade();
        let name_of = |id: Uuid| Some(node.as_ref()?.image().topics.by_id(id)?.name.to_string());
        let mut chosen = None;
        state.armed.retain_mut(|(fault, hits)| {
            if chosen.is_some() || !fault.filter.matches(request, asked.as_ref(), &name_of) {
                return true;
            }
            if fault.filter.pass > 0 {
                fault.filter.pass -= 1;
                return true;
            }
            hits.fetch_add(1, Ordering::Relaxed);
            chosen = Some(fault.action);
            fault.filter.times -= 1;
            fault.filter.times > 0
        });
        match chosen {
            Some(action) => Some(match action {
                Action::Delay(delay) => Intervention::Delay(delay),
                Action::Close => Intervention::Close,
                Action::LoseAnswer => Intervention::LoseAnswer,
                Action::Error(code) => asked.map_or(Intervention::Close, |asked| asked.refuse(request, code)),
                Action::Kill => {
                    if let Some(broker) = state.broker.as_ref().and_then(mpsc::WeakUnboundedSender::upgrade) {
                        let _ = broker.send(Command::Kill);
                    }
                    Intervention::Close
                }
            }),
            // An incremental fetch does not name its partitions: only the first of a session can be told by them.
            None => match asked {
                Some(fetch)
                    if fetch.is_incremental()
                        && state.armed.iter().any(|(fault, _)| {
                            fault.filter.key == ApiKey::Fetch && fault.filter.partition.is_some()
                        }) =>
                {
                    Some(fetch.refuse_session(request))
                }
                _ => None,
            },
        }
    }
}

impl FaultBuilder {
    fn matches(
        &self,
        request: &RequestContext,
        asked: Option<&Asked>,
        name_of: &dyn Fn(Uuid) -> Option<String>,
    ) -> bool {
        let client = self.client_id.as_deref();
        self.key == request.api_key
            && client.is_none_or(|client| request.client_id.as_deref() == Some(client))
            && self.partition.as_ref().is_none_or(|(topic, partition)| {
                asked.is_some_and(|asked| asked.names(topic, *partition, name_of))
            })
    }
}
