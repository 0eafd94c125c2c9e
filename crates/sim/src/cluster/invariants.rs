//! What replicas promise each other, looked at all the time: one leader in each epoch, and in-sync replicas that have
//! everything that is committed.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_metadata::MetadataImage;
use ottla_model::{LeaderEpoch, NodeId, Uuid};
use ottla_server::node::Node;

use super::client::{OFFSETS_PARTITIONS, OFFSETS_TOPIC, PARTITIONS, TOPIC};
use super::host::Host;

#[derive(Debug, Default)]
pub struct Invariants {
    /// Who led a partition in its last epoch.
    leaders: BTreeMap<(Uuid, i32), (LeaderEpoch, NodeId)>,
}

impl Invariants {
    pub fn check(&mut self, hosts: &[Host]) -> Result<(), String> {
        let nodes: Vec<(Arc<Node>, Arc<MetadataImage>)> = hosts
            .iter()
            .filter_map(Host::node)
            .map(|node| {
                let image = Arc::clone(&node.image());
                (node, image)
            })
            .collect();
        for (leader, image) in &nodes {
            for (topic, partitions) in [(TOPIC, PARTITIONS), (OFFSETS_TOPIC, OFFSETS_PARTITIONS)] {
                let Some(id) = image.topics.by_name(topic).map(|topic| topic.id) else { continue };
                for partition in 0..partitions {
                    self.check_leader(leader, (topic, id), partition)?;
                    check_in_sync(leader, image, &nodes, topic, partition)?;
                }
            }
        }
        Ok(())
    }

    fn check_leader(&mut self, node: &Node, (topic, id): (&str, Uuid), partition: i32) -> Result<(), String> {
        let Ok(handle) = node.broker().partition_by_id(id, partition) else { return Ok(()) };
        let epoch = handle.leader_epoch();
        if !epoch.is_some() {
            return Ok(());
        }
        let known = self.leaders.entry((id, partition)).or_insert((epoch, node.id()));
        if known.0 < epoch {
            *known = (epoch, node.id());
        }
        if known.0 == epoch && known.1 != node.id() {
            return Err(format!(
                "{topic}-{partition} has two leaders in epoch {epoch}: {} and {}",
                known.1,
                node.id()
            ));
        }
        Ok(())
    }
}

/// Who is in sync, as the leader and the metadata say, has what the leader says is committed. Looked at only where the
/// leader knows as much as the follower: of the follower's last start, and of replicas that went and came back.
fn check_in_sync(
    leader: &Node,
    image: &MetadataImage,
    nodes: &[(Arc<Node>, Arc<MetadataImage>)],
    topic: &str,
    partition: i32,
) -> Result<(), String> {
    let Ok(handle) = leader.broker().partition_by_name(topic, partition) else { return Ok(()) };
    let known = image.topics.by_name(topic).and_then(|topic| topic.partitions.get(&partition));
    let Some(known) = known.filter(|known| known.leader_epoch == handle.leader_epoch()) else {
        return Ok(());
    };
    let committed = handle.view().high_watermark();
    let in_sync = handle.replicas.load();
    for (follower, follows) in nodes {
        let id = follower.id();
        let is_in_sync = known.isr.contains(&id) && in_sync.in_sync.contains(&id);
        if !is_in_sync || image.provenance.offset < follows.provenance.offset {
            continue;
        }
        let Ok(replica) = follower.broker().partition_by_name(topic, partition) else { continue };
        let end = replica.view().log_end_offset();
        if !replica.view().is_offline() && end < committed {
            return Err(format!(
                "{topic}-{partition} is committed up to {committed} on {}, its leader, but {id} is in sync and ends at {end}",
                leader.id()
            ));
        }
    }
    Ok(())
}
