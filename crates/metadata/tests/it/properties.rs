//! Whatever the records: an image and a delta give the same as all records at once, a snapshot loses nothing,
//! and the changes name all that differs.

use ottla_metadata::features::MetadataVersion;
use ottla_metadata::{MetadataDelta, MetadataImage, Provenance, WriteOptions};
use ottla_model::Uuid;
use ottla_protocol::records::metadata::*;
use proptest::prelude::*;

fn topic_id(n: u8) -> Uuid {
    Uuid::from_u128(1000 + u128::from(n))
}

/// Records over a few ids, so that many of them meet; some are refused, which is part of the property.
fn record() -> impl Strategy<Value = MetadataRecord> {
    let small = 0u8..4;
    prop_oneof![
        (small.clone(), any::<bool>()).prop_map(|(id, fenced)| MetadataRecord::from(RegisterBrokerRecord {
            broker_id: id.into(),
            broker_epoch: i64::from(id) * 10,
            fenced,
            log_dirs: vec![topic_id(id + 100)],
            ..Default::default()
        })),
        small.clone().prop_map(|id| UnregisterBrokerRecord { broker_id: id.into(), broker_epoch: i64::from(id) * 10 }.into()),
        (small.clone(), -1i8..2, 0i8..2).prop_map(|(id, fenced, shutdown)| BrokerRegistrationChangeRecord {
            broker_id: id.into(),
            broker_epoch: i64::from(id) * 10,
            fenced,
            in_controlled_shutdown: shutdown,
            ..Default::default()
        }
        .into()),
        small.clone().prop_map(|id| RegisterControllerRecord { controller_id: id.into(), ..Default::default() }.into()),
        small.clone().prop_map(|id| UnregisterControllerRecord { controller_id: id.into() }.into()),
        small.clone().prop_map(|n| TopicRecord { name: format!("t{n}").into(), topic_id: topic_id(n) }.into()),
        (small.clone(), 0i32..3).prop_map(|(n, partition_id)| PartitionRecord {
            partition_id,
            topic_id: topic_id(n),
            replicas: vec![1, 2],
            isr: vec![1],
            leader: 1,
            leader_epoch: 3,
            partition_epoch: 5,
            eligible_leader_replicas: Some(vec![2]),
            ..Default::default()
        }
        .into()),
        (small.clone(), 0i32..3, -2i32..3, any::<bool>()).prop_map(|(n, partition_id, leader, elr)| PartitionChangeRecord {
            partition_id,
            topic_id: topic_id(n),
            leader,
            isr: (leader > 0).then(|| vec![leader]),
            eligible_leader_replicas: elr.then(|| vec![leader]),
            leader_recovery_state: if elr { 1 } else { -1 },
            ..Default::default()
        }
        .into()),
        small.clone().prop_map(|n| RemoveTopicRecord { topic_id: topic_id(n) }.into()),
        small.clone().prop_map(|n| ClearElrRecord { topic_name: if n == 3 { "".into() } else { format!("t{n}").into() } }.into()),
        (small.clone(), small.clone(), any::<bool>()).prop_map(|(n, key, set)| ConfigRecord {
            resource_type: if key == 0 { 4 } else { 2 },
            resource_name: format!("t{n}").into(),
            name: format!("k{key}").into(),
            value: set.then(|| "v".into()),
        }
        .into()),
        (small.clone(), any::<bool>()).prop_map(|(n, remove)| ClientQuotaRecord {
            entity: vec![EntityData { entity_type: "user".into(), entity_name: (n > 0).then(|| format!("u{n}").into()) }],
            key: "producer_byte_rate".into(),
            value: f64::from(n),
            remove,
        }
        .into()),
        (1i64..50).prop_map(|next| ProducerIdsRecord { next_producer_id: next * 1000, ..Default::default() }.into()),
        (small.clone(), 0i16..3).prop_map(|(n, feature_level)| FeatureLevelRecord { name: format!("f{n}").into(), feature_level }.into()),
        (23i16..=33).prop_map(|feature_level| FeatureLevelRecord { name: "metadata.version".into(), feature_level }.into()),
        small.clone().prop_map(|n| AccessControlEntryRecord { id: topic_id(n), resource_name: "r".into(), ..Default::default() }.into()),
        small.clone().prop_map(|n| RemoveAccessControlEntryRecord { id: topic_id(n) }.into()),
        small.clone().prop_map(|n| UserScramCredentialRecord { name: format!("u{n}").into(), mechanism: 1, ..Default::default() }.into()),
        small.clone().prop_map(|n| RemoveUserScramCredentialRecord { name: format!("u{n}").into(), mechanism: 1 }.into()),
        small.clone().prop_map(|n| DelegationTokenRecord { token_id: format!("d{n}").into(), ..Default::default() }.into()),
        small.prop_map(|n| RemoveDelegationTokenRecord { token_id: format!("d{n}").into() }.into()),
        Just(BeginTransactionRecord::default().into()),
        Just(EndTransactionRecord::default().into()),
        Just(AbortTransactionRecord::default().into()),
        Just(NoOpRecord::default().into()),
    ]
}

proptest! {
    #[test]
    fn images_and_deltas(records in prop::collection::vec(record(), 0..60), cut in any::<u64>()) {
        let empty = MetadataImage::default();
        let mut all = MetadataDelta::new(&empty);
        let mut image = empty.clone();
        let mut step = MetadataDelta::new(&image);
        for (at, record) in records.iter().enumerate() {
            let before = all.image().clone();
            let outcome = all.replay(record);
            prop_assert_eq!(&outcome, &step.replay(record));
            if outcome.is_err() {
                prop_assert_eq!(&before, all.image());
            }
            // Cut where the bits of `cut` say so, but never inside a transaction.
            if !step.in_transaction() && cut >> (at % 64) & 1 == 1 {
                let next = step.apply(Provenance::NONE);
                check_changes(&image, &next, &step)?;
                image = next;
                step = MetadataDelta::new(&image);
            }
        }
        let image = step.apply(Provenance::NONE);
        prop_assert_eq!(&all.apply(Provenance::NONE), &image);

        // A snapshot of it, on top of anything, is it.
        let options = WriteOptions { metadata_version: MetadataVersion(33) };
        let mut from_image = image.clone();
        if image.features.metadata_version().is_some() {
            let mut delta = MetadataDelta::new(&image);
            delta.replay(&FeatureLevelRecord { name: "metadata.version".into(), feature_level: 33 }.into()).unwrap();
            from_image = delta.apply(Provenance::NONE);
        }
        for base in [empty, all.base().clone(), image] {
            let mut delta = MetadataDelta::from_snapshot(&base);
            for record in from_image.write(&options) {
                let bytes = record.encode(options.metadata_version.record_version(&record)).unwrap();
                delta.replay(&MetadataRecord::decode(bytes).unwrap().1).unwrap();
            }
            delta.finish_snapshot().unwrap();
            let snapshot = delta.apply(Provenance::NONE);
            prop_assert_eq!(&snapshot, &from_image);
            check_changes(&base, &snapshot, &delta)?;
        }
    }
}

/// Everything that differs is named.
fn check_changes(
    old: &MetadataImage,
    new: &MetadataImage,
    delta: &MetadataDelta,
) -> Result<(), TestCaseError> {
    let changes = delta.changes();
    for id in 0..4u8 {
        let node = ottla_model::NodeId(id.into());
        prop_assert!(old.cluster.broker(node) == new.cluster.broker(node) || changes.brokers.contains(&node));
        prop_assert!(
            old.cluster.controller(node) == new.cluster.controller(node)
                || changes.controllers.contains(&node)
        );
        let (before, after) = (old.topics.by_id(topic_id(id)), new.topics.by_id(topic_id(id)));
        if before.is_some() != after.is_some() {
            prop_assert!(changes.topics.contains_key(&topic_id(id)));
        }
        for partition in 0..3 {
            let (a, b) = (
                old.topics.partition(topic_id(id), partition),
                new.topics.partition(topic_id(id), partition),
            );
            let named = changes
                .topics
                .get(&topic_id(id))
                .is_some_and(|change| change.partitions.contains(&partition));
            prop_assert!(a == b || named, "partition {} of {}", partition, id);
        }
    }
    let resources: std::collections::BTreeSet<_> =
        old.configs.iter().chain(new.configs.iter()).map(|(resource, _)| resource).collect();
    for resource in resources {
        prop_assert!(
            old.configs.of(resource) == new.configs.of(resource) || changes.configs.contains(resource)
        );
    }
    prop_assert!(old.producer_ids == new.producer_ids || changes.producer_ids);
    prop_assert!(old.acls == new.acls || !changes.acls.is_empty());
    prop_assert!(old.scram == new.scram || !changes.scram.is_empty());
    prop_assert!(old.features == new.features || !changes.features.is_empty());
    prop_assert!(old.client_quotas == new.client_quotas || !changes.client_quotas.is_empty());
    prop_assert!(old.delegation_tokens == new.delegation_tokens || !changes.delegation_tokens.is_empty());
    Ok(())
}

#[test]
fn two_topics_of_one_name_are_refused_in_a_snapshot_too() {
    let topic = |n| MetadataRecord::from(TopicRecord { name: "t".into(), topic_id: topic_id(n) });
    let mut delta = MetadataDelta::new(&MetadataImage::default());
    delta.replay(&topic(1)).unwrap();
    let refused = delta.replay(&topic(2)).unwrap_err();
    assert_eq!((delta.image().topics.len(), delta.image().topics.id("t")), (1, Some(topic_id(1))));

    let mut snapshot = MetadataDelta::from_snapshot(&MetadataImage::default());
    [1, 2].into_iter().for_each(|n| snapshot.replay(&topic(n)).unwrap());
    assert_eq!(snapshot.finish_snapshot().unwrap_err(), refused);
}
