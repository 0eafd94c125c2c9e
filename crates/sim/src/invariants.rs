//! What the quorum promises, looked at after every step of every node.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ottla_commit_log::FirstBatch;
use ottla_metadata::MetadataImage;
use ottla_model::{LeaderEpoch, Offset};
use ottla_record::Batches;

use crate::node::Node;

/// Bytes of the log read at a time.
const READ_BYTES: usize = 1 << 20;
/// Images that are kept for comparison.
const IMAGES_MAX: usize = 200;

#[derive(Debug, Default)]
pub struct Invariants {
    /// Who led each epoch: node and process.
    leaders: BTreeMap<LeaderEpoch, (i32, u64)>,
    /// Every committed batch, by the offset it begins at, with its end.
    committed: BTreeMap<Offset, (Offset, Bytes)>,
    end: Offset,
    watermarks: BTreeMap<i32, Offset>,
    /// What the first node to get so far knew.
    images: BTreeMap<Offset, Arc<MetadataImage>>,
    published: BTreeMap<i32, Offset>,
    roles: BTreeMap<i32, String>,
}

impl Invariants {
    /// After a step of `node`. Comes back with what is worth a line in the story.
    pub fn check(&mut self, node: &Node, life: u64) -> Result<Option<String>, String> {
        let Some(process) = &node.process else { return Ok(None) };
        let (id, raft) = (node.id, process.raft());
        let mut line = None;
        let role = format!("{:?} of epoch {}", raft.role(), raft.epoch());
        if self.roles.get(&id) != Some(&role) {
            line = Some(format!("node {id} is {role}, log to {}", raft.end()));
            if raft.is_leader() {
                let known = *self.leaders.entry(raft.epoch()).or_insert((id, life));
                if known != (id, life) {
                    return Err(format!(
                        "epoch {} has two leaders, node {} and node {id}",
                        raft.epoch(),
                        known.0
                    ));
                }
            }
            self.roles.insert(id, role);
        }
        let before = self.watermarks.get(&id).copied().unwrap_or(Offset::ZERO);
        let now = raft.high_watermark().unwrap_or(Offset::ZERO);
        if now < before {
            return Err(format!("the high watermark of node {id} goes back from {before} to {now}"));
        }
        if now > before {
            self.watermarks.insert(id, now);
            self.check_committed(node, before, now)?;
        }
        self.check_image(id, &process.metadata.image())?;
        Ok(line)
    }

    /// What a node believes committed is the same everywhere, to the byte.
    fn check_committed(&mut self, node: &Node, from: Offset, to: Offset) -> Result<(), String> {
        let Some(process) = &node.process else { return Ok(()) };
        let view = process.view();
        let mut at = from.max(view.log_start_offset());
        while at < to {
            let plan = view.read(at, to, READ_BYTES, FirstBatch::Whole);
            let plan = plan.map_err(|error| format!("node {} cannot read {at}: {error}", node.id))?;
            let bytes = plan.to_bytes().map_err(|error| error.to_string())?;
            let before = at;
            for batch in Batches::new(bytes) {
                let batch = batch.map_err(|error| format!("node {}, offset {at}: {error}", node.id))?;
                let (base, end) = (batch.header.base_offset, batch.header.last_offset() + 1);
                at = end;
                let same = match self.committed.get(&base) {
                    Some((known_end, known)) => *known_end == end && *known == batch.bytes,
                    None if base == self.end || self.committed.is_empty() => {
                        self.committed.insert(base, (end, batch.bytes.clone()));
                        self.end = end;
                        true
                    }
                    // Others committed past it while this node was away, from a snapshot on.
                    None => base > self.end,
                };
                if !same {
                    return Err(format!("node {} believes another batch committed at {base}", node.id));
                }
            }
            if at == before {
                return Err(format!("node {} has nothing at {at}, which it believes committed", node.id));
            }
        }
        Ok(())
    }

    /// Nodes that know as much know the same.
    fn check_image(&mut self, id: i32, image: &Arc<MetadataImage>) -> Result<(), String> {
        let offset = image.provenance.offset;
        if self.published.insert(id, offset) == Some(offset) || offset == Offset::NONE {
            return Ok(());
        }
        let known = self.images.entry(offset).or_insert_with(|| Arc::clone(image));
        let same = known.topics == image.topics
            && known.configs == image.configs
            && known.cluster == image.cluster
            && known.features == image.features;
        if self.images.len() > IMAGES_MAX {
            self.images.pop_first();
        }
        if same { Ok(()) } else { Err(format!("node {id} knows something else than others up to {offset}")) }
    }

    pub fn crashed(&mut self, id: i32) {
        self.watermarks.remove(&id);
        self.published.remove(&id);
        self.roles.remove(&id);
    }

    /// In the end every node's log holds what was committed.
    pub fn compare_logs(&mut self, nodes: &[Node]) -> Result<(), String> {
        for node in nodes {
            let Some(process) = &node.process else { continue };
            let end = process.raft().high_watermark().unwrap_or(Offset::ZERO);
            self.check_committed(node, Offset::ZERO, end)?;
        }
        Ok(())
    }

    pub fn epochs(&self) -> i32 {
        self.leaders.len() as i32
    }

    pub fn committed(&self) -> i64 {
        self.end.0
    }
}
