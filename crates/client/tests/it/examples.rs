//! The examples do what they say, against a node in this process.

use std::collections::BTreeMap;

use ottla_client::admin::{NewTopic, OffsetSpec};
use ottla_client::blocking::Admin;

use crate::node::TestNode;

#[path = "../../examples/admin.rs"]
#[allow(dead_code)]
mod admin;
#[path = "../../examples/blocking.rs"]
#[allow(dead_code)]
mod blocking;
#[path = "../../examples/consume.rs"]
#[allow(dead_code)]
mod consume;
#[path = "../../examples/partitioner.rs"]
#[allow(dead_code)]
mod partitioner;
#[path = "../../examples/produce.rs"]
#[allow(dead_code)]
mod produce;

const GROUPS: &str = "offsets.topic.num.partitions=1\ngroup.initial.rebalance.delay.ms=0";

fn run(node: &TestNode, example: fn(&[String]) -> anyhow::Result<()>, arguments: &[&str]) {
    let address = node.address().to_string();
    let arguments: Vec<String> =
        [&[address.as_str()], arguments].concat().into_iter().map(Into::into).collect();
    example(&arguments).unwrap();
    assert!(example(&[]).unwrap_err().to_string().starts_with("usage: "));
}

/// Where the partitions of a topic end.
fn ends(admin: &Admin, topic: &str, partitions: i32) -> Vec<i64> {
    let partitions: Vec<_> = (0..partitions).map(|partition| (topic.to_owned(), partition)).collect();
    let found: BTreeMap<_, _> = admin.list_offsets(&partitions, OffsetSpec::Latest).unwrap();
    found.into_values().map(|found| found.offset.unwrap().0).collect()
}

#[test]
fn what_is_produced_is_consumed() {
    let node = TestNode::start(GROUPS);
    let admin = Admin::new(&node.config()).unwrap();
    admin
        .create_topic(&NewTopic { name: "orders".into(), partitions: Some(4), ..Default::default() })
        .unwrap();
    run(&node, produce::run, &["orders", "100"]);
    assert_eq!(ends(&admin, "orders", 4).iter().sum::<i64>(), 100);
    run(&node, consume::run, &["orders", "reports", "100"]);
    let committed = admin.committed_offsets("reports").unwrap();
    assert_eq!(committed.iter().map(|committed| committed.offset.0).sum::<i64>(), 100);
}

#[test]
fn operators_and_programs_without_async() {
    let node = TestNode::start(GROUPS);
    run(&node, blocking::run, &["greetings"]);
    let admin = Admin::new(&node.config()).unwrap();
    assert_eq!(ends(&admin, "greetings", 1), [3]);
    run(&node, admin::run, &["orders"]);
    run(&node, admin::run, &["orders"]);
    run(&node, partitioner::run, &["orders"]);
    assert_eq!(ends(&admin, "orders", 3)[2], 2, "both vips have the last partition");
}
