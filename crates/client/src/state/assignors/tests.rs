//! Examples, and what holds for every group.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn topics(topics: &[(&str, usize)]) -> Topics {
    topics.iter().map(|(topic, partitions)| (Arc::from(*topic), vec![Racks::new(); *partitions])).collect()
}

fn member(id: &str, topics: &[&str]) -> Member {
    let subscription = Subscription {
        topics: topics.iter().map(|t| Arc::from(*t)).collect(),
        generation: -1,
        ..Default::default()
    };
    Member { member_id: id.into(), group_instance_id: None, subscription }
}

/// Racks a, b and c, one for each bit.
fn in_racks(bits: u8) -> Racks {
    (0..3).filter(|bit| bits & 1 << bit != 0).map(|bit| ["a", "b", "c"][bit].into()).collect()
}

fn shown(assigned: &[Vec<TopicPartition>]) -> Vec<String> {
    assigned
        .iter()
        .map(|partitions| partitions.iter().map(|p| p.to_string()).collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn range_gives_consecutive_partitions_of_each_topic() {
    let members = [member("b", &["t", "u"]), member("a", &["t", "u"])];
    let assigned = Assignor::Range.assign(&topics(&[("t", 3), ("u", 3)]), &members);
    assert_eq!(shown(&assigned), ["t-2 u-2", "t-0 t-1 u-0 u-1"]);
}

/// What the Java classes gave to groups with and without racks, alike and not. Of the sticky assignor it is how many
/// partitions are read outside the racks of their replicas by members that have one: no more than in Java.
#[test]
fn assignments_are_those_of_the_java_client() {
    let list = |text: &str| -> Vec<Arc<str>> {
        let inner = text.trim_matches(['[', ']']);
        inner.split(',').filter(|part| !part.is_empty()).map(Arc::from).collect()
    };
    let some = |text: &str| Some(text).filter(|text| *text != "-").map(Str::from);
    let (mut topics, mut members, mut compared) = (Topics::new(), Vec::new(), 0);
    let lines = include_str!("../../../testdata/apache-assignments-4.4.0.txt").lines();
    for line in lines.filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["topic", name, ref racks @ ..] => {
                if !members.is_empty() {
                    (topics, members) = Default::default();
                }
                let racks = racks.iter().map(|racks| list(racks).into_iter().collect());
                topics.insert(name.into(), racks.collect());
            }
            ["member", id, instance, rack, wanted] => {
                let mut member = member(id, &[]);
                member.group_instance_id = some(instance);
                member.subscription.topics = list(wanted);
                member.subscription.rack = some(rack);
                members.push(member);
            }
            ["sticky", ref theirs @ ..] => {
                let everywhere: Racks = topics.values().flatten().flatten().cloned().collect();
                if !members.iter().filter_map(rack_of).any(|rack| everywhere.contains(rack)) {
                    continue;
                }
                let far = |(member, partition): &(&Member, TopicPartition)| {
                    let racks = &topics[&partition.topic][partition.partition as usize];
                    rack_of(member).is_some_and(|rack| !racks.contains(rack))
                };
                let assigned = Assignor::Sticky.assign(&topics, &members);
                let ours = members.iter().zip(assigned);
                let ours = ours.flat_map(|(member, all)| all.into_iter().map(move |of| (member, of)));
                let theirs = theirs.iter().flat_map(|given| {
                    let (id, partitions) = given.split_once('=').unwrap();
                    let member = members.iter().find(|member| *member.member_id == *id).unwrap();
                    let partitions = partitions.split(',').filter(|partition| !partition.is_empty());
                    partitions.map(move |partition| {
                        let (topic, index) = partition.split_once('-').unwrap();
                        (member, TopicPartition::new(topic, index.parse().unwrap()))
                    })
                });
                let (ours, theirs) = (ours.filter(far).count(), theirs.filter(far).count());
                assert!(
                    ours <= theirs,
                    "{ours} of {topics:?} are read from afar by {members:?}, not {theirs}"
                );
                compared += 1;
            }
            [assignor, ..] => {
                let assigned = Assignor::from_name(assignor).unwrap().assign(&topics, &members);
                let shown = members.iter().zip(assigned).map(|(member, mut assigned)| {
                    assigned.sort();
                    let shown: Vec<String> = assigned.iter().map(ToString::to_string).collect();
                    format!("{}={}", &*member.member_id, shown.join(","))
                });
                let shown: BTreeSet<String> = shown.collect();
                let expected: BTreeSet<String> = words[1..].iter().map(ToString::to_string).collect();
                assert_eq!(shown, expected, "{assignor} of {topics:?} among {members:?}");
                compared += 1;
            }
            [] => unreachable!("split gives at least one part"),
        }
    }
    // All of range and round-robin, and 97 groups in which racks count.
    assert_eq!(compared, 397);
}

#[test]
fn static_members_come_first_by_their_instance() {
    let mut members = [member("a", &["t"]), member("b", &["t"]), member("c", &["t"])];
    members[1].group_instance_id = Some("z".into());
    members[2].group_instance_id = Some("y".into());
    let assigned = Assignor::Range.assign(&topics(&[("t", 3)]), &members);
    assert_eq!(shown(&assigned), ["t-2", "t-1", "t-0"]);
}

#[test]
fn round_robin_goes_on_behind_whoever_took_the_last() {
    let members = [member("a", &["t", "u"]), member("b", &["u"]), member("c", &["t"])];
    let assigned = Assignor::RoundRobin.assign(&topics(&[("t", 3), ("u", 3), ("v", 1)]), &members);
    assert_eq!(shown(&assigned), ["t-0 t-2 u-1", "u-0 u-2", "t-1"]);
}

#[test]
fn a_member_that_joins_takes_only_its_share() {
    let owned =
        |partitions: &[i32]| -> Vec<_> { partitions.iter().map(|&p| TopicPartition::new("t", p)).collect() };
    for assignor in [Assignor::Sticky, Assignor::CooperativeSticky] {
        let mut members = [member("a", &["t"]), member("b", &["t"]), member("c", &["t"])];
        for (member, partitions) in members.iter_mut().zip([[0, 1, 2], [3, 4, 5]]) {
            member.subscription.owned = owned(&partitions);
            member.subscription.generation = 4;
            member.subscription.user_data = assignor.user_data(&owned(&partitions), 4);
        }
        let assigned = assignor.assign(&topics(&[("t", 6)]), &members);
        assert_eq!(shown(&assigned[..2]), ["t-0 t-1", "t-3 t-4"]);
        // What moves is still claimed by the others.
        let new = if assignor == Assignor::Sticky { "t-2 t-5" } else { "" };
        assert_eq!(shown(&assigned[2..]), [new]);
    }
}

#[test]
fn a_member_that_slept_loses_to_whoever_was_assigned_later() {
    let mut members = [member("a", &["t"]), member("b", &["t"])];
    for (member, generation) in members.iter_mut().zip([3, 4]) {
        member.subscription.owned = vec![TopicPartition::new("t", 0)];
        member.subscription.generation = generation;
    }
    let assigned = Assignor::CooperativeSticky.assign(&topics(&[("t", 2)]), &members);
    assert_eq!(shown(&assigned), ["t-1", "t-0"]);
}

/// Laid out as the Java client's `StickyAssignor`, `CooperativeStickyAssignor` and `ConsumerProtocol` do it.
#[test]
fn bytes_are_those_of_the_java_client() {
    let partitions = [TopicPartition::new("t", 1), TopicPartition::new("t", 0)];
    let sticky = Assignor::Sticky.user_data(&partitions, 7).unwrap();
    assert_eq!(&sticky[..], b"\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\x07");
    assert_eq!(&Assignor::CooperativeSticky.user_data(&partitions, 7).unwrap()[..], b"\0\0\0\x07");
    let subscription = Subscription {
        topics: vec!["u".into(), "t".into()],
        user_data: None,
        owned: partitions.to_vec(),
        generation: 7,
        rack: Some("r".into()),
    };
    let bytes = encode_subscription(&subscription).unwrap();
    let expected: &[u8] = b"\0\x03\0\0\0\x02\0\x01t\0\x01u\xff\xff\xff\xff\
        \0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\x07\0\x01r";
    assert_eq!(&bytes[..], expected);
    let bytes = encode_assignment(&partitions).unwrap();
    assert_eq!(&bytes[..], b"\0\x03\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\x01\xff\xff\xff\xff");
}

#[test]
fn subscriptions_of_other_versions_are_read() {
    // Version 0 of an old client, and version 9 of one that does not exist yet.
    let old = decode_subscription(Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff")).unwrap();
    assert_eq!((&*old.topics[0], old.generation, old.rack), ("t", -1, None));
    let new = b"\0\x09\0\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\x05\xff\xffwhat nobody knows";
    assert_eq!(decode_subscription(Bytes::from_static(new)).unwrap().generation, 5);
    assert!(decode_subscription(Bytes::from_static(b"\0\0\x7f\xff\xff\xff")).is_err());
    assert_eq!(decode_assignment(Bytes::new()).unwrap(), []);
}

proptest! {
    /// Every partition that somebody subscribes to has exactly one owner, who subscribes to it; with the sticky
    /// assignors nobody has two more than another subscriber of one of them, and a second round moves nothing.
    #[test]
    fn every_group_is_assigned_whole(
        racks in proptest::collection::vec(proptest::collection::vec(0..8u8, 0..9), 1..5),
        racks_of_members in proptest::collection::vec(0..4u8, 7),
        subscriptions in proptest::collection::vec(proptest::collection::vec(any::<bool>(), 5), 1..7),
        owned in proptest::collection::vec((0..7usize, 0..5usize, 0..9i32, 0..3i32), 0..20),
    ) {
        let names: Vec<Arc<str>> = (0..5).map(|topic| format!("t{topic}").into()).collect();
        let topics: Topics =
            names.iter().cloned().zip(racks.iter().map(|of| of.iter().map(|bits| in_racks(*bits)).collect())).collect();
        let mut members: Vec<Member> = subscriptions.iter().enumerate().map(|(id, subscribed)| {
            let mut member = member(&format!("m{id}"), &[]);
            member.subscription.rack = in_racks(1 << racks_of_members[id]).first().map(|rack| (&**rack).into());
            member.subscription.topics =
                names.iter().zip(subscribed).filter(|(_, on)| **on).map(|(name, _)| name.clone()).collect();
            member
        }).collect();
        for (id, topic, partition, generation) in owned {
            if let Some(member) = members.get_mut(id) {
                member.subscription.owned.push(TopicPartition { topic: names[topic].clone(), partition });
                member.subscription.generation = generation;
            }
        }
        for member in &mut members {
            let Subscription { owned, generation, .. } = &member.subscription;
            member.subscription.user_data = Assignor::Sticky.user_data(owned, *generation);
        }
        let expected: BTreeSet<String> = topics.iter()
            .filter(|(topic, _)| members.iter().any(|m| m.subscription.topics.contains(topic)))
            .flat_map(|(topic, racks)| (0..racks.len()).map(move |p| format!("{topic}-{p}")))
            .collect();
        for assignor in [Assignor::Range, Assignor::RoundRobin, Assignor::Sticky, Assignor::CooperativeSticky] {
            let mut assigned = assignor.assign(&topics, &members);
            // What a member gave up may let the next round find a better balance; it ends in a few.
            for _ in 0..if assignor == Assignor::CooperativeSticky { 4 } else { 0 } {
                for (member, assigned) in members.iter_mut().zip(&assigned) {
                    member.subscription.owned = assigned.clone();
                    member.subscription.generation = 9;
                }
                assigned = assignor.assign(&topics, &members);
            }
            let all: Vec<String> = assigned.iter().flatten().map(|p| p.to_string()).collect();
            prop_assert_eq!(all.len(), expected.len());
            prop_assert_eq!(&all.into_iter().collect::<BTreeSet<_>>(), &expected);
            for (member, assigned) in members.iter().zip(&assigned) {
                for partition in assigned {
                    prop_assert!(member.subscription.topics.contains(&partition.topic));
                }
            }
            if matches!(assignor, Assignor::Sticky | Assignor::CooperativeSticky) {
                for (owner, partition) in assigned.iter().enumerate().flat_map(|(m, a)| a.iter().map(move |p| (m, p))) {
                    for (other, member) in members.iter().enumerate() {
                        if member.subscription.topics.contains(&partition.topic) {
                            prop_assert!(assigned[owner].len() < assigned[other].len() + 2);
                        }
                    }
                }
                let mut next = members.clone();
                for (member, assigned) in next.iter_mut().zip(&assigned) {
                    member.subscription.owned = assigned.clone();
                    member.subscription.generation = 10;
                    member.subscription.user_data = Assignor::Sticky.user_data(assigned, 10);
                }
                prop_assert_eq!(assignor.assign(&topics, &next), assigned);
            }
        }
    }
}
