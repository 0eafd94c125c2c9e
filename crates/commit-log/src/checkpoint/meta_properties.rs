//! `meta.properties`: which cluster, node and directory this is.

use std::collections::BTreeMap;

use ottla_model::{NodeId, Uuid, properties};

use super::{CheckpointError, malformed};

/// What `meta.properties` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetaProperties {
    pub cluster_id: String,
    pub node_id: NodeId,
    /// Absent in directories formatted before directories had ids: whoever starts on it writes one.
    pub directory_id: Option<Uuid>,
}

impl MetaProperties {
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let properties = properties::parse(text).or_else(|error| malformed(error.line, "broken escape"))?;
        let properties: BTreeMap<_, _> =
            properties.into_iter().map(|property| (property.name, property.value)).collect();
        let version: i32 = match properties.get("version") {
            None => 0,
            Some(version) => version.trim().parse().or_else(|_| malformed(0, "version is not a number"))?,
        };
        let node_key = match version {
            0 => "broker.id",
            1 => "node.id",
            _ => return malformed(0, "unknown version"),
        };
        let Some(cluster_id) = properties.get("cluster.id").cloned() else {
            return malformed(0, "cluster.id is missing");
        };
        let Some(Ok(node_id)) = properties.get(node_key).map(|id| id.trim().parse()) else {
            return malformed(0, "the node's id is missing");
        };
        let directory_id = match properties.get("directory.id").map(|id| id.trim().parse::<Uuid>()) {
            None => None,
            Some(Ok(id)) if !id.is_reserved() => Some(id),
            Some(_) => return malformed(0, "directory.id is not a usable id"),
        };
        Ok(Self { cluster_id, node_id: NodeId(node_id), directory_id })
    }

    /// The text of version 1.
    pub fn format(&self) -> String {
        let mut text = format!("node.id={}\n", self.node_id);
        if let Some(directory_id) = self.directory_id {
            text.push_str(&format!("directory.id={directory_id}\n"));
        }
        text.push_str("version=1\ncluster.id=");
        for c in self.cluster_id.chars() {
            if matches!(c, ':' | '=' | '#' | '!' | '\\' | ' ') {
                text.push('\\');
            }
            text.push(c);
        }
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_java_writes_is_read() {
        let text = "#\n#Sun Nov 22 16:21:43 UTC 2026\nnode.id=1\ndirectory.id=E6m2QIEaSViH7i7ZGvEnuw\nversion=1\ncluster.id=Golden\\:Cluster\n";
        let meta = MetaProperties::parse(text).unwrap();
        assert_eq!((meta.cluster_id.as_str(), meta.node_id), ("Golden:Cluster", NodeId(1)));
        assert_eq!(MetaProperties::parse(&meta.format()), Ok(meta));
        MetaProperties::parse("version=1\nnode.id=1\n").unwrap_err();
        MetaProperties::parse("version=2\nnode.id=1\ncluster.id=x\n").unwrap_err();
        MetaProperties::parse("version=1\nnode.id=1\ncluster.id=x\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAA\n")
            .unwrap_err();
        assert_eq!(MetaProperties::parse("broker.id: 7\ncluster.id x\n").unwrap().node_id, NodeId(7));
    }
}
