//! Three brokers with replicated partitions: what was acknowledged outlives every leader, and all replicas' files are
//! the same bytes in the end.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use ottla_model::{ErrorCode, Millis, NodeId};
use ottla_protocol::Records;
use ottla_protocol::api::create_topics::CreateTopicsRequest;
use ottla_protocol::api::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use ottla_record::{BatchBuilder, Batches, Compression};
use ottla_server::rpc::NodeClient;

use crate::cluster::{Cluster, Voters, within};
use crate::quorum::create;

const PARTITIONS: i32 = 4;

/// A producer with one request at a time, which goes to whoever leads.
struct Producer {
    clients: HashMap<NodeId, NodeClient>,
    /// Partition, offset and value of what was acknowledged.
    acknowledged: Vec<(i32, i64, String)>,
    next: usize,
}

impl Producer {
    async fn produce(&mut self, cluster: &Cluster, count: usize) {
        for _ in 0..count {
            let value = format!("value-{}", self.next);
            let partition = self.next as i32 % PARTITIONS;
            self.next += 1;
            let offset = within(self.acknowledge(cluster, partition, &value)).await;
            self.acknowledged.push((partition, offset, value));
        }
    }

    async fn acknowledge(&mut self, cluster: &Cluster, partition: i32, value: &str) -> i64 {
        loop {
            if let Some(offset) = self.attempt(cluster, partition, value).await {
                return offset;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn attempt(&mut self, cluster: &Cluster, partition: i32, value: &str) -> Option<i64> {
        let (_, any) = cluster.running().next()?;
        let (leader, topic_id) = {
            let image = any.node.image();
            let topic = image.topics.by_name("orders")?;
            (topic.partitions[&partition].leader, topic.id)
        };
        let is_running = cluster.running().any(|(node, _)| node as i32 == leader.0);
        if !is_running {
            return None;
        }
        let mut client = match self.clients.remove(&leader) {
            Some(client) => client,
            None => cluster.client(leader.0 as usize).await,
        };
        let mut builder = BatchBuilder::new(Compression::NONE);
        builder.append(Millis(1), None, Some(value.as_bytes()));
        let data = PartitionProduceData { index: partition, records: Some(Records::Bytes(builder.build())) };
        let topic = TopicProduceData { topic_id, partition_data: vec![data], ..Default::default() };
        let request =
            ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 30_000, topic_data: vec![topic] };
        // A broker that stops closes its connections; the next attempt opens another one.
        let response = client.call(&request).await.ok()?;
        self.clients.insert(leader, client);
        let answer = &response.responses[0].partition_responses[0];
        match ErrorCode::from_code(answer.error_code) {
            Some(ErrorCode::None) => Some(answer.base_offset),
            Some(error) if error.is_retriable() => None,
            error => panic!("{error:?}"),
        }
    }
}

/// All segments of a partition, one after the other.
fn bytes_of(cluster: &Cluster, node: usize, partition: i32) -> Vec<u8> {
    let dir = cluster.dir.path().join(node.to_string()).join(format!("orders-{partition}"));
    let mut segments: Vec<_> = fs::read_dir(&dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    segments.sort();
    segments.iter().flat_map(|path: &std::path::PathBuf| fs::read::<&Path>(path).unwrap()).collect()
}

fn is_whole(cluster: &Cluster) -> bool {
    cluster.running().count() == 3
        && cluster.running().all(|(_, running)| {
            let image = running.node.image();
            let topic = image.topics.by_name("orders").expect("the topic is known");
            topic.partitions.values().all(|partition| partition.isr.len() == 3)
        })
        && (0..PARTITIONS).all(|partition| {
            let mut ends = cluster.running().map(|(_, running)| {
                let handle = running.node.broker().partition_by_name("orders", partition).unwrap();
                (handle.view().log_end_offset(), handle.view().high_watermark())
            });
            let first = ends.next().unwrap();
            first.0 == first.1 && ends.all(|end| end == first)
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_on_every_replica_when_leaders_have_come_and_gone() {
    let extra = "min.insync.replicas=2\nreplica.fetch.wait.max.ms=100\n";
    let mut cluster = Cluster::start(3, Voters::Dynamic, extra).await;
    let mut request = CreateTopicsRequest { timeout_ms: 30_000, ..create("orders", PARTITIONS) };
    request.topics[0].replication_factor = 3;
    let response = within(cluster.client(1).await.call(&request)).await.unwrap();
    assert_eq!(response.topics[0].error_code, 0, "{response:?}");

    let mut producer = Producer { clients: HashMap::new(), acknowledged: Vec::new(), next: 0 };
    producer.produce(&cluster, 100).await;
    for node in 1..=3 {
        cluster.stop(node).await;
        producer.clients.clear();
        producer.produce(&cluster, 50).await;
        cluster.launch(node).await;
        producer.produce(&cluster, 50).await;
        within(async {
            while !is_whole(&cluster) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    for partition in 0..PARTITIONS {
        let bytes = bytes_of(&cluster, 1, partition);
        for node in 2..=3 {
            assert!(bytes == bytes_of(&cluster, node, partition), "replica of {partition} on {node} differs");
        }
        let mut values = HashMap::new();
        for batch in Batches::new(Bytes::from(bytes)) {
            let batch = batch.unwrap();
            for record in batch.records().unwrap() {
                let record = record.unwrap();
                values.insert(record.offset.0, String::from_utf8(record.value.unwrap().to_vec()).unwrap());
            }
        }
        for (_, offset, value) in producer.acknowledged.iter().filter(|(index, ..)| *index == partition) {
            assert_eq!(values.get(offset), Some(value), "at {offset} of {partition}");
        }
    }
    for node in 1..=3 {
        cluster.stop(node).await;
    }
}
