//! Other people's implementations of the same schemas: what they make of random messages, and of what comes out of
//! this codec, must be the same bytes again.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey as TheirKey, RequestKind, ResponseKind};
use kafka_wire::KafkaMessage;
use kafka_wire_core::{ApiVersion, DecodeLimits};
use ottla_protocol::schema::MessageSchema;
use ottla_protocol::{ApiKey, Decoder, Encoder, Versions};

use crate::random::{self, Random};

const ROUNDS: u64 = 10;

/// A random message as this codec has understood and written it.
fn ours(schema: &MessageSchema, version: i16, seed: u64) -> Bytes {
    let bytes = random::message(schema, version, &mut Random::new(seed));
    let message = schema.decode(&mut Decoder::new(bytes), version).unwrap();
    let mut e = Encoder::new();
    message.encode(&mut e, version).unwrap();
    e.finish_bytes().unwrap()
}

#[test]
fn kafka_protocol_agrees_about_requests_and_responses() {
    let mut compared = 0;
    for &key in ApiKey::ALL {
        // It follows an older release, so it lacks a few keys and versions.
        let Ok(their_key) = TheirKey::try_from(key as i16) else { continue };
        let theirs = their_key.valid_versions();
        for version in key.versions().intersect(Versions::new(theirs.min, theirs.max)).iter() {
            for seed in 0..ROUNDS {
                let at = format!("{key} version {version} seed {seed}");
                let bytes = ours(key.request_schema(), version, seed);
                let request = match RequestKind::decode(their_key, &mut bytes.clone(), version) {
                    // Its own table of versions runs ahead of its messages here and there.
                    Err(error) if format!("{error:?}").contains("not supported by this message") => continue,
                    request => request.expect(&at),
                };
                let mut again = BytesMut::new();
                request.encode(&mut again, version).expect(&at);
                assert_eq!(again, bytes, "{at}: {request:?}");

                let bytes = ours(key.response_schema(), version, seed);
                let response = ResponseKind::decode(their_key, &mut bytes.clone(), version).expect(&at);
                let mut again = BytesMut::new();
                response.encode(&mut again, version).expect(&at);
                assert_eq!(again, bytes, "{at}: {response:?}");
                compared += 2;
            }
        }
    }
    assert!(compared > 3000, "{compared}");
}

/// Versions in which kafka-wire follows drafts of 4.4 that its release has changed.
const BEFORE_RELEASE: [(&str, i16); 1] = [("StreamsGroupDescribeResponse", 1)];

macro_rules! compare_with_kafka_wire {
    ($($message:ident)*) => {
        $(kafka_wire_agrees_about::<kafka_wire::$message>();)*
    };
}

fn kafka_wire_agrees_about<M: KafkaMessage>() {
    let schema = ottla_protocol::schemas().find(|schema| schema.name() == M::NAME).expect(M::NAME);
    for version in schema.versions.iter().filter(|version| M::supports(ApiVersion::new(*version))) {
        if BEFORE_RELEASE.contains(&(M::NAME, version)) {
            continue;
        }
        for seed in 0..ROUNDS {
            let at = format!("{} version {version} seed {seed}", M::NAME);
            let bytes = ours(schema, version, seed);
            let version = ApiVersion::new(version);
            let theirs = M::decode_from_bytes(bytes.clone(), version, DecodeLimits::default()).expect(&at);
            let mut again = BytesMut::new();
            theirs.encode_into(&mut again, version).expect(&at);
            assert_eq!(again, bytes, "{at}");
        }
    }
}

#[test]
fn kafka_wire_agrees_about_requests_and_responses() {
    compare_with_kafka_wire! {
        ProduceRequest
        ProduceResponse
        FetchRequest
        FetchResponse
        ListOffsetsRequest
        ListOffsetsResponse
        MetadataRequest
        MetadataResponse
        OffsetCommitRequest
        OffsetCommitResponse
        OffsetFetchRequest
        OffsetFetchResponse
        FindCoordinatorRequest
        FindCoordinatorResponse
        JoinGroupRequest
        JoinGroupResponse
        HeartbeatRequest
        HeartbeatResponse
        LeaveGroupRequest
        LeaveGroupResponse
        SyncGroupRequest
        SyncGroupResponse
        DescribeGroupsRequest
        DescribeGroupsResponse
        ListGroupsRequest
        ListGroupsResponse
        SaslHandshakeRequest
        SaslHandshakeResponse
        ApiVersionsRequest
        ApiVersionsResponse
        CreateTopicsRequest
        CreateTopicsResponse
        DeleteTopicsRequest
        DeleteTopicsResponse
        DeleteRecordsRequest
        DeleteRecordsResponse
        InitProducerIdRequest
        InitProducerIdResponse
        OffsetForLeaderEpochRequest
        OffsetForLeaderEpochResponse
        AddPartitionsToTxnRequest
        AddPartitionsToTxnResponse
        AddOffsetsToTxnRequest
        AddOffsetsToTxnResponse
        EndTxnRequest
        EndTxnResponse
        WriteTxnMarkersRequest
        WriteTxnMarkersResponse
        TxnOffsetCommitRequest
        TxnOffsetCommitResponse
        DescribeAclsRequest
        DescribeAclsResponse
        CreateAclsRequest
        CreateAclsResponse
        DeleteAclsRequest
        DeleteAclsResponse
        DescribeConfigsRequest
        DescribeConfigsResponse
        AlterConfigsRequest
        AlterConfigsResponse
        AlterReplicaLogDirsRequest
        AlterReplicaLogDirsResponse
        DescribeLogDirsRequest
        DescribeLogDirsResponse
        SaslAuthenticateRequest
        SaslAuthenticateResponse
        CreatePartitionsRequest
        CreatePartitionsResponse
        CreateDelegationTokenRequest
        CreateDelegationTokenResponse
        RenewDelegationTokenRequest
        RenewDelegationTokenResponse
        ExpireDelegationTokenRequest
        ExpireDelegationTokenResponse
        DescribeDelegationTokenRequest
        DescribeDelegationTokenResponse
        DeleteGroupsRequest
        DeleteGroupsResponse
        ElectLeadersRequest
        ElectLeadersResponse
        IncrementalAlterConfigsRequest
        IncrementalAlterConfigsResponse
        AlterPartitionReassignmentsRequest
        AlterPartitionReassignmentsResponse
        ListPartitionReassignmentsRequest
        ListPartitionReassignmentsResponse
        OffsetDeleteRequest
        OffsetDeleteResponse
        DescribeClientQuotasRequest
        DescribeClientQuotasResponse
        AlterClientQuotasRequest
        AlterClientQuotasResponse
        DescribeUserScramCredentialsRequest
        DescribeUserScramCredentialsResponse
        AlterUserScramCredentialsRequest
        AlterUserScramCredentialsResponse
        VoteRequest
        VoteResponse
        BeginQuorumEpochRequest
        BeginQuorumEpochResponse
        EndQuorumEpochRequest
        EndQuorumEpochResponse
        DescribeQuorumRequest
        DescribeQuorumResponse
        AlterPartitionRequest
        AlterPartitionResponse
        UpdateFeaturesRequest
        UpdateFeaturesResponse
        EnvelopeRequest
        EnvelopeResponse
        FetchSnapshotRequest
        FetchSnapshotResponse
        DescribeClusterRequest
        DescribeClusterResponse
        DescribeProducersRequest
        DescribeProducersResponse
        BrokerRegistrationRequest
        BrokerRegistrationResponse
        BrokerHeartbeatRequest
        BrokerHeartbeatResponse
        UnregisterBrokerRequest
        UnregisterBrokerResponse
        DescribeTransactionsRequest
        DescribeTransactionsResponse
        ListTransactionsRequest
        ListTransactionsResponse
        AllocateProducerIdsRequest
        AllocateProducerIdsResponse
        ConsumerGroupHeartbeatRequest
        ConsumerGroupHeartbeatResponse
        ConsumerGroupDescribeRequest
        ConsumerGroupDescribeResponse
        ControllerRegistrationRequest
        ControllerRegistrationResponse
        GetTelemetrySubscriptionsRequest
        GetTelemetrySubscriptionsResponse
        PushTelemetryRequest
        PushTelemetryResponse
        AssignReplicasToDirsRequest
        AssignReplicasToDirsResponse
        ListConfigResourcesRequest
        ListConfigResourcesResponse
        DescribeTopicPartitionsRequest
        DescribeTopicPartitionsResponse
        ShareGroupHeartbeatRequest
        ShareGroupHeartbeatResponse
        ShareGroupDescribeRequest
        ShareGroupDescribeResponse
        ShareFetchRequest
        ShareFetchResponse
        ShareAcknowledgeRequest
        ShareAcknowledgeResponse
        AddRaftVoterRequest
        AddRaftVoterResponse
        RemoveRaftVoterRequest
        RemoveRaftVoterResponse
        UpdateRaftVoterRequest
        UpdateRaftVoterResponse
        InitializeShareGroupStateRequest
        InitializeShareGroupStateResponse
        ReadShareGroupStateRequest
        ReadShareGroupStateResponse
        WriteShareGroupStateRequest
        WriteShareGroupStateResponse
        DeleteShareGroupStateRequest
        DeleteShareGroupStateResponse
        ReadShareGroupStateSummaryRequest
        ReadShareGroupStateSummaryResponse
        StreamsGroupHeartbeatRequest
        StreamsGroupHeartbeatResponse
        StreamsGroupDescribeRequest
        StreamsGroupDescribeResponse
        DescribeShareGroupOffsetsRequest
        DescribeShareGroupOffsetsResponse
        AlterShareGroupOffsetsRequest
        AlterShareGroupOffsetsResponse
        DeleteShareGroupOffsetsRequest
        DeleteShareGroupOffsetsResponse
        StreamsGroupTopologyDescriptionUpdateRequest
        StreamsGroupTopologyDescriptionUpdateResponse
    }
}
