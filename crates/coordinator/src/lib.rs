//! The group coordinator: who is in a group, which generation it is in, and what it has committed.
//!
//! One [`GroupCoordinator`] owns the groups of one partition of `__consumer_offsets` and stands beside the shard
//! that owns that partition. It is a step machine: requests, finished or failed appends and the passing of time
//! come in as [`Event`]s; records to append and answers come out as [`Actions`]. The state is what a replay of the
//! partition gives, so a coordinator is made by feeding it the log.
//!
//! Must not know partitions, logs, sockets, threads, clocks or randomness: the time and the random part of member
//! ids come with the event.
//!
//! Invariants:
//! * An answer that promises something is released only when the records behind it are committed.
//! * What readers of committed offsets see is committed.
//! * Nothing of a request's frame is kept: what the state holds is copied out, so no buffer outlives its request.
//! * Records of group types that are not served here are kept, listed and never dropped on the way.

mod classic;
mod config;
mod coordinator;
mod event;
mod load;
mod offsets;
mod other;
mod outbox;
mod records;
mod timers;

pub use config::CoordinatorConfig;
pub use coordinator::{GroupCoordinator, GroupCounts};
pub use event::{Actions, Append, AppendId, ClientContext, Event, Record, Request, Response, Ticket};
pub use load::{Replayed, TransactionResult};
pub use records::DecodeRecordError;

/// The partition of `__consumer_offsets` that coordinates `group_id`: Java's `String.hashCode`, made non-negative,
/// modulo the partition count.
pub fn partition_for(group_id: &str, partitions: i32) -> i32 {
    let hash =
        group_id.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // `checked_abs` fails for `i32::MIN` only, which Kafka maps to 0.
    hash.checked_abs().unwrap_or(0) % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::partition_for;

    #[test]
    fn groups_hash_as_in_java() {
        assert_eq!(partition_for("", 50), 0);
        // "g-classic".hashCode() and friends, computed with jshell.
        assert_eq!(partition_for("a", 50), 97 % 50);
        assert_eq!(partition_for("ab", 1000), (97 * 31 + 98) % 1000);
        // hashCode() == Integer.MIN_VALUE
        assert_eq!(partition_for("polygenelubricants", 50), 0);
    }
}
