//! Vote (52), BeginQuorumEpoch (53), EndQuorumEpoch (54), FetchSnapshot (59), AddRaftVoter (80), RemoveRaftVoter (81),
//! UpdateRaftVoter (82), and Fetch (1) of the metadata log: what the quorum's nodes and its tools ask.
//!
//! All take the same way: mapped in `quorum/wire`, answered by the quorum's thread. KIP-595, KIP-630, KIP-853, KIP-996.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ottla_model::ErrorCode;
use ottla_protocol::api::add_raft_voter::AddRaftVoterRequest;
use ottla_protocol::api::begin_quorum_epoch::BeginQuorumEpochRequest;
use ottla_protocol::api::end_quorum_epoch::EndQuorumEpochRequest;
use ottla_protocol::api::fetch::FetchRequest;
use ottla_protocol::api::fetch_snapshot::FetchSnapshotRequest;
use ottla_protocol::api::remove_raft_voter::RemoveRaftVoterRequest;
use ottla_protocol::api::update_raft_voter::UpdateRaftVoterRequest;
use ottla_protocol::api::vote::VoteRequest;
use ottla_protocol::{ApiKey, Decoder};

use super::{Answer, Rejected, RequestContext};
use crate::node::Node;
use crate::quorum::wire::serve::QuorumRequest;

/// Served on controllers' listeners alone.
pub const KEYS: &[ApiKey] = &[
    ApiKey::Fetch,
    ApiKey::Vote,
    ApiKey::BeginQuorumEpoch,
    ApiKey::EndQuorumEpoch,
    ApiKey::FetchSnapshot,
    ApiKey::UpdateRaftVoter,
];
/// Changes of the voter set: what tools ask for, passed on by brokers.
pub const VOTER_KEYS: &[ApiKey] = &[ApiKey::AddRaftVoter, ApiKey::RemoveRaftVoter];

pub async fn answer(node: &Arc<Node>, context: &RequestContext, body: Decoder) -> Result<Answer, Rejected> {
    match context.api_key {
        ApiKey::Fetch => ask::<FetchRequest>(node, context, body).await,
        ApiKey::Vote => ask::<VoteRequest>(node, context, body).await,
        ApiKey::BeginQuorumEpoch => ask::<BeginQuorumEpochRequest>(node, context, body).await,
        ApiKey::EndQuorumEpoch => ask::<EndQuorumEpochRequest>(node, context, body).await,
        ApiKey::FetchSnapshot => ask::<FetchSnapshotRequest>(node, context, body).await,
        ApiKey::AddRaftVoter => ask::<AddRaftVoterRequest>(node, context, body).await,
        ApiKey::RemoveRaftVoter => ask::<RemoveRaftVoterRequest>(node, context, body).await,
        ApiKey::UpdateRaftVoter => ask::<UpdateRaftVoterRequest>(node, context, body).await,
        key => Err(Rejected::NotServed { key, version: context.api_version }),
    }
}

async fn ask<R: QuorumRequest>(
    node: &Arc<Node>,
    context: &RequestContext,
    mut body: Decoder,
) -> Result<Answer, Rejected> {
    let request = R::decode(&mut body, context.api_version)?;
    let response = match request.read() {
        _ if request.cluster_id().is_some_and(|id| id != node.cluster_id()) => {
            warn_of_stranger(context, request.cluster_id());
            R::refused(ErrorCode::InconsistentClusterId)
        }
        None => R::refused(ErrorCode::InvalidRequest),
        Some(request) => match node.controller().ask_quorum(request).await {
            Ok(reply) => R::answer(reply, &context.listener, context.api_version),
            Err(_) => R::refused(ErrorCode::BrokerNotAvailable),
        },
    };
    Answer::new(context, &response)
}

/// Now and then: strangers try again many times a second.
fn warn_of_stranger(context: &RequestContext, cluster: Option<&str>) {
    static LAST: AtomicI64 = AtomicI64::new(0);
    const INTERVAL_MS: i64 = 60_000;
    let (now, last) = (crate::clock::now().0, LAST.load(Ordering::Relaxed));
    if now - last >= INTERVAL_MS
        && LAST.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    {
        tracing::warn!(peer = %context.peer, cluster, "a node of another cluster was refused");
    }
}
