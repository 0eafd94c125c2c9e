//! Brokers and controllers: registration, heartbeats, fencing, controlled shutdown.

use ottla_model::{BrokerEpoch, ErrorCode, Millis, NodeId, Offset, Uuid};
use ottla_protocol::Str;
use ottla_protocol::api::broker_heartbeat::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
use ottla_protocol::api::broker_registration::{
    BrokerRegistrationRequest, BrokerRegistrationResponse, Feature,
};
use ottla_protocol::api::controller_registration::ControllerRegistrationRequest;
use ottla_protocol::records::metadata::{
    BrokerEndpoint, BrokerFeature, BrokerRegistrationChangeRecord, ControllerEndpoint, ControllerFeature,
    MetadataRecord, RegisterBrokerRecord, RegisterControllerRecord, UnregisterBrokerRecord,
    UnregisterControllerRecord,
};

use crate::directories::DirectoryControl;
use crate::heartbeats::{BrokerState, Heartbeats, Wishes};
use crate::replication::{BrokerChange, ReplicationControl};
use crate::{Outcome, Refusal, State};

const METADATA_VERSION: &str = "metadata.version";
/// What a broker that names no metadata.version supports: the first one there was.
const METADATA_VERSION_UNNAMED: i16 = 1;

const FENCE: i8 = 1;
const UNFENCE: i8 = -1;

pub(crate) struct ClusterControl<'a> {
    pub state: &'a State<'a>,
    pub heartbeats: &'a Heartbeats,
}

impl ClusterControl<'_> {
    /// Registers a broker or a new incarnation of one. `next_offset` becomes its epoch.
    pub fn register(
        &self,
        now: Millis,
        request: &BrokerRegistrationRequest,
        next_offset: Offset,
    ) -> Result<Outcome<BrokerRegistrationResponse>, Refusal> {
        if *request.cluster_id != *self.state.config.cluster_id {
            let message = format!(
                "Expected cluster ID {}, but got cluster ID {}",
                self.state.config.cluster_id, request.cluster_id
            );
            return Err(Refusal::new(ErrorCode::InconsistentClusterId, message));
        }
        let id = NodeId(request.broker_id);
        let existing = self.state.broker(id);
        let same_incarnation = existing.filter(|broker| broker.incarnation == request.incarnation_id);
        // The broker of this very process is alive in no other one: the node's directories are locked.
        let is_own = self.state.config.incarnation == Some(request.incarnation_id);
        let other_may_live = !is_own && self.heartbeats.has_valid_session(now, id);
        if existing.is_some() && same_incarnation.is_none() && other_may_live {
            let message = "Another broker is registered with that broker id.";
            return Err(Refusal::new(ErrorCode::DuplicateBrokerRegistration, message));
        }
        if request.is_migrating_zk_broker {
            let message = "Controller does not support registering ZK brokers.";
            return Err(Refusal::new(ErrorCode::BrokerIdNotRegistered, message));
        }
        if self.state.has_directories() {
            self.check_directories(id, &request.log_dirs)?;
        }
        let features = self.check_features(&request.features)?;

        let mut records = Vec::new();
        if same_incarnation.is_none() && existing.is_some() {
            let clean = !self.state.elr_enabled()
                || existing.is_some_and(|broker| broker.epoch == BrokerEpoch(request.previous_broker_epoch));
            let change = if clean { BrokerChange::Gone(id) } else { BrokerChange::Lost(id) };
            records.extend(ReplicationControl { state: self.state }.on_broker(change));
        }
        let epoch = same_incarnation.map_or(next_offset.0, |broker| broker.epoch.0);
        records.push(MetadataRecord::RegisterBroker(RegisterBrokerRecord {
            broker_id: id.0,
            is_migrating_zk_broker: false,
            incarnation_id: request.incarnation_id,
            broker_epoch: epoch,
            end_points: request
                .listeners
                .iter()
                .map(|listener| BrokerEndpoint {
                    name: listener.name.clone(),
                    host: listener.host.clone(),
                    port: listener.port,
                    security_protocol: listener.security_protocol,
                })
                .collect(),
            features,
            rack: request.rack.clone(),
            fenced: same_incarnation.is_none_or(|broker| broker.fenced),
            in_controlled_shutdown: same_incarnation.is_some_and(|broker| broker.in_controlled_shutdown),
            log_dirs: if self.state.has_directories() { request.log_dirs.clone() } else { Vec::new() },
            cordoned_log_dirs: None,
        }));
        Ok(Outcome::new(records, BrokerRegistrationResponse { broker_epoch: epoch, ..Default::default() }))
    }

    fn check_directories(&self, id: NodeId, directories: &[Uuid]) -> Result<(), Refusal> {
        let refuse = |message: String| Err(Refusal::new(ErrorCode::InvalidRegistration, message));
        if directories.is_empty() {
            return refuse("No directories specified in request".into());
        }
        if directories.iter().any(Uuid::is_reserved) {
            return refuse("Reserved directory ID in request".into());
        }
        let mut sorted = directories.to_vec();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return refuse("Duplicate directory ID in request".into());
        }
        for other in self.state.brokers().filter(|broker| broker.id != id) {
            if let Some(taken) = directories.iter().find(|directory| other.directories.contains(directory)) {
                return refuse(format!("Broker {} is already registered with directory {taken}", other.id));
            }
        }
        Ok(())
    }

    /// Every finalized feature must be within what the broker supports.
    fn check_features(&self, offered: &[Feature]) -> Result<Vec<BrokerFeature>, Refusal> {
        let mut features: Vec<BrokerFeature> = offered
            .iter()
            .map(|feature| BrokerFeature {
                name: feature.name.clone(),
                min_supported_version: feature.min_supported_version,
                max_supported_version: feature.max_supported_version,
            })
            .collect();
        if !features.iter().any(|feature| *feature.name == *METADATA_VERSION) {
            features.push(BrokerFeature {
                name: Str::from(METADATA_VERSION),
                min_supported_version: METADATA_VERSION_UNNAMED,
                max_supported_version: METADATA_VERSION_UNNAMED,
            });
        }
        for (name, level) in self.state.image.features.iter() {
            let supported = features
                .iter()
                .find(|feature| *feature.name == *name)
                .map_or((0, 0), |feature| (feature.min_supported_version, feature.max_supported_version));
            if level < supported.0 || level > supported.1 {
                let message = format!(
                    "Unable to register because the broker does not support finalized version {level} of {name}. The \
                     broker wants a version between {} and {}, inclusive.",
                    supported.0, supported.1
                );
                return Err(Refusal::new(ErrorCode::UnsupportedVersion, message));
            }
        }
        Ok(features)
    }

    /// The epoch a broker's request carries must be that of its registration.
    pub fn check_epoch(&self, id: NodeId, epoch: i64) -> Result<(), Refusal> {
        let message = match self.state.broker(id) {
            Some(broker) if broker.epoch.0 == epoch => return Ok(()),
            Some(broker) => format!("Expected broker epoch {}, but got broker epoch {epoch}", broker.epoch),
            None => format!("No broker registration found for broker id {id}"),
        };
        Err(Refusal::new(ErrorCode::StaleBrokerEpoch, message))
    }

    /// The broker's next state, the records that lead there, and the answer. `registered` is the offset of its
    /// registration record.
    pub fn heartbeat(
        &self,
        request: &BrokerHeartbeatRequest,
        registered: Offset,
    ) -> Result<(BrokerState, Outcome<BrokerHeartbeatResponse>), Refusal> {
        let (id, epoch) = (NodeId(request.broker_id), request.broker_epoch);
        self.check_epoch(id, epoch)?;
        let replication = ReplicationControl { state: self.state };
        let metadata_offset = Offset(request.current_metadata_offset);
        let wishes = Wishes { fence: request.want_fence, shut_down: request.want_shut_down, metadata_offset };
        let (current, next) =
            self.heartbeats.next_state(id, wishes, registered, || replication.leads_any(id));
        let mut records = Vec::new();
        if next != current {
            match next {
                BrokerState::Unfenced => {
                    records.push(change(id, epoch, |record| record.fenced = UNFENCE));
                    records.extend(replication.on_broker(BrokerChange::Unfenced(id)));
                }
                BrokerState::ControlledShutdown => {
                    if !self.state.broker(id).is_some_and(|broker| broker.in_controlled_shutdown) {
                        records.push(change(id, epoch, |record| record.in_controlled_shutdown = 1));
                    }
                    records.extend(replication.on_broker(BrokerChange::Gone(id)));
                }
                BrokerState::Fenced | BrokerState::ShutdownNow => records.extend(self.fence(id)),
            }
        }
        if self.state.has_directories() {
            records.extend(self.offline_directories(id, epoch, &request.offline_log_dirs));
        }
        if let Some(cordoned) = &request.cordoned_log_dirs
            && self.state.metadata_version().supports_cordoned_directories()
            && self
                .state
                .broker(id)
                .is_some_and(|broker| broker.cordoned_directories.as_ref() != Some(cordoned))
        {
            records.push(change(id, epoch, |record| record.cordoned_log_dirs = Some(cordoned.clone())));
        }
        let response = BrokerHeartbeatResponse {
            is_caught_up: metadata_offset >= registered,
            is_fenced: next.is_fenced(),
            should_shut_down: next == BrokerState::ShutdownNow,
            ..Default::default()
        };
        Ok((next, Outcome::new(records, response)))
    }

    fn offline_directories(&self, id: NodeId, epoch: i64, offline: &[Uuid]) -> Vec<MetadataRecord> {
        let Some(broker) = self.state.broker(id) else { return Vec::new() };
        let (lost, left): (Vec<Uuid>, Vec<Uuid>) =
            broker.directories.iter().partition(|directory| offline.contains(directory));
        if lost.is_empty() {
            return Vec::new();
        }
        let mut records = DirectoryControl { state: self.state }.on_offline(id, &lost);
        records.push(change(id, epoch, |record| record.log_dirs = left));
        records
    }

    /// Takes a broker out: its partitions first, then the broker.
    pub fn fence(&self, id: NodeId) -> Vec<MetadataRecord> {
        let Some(broker) = self.state.broker(id) else { return Vec::new() };
        let mut records = ReplicationControl { state: self.state }.on_broker(BrokerChange::Gone(id));
        records.push(change(id, broker.epoch.0, |record| record.fenced = FENCE));
        records
    }

    pub fn unregister(&self, id: NodeId) -> Result<Vec<MetadataRecord>, Refusal> {
        let Some(broker) = self.state.broker(id) else {
            let message = format!("Broker ID {id} is not currently registered");
            return Err(Refusal::new(ErrorCode::BrokerIdNotRegistered, message));
        };
        let mut records = ReplicationControl { state: self.state }.on_broker(BrokerChange::Lost(id));
        records.push(MetadataRecord::UnregisterBroker(UnregisterBrokerRecord {
            broker_id: id.0,
            broker_epoch: broker.epoch.0,
        }));
        Ok(records)
    }

    pub fn register_controller(
        &self,
        request: &ControllerRegistrationRequest,
    ) -> Result<Vec<MetadataRecord>, Refusal> {
        if !self.state.metadata_version().supports_controller_registration() {
            let message = "The current MetadataVersion is too old to support controller registrations.";
            return Err(Refusal::new(ErrorCode::UnsupportedVersion, message));
        }
        let endpoint =
            |listener: &ottla_protocol::api::controller_registration::Listener| ControllerEndpoint {
                name: listener.name.clone(),
                host: listener.host.clone(),
                port: listener.port,
                security_protocol: listener.security_protocol,
            };
        let feature = |feature: &ottla_protocol::api::controller_registration::Feature| ControllerFeature {
            name: feature.name.clone(),
            min_supported_version: feature.min_supported_version,
            max_supported_version: feature.max_supported_version,
        };
        Ok(vec![MetadataRecord::RegisterController(RegisterControllerRecord {
            controller_id: request.controller_id,
            incarnation_id: request.incarnation_id,
            zk_migration_ready: false,
            end_points: request.listeners.iter().map(endpoint).collect(),
            features: request.features.iter().map(feature).collect(),
        })])
    }

    pub fn unregister_controller(&self, id: NodeId) -> Result<Vec<MetadataRecord>, Refusal> {
        if !self.state.metadata_version().supports_unregister_controller() {
            let message = "The current MetadataVersion is too old to support controller unregistrations.";
            return Err(Refusal::new(ErrorCode::UnsupportedVersion, message));
        }
        if self.state.image.cluster.controller(id).is_none() {
            let message = format!("Controller ID {id} is not currently registered");
            return Err(Refusal::new(ErrorCode::ControllerIdNotRegistered, message));
        }
        Ok(vec![MetadataRecord::UnregisterController(UnregisterControllerRecord { controller_id: id.0 })])
    }
}

fn change(id: NodeId, epoch: i64, set: impl FnOnce(&mut BrokerRegistrationChangeRecord)) -> MetadataRecord {
    let mut record =
        BrokerRegistrationChangeRecord { broker_id: id.0, broker_epoch: epoch, ..Default::default() };
    set(&mut record);
    MetadataRecord::BrokerRegistrationChange(record)
}
