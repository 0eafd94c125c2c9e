//! Feature levels of Apache Kafka 4.4: what can be finalized, what each level brings, and what depends on what.
//!
//! Owns the tables. The levels that are finalized are in [`crate::FeaturesImage`].

use std::fmt;

use ottla_protocol::records::metadata::MetadataRecord;

/// The feature of the metadata log's own format.
pub const METADATA_VERSION: &str = "metadata.version";
/// The feature that the quorum keeps itself, in control records.
pub const KRAFT_VERSION: &str = "kraft.version";
pub const GROUP_VERSION: &str = "group.version";
pub const TRANSACTION_VERSION: &str = "transaction.version";
pub const ELIGIBLE_LEADER_REPLICAS_VERSION: &str = "eligible.leader.replicas.version";
pub const SHARE_VERSION: &str = "share.version";
pub const STREAMS_VERSION: &str = "streams.version";

/// A feature and the levels this node supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SupportedFeature {
    pub name: &'static str,
    pub min: i16,
    pub max: i16,
    /// `levels[n]` is the metadata.version with which level n+1 becomes the default of a new cluster.
    defaults: &'static [i16],
}

/// All features, in the order in which Kafka lists them.
pub const SUPPORTED: &[SupportedFeature] = &[
    SupportedFeature {
        name: METADATA_VERSION,
        min: MetadataVersion::MIN.0,
        max: MetadataVersion::LATEST.0,
        defaults: &[],
    },
    SupportedFeature { name: KRAFT_VERSION, min: 0, max: 1, defaults: &[21] },
    SupportedFeature { name: TRANSACTION_VERSION, min: 0, max: 2, defaults: &[24, 24] },
    SupportedFeature { name: GROUP_VERSION, min: 0, max: 1, defaults: &[22] },
    SupportedFeature { name: ELIGIBLE_LEADER_REPLICAS_VERSION, min: 0, max: 1, defaults: &[26] },
    SupportedFeature { name: SHARE_VERSION, min: 0, max: 2, defaults: &[28, 31] },
    SupportedFeature { name: STREAMS_VERSION, min: 0, max: 1, defaults: &[29] },
];

impl SupportedFeature {
    pub fn named(name: &str) -> Option<&'static Self> {
        SUPPORTED.iter().find(|feature| feature.name == name)
    }

    pub fn supports(&self, level: i16) -> bool {
        (self.min..=self.max).contains(&level)
    }

    /// The level that a new cluster of this metadata.version gets.
    pub fn default_level(&self, release: MetadataVersion) -> i16 {
        match self.name {
            METADATA_VERSION => release.0,
            _ => self.defaults.iter().filter(|&&since| since <= release.0).count() as i16,
        }
    }
}

/// The features of a new cluster with the software of `release`, metadata.version first; level 0 is left out.
pub fn defaults(release: MetadataVersion) -> impl Iterator<Item = (&'static str, i16)> {
    SUPPORTED
        .iter()
        .map(move |feature| (feature.name, feature.default_level(release)))
        .filter(|&(_, level)| level > 0)
}

/// The feature and level that `level` of `name` cannot do without.
pub fn dependency(name: &str, level: i16) -> Option<(&'static str, i16)> {
    (name == ELIGIBLE_LEADER_REPLICAS_VERSION && level >= 1).then_some((METADATA_VERSION, 23))
}

/// A level of `metadata.version`. Levels outside the table can be held (a log may name them) but not run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetadataVersion(pub i16);

/// Release and number within it, and whether the level changed the format of records. Index 0 is level 7.
const LEVELS: &[(&str, bool)] = &[
    ("3.3-IV3", true),
    ("3.4-IV0", true),
    ("3.5-IV0", false),
    ("3.5-IV1", false),
    ("3.5-IV2", true),
    ("3.6-IV0", false),
    ("3.6-IV1", true),
    ("3.6-IV2", true),
    ("3.7-IV0", true),
    ("3.7-IV1", false),
    ("3.7-IV2", true),
    ("3.7-IV3", false),
    ("3.7-IV4", false),
    ("3.8-IV0", false),
    ("3.9-IV0", false),
    ("4.0-IV0", false),
    ("4.0-IV1", true),
    ("4.0-IV2", false),
    ("4.0-IV3", false),
    ("4.1-IV0", false),
    ("4.1-IV1", false),
    ("4.2-IV0", false),
    ("4.2-IV1", false),
    ("4.3-IV0", true),
    ("4.4-IV0", false),
    ("4.4-IV1", true),
    ("4.4-IV2", true),
];

impl MetadataVersion {
    /// 3.3-IV3, the lowest that Kafka 4 runs.
    pub const MIN: Self = Self(7);
    /// 4.4-IV2.
    pub const LATEST: Self = Self(33);

    /// The level, if this software runs it.
    pub fn supported(level: i16) -> Option<Self> {
        (Self::MIN.0..=Self::LATEST.0).contains(&level).then_some(Self(level))
    }

    /// The level of a name such as `4.4-IV1`, or the last one of a release such as `4.4` or `4.4.0`.
    pub fn from_name(name: &str) -> Option<Self> {
        let exact = LEVELS.iter().position(|(level, _)| *level == name);
        let mut parts = name.split('.');
        let release = format!("{}.{}-", parts.next()?, parts.next().unwrap_or_default());
        let at = exact.or_else(|| LEVELS.iter().rposition(|(level, _)| level.starts_with(&release)))?;
        Some(Self(Self::MIN.0 + at as i16))
    }

    /// `4.4-IV2`, or the number for a level outside the table.
    pub fn name(self) -> String {
        match self.row() {
            Some((name, _)) => (*name).to_owned(),
            None => self.0.to_string(),
        }
    }

    fn row(self) -> Option<&'static (&'static str, bool)> {
        LEVELS.get(usize::try_from(self.0 - Self::MIN.0).ok()?)
    }

    /// Whether records written at `self` may not be understood at the lower level `to`.
    pub fn downgrade_loses_metadata(self, to: Self) -> bool {
        (to.0 + 1..=self.0).any(|level| Self(level).row().is_none_or(|(_, changed)| *changed))
    }

    pub fn supports_scram(self) -> bool {
        self.0 >= 11
    }

    /// Before this, shrinking the in-sync replicas raised the leader epoch.
    pub fn keeps_leader_epoch_on_isr_shrink(self) -> bool {
        self.0 >= 12
    }

    pub fn supports_transactions(self) -> bool {
        self.0 >= 13
    }

    pub fn supports_delegation_tokens(self) -> bool {
        self.0 >= 14
    }

    pub fn supports_controller_registration(self) -> bool {
        self.0 >= 15
    }

    /// Replicas are assigned to log directories (JBOD).
    pub fn supports_directories(self) -> bool {
        self.0 >= 17
    }

    pub fn supports_kraft_version_1(self) -> bool {
        self.0 >= 21
    }

    pub fn supports_eligible_leader_replicas(self) -> bool {
        self.0 >= 23
    }

    pub fn supports_cordoned_directories(self) -> bool {
        self.0 >= 30
    }

    pub fn supports_acl_host_ranges(self) -> bool {
        self.0 >= 32
    }

    pub fn supports_unregister_controller(self) -> bool {
        self.0 >= 33
    }

    /// The version of Fetch that followers use.
    pub fn fetch_version(self) -> i16 {
        match self.0 {
            ..9 => 13,
            9 => 14,
            10..=18 => 15,
            19..=20 => 16,
            21..=26 => 17,
            _ => 18,
        }
    }

    /// The version of ListOffsets that followers use.
    pub fn list_offsets_version(self) -> i16 {
        match self.0 {
            ..9 => 7,
            9..=20 => 8,
            21..=24 => 9,
            25..=28 => 10,
            _ => 11,
        }
    }

    pub fn register_broker_record_version(self) -> i16 {
        match self.0 {
            ..8 => 1,
            8..=16 => 2,
            17..=29 => 3,
            _ => 4,
        }
    }

    /// The version of PartitionRecord and PartitionChangeRecord.
    pub fn partition_record_version(self) -> i16 {
        match self.0 {
            ..17 => 0,
            17..=22 => 1,
            _ => 2,
        }
    }

    /// The version in which to write `record`: the highest the level allows, but for registration changes the
    /// lowest that holds what is set.
    pub fn record_version(self, record: &MetadataRecord) -> i16 {
        match record {
            MetadataRecord::RegisterBroker(_) => self.register_broker_record_version(),
            MetadataRecord::Partition(_) | MetadataRecord::PartitionChange(_) => {
                self.partition_record_version()
            }
            MetadataRecord::BrokerRegistrationChange(change) => {
                if change.cordoned_log_dirs.is_some() {
                    3
                } else if !change.log_dirs.is_empty() {
                    2
                } else if change.in_controlled_shutdown != 0 {
                    1
                } else {
                    0
                }
            }
            _ => 0,
        }
    }
}

impl fmt::Display for MetadataVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl fmt::Debug for MetadataVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_levels() {
        assert_eq!(LEVELS.len() as i16, MetadataVersion::LATEST.0 - MetadataVersion::MIN.0 + 1);
        for (name, level) in
            [("3.3-IV3", 7), ("3.9", 21), ("4.0", 25), ("4.3", 30), ("4.4.0", 33), ("4.4-IV0", 31)]
        {
            assert_eq!(MetadataVersion::from_name(name), Some(MetadataVersion(level)), "{name}");
        }
        assert_eq!(MetadataVersion::from_name("4.5"), None);
        assert_eq!(MetadataVersion(30).name(), "4.3-IV0");
        assert_eq!(MetadataVersion(34).name(), "34");
    }

    #[test]
    fn defaults_follow_the_release() {
        let of = |level| defaults(MetadataVersion(level)).collect::<Vec<_>>();
        assert_eq!(
            of(33),
            [
                (METADATA_VERSION, 33),
                (KRAFT_VERSION, 1),
                (TRANSACTION_VERSION, 2),
                (GROUP_VERSION, 1),
                (ELIGIBLE_LEADER_REPLICAS_VERSION, 1),
                (SHARE_VERSION, 2),
                (STREAMS_VERSION, 1)
            ]
        );
        assert_eq!(of(20), [(METADATA_VERSION, 20)]);
        assert_eq!(of(25)[2..], [(TRANSACTION_VERSION, 2), (GROUP_VERSION, 1)]);
    }

    #[test]
    fn downgrades_across_a_format_change_lose_metadata() {
        let loses = |from, to| MetadataVersion(from).downgrade_loses_metadata(MetadataVersion(to));
        assert!(loses(33, 32) && loses(30, 29) && loses(23, 20));
        assert!(!loses(29, 23) && !loses(31, 30) && !loses(22, 20));
    }
}
