//! Producers with state at brokers, and transactions.

use std::collections::BTreeMap;

use ottla_model::{Millis, Offset, ProducerId};
use ottla_protocol::api::describe_producers::{DescribeProducersRequest, TopicRequest};
use ottla_protocol::api::describe_transactions::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, TransactionState,
};
use ottla_protocol::api::list_transactions::{ListTransactionsRequest, ListTransactionsResponse};

use super::{Admin, Partition, checked, missing};
use crate::client::{CoordinatorKey, Target};
use crate::error::{Error, Result};

/// A producer of whom a partition's leader knows something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    /// The producer's id.
    pub id: ProducerId,
    /// Its epoch, which grows when it begins anew.
    pub epoch: i32,
    /// -1 before the first record.
    pub last_sequence: i32,
    /// When its last batch was appended, in milliseconds since 1970 (UTC).
    pub last_timestamp: Millis,
    /// `None` without a transaction's coordinator.
    pub coordinator_epoch: Option<i32>,
    /// Where the transaction under way begins.
    pub transaction_start: Option<Offset>,
}

/// A transaction in a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransactionListing {
    /// The producers' `transactional.id`.
    pub transactional_id: String,
    /// The id it has at present.
    pub producer_id: ProducerId,
    /// In Kafka's words: `Ongoing`, `CompleteCommit` and so on.
    pub state: String,
}

/// A transaction as its coordinator describes it.
pub type TransactionDescription = TransactionState;

/// Which transactions are listed; the default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransactionFilter {
    /// Kafka's names of states, such as `Ongoing`; empty for all.
    pub states: Vec<String>,
    /// Empty for all.
    pub producer_ids: Vec<ProducerId>,
    /// Only those that have run for longer.
    pub running_longer_ms: Option<i64>,
    /// A regular expression for transactional ids.
    pub id_pattern: Option<String>,
}

impl Admin {
    /// The producers that the leaders of partitions remember.
    pub async fn describe_producers(
        &self,
        partitions: &[Partition],
    ) -> Result<BTreeMap<Partition, Vec<ActiveProducer>>> {
        let mut found = BTreeMap::new();
        for (leader, topics) in self.by_leader(partitions).await? {
            let topics = topics
                .into_iter()
                .map(|(name, partition_indexes)| TopicRequest { name: name.into(), partition_indexes });
            let request = DescribeProducersRequest { topics: topics.collect() };
            let answer = self.ask(Target::Node(leader), request, |_| Ok(())).await?;
            for topic in answer.topics {
                for partition in topic.partitions {
                    Error::check(partition.error_code, partition.error_message.as_deref())?;
                    let producers = partition.active_producers.iter().map(|producer| ActiveProducer {
                        id: ProducerId(producer.producer_id),
                        epoch: producer.producer_epoch,
                        last_sequence: producer.last_sequence,
                        last_timestamp: Millis(producer.last_timestamp),
                        coordinator_epoch: Some(producer.coordinator_epoch).filter(|epoch| *epoch >= 0),
                        transaction_start: Some(Offset(producer.current_txn_start_offset))
                            .filter(|offset| offset.0 >= 0),
                    });
                    let place = (topic.name.as_str().to_owned(), partition.partition_index);
                    found.insert(place, producers.collect());
                }
            }
        }
        Ok(found)
    }

    /// The transactions that all brokers coordinate, by transactional id.
    pub async fn list_transactions(&self, filter: &TransactionFilter) -> Result<Vec<TransactionListing>> {
        let request = ListTransactionsRequest {
            state_filters: filter.states.iter().map(|state| state.as_str().into()).collect(),
            producer_id_filters: filter.producer_ids.iter().map(|id| id.0).collect(),
            duration_filter: filter.running_longer_ms.unwrap_or(-1),
            transactional_id_pattern: filter.id_pattern.as_deref().map(Into::into),
        };
        let mut listed = Vec::new();
        for broker in self.metadata().await?.brokers.keys() {
            let check = |answer: &ListTransactionsResponse| match answer.unknown_state_filters.first() {
                Some(state) => {
                    Err(Error::invalid(format!("{}: there is no such state of transactions", state.as_str())))
                }
                None => checked(answer.error_code),
            };
            let answer = self.ask(Target::Node(*broker), request.clone(), check).await?;
            listed.extend(answer.transaction_states.into_iter().map(|transaction| TransactionListing {
                transactional_id: transaction.transactional_id.as_str().to_owned(),
                producer_id: ProducerId(transaction.producer_id),
                state: transaction.transaction_state.as_str().to_owned(),
            }));
        }
        listed.sort();
        Ok(listed)
    }

    /// A transaction. TRANSACTIONAL_ID_NOT_FOUND if there is none of the id.
    pub async fn describe_transaction(&self, id: &str) -> Result<TransactionDescription> {
        let request = DescribeTransactionsRequest { transactional_ids: vec![id.into()] };
        let target = Target::Coordinator(CoordinatorKey::Transaction(id.into()));
        let check = |answer: &DescribeTransactionsResponse| {
            let transaction = answer.transaction_states.first();
            transaction.map_or_else(missing, |transaction| checked(transaction.error_code))
        };
        let answer = self.ask(target, request, check).await?;
        answer.transaction_states.into_iter().next().map_or_else(missing, Ok)
    }
}
