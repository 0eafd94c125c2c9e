//! Connecting, metadata, coordinators; and the peers that are no brokers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use ottla_client::blocking::block_on;
use ottla_client::model::NodeId;
use ottla_client::protocol::ApiKey;
use ottla_client::protocol::api::describe_cluster::DescribeClusterRequest;
use ottla_client::{Client, ClientConfig, CoordinatorKey, Error, Target};

use crate::node::TestNode;

#[test]
fn metadata_topics_and_coordinators_are_found() {
    let node = TestNode::start("");
    let client = Client::new(&node.config()).unwrap();
    let metadata = block_on(client.updated_metadata()).unwrap();
    assert_eq!(metadata.brokers.keys().copied().collect::<Vec<_>>(), [NodeId(1)]);
    assert!(metadata.topics.is_empty() && metadata.cluster_id.is_some());

    client.set_auto_create(true);
    client.want_topics(["fresh".into()]);
    let created = client.retry(Duration::from_secs(10), "creating", |_| async {
        let metadata = client.updated_metadata().await?;
        let leader = metadata.partition("fresh", 0).and_then(|partition| partition.leader);
        leader.ok_or(ottla_client::model::ErrorCode::LeaderNotAvailable.into())
    });
    assert_eq!(block_on(created), Ok(NodeId(1)));

    let cluster = block_on(client.call(Target::Controller, DescribeClusterRequest::default())).unwrap();
    assert_eq!(Some(cluster.cluster_id.as_str()), client.metadata().cluster_id.as_deref());
    assert!(block_on(client.version_of(NodeId(1), ApiKey::Produce)).unwrap().unwrap() >= 11);
    let key = CoordinatorKey::Group("g".into());
    let coordinator =
        client.retry(Duration::from_secs(10), "finding the coordinator", |_| client.coordinator(&key));
    assert_eq!(block_on(coordinator), Ok(NodeId(1)));

    client.close();
    assert_eq!(block_on(client.call(Target::Any, DescribeClusterRequest::default())), Err(Error::Closed));
    assert_eq!(block_on(client.updated_metadata()), Err(Error::Closed));
}

/// What a client says of a peer that answers its first request in this way, within 300 ms.
fn error_of(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // The first request; what the client thinks of the answer is its own.
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(answer);
        }
    });
    error_at(address)
}

fn error_at(address: SocketAddr) -> String {
    let config = ClientConfig::new(&address.to_string());
    let config = config.with("socket.connection.setup.timeout.ms", 200).unwrap();
    let client = Client::new(&config).unwrap();
    let begun = Instant::now();
    let error = block_on(client.updated_metadata_within(Duration::from_millis(300))).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(error.is_retriable());
    error.to_string()
}

#[test]
fn peers_that_are_no_brokers_are_named_as_such() {
    let http = error_of(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    assert!(http.contains("this looks like an HTTP server"), "{http}");
    let page = error_of(b"<!DOCTYPE HTML>");
    assert!(page.contains("this looks like an HTTP server"), "{page}");
    let tls = error_of(&[0x15, 3, 3, 0, 2, 2, 0x32, 0, 0]);
    assert!(tls.contains("this looks like a TLS listener: it does not speak Kafka's protocol"), "{tls}");
    let mail = error_of(b"220 mail.example.org ESMTP");
    assert!(mail.contains("this looks like a server of another kind"), "{mail}");
    let confused = error_of(b"\0\0\0\x04\0\0\0\0");
    assert!(confused.contains("it does not speak Kafka's protocol"), "{confused}");
    let closing = error_of(b"");
    assert!(closing.contains("this looks like a TLS listener"), "{closing}");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let silent = error_at(address);
    assert!(silent.contains("fetching metadata took longer than 300 ms; last failure: "), "{silent}");
    assert!(silent.contains("is this the port of a Kafka broker, or of an HTTP server?"), "{silent}");
    drop(listener);
    let nobody = error_at(address);
    assert!(nobody.contains("Connection refused"), "{nobody}");
}

#[test]
fn wrong_settings_are_told_before_anything_is_tried() {
    for servers in ["", "nohost", "host:", "host:99999", ":9092"] {
        let error = Client::new(&ClientConfig::new(servers)).unwrap_err();
        assert!(error.to_string().contains("must be host:port"), "{error}");
        assert!(error.is_fatal());
    }
}
