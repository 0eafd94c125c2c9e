//! Registered brokers and controllers.

use std::sync::Arc;

use imbl::OrdMap;
use ottla_model::{BrokerEpoch, NodeId, Uuid};
use ottla_protocol::records::metadata::{
    BrokerEndpoint, BrokerFeature, BrokerRegistrationChangeRecord, ControllerEndpoint, ControllerFeature,
    MetadataRecord, RegisterBrokerRecord, RegisterControllerRecord,
};

use super::WriteOptions;
use crate::ReplayError;

/// Every node that is registered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterImage {
    brokers: OrdMap<NodeId, Arc<BrokerRegistration>>,
    controllers: OrdMap<NodeId, Arc<ControllerRegistration>>,
}

/// A broker as it registered, and what became of it since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerRegistration {
    pub id: NodeId,
    pub epoch: BrokerEpoch,
    pub incarnation: Uuid,
    /// By name.
    pub listeners: Vec<Listener>,
    /// By name.
    pub features: Vec<SupportedRange>,
    pub rack: Option<Arc<str>>,
    pub fenced: bool,
    pub in_controlled_shutdown: bool,
    pub migrating_zk: bool,
    /// Its online log directories, in Kafka's order; empty for brokers that register none.
    pub directories: Vec<Uuid>,
    /// Directories that get no new replicas; `None` as long as the broker has not told.
    pub cordoned_directories: Option<Vec<Uuid>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerRegistration {
    pub id: NodeId,
    pub incarnation: Uuid,
    pub zk_migration_ready: bool,
    pub listeners: Vec<Listener>,
    pub features: Vec<SupportedRange>,
}

/// An endpoint that a node tells others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub name: Arc<str>,
    pub host: Arc<str>,
    pub port: u16,
    /// 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
}

/// The levels of a feature that a node supports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupportedRange {
    pub name: Arc<str>,
    pub min: i16,
    pub max: i16,
}

impl BrokerRegistration {
    /// Whether the broker can lead and be in sync: neither fenced nor shutting down.
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

    pub fn listener(&self, name: &str) -> Option<&Listener> {
        self.listeners.iter().find(|listener| &*listener.name == name)
    }

    /// Whether a replica assigned to `directory` can be served: online, or not yet known where it is.
    pub fn has_online_directory(&self, directory: Uuid) -> bool {
        match directory {
            Uuid::LOST_DIRECTORY => false,
            known if known.is_reserved() => true,
            directory => self.directories.is_empty() || self.directories.contains(&directory),
        }
    }

    pub fn supports(&self, feature: &str, level: i16) -> bool {
        let range = self.features.iter().find(|range| &*range.name == feature);
        range.map_or(level == 0, |range| (range.min..=range.max).contains(&level))
    }
}

impl ControllerRegistration {
    pub fn listener(&self, name: &str) -> Option<&Listener> {
        self.listeners.iter().find(|listener| &*listener.name == name)
    }
}

impl ClusterImage {
    pub fn broker(&self, id: NodeId) -> Option<&Arc<BrokerRegistration>> {
        self.brokers.get(&id)
    }

    /// All registered brokers, by id, fenced ones included.
    pub fn brokers(&self) -> impl Iterator<Item = &Arc<BrokerRegistration>> {
        self.brokers.values()
    }

    /// The brokers that are not fenced, by id: those that clients are told.
    pub fn alive_brokers(&self) -> impl Iterator<Item = &Arc<BrokerRegistration>> {
        self.brokers.values().filter(|broker| !broker.fenced)
    }

    pub fn is_alive(&self, id: NodeId) -> bool {
        self.broker(id).is_some_and(|broker| !broker.fenced)
    }

    pub fn controller(&self, id: NodeId) -> Option<&Arc<ControllerRegistration>> {
        self.controllers.get(&id)
    }

    /// All registered controllers, by id.
    pub fn controllers(&self) -> impl Iterator<Item = &Arc<ControllerRegistration>> {
        self.controllers.values()
    }

    pub(crate) fn register_broker(&mut self, record: &RegisterBrokerRecord) -> NodeId {
        let id = NodeId(record.broker_id);
        let mut directories = record.log_dirs.clone();
        directories.sort_by_key(kafka_order);
        let registration = BrokerRegistration {
            id,
            epoch: BrokerEpoch(record.broker_epoch),
            incarnation: record.incarnation_id,
            listeners: sorted(
                record.end_points.iter().map(|e| listener(&e.name, &e.host, e.port, e.security_protocol)),
                |listener| &listener.name,
            ),
            features: sorted(
                record
                    .features
                    .iter()
                    .map(|f| range(&f.name, f.min_supported_version, f.max_supported_version)),
                |range| &range.name,
            ),
            rack: record.rack.as_deref().map(Arc::from),
            fenced: record.fenced,
            in_controlled_shutdown: record.in_controlled_shutdown,
            migrating_zk: record.is_migrating_zk_broker,
            directories,
            cordoned_directories: record.cordoned_log_dirs.clone(),
        };
        self.brokers.insert(id, Arc::new(registration));
        id
    }

    pub(crate) fn unregister_broker(&mut self, id: i32, epoch: i64) -> Result<NodeId, ReplayError> {
        let id = self.registered(id, epoch)?.id;
        self.brokers.remove(&id);
        Ok(id)
    }

    pub(crate) fn set_fenced(&mut self, id: i32, epoch: i64, fenced: bool) -> Result<NodeId, ReplayError> {
        let broker = self.registered(id, epoch)?;
        broker.fenced = fenced;
        Ok(broker.id)
    }

    pub(crate) fn change_broker(
        &mut self,
        record: &BrokerRegistrationChangeRecord,
    ) -> Result<NodeId, ReplayError> {
        let bad =
            |field, value| ReplayError::BadValue { record: "BrokerRegistrationChangeRecord", field, value };
        let fenced = match record.fenced {
            -1 => Some(false),
            0 => None,
            1 => Some(true),
            other => return Err(bad("fenced", other.into())),
        };
        let shutdown = match record.in_controlled_shutdown {
            0 => false,
            1 => true,
            other => return Err(bad("inControlledShutdown", other.into())),
        };
        let broker = self.registered(record.broker_id, record.broker_epoch)?;
        broker.fenced = fenced.unwrap_or(broker.fenced);
        broker.in_controlled_shutdown |= shutdown;
        if !record.log_dirs.is_empty() {
            broker.directories = record.log_dirs.clone();
            broker.directories.sort_by_key(kafka_order);
        }
        if let Some(cordoned) = &record.cordoned_log_dirs {
            broker.cordoned_directories = Some(cordoned.clone());
        }
        Ok(broker.id)
    }

    fn registered(&mut self, id: i32, epoch: i64) -> Result<&mut BrokerRegistration, ReplayError> {
        match self.brokers.get_mut(&NodeId(id)) {
            Some(broker) if broker.epoch.0 == epoch => Ok(Arc::make_mut(broker)),
            Some(broker) => Err(ReplayError::BrokerEpoch { id, epoch, registered: broker.epoch.0 }),
            None => Err(ReplayError::UnknownBroker(id)),
        }
    }

    pub(crate) fn register_controller(&mut self, record: &RegisterControllerRecord) -> NodeId {
        let id = NodeId(record.controller_id);
        let registration = ControllerRegistration {
            id,
            incarnation: record.incarnation_id,
            zk_migration_ready: record.zk_migration_ready,
            listeners: sorted(
                record.end_points.iter().map(|e| listener(&e.name, &e.host, e.port, e.security_protocol)),
                |listener| &listener.name,
            ),
            features: sorted(
                record
                    .features
                    .iter()
                    .map(|f| range(&f.name, f.min_supported_version, f.max_supported_version)),
                |range| &range.name,
            ),
        };
        self.controllers.insert(id, Arc::new(registration));
        id
    }

    pub(crate) fn unregister_controller(&mut self, id: i32) -> Result<NodeId, ReplayError> {
        match self.controllers.remove(&NodeId(id)) {
            Some(_) => Ok(NodeId(id)),
            None => Err(ReplayError::UnknownController(id)),
        }
    }

    pub(super) fn write(&self, options: &WriteOptions, records: &mut Vec<MetadataRecord>) {
        for broker in self.brokers.values() {
            records.push(broker.record(options).into());
        }
        if options.metadata_version.supports_controller_registration() {
            for controller in self.controllers.values() {
                records.push(controller.record().into());
            }
        }
    }
}

impl BrokerRegistration {
    /// The registration as one record, with what the level of `options` can hold.
    pub fn record(&self, options: &WriteOptions) -> RegisterBrokerRecord {
        let version = options.metadata_version;
        RegisterBrokerRecord {
            broker_id: self.id.0,
            is_migrating_zk_broker: self.migrating_zk && version.register_broker_record_version() >= 2,
            incarnation_id: self.incarnation,
            broker_epoch: self.epoch.0,
            end_points: self
                .listeners
                .iter()
                .map(|listener| BrokerEndpoint {
                    name: listener.name.as_ref().into(),
                    host: listener.host.as_ref().into(),
                    port: listener.port,
                    security_protocol: listener.security_protocol,
                })
                .collect(),
            features: self
                .features
                .iter()
                .map(|range| BrokerFeature {
                    name: range.name.as_ref().into(),
                    min_supported_version: range.min,
                    max_supported_version: range.max,
                })
                .collect(),
            rack: self.rack.as_deref().map(Into::into),
            fenced: self.fenced,
            in_controlled_shutdown: self.in_controlled_shutdown,
            log_dirs: if version.supports_directories() { self.directories.clone() } else { Vec::new() },
            cordoned_log_dirs: self
                .cordoned_directories
                .clone()
                .filter(|_| version.supports_cordoned_directories()),
        }
    }
}

impl ControllerRegistration {
    fn record(&self) -> RegisterControllerRecord {
        RegisterControllerRecord {
            controller_id: self.id.0,
            incarnation_id: self.incarnation,
            zk_migration_ready: self.zk_migration_ready,
            end_points: self
                .listeners
                .iter()
                .map(|listener| ControllerEndpoint {
                    name: listener.name.as_ref().into(),
                    host: listener.host.as_ref().into(),
                    port: listener.port,
                    security_protocol: listener.security_protocol,
                })
                .collect(),
            features: self
                .features
                .iter()
                .map(|range| ControllerFeature {
                    name: range.name.as_ref().into(),
                    min_supported_version: range.min,
                    max_supported_version: range.max,
                })
                .collect(),
        }
    }
}

/// By name: an image says the same whether it comes from a log or from a snapshot.
fn sorted<T>(items: impl Iterator<Item = T>, name: fn(&T) -> &Arc<str>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort_by(|a, b| name(a).cmp(name(b)));
    items
}

/// Kafka compares the halves of an id as signed numbers.
fn kafka_order(id: &Uuid) -> (i64, i64) {
    let bits = u128::from_be_bytes(id.0);
    ((bits >> 64) as i64, bits as i64)
}

fn listener(name: &str, host: &str, port: u16, security_protocol: i16) -> Listener {
    Listener { name: name.into(), host: host.into(), port, security_protocol }
}

fn range(name: &str, min: i16, max: i16) -> SupportedRange {
    SupportedRange { name: name.into(), min, max }
}
