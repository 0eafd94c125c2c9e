//! `--describe`: offsets and lag, members, or states of groups of either protocol.

use std::collections::BTreeMap;

use ottla_client::admin::OffsetSpec;
use ottla_client::blocking::block_on;
use ottla_client::model::ErrorCode;
use ottla_client::protocol::api::consumer_group_describe::{Assignment, ConsumerGroupDescribeRequest};
use ottla_client::{CoordinatorKey, Error};

use super::super::options::Options;
use super::super::session::Session;
use super::super::table;
use super::offsets::{self, Committed, Partition, coordinator};
use super::{Done, Failure, asked, print_error};

/// A group of either protocol.
pub struct Group {
    pub state: String,
    assignor: String,
    /// Group epoch and assignment epoch of the newer protocol.
    epochs: Option<(i32, i32)>,
    members: Vec<Member>,
}

struct Member {
    id: String,
    instance_id: String,
    host: String,
    client_id: String,
    assigned: Vec<Partition>,
    target: Vec<Partition>,
    /// Current and target epoch of the newer protocol.
    epochs: Option<(i32, i32)>,
    /// Whether it speaks the newer protocol, where that is known.
    upgraded: Option<bool>,
}

/// Asks for a group as one of the newer protocol, then as a classic one.
pub fn described(session: &Session, id: &str) -> Done<Group> {
    let request = ConsumerGroupDescribeRequest { group_ids: vec![id.into()], ..Default::default() };
    let answer = match session.ask(coordinator(id), request) {
        Err(Error::Unsupported { .. }) => None,
        answer => answer?.groups.into_iter().next(),
    };
    match answer {
        Some(group) if group.error_code == 0 => {
            let text = |text: &ottla_client::protocol::Str| text.as_str().to_owned();
            let members = group.members.iter().map(|member| Member {
                id: text(&member.member_id),
                instance_id: member.instance_id.as_ref().map(text).unwrap_or_default(),
                host: text(&member.client_host),
                client_id: text(&member.client_id),
                assigned: partitions(&member.assignment),
                target: partitions(&member.target_assignment),
                epochs: Some((member.member_epoch, group.assignment_epoch)),
                upgraded: (member.member_type >= 0).then_some(member.member_type == 1),
            });
            Ok(Group {
                state: text(&group.group_state),
                assignor: text(&group.assignor_name),
                epochs: Some((group.group_epoch, group.assignment_epoch)),
                members: members.collect(),
            })
        }
        Some(group)
            if group.error_code != ErrorCode::GroupIdNotFound.code()
                && group.error_code != ErrorCode::UnsupportedVersion.code() =>
        {
            Err(Error::broker(
                ErrorCode::from_code(group.error_code).unwrap_or(ErrorCode::UnknownServerError),
                group.error_message.as_deref(),
            )
            .into())
        }
        _ => classic(session, id),
    }
}

fn classic(session: &Session, id: &str) -> Done<Group> {
    let group = block_on(session.admin.describe_group(id))?;
    let members = group.members.into_iter().map(|member| Member {
        id: member.id,
        instance_id: member.instance_id.unwrap_or_default(),
        host: member.host,
        client_id: member.client_id,
        assigned: member.partitions,
        target: Vec::new(),
        epochs: None,
        upgraded: None,
    });
    Ok(Group { state: group.state, assignor: group.assignor, epochs: None, members: members.collect() })
}

fn partitions(assignment: &Assignment) -> Vec<Partition> {
    let topics = assignment.topic_partitions.iter();
    topics
        .flat_map(|topic| {
            topic.partitions.iter().map(|number| (topic.topic_name.as_str().to_owned(), *number))
        })
        .collect()
}

pub fn describe(session: &Session, options: &Options) -> Done {
    let mut groups = BTreeMap::new();
    for id in asked(session, options)? {
        let group = described(session, &id)?;
        groups.insert(id, group);
    }
    let verbose = options.has("verbose");
    for (id, group) in &groups {
        if options.has("members") {
            members(id, group, verbose)?;
        } else if options.has("state") {
            state(session, id, group, verbose)?;
        } else {
            committed(session, id, group, verbose)?;
        }
    }
    Ok(())
}

/// Says what is to be said of the group's state; whether there are rows to be shown.
fn has_rows(id: &str, group: &Group, rows: usize) -> Done<bool> {
    match group.state.as_str() {
        "Dead" => print_error(&format!("Consumer group '{id}' does not exist.")),
        "Empty" => eprintln!("\nConsumer group '{id}' has no active members."),
        "PreparingRebalance" | "CompletingRebalance" | "Assigning" | "Reconciling" => {
            eprintln!("\nWarning: Consumer group '{id}' is rebalancing.");
        }
        "Stable" => {}
        other => {
            let message = format!("Expected a valid consumer group state, but found '{other}'.");
            return Err(Failure::Said(message));
        }
    }
    Ok(group.state != "Dead" && rows > 0)
}

const NONE: &str = "-";

fn committed(session: &Session, id: &str, group: &Group, verbose: bool) -> Done {
    let committed = offsets::committed(session, id)?;
    let mut members: Vec<_> = group.members.iter().filter(|member| !member.assigned.is_empty()).collect();
    members.sort_by_key(|member| std::cmp::Reverse(member.assigned.len()));
    let mut rows: Vec<(Partition, [&str; 3])> = Vec::new();
    for member in members {
        let mut assigned = member.assigned.clone();
        assigned.sort_by_key(|(_, number)| *number);
        let whose = [member.id.as_str(), &member.host, &member.client_id];
        rows.extend(assigned.into_iter().map(|partition| (partition, whose)));
    }
    let mut others: Vec<_> = committed
        .keys()
        .filter(|partition| !rows.iter().any(|(row, _)| row == *partition))
        .cloned()
        .collect();
    others.sort_by_key(|(_, number)| *number);
    rows.extend(others.into_iter().map(|partition| (partition, [NONE; 3])));
    if !has_rows(id, group, rows.len())? {
        return Ok(());
    }
    let ends = ends(session, rows.iter().map(|(partition, _)| partition))?;
    let lines = rows.iter().map(|(partition, whose)| line(id, partition, whose, &committed, &ends, verbose));
    let mut lines: Vec<Vec<String>> = lines.collect();
    let mut header = vec![
        "GROUP",
        "TOPIC",
        "PARTITION",
        "CURRENT-OFFSET",
        "LOG-END-OFFSET",
        "LAG",
        "CONSUMER-ID",
        "HOST",
        "CLIENT-ID",
    ];
    if verbose {
        header.insert(3, "LEADER-EPOCH");
    }
    let count = header.len();
    let widest = |column: usize| table::width(15, lines.iter().map(|cells| cells[column].as_str()));
    let mut widths = vec![15; count];
    for column in [0, 1, count - 3, count - 2] {
        widths[column] = widest(column);
    }
    (widths[2], widths[count - 1]) = (10, 0);
    lines.insert(0, header.into_iter().map(str::to_owned).collect());
    for cells in lines {
        print!("\n{}", table::line(&cells, &widths));
    }
    println!();
    Ok(())
}

fn line(
    id: &str,
    partition: &Partition,
    whose: &[&str; 3],
    committed: &BTreeMap<Partition, Committed>,
    ends: &BTreeMap<Partition, i64>,
    verbose: bool,
) -> Vec<String> {
    let or_none = |number: Option<i64>| number.map_or(NONE.to_owned(), |number| number.to_string());
    let current = committed.get(partition);
    let offset = current.map(|current| current.offset);
    let end = ends.get(partition).copied();
    let lag = offset.zip(end).map(|(offset, end)| end - offset);
    let mut cells = vec![id.to_owned(), partition.0.clone(), partition.1.to_string()];
    if verbose {
        cells.push(or_none(current.map(|current| current.leader_epoch.into()).filter(|epoch| *epoch >= 0)));
    }
    cells.extend([or_none(offset), or_none(end), or_none(lag)]);
    cells.extend(whose.iter().map(|cell| (*cell).to_owned()));
    cells
}

/// Where partitions end; those that are gone have no end.
fn ends<'a>(session: &Session, asked: impl Iterator<Item = &'a Partition>) -> Done<BTreeMap<Partition, i64>> {
    let topics = session.topics()?;
    let there = |(topic, number): &&Partition| {
        topics.get(topic).is_some_and(|topic| topic.partitions.contains(number))
    };
    let there: Vec<_> = asked.filter(there).cloned().collect();
    offsets::listed(session, &there, OffsetSpec::Latest)
}

fn members(id: &str, group: &Group, verbose: bool) -> Done {
    let rows = &group.members;
    let shown = has_rows(id, group, rows.len())?;
    let widest = |least, cell: fn(&Member) -> &str| match shown {
        true => table::width(least, rows.iter().map(cell)),
        false => least,
    };
    let with_instance = rows.iter().any(|member| !member.instance_id.is_empty());
    let (assigned, target): (Vec<_>, Vec<_>) =
        rows.iter().map(|member| (assignment(&member.assigned), assignment(&member.target))).unzip();
    let mixed = rows.iter().any(|member| member.upgraded == Some(true))
        && rows.iter().any(|member| member.upgraded == Some(false));
    let mut widths = vec![
        table::width(15, std::iter::once(id).filter(|_| shown)),
        widest(15, |member| &member.id),
        widest(17, |member| &member.instance_id),
        widest(15, |member| &member.host),
        widest(15, |member| &member.client_id),
        15,
        15,
        table::width(20, assigned.iter().map(String::as_str)),
        15,
        table::width(20, target.iter().map(String::as_str)),
    ];
    let mut header = vec!["GROUP", "CONSUMER-ID", "GROUP-INSTANCE-ID", "HOST", "CLIENT-ID", "#PARTITIONS"];
    if verbose {
        header.extend(["CURRENT-EPOCH", "CURRENT-ASSIGNMENT", "TARGET-EPOCH", "TARGET-ASSIGNMENT"]);
        header.extend(mixed.then_some("UPGRADED"));
    }
    let mut lines = vec![header.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for (at, member) in rows.iter().enumerate() {
        let mut cells = [id, &member.id, &member.instance_id, &member.host, &member.client_id]
            .map(str::to_owned)
            .to_vec();
        cells.push(member.assigned.len().to_string());
        if verbose {
            let epoch = |epoch: Option<i32>| epoch.map_or(NONE.to_owned(), |epoch| epoch.to_string());
            cells.extend([epoch(member.epochs.map(|epochs| epochs.0)), assigned[at].clone()]);
            cells.extend([epoch(member.epochs.map(|epochs| epochs.1)), target[at].clone()]);
            cells.extend(mixed.then(|| member.upgraded.map_or(NONE.to_owned(), |is| is.to_string())));
        }
        lines.push(cells);
    }
    if !with_instance {
        widths.remove(2);
        lines.iter_mut().for_each(|cells| drop(cells.remove(2)));
    }
    println!();
    // Without more columns a blank stands where they would begin.
    let end = if verbose { "" } else { " " };
    for cells in lines {
        println!("{}{end}", table::line(&cells, &widths));
    }
    Ok(())
}

/// `topic:0,1;other:2`
fn assignment(partitions: &[Partition]) -> String {
    let mut topics = BTreeMap::<&str, Vec<i32>>::new();
    for (topic, number) in partitions {
        topics.entry(topic).or_default().push(*number);
    }
    let topics = topics.into_iter().map(|(topic, mut numbers)| {
        numbers.sort_unstable();
        let numbers: Vec<_> = numbers.iter().map(ToString::to_string).collect();
        format!("{topic}:{}", numbers.join(","))
    });
    let text = topics.collect::<Vec<_>>().join(";");
    if text.is_empty() { NONE.to_owned() } else { text }
}

fn state(session: &Session, id: &str, group: &Group, verbose: bool) -> Done {
    if !has_rows(id, group, 1)? {
        return Ok(());
    }
    let node = block_on(session.client().coordinator(&CoordinatorKey::Group(id.into())))?;
    let metadata = session.client().metadata();
    let place =
        metadata.broker(node).map(|broker| format!("{}:{}", broker.host, broker.port)).unwrap_or_default();
    let coordinator = format!("{place}  ({})", node.0);
    let assignor = if group.assignor.is_empty() { NONE } else { &group.assignor };
    let members = group.members.len().to_string();
    let (first, second) =
        (table::width(15, [id].into_iter()), table::width(25, [coordinator.as_str()].into_iter()));
    let mut header = vec!["GROUP", "COORDINATOR (ID)", "ASSIGNMENT-STRATEGY", "STATE"];
    let mut cells = vec![id.to_owned(), coordinator, assignor.to_owned(), group.state.clone()];
    let mut widths = vec![first, second, 20, 20];
    if verbose {
        header.extend(["GROUP-EPOCH", "TARGET-ASSIGNMENT-EPOCH"]);
        let epoch = |epoch: Option<i32>| epoch.map_or(NONE.to_owned(), |epoch| epoch.to_string());
        cells
            .extend([epoch(group.epochs.map(|epochs| epochs.0)), epoch(group.epochs.map(|epochs| epochs.1))]);
        widths.extend([15, 25]);
    }
    header.push("#MEMBERS");
    cells.push(members);
    print!("\n{}\n{}", table::line(&header, &widths), table::line(&cells, &widths));
    println!();
    Ok(())
}
