//! `--delete` and `--delete-offsets`.

use std::collections::BTreeMap;

use ottla_client::Error;
use ottla_client::blocking::block_on;
use ottla_client::model::ErrorCode;
use ottla_client::protocol::api::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};

use super::super::options::Options;
use super::super::session::Session;
use super::super::{java, table};
use super::offsets::{Partition, coordinator, named, of_topic};
use super::{Done, asked, print_error};

pub fn groups(session: &Session, options: &Options) -> Done {
    let (mut deleted, mut failed) = (Vec::new(), Vec::new());
    for group in asked(session, options)? {
        match block_on(session.admin.delete_group(&group)) {
            Ok(()) => deleted.push(format!("'{group}'")),
            Err(error) => failed.push((group, error)),
        }
    }
    if failed.is_empty() {
        println!("Deletion of requested consumer groups ({}) was successful.", deleted.join(", "));
        return Ok(());
    }
    print_error("Deletion of some consumer groups failed:");
    for (group, error) in failed {
        println!("* Group '{group}' could not be deleted due to: {}", java::exception(&error));
    }
    if !deleted.is_empty() {
        println!("\nThese consumer groups were deleted successfully: {}", deleted.join(", "));
    }
    Ok(())
}

pub fn offsets(session: &Session, options: &Options) -> Done {
    let group = options.value("group")?.unwrap_or_default();
    let topics = session.topics()?;
    let mut outcomes = BTreeMap::<Partition, Option<Error>>::new();
    let mut partitions = Vec::new();
    for argument in options.values("topic") {
        match named(argument)? {
            Some(named) => partitions.extend(named),
            None => match of_topic(&topics, argument) {
                Ok(all) => partitions.extend(all),
                Err(error) => drop(outcomes.insert((argument.to_owned(), -1), Some(error))),
            },
        }
    }
    let mut by_topic = BTreeMap::<&str, Vec<OffsetDeleteRequestPartition>>::new();
    for (topic, partition_index) in &partitions {
        let partition = OffsetDeleteRequestPartition { partition_index: *partition_index };
        by_topic.entry(topic).or_default().push(partition);
    }
    let named = by_topic.into_iter();
    let topics =
        named.map(|(name, partitions)| OffsetDeleteRequestTopic { name: name.into(), partitions }).collect();
    let answer = session.ask(coordinator(group), OffsetDeleteRequest { group_id: group.into(), topics })?;
    let refused = Error::check(answer.error_code, None::<&str>).err();
    if let Some(error) = &refused {
        outcomes.extend(partitions.into_iter().map(|partition| (partition, Some(error.clone()))));
    }
    let mut first = None;
    for topic in answer.topics {
        for partition in topic.partitions {
            let error = Error::check(partition.error_code, None::<&str>).err();
            first = first.or(error.as_ref().and_then(Error::code));
            outcomes.insert((topic.name.as_str().to_owned(), partition.partition_index), error);
        }
    }
    match first {
        _ if refused.is_some() => print_error(&refused.iter().map(java::message).collect::<String>()),
        None => println!("Request succeeded for deleting offsets from group {group}."),
        Some(
            ErrorCode::GroupSubscribedToTopic
            | ErrorCode::TopicAuthorizationFailed
            | ErrorCode::UnknownTopicOrPartition,
        ) => print_error("Encountered some partition-level error, see the follow-up details."),
        Some(other) => print_error(&format!("Encountered some unknown error: {}", other.name())),
    }
    let widths = [table::width(15, outcomes.keys().map(|(topic, _)| topic.as_str())), 10, 15];
    print!("\n{}", table::line(&["TOPIC", "PARTITION", "STATUS"], &widths));
    for ((topic, partition), error) in &outcomes {
        let partition = if *partition < 0 { "-".to_owned() } else { partition.to_string() };
        let status = error.as_ref().map(|error| format!("Error: {}", java::exception(error)));
        let status = status.unwrap_or_else(|| "Successful".to_owned());
        print!("\n{}", table::line(&[topic.as_str(), &partition, &status], &widths));
    }
    println!();
    Ok(())
}
