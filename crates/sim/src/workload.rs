//! What clients and brokers ask of the controller. Knows what it asked, not whether the answers are true.

use std::future::Future;
use std::pin::Pin;

use ottla_model::Uuid;
use ottla_protocol::Str;
use ottla_protocol::api::allocate_producer_ids::AllocateProducerIdsRequest;
use ottla_protocol::api::broker_heartbeat::BrokerHeartbeatRequest;
use ottla_protocol::api::broker_registration::{self, BrokerRegistrationRequest};
use ottla_protocol::api::create_topics::{CreatableTopic, CreateTopicsRequest};
use ottla_protocol::api::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use ottla_protocol::api::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use ottla_server::controller::ControllerHandle;

use crate::node::CLUSTER;
use crate::random::Random;
use crate::sabotage::Sabotage;
use crate::world::Answer;

const BROKERS: i64 = 3;
/// Brokers are numbered behind the controllers.
const FIRST_BROKER: i32 = 101;
const TOPIC: i8 = 2;
const SET: i8 = 0;

/// One request of a client or broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    Register {
        broker: i32,
        incarnation: u64,
    },
    Heartbeat {
        broker: i32,
        epoch: i64,
    },
    CreateTopic {
        name: String,
    },
    DeleteTopic {
        name: String,
    },
    /// Sets retention.ms of a topic.
    Configure {
        topic: String,
        value: i64,
    },
    AllocateIds {
        broker: i32,
        epoch: i64,
    },
}

/// A broker as far as the controller sees it.
#[derive(Clone, Copy, Debug, Default)]
struct Broker {
    epoch: Option<i64>,
}

#[derive(Debug, Default)]
pub struct Workload {
    brokers: [Broker; BROKERS as usize],
    topics: Vec<String>,
    next: u64,
    ids: Option<Answer>,
}

impl Workload {
    pub fn next(&mut self, random: &mut Random) -> Operation {
        self.next += 1;
        let index = random.below(BROKERS);
        let broker = FIRST_BROKER + index as i32;
        let Some(epoch) = self.brokers[index as usize].epoch else {
            return Operation::Register { broker, incarnation: self.next };
        };
        let topic = self.topics.get(random.below(self.topics.len() as i64) as usize).cloned();
        match (random.below(10), topic) {
            (0..=3, _) => Operation::Heartbeat { broker, epoch },
            (4, _) => Operation::AllocateIds { broker, epoch },
            (5..=7, Some(topic)) => Operation::Configure { topic, value: self.next as i64 + 1000 },
            (8, Some(name)) if self.topics.len() > 5 => {
                self.topics.retain(|topic| *topic != name);
                Operation::DeleteTopic { name }
            }
            _ => Operation::CreateTopic { name: format!("topic-{}", self.next) },
        }
    }

    pub fn answered(&mut self, operation: &Operation, answer: Option<&Answer>) {
        match (operation, answer) {
            (Operation::Register { broker, .. }, Some(Answer::Registered { error: 0, epoch })) => {
                self.brokers[(broker - FIRST_BROKER) as usize].epoch = Some(*epoch);
            }
            (Operation::Heartbeat { broker, .. }, Some(Answer::Beat { error: 77 | 102 })) => {
                self.brokers[(broker - FIRST_BROKER) as usize].epoch = None;
            }
            (Operation::CreateTopic { name }, Some(Answer::Created { error: 0, .. })) => {
                self.topics.push(name.clone());
            }
            _ => {}
        }
    }

    /// What a sabotaged node answers before it knows.
    pub fn early(&mut self, sabotage: Option<Sabotage>, operation: &Operation) -> Option<Answer> {
        match (sabotage?, operation) {
            (Sabotage::AnswerEarly, Operation::Configure { .. }) => Some(Answer::Configured { error: 0 }),
            (Sabotage::RepeatAnswers, Operation::AllocateIds { .. }) => {
                let first = Answer::Ids { error: 0, start: 0, len: 1000 };
                self.ids.replace(first)
            }
            _ => None,
        }
    }
}

impl Operation {
    /// Asks the controller of a node.
    pub fn perform(&self, controller: ControllerHandle) -> Pin<Box<dyn Future<Output = Answer>>> {
        match self.clone() {
            Self::Register { broker, incarnation } => Box::pin(async move {
                let listener = broker_registration::Listener {
                    name: Str::from("PLAINTEXT"),
                    host: Str::from("broker"),
                    port: 9092,
                    security_protocol: 0,
                };
                let feature =
                    |feature: &ottla_metadata::features::SupportedFeature| broker_registration::Feature {
                        name: Str::from(feature.name),
                        min_supported_version: feature.min,
                        max_supported_version: feature.max,
                    };
                let request = BrokerRegistrationRequest {
                    broker_id: broker,
                    cluster_id: Str::from(CLUSTER),
                    incarnation_id: Uuid::from_u128(u128::from(incarnation) << 64 | 5),
                    listeners: vec![listener],
                    features: ottla_metadata::features::SUPPORTED.iter().map(feature).collect(),
                    log_dirs: vec![Uuid::from_u128((broker as u128) << 64 | 9)],
                    ..Default::default()
                };
                match controller.register_broker(request).await {
                    Ok(response) => {
                        Answer::Registered { error: response.error_code, epoch: response.broker_epoch }
                    }
                    Err(_) => Answer::Refused,
                }
            }),
            Self::Heartbeat { broker, epoch } => Box::pin(async move {
                let request = BrokerHeartbeatRequest {
                    broker_id: broker,
                    broker_epoch: epoch,
                    current_metadata_offset: i64::MAX / 2,
                    ..Default::default()
                };
                match controller.heartbeat(request).await {
                    Ok(response) => Answer::Beat { error: response.error_code },
                    Err(_) => Answer::Refused,
                }
            }),
            Self::CreateTopic { name } => Box::pin(async move {
                let topic = CreatableTopic {
                    name: Str::from(name),
                    num_partitions: 2,
                    replication_factor: 1,
                    ..Default::default()
                };
                let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
                match controller.create_topics(request).await {
                    Ok(response) => {
                        let topic = &response.topics[0];
                        Answer::Created { error: topic.error_code, id: topic.topic_id }
                    }
                    Err(_) => Answer::Refused,
                }
            }),
            Self::DeleteTopic { name } => Box::pin(async move {
                let state = DeleteTopicState { name: Some(Str::from(name)), ..Default::default() };
                let request = DeleteTopicsRequest { topics: vec![state], ..Default::default() };
                match controller.delete_topics(request).await {
                    Ok(response) => Answer::Deleted { error: response.responses[0].error_code },
                    Err(_) => Answer::Refused,
                }
            }),
            Self::Configure { topic, value } => Box::pin(async move {
                let config = AlterableConfig {
                    name: Str::from("retention.ms"),
                    config_operation: SET,
                    value: Some(Str::from(value.to_string())),
                };
                let resource = AlterConfigsResource {
                    resource_type: TOPIC,
                    resource_name: Str::from(topic),
                    configs: vec![config],
                };
                let request =
                    IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
                match controller.incremental_alter_configs(request).await {
                    Ok(response) => Answer::Configured { error: response.responses[0].error_code },
                    Err(_) => Answer::Refused,
                }
            }),
            Self::AllocateIds { broker, epoch } => Box::pin(async move {
                let request = AllocateProducerIdsRequest { broker_id: broker, broker_epoch: epoch };
                match controller.allocate_producer_ids(request).await {
                    Ok(response) => Answer::Ids {
                        error: response.error_code,
                        start: response.producer_id_start,
                        len: response.producer_id_len.into(),
                    },
                    Err(_) => Answer::Refused,
                }
            }),
        }
    }
}
