//! Requests to another node, over a real connection.

use std::time::Duration;

use ottla_model::ErrorCode;
use ottla_protocol::ApiKey;
use ottla_protocol::api::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use ottla_protocol::api::describe_cluster::DescribeClusterRequest;
use ottla_protocol::api::metadata::MetadataRequest;
use ottla_protocol::{Message, Segment, encode_response};
use ottla_server::rpc::{NodeAddress, NodeClient, RpcError, RpcNetwork};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::node::TestNode;

const TIMEOUT: Duration = Duration::from_secs(10);

fn local(port: u16) -> NodeAddress {
    NodeAddress { host: "127.0.0.1".into(), port }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_in_order_and_forgotten_ones_are_passed_over() {
    let node = TestNode::start("").await;
    let (_, address) = &node.running.addresses[0];
    let mut client =
        NodeClient::connect(&RpcNetwork::new(), &local(address.port()), "1", TIMEOUT).await.unwrap();
    assert_eq!(client.version_of(ApiKey::Metadata), Some(ApiKey::Metadata.stable_versions().max));
    assert_eq!(client.version_of(ApiKey::Vote), None);
    client.send(&MetadataRequest::default()).unwrap();
    client.send(&DescribeClusterRequest::default()).unwrap();
    assert_eq!(client.receive::<MetadataRequest>().await.unwrap().controller_id, 1);
    assert_eq!(client.in_flight(), 1);
    let response = client.call(&MetadataRequest::default()).await.unwrap();
    assert_eq!(response.brokers.len(), 1);
    assert_eq!(client.in_flight(), 0);
    node.running.stop().await;
}

/// Reads one request and answers it with `response` in `version`.
async fn answer(stream: &mut TcpStream, version: i16, response: &ApiVersionsResponse) {
    let size = stream.read_i32().await.unwrap();
    let mut frame = vec![0; size as usize];
    stream.read_exact(&mut frame).await.unwrap();
    let correlation_id = i32::from_be_bytes(frame[4..8].try_into().unwrap());
    for segment in encode_response(ApiKey::ApiVersions, version, correlation_id, response).unwrap() {
        let Segment::Bytes(bytes) = segment else { panic!("an answer without files") };
        stream.write_all(&bytes).await.unwrap();
    }
}

/// Apache Kafka before 4.4 knows ApiVersions up to version 4 and says so in version 0.
#[tokio::test]
async fn an_older_peer_is_asked_again_in_its_version() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let row =
        |api_key: ApiKey, max_version| ApiVersion { api_key: api_key as i16, min_version: 0, max_version };
    let refusal = ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        api_keys: vec![row(ApiKey::ApiVersions, 4)],
        ..Default::default()
    };
    let versions = ApiVersionsResponse {
        api_keys: vec![row(ApiKey::ApiVersions, 4), row(ApiKey::Vote, 1)],
        ..Default::default()
    };
    let peer = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        answer(&mut stream, 0, &refusal).await;
        answer(&mut stream, 4, &versions).await;
        // The third request finds a peer that is silent.
        stream
    };
    let network = RpcNetwork::new();
    let address = local(port);
    let client = NodeClient::connect(&network, &address, "raft-client-1", Duration::from_millis(200));
    let (_stream, client) = tokio::join!(peer, client);
    let mut client = client.unwrap();
    assert_eq!(client.version_of(ApiKey::Vote), Some(1));
    let request = ApiVersionsRequest { node_id: -1, ..Default::default() };
    assert!(ApiVersionsRequest::VERSIONS.contains(4));
    assert!(matches!(client.call(&request).await, Err(RpcError::TimedOut(_))));
    assert!(matches!(
        client.call(&MetadataRequest::default()).await,
        Err(RpcError::UnsupportedVersion(ApiKey::Metadata))
    ));
}
