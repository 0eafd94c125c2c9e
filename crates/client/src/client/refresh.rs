//! The task that keeps metadata fresh: when somebody asks, when it is old, and from the bootstrap servers when nobody
//! else answers (KIP-899, KIP-1102).

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashSet;
use ottla_model::{ErrorCode, Uuid};
use ottla_protocol::api::describe_cluster::DescribeClusterRequest;
use ottla_protocol::api::metadata::{MetadataRequest, MetadataRequestTopic};
use ottla_protocol::{Request, Str};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{CallOptions, Inner, Lane, Peers, random};
use crate::config::ClientConfig;
use crate::error::{Error, Result};
use crate::state::backoff::Backoff;
use crate::state::metadata::Metadata;

/// What is asked of the task.
pub(super) struct Refresh {
    wishes: Mutex<Wishes>,
    /// Something was asked for.
    wake: Notify,
    /// The number of the last fetch that succeeded.
    fetched: watch::Sender<u64>,
    max_age: Duration,
    rebootstrap_after: Duration,
    backoff: Backoff,
}

#[derive(Default)]
struct Wishes {
    topics: HashSet<Arc<str>>,
    all: bool,
    auto_create: bool,
    /// The fetch that must have succeeded for all wishes to be fulfilled.
    requested: u64,
    /// Fetches begun.
    begun: u64,
    /// Topics were added that no fetch has asked for: it need not wait.
    urgent: bool,
    failure: Option<Error>,
}

impl Refresh {
    pub fn new(config: &ClientConfig) -> Self {
        Self {
            wishes: Mutex::default(),
            wake: Notify::new(),
            fetched: watch::Sender::new(0),
            max_age: config.millis("metadata.max.age.ms"),
            rebootstrap_after: config.millis("metadata.recovery.rebootstrap.trigger.ms"),
            backoff: Backoff::new(config.millis("retry.backoff.ms"), config.millis("retry.backoff.max.ms")),
        }
    }

    pub fn want(&self, topics: impl IntoIterator<Item = Arc<str>>) {
        let mut wishes = self.wishes.lock();
        let before = wishes.topics.len();
        wishes.topics.extend(topics);
        if wishes.topics.len() > before {
            wishes.urgent = true;
            wishes.requested = wishes.begun + 1;
            self.wake.notify_one();
        }
    }

    pub fn forget<'a>(&self, topics: impl IntoIterator<Item = &'a str>) {
        let mut wishes = self.wishes.lock();
        for topic in topics {
            wishes.topics.remove(topic);
        }
    }

    pub fn want_all(&self, all: bool) {
        let mut wishes = self.wishes.lock();
        if all && !wishes.all {
            wishes.urgent = true;
            wishes.requested = wishes.begun + 1;
            self.wake.notify_one();
        }
        wishes.all = all;
    }

    pub fn set_auto_create(&self, allowed: bool) {
        self.wishes.lock().auto_create = allowed;
    }

    /// The number of a fetch that begins after this call.
    pub fn request(&self) -> u64 {
        let mut wishes = self.wishes.lock();
        wishes.requested = wishes.begun + 1;
        self.wake.notify_one();
        wishes.requested
    }

    /// Waits for a fetch that began after this call.
    pub async fn updated(&self) {
        let number = self.request();
        // The sender lives as long as the client.
        let _ = self.fetched.subscribe().wait_for(|fetched| *fetched >= number).await;
    }

    pub fn failure(&self) -> Option<Error> {
        self.wishes.lock().failure.clone()
    }
}

/// Runs until the client's thread ends.
pub(super) async fn run(inner: Arc<Inner>) {
    let refresh = &inner.refresh;
    let mut fetched_at = Instant::now();
    let mut failures = 0;
    let mut failing_since = None;
    loop {
        wait_for_work(refresh, fetched_at, failures).await;
        let (number, request, all) = {
            let mut wishes = refresh.wishes.lock();
            wishes.begun += 1;
            wishes.urgent = false;
            (wishes.begun, request(&wishes), wishes.all)
        };
        match fetch(&inner, request, all).await {
            Ok(()) => {
                failures = 0;
                failing_since = None;
                fetched_at = Instant::now();
                refresh.wishes.lock().failure = None;
                refresh.fetched.send_replace(number);
            }
            Err(error) => {
                tracing::debug!(%error, "cannot fetch metadata");
                let since = *failing_since.get_or_insert_with(Instant::now);
                if inner.rebootstraps
                    && (since.elapsed() >= refresh.rebootstrap_after
                        || error.code() == Some(ErrorCode::RebootstrapRequired))
                {
                    failing_since = None;
                    inner.forget_brokers();
                }
                {
                    let mut wishes = refresh.wishes.lock();
                    wishes.requested = wishes.begun + 1;
                    wishes.failure = Some(error);
                }
                // Every known server is tried once before the first pause.
                let known = inner.bootstrap.len() + inner.metadata.load().brokers.len();
                if failures >= known as u32 {
                    sleep(refresh.backoff.delay(failures - known as u32, random())).await;
                }
                failures += 1;
            }
        }
    }
}

async fn wait_for_work(refresh: &Refresh, fetched_at: Instant, failures: u32) {
    loop {
        let (wanted, urgent) = {
            let wishes = refresh.wishes.lock();
            (wishes.requested > wishes.begun, wishes.urgent)
        };
        if wanted && (urgent || failures > 0 || *refresh.fetched.borrow() == 0) {
            return;
        }
        // What is asked for again and again (a partition without a leader) is fetched at the pace of retries.
        let at = if wanted {
            fetched_at + refresh.backoff.delay(0, random())
        } else {
            fetched_at + refresh.max_age
        };
        if Instant::now() >= at {
            return;
        }
        let pause = sleep_until(at);
        tokio::select! {
            () = refresh.wake.notified() => {}
            () = pause => {}
        }
    }
}

fn request(wishes: &Wishes) -> MetadataRequest {
    let topic =
        |name: &Arc<str>| MetadataRequestTopic { name: Some(Str::from(&**name)), topic_id: Uuid::ZERO };
    MetadataRequest {
        topics: (!wishes.all).then(|| wishes.topics.iter().map(topic).collect()),
        allow_auto_topic_creation: wishes.auto_create,
        ..Default::default()
    }
}

async fn fetch(inner: &Inner, request: MetadataRequest, all: bool) -> Result<()> {
    if inner.peers == Peers::Controllers {
        return fetch_controllers(inner).await;
    }
    let answer = ask(inner, request).await?;
    if answer.error_code != 0 {
        return Err(Error::from_code(answer.error_code));
    }
    let wanted = (!all).then(|| inner.refresh.wishes.lock().topics.clone());
    let known = inner.metadata.load_full();
    inner.change_metadata(|known| Some(known.updated(&answer, wanted.as_ref())));
    for topic in inner.metadata.load().topics.values() {
        if let Some(code) = topic.error
            && known.topic(&topic.name).is_none_or(|known| known.error != topic.error)
        {
            tracing::warn!(topic = %topic.name, %code, "a topic cannot be used");
        }
    }
    Ok(())
}

/// Controllers know themselves only: who they are, and who of them is active.
async fn fetch_controllers(inner: &Inner) -> Result<()> {
    let answer = ask(inner, DescribeClusterRequest { endpoint_type: 2, ..Default::default() }).await?;
    Error::check(answer.error_code, answer.error_message.as_deref())?;
    inner.change_metadata(|_| Some(Metadata::of_controllers(&answer)));
    Ok(())
}

async fn ask<R: Request>(inner: &Inner, request: R) -> Result<R::Response> {
    let node = inner.any_node(Lane::Main);
    let call = inner.call(&node, request, CallOptions::default());
    // A node that takes the request and falls silent is noticed by its connection; this is for one that never connects.
    let limit = inner.shared.setup.max() + inner.shared.request_timeout;
    timeout(limit, call).await.map_err(|_| inner.timed_out("a metadata request", limit, None))?
}

impl Inner {
    /// Begins anew at the bootstrap servers.
    fn forget_brokers(&self) {
        tracing::info!("no known broker answers: starting from the bootstrap servers again");
        self.change_metadata(|known| Some(Metadata { brokers: Default::default(), ..known.clone() }));
        self.nodes.lock().clear();
    }
}
