//! `--reset-offsets`: where groups without members are to go on reading.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use ottla_client::admin::{CommittedOffset, OffsetSpec};
use ottla_client::blocking::block_on;
use ottla_client::consumer::ResetPolicy;
use ottla_client::model::{ErrorCode, Millis, Offset};

use super::super::options::Options;
use super::super::session::Session;
use super::super::{java, table};
use super::describe::described;
use super::offsets::{self, Partition, named, of_topic};
use super::{Done, Failure, RESETS, asked, print_error};

/// New offsets by partition.
type Plan = BTreeMap<Partition, i64>;

pub fn reset(session: &Session, options: &Options) -> Done {
    let mut plans = Vec::new();
    for group in asked(session, options)? {
        let state = match described(session, &group) {
            Ok(group) => group.state,
            // One that does not exist may be given offsets.
            Err(Failure::Refused(error)) if error.code() == Some(ErrorCode::GroupIdNotFound) => "Dead".into(),
            Err(other) => return Err(other),
        };
        if state != "Empty" && state != "Dead" {
            print_error(&format!(
                "Assignments can only be reset if the group '{group}' is inactive, but the current state is {state}."
            ));
            plans.push((group, Plan::new()));
            continue;
        }
        let plan = plan(session, options, &group)?;
        if options.has("execute") {
            let commits: Vec<_> = plan
                .iter()
                .map(|((topic, partition), offset)| CommittedOffset {
                    topic: topic.clone(),
                    partition: *partition,
                    offset: Offset(*offset),
                })
                .collect();
            block_on(session.admin.commit_offsets(&group, &commits))?;
        }
        plans.push((group, plan));
    }
    match options.has("export") {
        true => println!("{}", csv(&plans)),
        false => print(&plans),
    }
    Ok(())
}

fn plan(session: &Session, options: &Options, group: &str) -> Done<Plan> {
    let Some(reset) = RESETS.iter().find(|reset| options.has(reset)) else {
        partitions(session, options, group)?;
        return Err(Failure::Usage(
            "Option '[reset-offsets]' requires one of the following scenarios: [[shift-by], [from-file], \
             [to-datetime], [by-duration], [to-latest], [to-current], [to-earliest], [to-offset]]"
                .into(),
        ));
    };
    let number = match *reset {
        "to-offset" | "shift-by" => options.number::<i64>(reset)?.unwrap_or_default(),
        _ => 0,
    };
    let partitions = partitions(session, options, group)?;
    match *reset {
        "to-offset" => {
            in_range(session, partitions.into_iter().map(|partition| (partition, number)).collect())
        }
        "to-earliest" => offsets::listed(session, &partitions, OffsetSpec::Earliest),
        "to-latest" => offsets::listed(session, &partitions, OffsetSpec::Latest),
        "to-datetime" => {
            let text = options.value(reset)?.unwrap_or_default();
            let Some(time) = millis(text) else {
                let reason = match text.contains('T') {
                    true => format!("Unparseable date: \"{text}\""),
                    false => "Error parsing timestamp. It does not contain a 'T' according to ISO8601 format"
                        .into(),
                };
                return Err(Failure::Said(format!("java.text.ParseException: {reason}")));
            };
            at(session, &partitions, time)
        }
        "by-duration" => {
            let text = options.value(reset)?.unwrap_or_default();
            let Some(ResetPolicy::ByDuration { ms }) = ResetPolicy::parse(&format!("by_duration:{text}"))
            else {
                return Err(Failure::Said("Text cannot be parsed to a Duration".into()));
            };
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
            at(session, &partitions, now - ms)
        }
        "shift-by" => {
            let committed = offsets::committed(session, group)?;
            let shifted = partitions.into_iter().map(|partition| match committed.get(&partition) {
                Some(current) => Ok((partition, current.offset.saturating_add(number))),
                None => Err(Failure::Usage(format!(
                    "Cannot shift offset for partition {}-{} since there is no current committed offset",
                    partition.0, partition.1
                ))),
            });
            in_range(session, shifted.collect::<Done<_>>()?)
        }
        "to-current" => {
            let committed = offsets::committed(session, group)?;
            let (with, without): (Vec<_>, Vec<_>) =
                partitions.into_iter().partition(|partition| committed.contains_key(partition));
            let mut plan = offsets::listed(session, &without, OffsetSpec::Latest)?;
            plan.extend(with.into_iter().map(|partition| {
                let offset = committed[&partition].offset;
                (partition, offset)
            }));
            Ok(plan)
        }
        _ => match from_file(options)?.remove(group) {
            Some(plan) => in_range(session, plan),
            None => {
                print_error(&format!("No reset plan for group {group} found"));
                Ok(Plan::new())
            }
        },
    }
}

/// The partitions that `--topic` and `--all-topics` mean.
fn partitions(session: &Session, options: &Options, group: &str) -> Done<Vec<Partition>> {
    if options.has("all-topics") {
        return Ok(offsets::committed(session, group)?.into_keys().collect());
    }
    if !options.has("topic") {
        return match options.has("from-file") {
            true => Ok(Vec::new()),
            false => Err(Failure::Usage(
                "One of the reset scopes should be defined: --all-topics, --topic.".into(),
            )),
        };
    }
    let topics = session.topics()?;
    let mut partitions = Vec::new();
    for argument in options.values("topic") {
        match named(argument)? {
            Some(named) => partitions.extend(named),
            None => {
                let all =
                    of_topic(&topics, argument).map_err(|error| Failure::Said(java::message(&error)))?;
                partitions.extend(all);
            }
        }
    }
    let exists = |(topic, number): &&Partition| {
        topics.get(topic).is_some_and(|topic| topic.partitions.contains(number))
    };
    let missing: Vec<_> = partitions
        .iter()
        .filter(|partition| !exists(partition))
        .map(|(topic, number)| format!("{topic}-{number}"))
        .collect();
    if !missing.is_empty() {
        return Err(Failure::Said(format!("The partitions \"{}\" do not exist", missing.join(","))));
    }
    Ok(partitions)
}

/// The offsets of a time; where no record is so late, the end.
fn at(session: &Session, partitions: &[Partition], time: i64) -> Done<Plan> {
    let mut plan = offsets::listed(session, partitions, OffsetSpec::At(Millis(time)))?;
    let missing: Vec<_> =
        partitions.iter().filter(|partition| !plan.contains_key(partition)).cloned().collect();
    for (topic, partition) in &missing {
        println!(
            "\nWarn: Partition {partition} from topic {topic} is empty. Falling back to latest known offset."
        );
    }
    plan.extend(offsets::listed(session, &missing, OffsetSpec::Latest)?);
    Ok(plan)
}

/// Offsets that no partition has become its end or its beginning.
fn in_range(session: &Session, mut plan: Plan) -> Done<Plan> {
    let partitions: Vec<_> = plan.keys().cloned().collect();
    let ends = offsets::listed(session, &partitions, OffsetSpec::Latest)?;
    let starts = offsets::listed(session, &partitions, OffsetSpec::Earliest)?;
    for (partition, offset) in &mut plan {
        let (start, end) = (starts.get(partition).copied(), ends.get(partition).copied());
        let (bound, word, which) = match (start, end) {
            (_, Some(end)) if *offset > end => (end, "higher", "latest"),
            (Some(start), _) if *offset < start => (start, "lower", "earliest"),
            _ => continue,
        };
        eprintln!(
            "WARN New offset ({offset}) is {word} than {which} offset for topic partition {}-{}. Value will be set to \
             {bound}",
            partition.0, partition.1
        );
        *offset = bound;
    }
    Ok(plan)
}

/// The plans of a CSV file: `topic,partition,offset` for one group, with the group before that for several.
fn from_file(options: &Options) -> Done<BTreeMap<String, Plan>> {
    let path = options.value("from-file")?.unwrap_or_default();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Said(format!("cannot read {path}: {error}")))?;
    let groups: Vec<_> = options.values("group").collect();
    let mut plans = BTreeMap::<String, Plan>::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let cells: Vec<_> = line.split(',').map(|cell| cell.trim().trim_matches('"')).collect();
        let (group, topic, partition, offset) = match (&cells[..], &groups[..]) {
            ([topic, partition, offset], [group]) => (*group, topic, partition, offset),
            ([group, topic, partition, offset], _) => (*group, topic, partition, offset),
            _ => ("", &"", &"", &""),
        };
        let (Ok(partition), Ok(offset)) = (partition.parse(), offset.parse()) else {
            let expected =
                if groups.len() == 1 { "topic,partition,offset" } else { "group,topic,partition,offset" };
            return Err(Failure::Said(format!("{path}:{}: `{line}` is not {expected}", number + 1)));
        };
        plans.entry(group.to_owned()).or_default().insert(((*topic).to_owned(), partition), offset);
    }
    Ok(plans)
}

fn csv(plans: &[(String, Plan)]) -> String {
    let mut text = String::new();
    for (group, plan) in plans {
        for ((topic, partition), offset) in plan {
            if plans.len() > 1 {
                text.push_str(&format!("{},", cell(group)));
            }
            text.push_str(&format!("{},{partition},{offset}\n", cell(topic)));
        }
    }
    text
}

/// A cell as Apache's tools write it: in quotes where that may be needed, and where it is long.
fn cell(text: &str) -> String {
    if text.len() > 24 || text.contains([',', '"', '\n']) || text.is_empty() {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}

fn print(plans: &[(String, Plan)]) {
    let topics = plans.iter().flat_map(|(_, plan)| plan.keys().map(|(topic, _)| topic.as_str()));
    let widths =
        [table::width(15, plans.iter().map(|(group, _)| group.as_str())), table::width(15, topics), 10];
    if !plans.is_empty() {
        print!("\n{}", table::line(&["GROUP", "TOPIC", "PARTITION", "NEW-OFFSET"], &widths));
    }
    for (group, plan) in plans {
        for ((topic, partition), offset) in plan {
            let cells = [group.as_str(), topic, &partition.to_string(), &offset.to_string()];
            print!("\n{}", table::line(&cells, &widths));
        }
    }
    println!();
}

/// Milliseconds of `YYYY-MM-DDThh:mm:ss.sss`, with `Z` or `+hh:mm` behind it or in UTC.
fn millis(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let zone_at = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at(zone_at);
    let zone_minutes = match zone.split_at_checked(1) {
        None | Some(("Z", "")) => 0,
        Some((sign @ ("+" | "-"), rest)) => {
            let digits: String = rest.chars().filter(|c| *c != ':').collect();
            let (hours, minutes) = digits.split_at_checked(2)?;
            let minutes = if minutes.is_empty() { 0 } else { minutes.parse::<i64>().ok()? };
            (hours.parse::<i64>().ok()? * 60 + minutes) * if sign == "-" { -1 } else { 1 }
        }
        Some(_) => return None,
    };
    let (clock, fraction) = clock.split_once('.')?;
    let mut clock = clock.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days since 1970-01-01 of the Gregorian calendar, years beginning in March.
    let (shifted, moved) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * moved + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468;
    let seconds = days * 86_400 + hour * 3600 + (minute - zone_minutes) * 60 + second;
    Some(seconds * 1000 + fraction.parse::<i64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(millis("1970-01-01T00:00:00.000"), Some(0));
        assert_eq!(millis("2020-02-29T12:34:56.789Z"), Some(1_582_979_696_789));
        assert_eq!(millis("2020-02-29T14:34:56.789+02:00"), Some(1_582_979_696_789));
        assert_eq!(millis("2020-02-29T10:34:56.789-0200"), Some(1_582_979_696_789));
        for wrong in
            ["2020-02-29", "2020-13-01T00:00:00.000", "2020-02-29T12:34:56", "now", "2020-02-29T1:2:3.4X"]
        {
            assert_eq!(millis(wrong), None, "{wrong}");
        }
    }
}
