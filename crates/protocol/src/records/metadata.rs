//! Records of `__cluster_metadata`, and their framing.

use bytes::Bytes;
use ottla_model::Uuid;

use crate::schema::MessageSchema;
use crate::{DecodeError, DecodeErrorKind, Decoder, EncodeError, Encoder, Message, Str, Tree, Versions};

/// The only frame version there is.
const FRAME_VERSION: u32 = 1;

macro_rules! metadata_records {
    ($($number:literal => $name:ident($record:ident),)*) => {
        /// Any record of the metadata log. In the value of a log record stand frame version, type and version as
        /// unsigned varints, and then the message.
        #[derive(Clone, Debug, PartialEq)]
        pub enum MetadataRecord {
            $($name($record),)*
        }

        impl MetadataRecord {
            pub const SCHEMAS: &'static [&'static MessageSchema] = &[$($record::SCHEMA),*];

            /// The number of the record's type.
            pub fn record_type(&self) -> i16 {
                match self {
                    $(Self::$name(_) => $number,)*
                }
            }

            /// Kafka's name of the record's type, such as `TopicRecord`.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($record),)*
                }
            }

            /// All versions of the record's type; which one to write is for metadata.version to say.
            pub fn versions(&self) -> Versions {
                match self {
                    $(Self::$name(_) => $record::VERSIONS,)*
                }
            }

            /// Decodes a record's value, with its version. Strict: bytes behind the message are an error.
            pub fn decode(value: Bytes) -> Result<(i16, Self), DecodeError> {
                let mut d = Decoder::new(value);
                let frame = d.uvarint()?;
                if frame != FRAME_VERSION {
                    return Err(d.error(DecodeErrorKind::UnsupportedFrameVersion(frame)));
                }
                let record_type = d.uvarint_i16()?;
                let version = d.uvarint_i16()?;
                let record = match record_type {
                    $($number => $record::decode(&mut d, version).map(Self::$name),)*
                    _ => Err(d.error(DecodeErrorKind::UnknownKey(record_type))),
                }?;
                d.finish()?;
                Ok((version, record))
            }

            /// Encodes into a record's value.
            pub fn encode(&self, version: i16) -> Result<Bytes, EncodeError> {
                let mut e = Encoder::new();
                e.uvarint(FRAME_VERSION);
                e.uvarint(self.record_type() as u32);
                e.uvarint(version as u32);
                match self {
                    $(Self::$name(record) => record.encode(&mut e, version)?,)*
                }
                e.finish_bytes()
            }

            /// The record as plain data.
            pub fn tree(&self, version: i16) -> Tree {
                match self {
                    $(Self::$name(record) => record.tree(version),)*
                }
            }
        }

        $(impl From<$record> for MetadataRecord {
            fn from(record: $record) -> Self {
                Self::$name(record)
            }
        })*

        $(const _: () = assert!(matches!($record::SCHEMA.api_key, Some($number)));)*
    };
}

metadata_records! {
    0 => RegisterBroker(RegisterBrokerRecord),
    1 => UnregisterBroker(UnregisterBrokerRecord),
    2 => Topic(TopicRecord),
    3 => Partition(PartitionRecord),
    4 => Config(ConfigRecord),
    5 => PartitionChange(PartitionChangeRecord),
    7 => FenceBroker(FenceBrokerRecord),
    8 => UnfenceBroker(UnfenceBrokerRecord),
    9 => RemoveTopic(RemoveTopicRecord),
    10 => DelegationToken(DelegationTokenRecord),
    11 => UserScramCredential(UserScramCredentialRecord),
    12 => FeatureLevel(FeatureLevelRecord),
    14 => ClientQuota(ClientQuotaRecord),
    15 => ProducerIds(ProducerIdsRecord),
    17 => BrokerRegistrationChange(BrokerRegistrationChangeRecord),
    18 => AccessControlEntry(AccessControlEntryRecord),
    19 => RemoveAccessControlEntry(RemoveAccessControlEntryRecord),
    20 => NoOp(NoOpRecord),
    21 => ZkMigrationState(ZkMigrationStateRecord),
    22 => RemoveUserScramCredential(RemoveUserScramCredentialRecord),
    23 => BeginTransaction(BeginTransactionRecord),
    24 => EndTransaction(EndTransactionRecord),
    25 => AbortTransaction(AbortTransactionRecord),
    26 => RemoveDelegationToken(RemoveDelegationTokenRecord),
    27 => RegisterController(RegisterControllerRecord),
    28 => ClearElr(ClearElrRecord),
    29 => UnregisterController(UnregisterControllerRecord),
}

/// A broker has registered; replaces what was known of it.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 0, versions = "0-4", flexible = "0+")]
pub struct RegisterBrokerRecord {
    pub broker_id: i32,
    #[field(versions = "2+")]
    pub is_migrating_zk_broker: bool,
    pub incarnation_id: Uuid,
    pub broker_epoch: i64,
    pub end_points: Vec<BrokerEndpoint>,
    pub features: Vec<BrokerFeature>,
    pub rack: Option<Str>,
    #[field(default = true)]
    pub fenced: bool,
    #[field(versions = "1+")]
    pub in_controlled_shutdown: bool,
    #[field(versions = "3+", tag = 0)]
    pub log_dirs: Vec<Uuid>,
    #[field(versions = "4+", tag = 1)]
    pub cordoned_log_dirs: Option<Vec<Uuid>>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct BrokerEndpoint {
    pub name: Str,
    pub host: Str,
    pub port: u16,
    pub security_protocol: i16,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct BrokerFeature {
    pub name: Str,
    pub min_supported_version: i16,
    pub max_supported_version: i16,
}

/// A registration was removed.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 1, versions = "0", flexible = "0+")]
pub struct UnregisterBrokerRecord {
    pub broker_id: i32,
    pub broker_epoch: i64,
}

/// A topic was created.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 2, versions = "0", flexible = "0+")]
pub struct TopicRecord {
    pub name: Str,
    pub topic_id: Uuid,
}

/// A partition with its whole state.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 3, versions = "0-2", flexible = "0+")]
pub struct PartitionRecord {
    #[field(default = -1)]
    pub partition_id: i32,
    pub topic_id: Uuid,
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
    pub removing_replicas: Vec<i32>,
    pub adding_replicas: Vec<i32>,
    #[field(default = -1)]
    pub leader: i32,
    #[field(tag = 0)]
    pub leader_recovery_state: i8,
    #[field(default = -1)]
    pub leader_epoch: i32,
    #[field(default = -1)]
    pub partition_epoch: i32,
    #[field(versions = "1+")]
    pub directories: Vec<Uuid>,
    #[field(versions = "2+", tag = 1)]
    pub eligible_leader_replicas: Option<Vec<i32>>,
    #[field(versions = "2+", tag = 2)]
    pub last_known_elr: Option<Vec<i32>>,
}

/// A configuration entry was set, or deleted by a null value.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 4, versions = "0", flexible = "0+")]
pub struct ConfigRecord {
    pub resource_type: i8,
    pub resource_name: Str,
    pub name: Str,
    pub value: Option<Str>,
}

/// What has changed in a partition; the partition epoch grows by one.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 5, versions = "0-2", flexible = "0+")]
pub struct PartitionChangeRecord {
    #[field(default = -1)]
    pub partition_id: i32,
    pub topic_id: Uuid,
    #[field(tag = 0)]
    pub isr: Option<Vec<i32>>,
    #[field(default = -2, tag = 1)]
    pub leader: i32,
    #[field(tag = 2)]
    pub replicas: Option<Vec<i32>>,
    #[field(tag = 3)]
    pub removing_replicas: Option<Vec<i32>>,
    #[field(tag = 4)]
    pub adding_replicas: Option<Vec<i32>>,
    #[field(default = -1, tag = 5)]
    pub leader_recovery_state: i8,
    #[field(versions = "1+", tag = 8)]
    pub directories: Option<Vec<Uuid>>,
    #[field(versions = "2+", tag = 6)]
    pub eligible_leader_replicas: Option<Vec<i32>>,
    #[field(versions = "2+", tag = 7)]
    pub last_known_elr: Option<Vec<i32>>,
}

/// A broker was fenced; superseded by [`BrokerRegistrationChangeRecord`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 7, versions = "0", flexible = "0+")]
pub struct FenceBrokerRecord {
    pub id: i32,
    pub epoch: i64,
}

/// A broker was unfenced; superseded by [`BrokerRegistrationChangeRecord`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 8, versions = "0", flexible = "0+")]
pub struct UnfenceBrokerRecord {
    pub id: i32,
    pub epoch: i64,
}

/// A topic was deleted, with its partitions and configuration.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 9, versions = "0", flexible = "0+")]
pub struct RemoveTopicRecord {
    pub topic_id: Uuid,
}

/// A delegation token was created or renewed.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 10, versions = "0", flexible = "0+")]
pub struct DelegationTokenRecord {
    pub owner: Str,
    pub requester: Str,
    pub renewers: Vec<Str>,
    pub issue_timestamp: i64,
    pub max_timestamp: i64,
    pub expiration_timestamp: i64,
    pub token_id: Str,
}

/// A user's SCRAM credential was set.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 11, versions = "0", flexible = "0+")]
pub struct UserScramCredentialRecord {
    pub name: Str,
    pub mechanism: i8,
    pub salt: Bytes,
    pub stored_key: Bytes,
    pub server_key: Bytes,
    pub iterations: i32,
}

/// A feature level was finalized.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 12, versions = "0", flexible = "0+")]
pub struct FeatureLevelRecord {
    pub name: Str,
    pub feature_level: i16,
}

/// A client quota was set or removed.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 14, versions = "0", flexible = "0+")]
pub struct ClientQuotaRecord {
    pub entity: Vec<EntityData>,
    pub key: Str,
    pub value: f64,
    pub remove: bool,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct EntityData {
    pub entity_type: Str,
    pub entity_name: Option<Str>,
}

/// A block of producer ids was handed out.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 15, versions = "0", flexible = "0+")]
pub struct ProducerIdsRecord {
    pub broker_id: i32,
    #[field(default = -1)]
    pub broker_epoch: i64,
    pub next_producer_id: i64,
}

/// Fencing, controlled shutdown or log directories of a broker have changed.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 17, versions = "0-3", flexible = "0+")]
pub struct BrokerRegistrationChangeRecord {
    pub broker_id: i32,
    pub broker_epoch: i64,
    #[field(tag = 0)]
    pub fenced: i8,
    #[field(versions = "1+", tag = 1)]
    pub in_controlled_shutdown: i8,
    #[field(versions = "2+", tag = 2)]
    pub log_dirs: Vec<Uuid>,
    #[field(versions = "3+", tag = 3)]
    pub cordoned_log_dirs: Option<Vec<Uuid>>,
}

/// An ACL was created.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 18, versions = "0", flexible = "0+")]
pub struct AccessControlEntryRecord {
    pub id: Uuid,
    pub resource_type: i8,
    pub resource_name: Str,
    pub pattern_type: i8,
    pub principal: Str,
    pub host: Str,
    pub operation: i8,
    pub permission_type: i8,
}

/// An ACL was deleted.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 19, versions = "0", flexible = "0+")]
pub struct RemoveAccessControlEntryRecord {
    pub id: Uuid,
}

/// Moves the log end on without changing anything.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 20, versions = "0", flexible = "0+")]
pub struct NoOpRecord {}

/// Left by clusters that came from ZooKeeper; without effect.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 21, versions = "0", flexible = "0+")]
pub struct ZkMigrationStateRecord {
    pub zk_migration_state: i8,
}

/// A user's SCRAM credential was removed.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 22, versions = "0", flexible = "0+")]
pub struct RemoveUserScramCredentialRecord {
    pub name: Str,
    pub mechanism: i8,
}

/// The records up to the matching end take effect together or not at all.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 23, versions = "0", flexible = "0+")]
pub struct BeginTransactionRecord {
    #[field(tag = 0)]
    pub name: Option<Str>,
}

/// The metadata transaction takes effect.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 24, versions = "0", flexible = "0+")]
pub struct EndTransactionRecord {}

/// The metadata transaction is dropped.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 25, versions = "0", flexible = "0+")]
pub struct AbortTransactionRecord {
    #[field(tag = 0)]
    pub reason: Option<Str>,
}

/// A delegation token was removed.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 26, versions = "0", flexible = "0+")]
pub struct RemoveDelegationTokenRecord {
    pub token_id: Str,
}

/// A controller has registered.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 27, versions = "0", flexible = "0+")]
pub struct RegisterControllerRecord {
    pub controller_id: i32,
    pub incarnation_id: Uuid,
    pub zk_migration_ready: bool,
    pub end_points: Vec<ControllerEndpoint>,
    pub features: Vec<ControllerFeature>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct ControllerEndpoint {
    pub name: Str,
    pub host: Str,
    pub port: u16,
    pub security_protocol: i16,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct ControllerFeature {
    pub name: Str,
    pub min_supported_version: i16,
    pub max_supported_version: i16,
}

/// Eligible leader replicas of one topic, or of all, are forgotten.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 28, versions = "0", flexible = "0+")]
pub struct ClearElrRecord {
    pub topic_name: Str,
}

/// A controller's registration was removed.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 29, versions = "0", flexible = "0+")]
pub struct UnregisterControllerRecord {
    pub controller_id: i32,
}
