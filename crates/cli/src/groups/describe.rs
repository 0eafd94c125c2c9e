//! A group with its members, its offsets and its lag.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::{Context, Result};
use ottla_client::admin::{GroupDescription, GroupListing, GroupMember};
use ottla_client::consumer::OffsetSpec;
use ottla_client::protocol::api::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
};
use ottla_client::{Admin, CoordinatorKey, Error, Target};
use serde_json::{Value, json};

use crate::select::Pattern;
use crate::table::{Format, Table, print_json};

const PARTITION: &[&str] =
    &["topic", "partition", "committed_offset", "log_end_offset", "lag", "member_id", "client_id", "host"];
const MEMBER: &[&str] = &["member_id", "instance_id", "client_id", "host", "partitions", "assignment"];

pub async fn run(admin: &Admin, patterns: &[Pattern], members: bool, format: Format) -> Result<()> {
    let listed = admin.list_groups().await?;
    let chosen = super::choose(listed.iter().map(|group| group.id.as_str()), patterns)?;
    let mut described = Vec::new();
    for group in listed.iter().filter(|group| chosen.contains(&group.id)) {
        described.push(Described::fetch(admin, group).await.with_context(|| group.id.clone())?);
    }
    if format == Format::Json {
        return print_json(&described.iter().map(Described::to_json).collect());
    }
    let mut out = io::stdout().lock();
    for group in &described {
        let lag = group.lag.map_or("-".into(), |lag| lag.to_string());
        writeln!(
            out,
            "{}  state={}  coordinator={}  assignor={}  members={}  lag={lag}",
            group.group.id,
            group.group.state,
            group.group.coordinator.0,
            Some(group.group.assignor.as_str()).filter(|name| !name.is_empty()).unwrap_or("-"),
            group.group.members.len()
        )?;
        match members {
            true => group.members.write(&mut out, "  ")?,
            false => group.partitions.write(&mut out, "  ")?,
        }
    }
    Ok(())
}

struct Described {
    group: GroupDescription,
    kind: String,
    /// The sum over partitions; `None` where nothing is committed.
    lag: Option<i64>,
    partitions: Table,
    members: Table,
}

impl Described {
    async fn fetch(admin: &Admin, listed: &GroupListing) -> Result<Self> {
        let group = match listed.kind.as_str() {
            "consumer" => of_consumers(admin, &listed.id).await?,
            _ => admin.describe_group(&listed.id).await?,
        };
        let owners: BTreeMap<(String, i32), &GroupMember> = group
            .members
            .iter()
            .flat_map(|member| member.partitions.iter().map(move |partition| (partition.clone(), member)))
            .collect();
        let committed: BTreeMap<(String, i32), i64> = admin
            .committed_offsets(&listed.id)
            .await?
            .into_iter()
            .map(|found| ((found.topic, found.partition), found.offset.0))
            .collect();
        let metadata = admin.metadata().await?;
        let mut places: Vec<_> = owners.keys().chain(committed.keys()).cloned().collect();
        places.sort();
        places.dedup();
        // What was committed for topics that are gone has no end.
        let there: Vec<_> = places
            .iter()
            .filter(|(topic, partition)| metadata.partition(topic, *partition).is_some())
            .cloned()
            .collect();
        let ends = admin.list_offsets(&there, OffsetSpec::Latest).await?;
        let mut partitions = Table::new(PARTITION);
        let mut total = None;
        for place in places {
            let offset = committed.get(&place).copied();
            let end = ends.get(&place).and_then(|found| found.offset).map(|end| end.0);
            let lag = offset.zip(end).map(|(offset, end)| (end - offset).max(0));
            total = lag.map(|lag| lag + total.unwrap_or(0)).or(total);
            let owner = owners.get(&place);
            let word = |what: fn(&GroupMember) -> &str| owner.map(|member| what(member)).into();
            partitions.row([
                place.0.into(),
                place.1.into(),
                offset.into(),
                end.into(),
                lag.into(),
                word(|member| &member.id),
                word(|member| &member.client_id),
                word(|member| &member.host),
            ]);
        }
        partitions.total(&["committed_offset", "log_end_offset", "lag"]);
        let members = members(&group);
        Ok(Self { group, kind: listed.kind.clone(), lag: total, partitions, members })
    }

    fn to_json(&self) -> Value {
        json!({
            "group": self.group.id,
            "type": self.kind,
            "state": self.group.state,
            "coordinator": self.group.coordinator.0,
            "assignor": self.group.assignor,
            "lag": self.lag,
            "members": self.members.to_json(),
            "partitions": self.partitions.to_json(),
        })
    }
}

fn members(group: &GroupDescription) -> Table {
    let mut table = Table::new(MEMBER);
    for member in &group.members {
        let mut assignment: Vec<_> =
            member.partitions.iter().map(|(topic, partition)| format!("{topic}-{partition}")).collect();
        assignment.sort();
        table.row([
            member.id.as_str().into(),
            member.instance_id.clone().into(),
            member.client_id.as_str().into(),
            member.host.as_str().into(),
            member.partitions.len().into(),
            assignment.into(),
        ]);
    }
    table.total(&["partitions"]);
    table
}

/// A group of the protocol that Apache Kafka has since 4.0 (KIP-848).
async fn of_consumers(admin: &Admin, id: &str) -> Result<GroupDescription> {
    let client = admin.client();
    let key = CoordinatorKey::Group(id.into());
    let attempt = async |_| {
        let request =
            ConsumerGroupDescribeRequest { group_ids: vec![id.into()], include_authorized_operations: false };
        let answer: ConsumerGroupDescribeResponse =
            client.call(Target::Coordinator(key.clone()), request).await?;
        let group =
            answer.groups.into_iter().next().ok_or_else(|| Error::invalid("no group in the answer"))?;
        Error::check(group.error_code, group.error_message.as_deref())?;
        Ok(group)
    };
    let group = client.retry(client.api_timeout(), "describing a group", attempt).await?;
    let members = group.members.iter().map(|member| GroupMember {
        id: member.member_id.as_str().to_owned(),
        instance_id: member.instance_id.as_ref().map(|id| id.as_str().to_owned()),
        client_id: member.client_id.as_str().to_owned(),
        host: member.client_host.as_str().to_owned(),
        partitions: member
            .assignment
            .topic_partitions
            .iter()
            .flat_map(|topic| {
                topic.partitions.iter().map(|partition| (topic.topic_name.as_str().to_owned(), *partition))
            })
            .collect(),
    });
    Ok(GroupDescription {
        id: id.to_owned(),
        coordinator: client.coordinator(&key).await?,
        state: group.group_state.as_str().to_owned(),
        assignor: group.assignor_name.as_str().to_owned(),
        members: members.collect(),
    })
}
