//! Makes a topic, changes its retention, and tells what the cluster looks like:
//! `cargo run --example admin -- localhost:9092 orders`.

use ottla_client::admin::{ConfigChange, ConfigResourceType, NewTopic, OffsetSpec, Resource};
use ottla_client::blocking::block_on;
use ottla_client::model::ErrorCode;
use ottla_client::{Admin, ClientConfig};

fn main() -> anyhow::Result<()> {
    run(&std::env::args().skip(1).collect::<Vec<_>>())
}

pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let [bootstrap, topic] = arguments else { anyhow::bail!("usage: admin BOOTSTRAP TOPIC") };
    let admin = Admin::new(&ClientConfig::new(bootstrap))?;
    block_on(async {
        let new = NewTopic { name: topic.clone(), partitions: Some(3), ..NewTopic::default() };
        match admin.create_topic(&new).await {
            Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) => {
                println!("{topic} was there")
            }
            created => created?,
        }
        let resource = Resource { kind: ConfigResourceType::Topic, name: topic.clone() };
        let change = ("retention.ms".to_owned(), ConfigChange::Set("86400000".to_owned()));
        admin.alter_configs(&resource, &[change]).await?;
        for entry in admin.describe_configs(&resource).await? {
            if entry.is_own(resource.kind) {
                println!("{}={}", entry.name, entry.value.unwrap_or_default());
            }
        }
        let partitions: Vec<_> = (0..3).map(|partition| (topic.clone(), partition)).collect();
        for ((topic, partition), end) in admin.list_offsets(&partitions, OffsetSpec::Latest).await? {
            println!("{topic}-{partition} ends at {:?}", end.offset);
        }
        let cluster = admin.describe_cluster().await?;
        println!("{} brokers, controller {}", cluster.brokers.len(), cluster.controller_id);
        for group in admin.list_groups().await? {
            println!("group {} is {}", group.id, group.state);
        }
        anyhow::Ok(())
    })
}
