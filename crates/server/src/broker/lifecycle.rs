//! The broker's life as the cluster sees it: registered, fenced, unfenced, shutting down.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ottla_controller::LOST_SESSION_PART;
use ottla_metadata::BrokerRegistration;
use ottla_metadata::features::SUPPORTED;
use ottla_model::{BrokerEpoch, ErrorCode, NodeId, Offset, Uuid};
use ottla_protocol::Str;
use ottla_protocol::api::broker_heartbeat::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
use ottla_protocol::api::broker_registration::{
    BrokerRegistrationRequest, BrokerRegistrationResponse, Feature, Listener,
};

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::log_dir_states::LogDirStates;
use crate::config::{Endpoint, ServerConfig};
use crate::controller::{ControllerClient, ControllerError};
use crate::metadata::MetadataHandle;

/// How long to wait between heartbeats while something is expected to happen.
const EAGER_INTERVAL: Duration = Duration::from_millis(10);

/// How long to wait between attempts to register.
const REGISTRATION_INTERVAL: Duration = Duration::from_millis(500);

/// How long the last broker waits to be told that it may stop.
const LAST_ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// What the broker tells of itself.
#[derive(Clone, Debug)]
pub struct Registration {
    pub node_id: NodeId,
    pub cluster_id: String,
    pub incarnation: Uuid,
    /// Advertised, with the ports that were opened.
    pub listeners: Vec<Endpoint>,
    pub rack: Option<String>,
    /// Ids of the online log directories.
    pub directories: Vec<Uuid>,
    /// From the marker of a clean stop, else -1.
    pub previous_epoch: BrokerEpoch,
}

/// Why the broker is not part of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LifecycleError {
    #[error("the controller refused to register this broker: {0}")]
    Refused(ErrorCode),
    #[error("no controller has taken this broker in within {} ms", .0.as_millis())]
    NoController(Duration),
    #[error(transparent)]
    Controller(#[from] ControllerError),
}

/// Registers the broker and keeps it alive. Cheap to clone.
#[derive(Clone)]
pub struct BrokerLifecycle {
    controller: ControllerClient,
    metadata: MetadataHandle,
    node_id: NodeId,
    epoch: Arc<AtomicI64>,
    interval: Duration,
    registration_timeout: Duration,
    election_timeout: Duration,
    log_dirs: Arc<LogDirStates>,
    session: Arc<Session>,
    wish: Arc<Mutex<Wish>>,
}

/// Whether the controller still counts this broker among the living, as far as the broker can know by itself.
///
/// A broker that is not heard of for `broker.session.timeout.ms`, or a part of it after its connection ended, is fenced
/// and others lead, and it may be the last to learn of it. The controller counts from when it hears a heartbeat or that
/// the connection ended, this from when the heartbeat was sent. And the controller that took it may have been deposed
/// for a while, such as the one on this node if the node is cut off: it waits half as long again as
/// `controller.quorum.fetch.timeout.ms`, after which the others elect one, before it gives up.
#[derive(Debug)]
pub struct Session {
    timeout: Duration,
    /// When the last heartbeat was sent that the controller took from an unfenced broker.
    last_heard: parking_lot::Mutex<Option<Instant>>,
}

impl Session {
    pub fn new(config: &ServerConfig) -> Arc<Self> {
        let lifecycle = &config.lifecycle;
        // Half of it, and as much for what was under way. A session as short as that is alive from one heartbeat to the
        // next, or nobody would ever be told that an offset does not exist.
        let sure_ms = i64::from(lifecycle.session_timeout_ms) - i64::from(config.quorum.fetch_timeout_ms);
        let sure_ms = sure_ms.max(2 * i64::from(lifecycle.heartbeat_interval_ms));
        let lost_ms = i64::from(lifecycle.session_timeout_ms) / LOST_SESSION_PART;
        let timeout = Duration::from_millis(sure_ms.min(lost_ms).max(0) as u64);
        Arc::new(Self { timeout, last_heard: parking_lot::Mutex::default() })
    }

    /// Not fenced at `now`, unless clocks run at different speeds.
    pub fn is_alive(&self, now: Instant) -> bool {
        self.last_heard.lock().is_some_and(|sent| now.saturating_duration_since(sent) < self.timeout)
    }

    fn answered(&self, sent: Instant, response: &BrokerHeartbeatResponse) {
        if response.error_code == 0 && !response.is_fenced {
            *self.last_heard.lock() = Some(sent);
        }
    }
}

impl BrokerLifecycle {
    pub fn new(
        config: &ServerConfig,
        controller: ControllerClient,
        metadata: MetadataHandle,
        log_dirs: Arc<LogDirStates>,
        session: Arc<Session>,
    ) -> Self {
        let interval = Duration::from_millis(config.lifecycle.heartbeat_interval_ms.max(1) as u64);
        let registration_timeout =
            Duration::from_millis(config.lifecycle.initial_registration_timeout_ms.max(0) as u64);
        let epoch = Arc::new(AtomicI64::new(BrokerEpoch::NONE.0));
        let node_id = config.node_id;
        let wish = Arc::new(Mutex::new(Wish::Load));
        let election_timeout = Duration::from_millis(config.quorum.election_timeout_ms.max(0) as u64);
        Self {
            controller,
            metadata,
            node_id,
            epoch,
            interval,
            registration_timeout,
            election_timeout,
            log_dirs,
            session,
            wish,
        }
    }

    /// The epoch of the registration; none before [`Self::register`].
    pub fn epoch(&self) -> BrokerEpoch {
        BrokerEpoch(self.epoch.load(Ordering::Acquire))
    }

    /// Registers this incarnation. The broker is fenced, and the registration is in the image when it returns.
    pub async fn register(&self, registration: Registration) -> Result<BrokerEpoch, LifecycleError> {
        let listener = |endpoint: &Endpoint| Listener {
            name: Str::from(&endpoint.listener),
            host: Str::from(match endpoint.is_wildcard() {
                true => crate::quorum::host_name(),
                false => endpoint.host.clone(),
            }),
            port: endpoint.port,
            security_protocol: endpoint.protocol as i16,
        };
        let feature = |feature: &ottla_metadata::features::SupportedFeature| Feature {
            name: Str::from(feature.name),
            min_supported_version: feature.min,
            max_supported_version: feature.max,
        };
        let mut log_dirs = registration.directories;
        log_dirs.sort_unstable();
        let request = BrokerRegistrationRequest {
            broker_id: registration.node_id.0,
            cluster_id: Str::from(registration.cluster_id),
            incarnation_id: registration.incarnation,
            listeners: registration.listeners.iter().map(listener).collect(),
            features: SUPPORTED.iter().map(feature).collect(),
            rack: registration.rack.map(Str::from),
            is_migrating_zk_broker: false,
            log_dirs,
            previous_broker_epoch: registration.previous_epoch.0,
        };
        let registered = timeout(self.registration_timeout, self.register_until_answered(request)).await;
        let response = registered.map_err(|_| LifecycleError::NoController(self.registration_timeout))??;
        self.epoch.store(response.broker_epoch, Ordering::Release);
        // The epoch is the offset of the registration's record.
        self.metadata.wait_for(Offset(response.broker_epoch)).await;
        Ok(BrokerEpoch(response.broker_epoch))
    }

    async fn register_until_answered(
        &self,
        request: BrokerRegistrationRequest,
    ) -> Result<BrokerRegistrationResponse, LifecycleError> {
        let mut waits = false;
        loop {
            let response = match self.controller.register_broker(request.clone()).await {
                Err(ControllerError::NotController) => continue,
                response => response?,
            };
            match ErrorCode::from_code(response.error_code) {
                Some(ErrorCode::None) => return Ok(response),
                // Its session of an earlier life has to end first.
                Some(ErrorCode::DuplicateBrokerRegistration) => {
                    if !std::mem::replace(&mut waits, true) {
                        tracing::warn!(
                            "another process has this broker's id: waiting for its session to end"
                        );
                    }
                    tokio::time::sleep(REGISTRATION_INTERVAL).await;
                }
                code => return Err(LifecycleError::Refused(code.unwrap_or(ErrorCode::UnknownServerError))),
            }
        }
    }

    /// Says that the broker is ready; comes back when clients may see it. A controller that first heard with this of a
    /// directory that failed would have the broker lead what lies there.
    pub async fn unfence(&self) -> Result<(), LifecycleError> {
        while !self.log_dirs.failed().is_empty() && self.heartbeat().await?.error_code != 0 {
            tokio::time::sleep(EAGER_INTERVAL).await;
        }
        *self.wish.lock().await = Wish::Serve;
        loop {
            let response = self.heartbeat().await?;
            if response.error_code == 0 && !response.is_fenced {
                return Ok(());
            }
            tokio::time::sleep(EAGER_INTERVAL).await;
        }
    }

    /// Tells the controller that the broker lives, until dropped.
    pub async fn keep_alive(&self) {
        loop {
            // A directory that fails is told at once.
            let _ = tokio::time::timeout(self.interval, self.log_dirs.changed.notified()).await;
            match self.heartbeat().await {
                Ok(response) if response.error_code != 0 => {
                    let code = ErrorCode::from_code(response.error_code);
                    tracing::warn!(?code, "the controller refused a heartbeat");
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "no heartbeat");
                    if error == LifecycleError::Controller(ControllerError::Stopping) {
                        return;
                    }
                }
            }
        }
    }

    /// Asks to be let go: leaders move elsewhere where they can. Comes back when the broker may stop: also soon after
    /// no other broker is left to lead, or no controller to answer.
    pub async fn controlled_shutdown(&self) -> Result<(), LifecycleError> {
        let let_go = async {
            *self.wish.lock().await = Wish::ShutDown;
            loop {
                let response = self.heartbeat().await?;
                if response.should_shut_down || response.error_code != 0 {
                    return Ok(());
                }
                tokio::time::sleep(EAGER_INTERVAL).await;
            }
        };
        let left_alone = async {
            self.others_go().await;
            tokio::time::sleep(LAST_ANSWER_TIMEOUT).await;
        };
        tokio::select! {
            outcome = let_go => outcome,
            () = left_alone => Ok(()),
            () = self.controller.cut_off_for(self.election_timeout) => Ok(()),
        }
    }

    /// Waits until all other brokers are fenced or on their way out. Never comes back if there are none.
    async fn others_go(&self) {
        let mut metadata = self.metadata.clone();
        loop {
            let goes = |known: &Arc<BrokerRegistration>| known.fenced || known.in_controlled_shutdown;
            let others_go = {
                let image = metadata.peek();
                let mut others = image.cluster.brokers().filter(|known| known.id != self.node_id).peekable();
                others.peek().is_some() && others.all(goes)
            };
            if others_go {
                return;
            }
            metadata.changed().await;
        }
    }

    /// One at a time: a late wish to serve would bring a broker back that has been let go.
    async fn heartbeat(&self) -> Result<BrokerHeartbeatResponse, LifecycleError> {
        let wish = self.wish.lock().await;
        let request = BrokerHeartbeatRequest {
            broker_id: self.node_id.0,
            broker_epoch: self.epoch().0,
            current_metadata_offset: self.metadata.offset().0,
            want_fence: *wish == Wish::Load,
            want_shut_down: *wish == Wish::ShutDown,
            offline_log_dirs: self.log_dirs.failed(),
            cordoned_log_dirs: Some(Vec::new()),
        };
        let sent = Instant::now();
        let response = self.controller.heartbeat(request).await?;
        self.session.answered(sent, &response);
        Ok(response)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Load,
    Serve,
    ShutDown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_lives_as_long_as_the_controller_counts_it() {
        let session = Session { timeout: Duration::from_secs(9), last_heard: parking_lot::Mutex::default() };
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let taken = BrokerHeartbeatResponse { error_code: 0, is_fenced: false, ..Default::default() };
        let fenced = BrokerHeartbeatResponse { is_fenced: true, ..taken.clone() };
        let stale =
            BrokerHeartbeatResponse { error_code: ErrorCode::StaleBrokerEpoch.code(), ..taken.clone() };
        assert!(!session.is_alive(begun), "nobody knows of it");
        session.answered(begun, &taken);
        assert!(session.is_alive(after(8)));
        assert!(!session.is_alive(after(9)));
        session.answered(after(8), &fenced);
        session.answered(after(8), &stale);
        assert!(!session.is_alive(after(9)), "neither answer keeps it");
        session.answered(after(8), &taken);
        assert!(session.is_alive(after(16)));
    }
}
