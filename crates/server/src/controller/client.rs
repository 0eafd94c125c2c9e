//! The way of this node's parts to the active controller, wherever it is.
//!
//! In this process it is reached through its handle, elsewhere by requests to its listener. A request is sent again
//! until a controller has decided or time is up, so callers see neither elections nor broken connections. As with
//! Apache Kafka's brokers, a request whose connection broke may have been decided already.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use ottla_model::{ErrorCode, NodeId};
use ottla_protocol::api::allocate_producer_ids::AllocateProducerIdsRequest;
use ottla_protocol::api::alter_configs::AlterConfigsRequest;
use ottla_protocol::api::alter_partition::AlterPartitionRequest;
use ottla_protocol::api::api_versions::ApiVersion;
use ottla_protocol::api::assign_replicas_to_dirs::AssignReplicasToDirsRequest;
use ottla_protocol::api::broker_heartbeat::BrokerHeartbeatRequest;
use ottla_protocol::api::broker_registration::BrokerRegistrationRequest;
use ottla_protocol::api::controller_registration::ControllerRegistrationRequest;
use ottla_protocol::api::create_topics::CreateTopicsRequest;
use ottla_protocol::api::envelope::EnvelopeRequest;
use ottla_protocol::api::incremental_alter_configs::IncrementalAlterConfigsRequest;
use ottla_protocol::{ApiKey, Request, Versions};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::handle::{ControllerError, ControllerHandle, QuorumLeader};
use crate::config::ServerConfig;
use crate::rpc::{self, NodeAddress, NodeClient, RpcError, RpcNetwork};

/// How long a request is repeated.
const RETRY_WINDOW: Duration = Duration::from_secs(60);
/// Pause after an attempt that reached no active controller, unless another node is known to lead before: short at
/// first, as who was just elected is active within milliseconds, then twice as long each time.
const RETRY_BACKOFF: Duration = Duration::from_millis(5);
const RETRY_BACKOFF_MAX: Duration = Duration::from_millis(50);
/// Connections without a request that are kept. Each request under way has one of its own, so that none waits for
/// another.
const IDLE_CONNECTIONS_MAX: usize = 8;

/// Reaches the active controller. Cheap to clone.
#[derive(Clone)]
pub struct ControllerClient(Arc<Inner>);

struct Inner {
    node_id: NodeId,
    local: ControllerHandle,
    network: Arc<RpcNetwork>,
    client_id: String,
    request_timeout: Duration,
    idle: Mutex<Vec<(NodeAddress, NodeClient)>>,
    /// What the controller that was reached last serves.
    served: ArcSwapOption<(NodeAddress, Vec<ApiVersion>)>,
}

/// What became of a client's request that was to be passed on.
pub enum Forwarded {
    /// The controller is in this process: ask it directly.
    Local,
    /// The answer, header included.
    Answer(Bytes),
}

macro_rules! requests {
    ($($(#[$doc:meta])* $name:ident($request:ident), $code:expr;)*) => {
        $($(#[$doc])*
        pub async fn $name(
            &self,
            request: $request,
        ) -> Result<<$request as Request>::Response, ControllerError> {
            self.reach(request, |local, request| async move { local.$name(request).await }, $code).await
        })*
    };
}

impl ControllerClient {
    pub fn new(config: &ServerConfig, local: ControllerHandle, network: Arc<RpcNetwork>) -> Self {
        Self(Arc::new(Inner {
            node_id: config.node_id,
            local,
            network,
            client_id: config.node_id.to_string(),
            request_timeout: Duration::from_millis(config.network.controller_socket_timeout_ms.max(1) as u64),
            idle: Mutex::new(Vec::new()),
            served: ArcSwapOption::empty(),
        }))
    }

    /// The versions of `key` that the active controller serves, if it is in another process and was asked before.
    pub fn served(&self, key: ApiKey) -> Option<Versions> {
        let served = self.0.served.load();
        let (address, keys) = served.as_deref()?;
        let leader = self.0.local.leader().borrow();
        let is_reached = leader.leader != Some(self.0.node_id) && leader.address.as_ref() == Some(address);
        is_reached.then(|| rpc::range_of(keys, key))
    }

    /// Waits until the voter on this node has been cut off for `period`; for ever if there is none.
    pub async fn cut_off_for(&self, period: Duration) {
        let mut leaders = self.0.local.leader().clone();
        loop {
            // An error: the quorum's thread has ended.
            let lost = leaders.wait_for(|known| known.is_cut_off).await.is_ok();
            let found = leaders.wait_for(|known| !known.is_cut_off);
            if !lost || !matches!(timeout(period, found).await, Ok(Ok(_))) {
                return;
            }
        }
    }

    requests! {
        register_broker(BrokerRegistrationRequest), |response| response.error_code;
        heartbeat(BrokerHeartbeatRequest), |response| response.error_code;
        alter_partition(AlterPartitionRequest), |response| response.error_code;
        allocate_producer_ids(AllocateProducerIdsRequest), |response| response.error_code;
        assign_replicas_to_dirs(AssignReplicasToDirsRequest), |response| response.error_code;
        register_controller(ControllerRegistrationRequest), |response| response.error_code;
        create_topics(CreateTopicsRequest),
            |response| response.topics.first().map_or(0, |topic| topic.error_code);
        alter_configs(AlterConfigsRequest),
            |response| response.responses.first().map_or(0, |resource| resource.error_code);
        incremental_alter_configs(IncrementalAlterConfigsRequest),
            |response| response.responses.first().map_or(0, |resource| resource.error_code);
    }

    /// Passes a client's request on, unless the controller is here.
    pub async fn forward(&self, envelope: &EnvelopeRequest) -> Result<Forwarded, ControllerError> {
        let deadline = Instant::now() + RETRY_WINDOW;
        let mut pause = RETRY_BACKOFF;
        loop {
            let leader = self.leader();
            if leader.is_active {
                return Ok(Forwarded::Local);
            }
            if let Some(response) = self.remote(&leader, envelope).await {
                match ErrorCode::from_code(response.error_code) {
                    Some(ErrorCode::None) => {
                        return Ok(Forwarded::Answer(response.response_data.unwrap_or_default()));
                    }
                    Some(ErrorCode::NotController) => {}
                    code => {
                        tracing::warn!(?code, "the controller refused a request that was passed on");
                        return Err(ControllerError::NotController);
                    }
                }
            }
            self.wait_for_another(&leader, deadline, &mut pause).await?;
        }
    }

    async fn reach<R: Request, F>(
        &self,
        request: R,
        decide: impl Fn(ControllerHandle, R) -> F,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response, ControllerError>
    where
        F: Future<Output = Result<R::Response, ControllerError>>,
    {
        let deadline = Instant::now() + RETRY_WINDOW;
        let mut pause = RETRY_BACKOFF;
        loop {
            let leader = self.leader();
            let answer = if leader.leader == Some(self.0.node_id) {
                match decide(self.0.local.clone(), request.clone()).await {
                    Err(ControllerError::NotController) => None,
                    Err(error) => return Err(error),
                    Ok(response) => Some(response),
                }
            } else {
                self.remote(&leader, &request).await
            };
            if let Some(response) = answer
                && code(&response) != ErrorCode::NotController.code()
            {
                return Ok(response);
            }
            self.wait_for_another(&leader, deadline, &mut pause).await?;
        }
    }

    fn leader(&self) -> QuorumLeader {
        self.0.local.leader().borrow().clone()
    }

    /// One attempt at another node; given up when somebody else is known to lead.
    async fn remote<R: Request>(&self, leader: &QuorumLeader, request: &R) -> Option<R::Response> {
        let address = leader.address.as_ref().filter(|_| leader.leader != Some(self.0.node_id))?;
        let mut leaders = self.0.local.leader().clone();
        let result = tokio::select! {
            biased;
            result = self.call(address, request) => result,
            _ = leaders.wait_for(|known| known.leader != leader.leader) => return None,
        };
        result.inspect_err(|error| tracing::debug!(%address, %error, "cannot ask the controller")).ok()
    }

    async fn call<R: Request>(&self, address: &NodeAddress, request: &R) -> Result<R::Response, RpcError> {
        loop {
            let kept = {
                let mut idle = self.0.idle.lock();
                idle.retain(|(known, _)| known == address);
                idle.pop().map(|(_, client)| client)
            };
            let (inner, was_kept) = (&self.0, kept.is_some());
            let mut client = match kept {
                Some(client) => client,
                None => {
                    let (client_id, timeout) = (&inner.client_id, inner.request_timeout);
                    let client = NodeClient::connect(&inner.network, address, client_id, timeout).await?;
                    inner.served.store(Some(Arc::new((address.clone(), client.peer().api_keys.clone()))));
                    client
                }
            };
            let response = match client.call(request).await {
                // The controller has been restarted since.
                Err(RpcError::Io(_)) if was_kept => continue,
                response => response?,
            };
            let mut idle = inner.idle.lock();
            if idle.len() < IDLE_CONNECTIONS_MAX {
                idle.push((address.clone(), client));
            }
            return Ok(response);
        }
    }

    /// Waits until another attempt makes sense. Errors: `NotController` when time is up, `Stopping`.
    async fn wait_for_another(
        &self,
        tried: &QuorumLeader,
        deadline: Instant,
        pause: &mut Duration,
    ) -> Result<(), ControllerError> {
        if Instant::now() >= deadline {
            return Err(ControllerError::NotController);
        }
        let mut leaders = self.0.local.leader().clone();
        tokio::select! {
            biased;
            changed = leaders.wait_for(|known| known != tried) => {
                changed.map(drop).map_err(|_| ControllerError::Stopping)
            }
            () = sleep(*pause) => {
                *pause = RETRY_BACKOFF_MAX.min(*pause * 2);
                Ok(())
            }
        }
    }
}
