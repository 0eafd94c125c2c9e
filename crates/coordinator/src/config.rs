//! The settings that the coordinator follows; all may change while it runs.

use ottla_model::ErrorCode;

use crate::Request;

/// Values of the broker's `group.*` and `offsets.*` settings, times in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CoordinatorConfig {
    /// `group.min.session.timeout.ms`
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`
    pub max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`
    pub max_size: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`
    pub offsets_retention_check_interval_ms: i64,
    /// `offset.metadata.max.bytes`; as in Kafka counted in UTF-16 units.
    pub offset_metadata_max: usize,
    /// `offsets.commit.timeout.ms`: how long an answer waits for its records to be committed.
    pub write_timeout_ms: i64,
}

impl CoordinatorConfig {
    /// What is wrong with a request whoever the group's coordinator is: found before one is looked for.
    ///
    /// Errors: INVALID_GROUP_ID, INVALID_SESSION_TIMEOUT.
    pub fn refusal(&self, request: &Request) -> Option<ErrorCode> {
        let group_id = match request {
            Request::JoinGroup { request, .. } => {
                let session_timeouts = self.min_session_timeout_ms..=self.max_session_timeout_ms;
                if !request.group_id.is_empty() && !session_timeouts.contains(&request.session_timeout_ms) {
                    return Some(ErrorCode::InvalidSessionTimeout);
                }
                &request.group_id
            }
            Request::SyncGroup(request) => &request.group_id,
            Request::Heartbeat(request) => &request.group_id,
            Request::LeaveGroup(request) => &request.group_id,
            _ => return None,
        };
        group_id.is_empty().then_some(ErrorCode::InvalidGroupId)
    }

    /// How long a member that has not completed its first join may take; fixed in Kafka.
    pub(crate) const NEW_MEMBER_JOIN_TIMEOUT_MS: i64 = 5 * 60 * 1000;

    /// Member ids of one group that may be handed out and not taken up. Ottla's own bound: asking costs a client
    /// nothing, and each id is kept for as long a session as the client likes.
    pub const PENDING_MEMBERS_MAX: usize = 10_000;
}

impl Default for CoordinatorConfig {
    fn default() -> Self {
        Self {
            min_session_timeout_ms: 6_000,
            max_session_timeout_ms: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            max_size: i32::MAX as usize,
            offsets_retention_ms: 10_080 * 60 * 1000,
            offsets_retention_check_interval_ms: 600_000,
            offset_metadata_max: 4_096,
            write_timeout_ms: 5_000,
        }
    }
}
