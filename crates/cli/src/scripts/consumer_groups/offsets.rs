//! Offsets of a group and of partitions, in the maps that the actions work on.

use std::collections::BTreeMap;

use ottla_client::admin::OffsetSpec;
use ottla_client::blocking::block_on;
use ottla_client::model::ErrorCode;
use ottla_client::protocol::api::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup};
use ottla_client::{CallOptions, CoordinatorKey, Error, Lane, Target};

use super::super::session::{Listing, Session};
use super::{Done, Failure};

/// A topic's name and a partition's number.
pub type Partition = (String, i32);

/// What is committed for a partition.
#[derive(Clone, Copy, Debug)]
pub struct Committed {
    pub offset: i64,
    pub leader_epoch: i32,
}

pub fn coordinator(group: &str) -> Target {
    Target::Coordinator(CoordinatorKey::Group(group.into()))
}

/// What a group has committed.
pub fn committed(session: &Session, group: &str) -> Done<BTreeMap<Partition, Committed>> {
    // The last version in which topics have names instead of ids.
    let with_names = CallOptions { lane: Lane::Coordinator, timeout: None, version_max: Some(9) };
    let client = session.client();
    let attempt = async |_| {
        let asked =
            OffsetFetchRequestGroup { group_id: group.into(), member_epoch: -1, ..Default::default() };
        let request = OffsetFetchRequest { groups: vec![asked], require_stable: false, ..Default::default() };
        let answer = client.call_with(coordinator(group), request, with_names).await?;
        let mut found = BTreeMap::new();
        for group in answer.groups {
            Error::check(group.error_code, None::<&str>)?;
            for topic in group.topics {
                for partition in topic.partitions.iter().filter(|partition| partition.committed_offset >= 0) {
                    Error::check(partition.error_code, None::<&str>)?;
                    let committed = Committed {
                        offset: partition.committed_offset,
                        leader_epoch: partition.committed_leader_epoch,
                    };
                    found.insert((topic.name.as_str().to_owned(), partition.partition_index), committed);
                }
            }
        }
        Ok(found)
    };
    Ok(block_on(client.retry(client.api_timeout(), "fetching committed offsets", attempt))?)
}

/// Offsets of partitions; those without such an offset are left out.
pub fn listed(
    session: &Session,
    partitions: &[Partition],
    spec: OffsetSpec,
) -> Done<BTreeMap<Partition, i64>> {
    if partitions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let found = block_on(session.admin.list_offsets(partitions, spec))?;
    Ok(found.into_iter().filter_map(|(partition, found)| Some((partition, found.offset?.0))).collect())
}

/// The partitions of `name:0,1`, or `None` for a plain name.
pub fn named(argument: &str) -> Done<Option<Vec<Partition>>> {
    if !argument.contains(':') {
        return Ok(None);
    }
    let parts: Vec<_> = argument.split(':').collect();
    let [topic, partitions] = parts[..] else {
        let message = format!("Invalid topic arg '{argument}', expected topic name and partitions");
        return Err(Failure::Usage(message));
    };
    let number = |text: &str| match text.parse() {
        Ok(number) => Ok((topic.to_owned(), number)),
        Err(_) => {
            Err(Failure::Usage(format!("Invalid partition '{text}' specified in topic arg '{argument}''")))
        }
    };
    partitions.split(',').map(number).collect::<Done<_>>().map(Some)
}

/// All partitions of a topic, or why there are none.
pub fn of_topic(topics: &BTreeMap<String, Listing>, name: &str) -> Result<Vec<Partition>, Error> {
    let topic = topics.get(name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let mut numbers = topic.partitions.clone();
    numbers.sort_unstable();
    Ok(numbers.into_iter().map(|number| (name.to_owned(), number)).collect())
}
