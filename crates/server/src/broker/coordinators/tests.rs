//! A coordinator whose partition changes hands.

use ottla_commit_log::{FileCache, LogConfig, LogContext, LogDir, SimDisk, TailBudget};
use ottla_model::{NodeId, PartitionEpoch, TopicPartition, Uuid};
use ottla_protocol::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ottla_protocol::api::offset_fetch::OffsetFetchRequestGroup;
use ottla_record::validate::ProduceRules;
use ottla_replication::Registration;

use super::*;
use crate::broker::isr_changes::IsrChanges;
use crate::broker::partition::{Partition, ReplicaContext};
use crate::broker::shard::Shard;
use crate::broker::syncer::Syncer;
use crate::broker::waiters::HighWatermarkNews;

const SELF: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);

struct Host {
    groups: GroupCoordinators,
    partition: Arc<PartitionHandle>,
}

impl Host {
    async fn new() -> Self {
        let files = FileCache::new(Arc::new(SimDisk::new()), 16);
        let dir = LogDir::open(LogContext { files, tails: TailBudget::new(1 << 20) }, "/data").unwrap();
        let name = TopicPartition::new("__consumer_offsets", 0);
        let log = dir.create_log(&name, Uuid::ONE, LogConfig::default(), Millis(1)).unwrap();
        let shard = Shard::new();
        let owner = Arc::clone(&shard);
        let context = Arc::new(ReplicaContext {
            node_id: SELF,
            lag_ms_max: 30_000,
            high_watermark_news: HighWatermarkNews::WithNextFetch,
            isr_changes: IsrChanges::new(),
        });
        let place = (Uuid::ONE, Syncer::new());
        let rules = ProduceRules::default();
        let make = move |slot| Partition::new(log, Uuid::ONE, true, rules, (owner, slot), place, context);
        let partition = shard.run(move |state| {
            let slot = state.add(make);
            Arc::clone(&state.partition(slot).unwrap().handle)
        });
        let config = HostConfig {
            coordinator: CoordinatorConfig::default(),
            compression: Compression::NONE,
            load_buffer_bytes: 1 << 20,
            partitions: 1,
        };
        Self { groups: GroupCoordinators::new(config), partition: partition.await }
    }

    /// The metadata gives the partition to `leader`, as the shard sees it.
    async fn apply(&self, leader: NodeId, epoch: i32, partition_epoch: i32, isr: &[NodeId]) {
        let registration = Registration {
            replicas: vec![SELF, OTHER],
            isr: isr.to_vec(),
            leader,
            leader_epoch: LeaderEpoch(epoch),
            partition_epoch: PartitionEpoch(partition_epoch),
        };
        let slot = self.partition.slot;
        let apply = move |state: &mut crate::broker::shard::ShardState| {
            state.partition(slot).unwrap().apply(&registration, Millis(1));
        };
        self.partition.shard.run(apply).await;
    }

    async fn ask(&self, request: Request) -> Result<Response, ErrorCode> {
        self.groups.ask(Some(1), "g", ClientContext::default(), request).await
    }

    async fn commit(&self, committed_offset: i64) -> Result<i16, ErrorCode> {
        let partition = OffsetCommitRequestPartition { committed_offset, ..Default::default() };
        let name = Str::from("t");
        let topics =
            vec![OffsetCommitRequestTopic { name, partitions: vec![partition], ..Default::default() }];
        let group_id = Str::from("g");
        let request =
            OffsetCommitRequest { group_id, generation_id_or_member_epoch: -1, topics, ..Default::default() };
        match self.ask(Request::OffsetCommit(request)).await? {
            Response::OffsetCommit(response) => Ok(response.topics[0].partitions[0].error_code),
            other => panic!("{other:?}"),
        }
    }

    async fn committed(&self) -> Result<i64, ErrorCode> {
        let group = OffsetFetchRequestGroup { group_id: Str::from("g"), ..Default::default() };
        match self.ask(Request::OffsetFetch { group, require_stable: false }).await? {
            Response::OffsetFetch(group) => Ok(group.topics[0].partitions[0].committed_offset),
            other => panic!("{other:?}"),
        }
    }

    /// What is committed, as soon as the coordinator tells.
    async fn committed_when_loaded(&self) -> i64 {
        let told = async {
            loop {
                match self.committed().await {
                    Err(ErrorCode::CoordinatorLoadInProgress) => tokio::task::yield_now().await,
                    told => return told.unwrap(),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), told).await.expect("the coordinator is loaded")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_tells_nothing_that_might_be_taken_back() {
    let host = Arc::new(Host::new().await);
    assert_eq!(host.committed().await, Err(ErrorCode::NotCoordinator));
    host.apply(SELF, 0, 0, &[SELF]).await;
    host.groups.follow(0, Some(&host.partition), LeaderEpoch(0));
    assert_eq!(host.commit(10).await, Ok(0));

    // With a second replica in sync that fetches nothing, a commit waits.
    host.apply(SELF, 1, 1, &[SELF, OTHER]).await;
    assert_eq!(host.commit(11).await, Ok(ErrorCode::NotCoordinator.code()), "it appends in the epoch before");
    host.groups.follow(0, Some(&host.partition), LeaderEpoch(1));
    assert_eq!(host.committed_when_loaded().await, 10);
    let asking = Arc::clone(&host);
    let waiting = tokio::spawn(async move { asking.commit(20).await });
    while host.partition.view().log_end_offset() == host.partition.view().high_watermark() {
        tokio::task::yield_now().await;
    }

    // The next epoch's coordinator finds the commit in the log, where it may not stay.
    host.apply(SELF, 2, 2, &[SELF, OTHER]).await;
    host.groups.follow(0, Some(&host.partition), LeaderEpoch(2));
    assert_eq!(waiting.await.unwrap(), Ok(ErrorCode::NotCoordinator.code()));
    for _ in 0..100 {
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        assert_eq!(host.committed().await, Err(ErrorCode::CoordinatorLoadInProgress));
    }
    // The other replica is out: what this one has is what there is.
    host.apply(SELF, 2, 3, &[SELF]).await;
    assert_eq!(host.committed_when_loaded().await, 20);

    host.apply(OTHER, 3, 4, &[SELF, OTHER]).await;
    host.groups.follow(0, None, LeaderEpoch(3));
    assert_eq!(host.committed().await, Err(ErrorCode::NotCoordinator));
}
