//! What a request leads to.

use std::collections::BTreeMap;

use ottla_model::ErrorCode;
use ottla_protocol::Str;
use ottla_protocol::records::metadata::MetadataRecord;

/// Records to append and the answer to release once they are committed.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome<R> {
    pub records: Vec<MetadataRecord>,
    pub response: R,
}

impl<R> Outcome<R> {
    pub fn new(records: Vec<MetadataRecord>, response: R) -> Self {
        Self { records, response }
    }

    /// An answer that changes nothing.
    pub fn answer(response: R) -> Self {
        Self { records: Vec::new(), response }
    }
}

/// Why a request, or one item of it, was refused, as the client is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {}", message.as_deref().unwrap_or(""))]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: Option<String>,
}

impl Refusal {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: Some(message.into()) }
    }

    /// A refusal that says no more than its code.
    pub fn bare(code: ErrorCode) -> Self {
        Self { code, message: None }
    }

    /// A refusal with the message that Apache Kafka has for the code, as far as the controller uses it.
    pub fn of(code: ErrorCode) -> Self {
        let message = match code {
            ErrorCode::UnknownTopicOrPartition => "This server does not host this topic-partition.",
            ErrorCode::UnknownTopicId => "This server does not host this topic ID.",
            ErrorCode::ElectionNotNeeded => "Leader election not needed for topic partition.",
            ErrorCode::PreferredLeaderNotAvailable => "The preferred leader was not available.",
            ErrorCode::EligibleLeadersNotAvailable => "Eligible topic partition leaders are not available.",
            ErrorCode::NotController => "This is not the correct controller for this cluster.",
            _ => return Self::bare(code),
        };
        Self::new(code, message)
    }
}

/// The code and message fields of a response for a result.
pub(crate) fn code_and_message<T>(result: &Result<T, Refusal>) -> (i16, Option<Str>) {
    match result {
        Ok(_) => (ErrorCode::None.code(), None),
        Err(refusal) => (refusal.code.code(), refusal.message.as_deref().map(Str::from)),
    }
}

/// The items of a request, each of which stands alone; those with the same key are one, which is refused.
pub(crate) fn each_once<'a, T, K: Ord>(
    items: &'a [T],
    key: impl Fn(&'a T) -> K,
    refusal: &'static str,
) -> impl Iterator<Item = (&'a T, Result<(), Refusal>)> {
    let mut counts = BTreeMap::new();
    for item in items {
        *counts.entry(key(item)).or_insert(0) += 1;
    }
    items.iter().filter_map(move |item| match std::mem::take(counts.get_mut(&key(item))?) {
        0 => None,
        1 => Some((item, Ok(()))),
        _ => Some((item, Err(Refusal::new(ErrorCode::InvalidRequest, refusal)))),
    })
}
