//! Delegation tokens, by id.

use std::sync::Arc;

use imbl::OrdMap;
use ottla_model::Millis;
use ottla_protocol::records::metadata::{DelegationTokenRecord, MetadataRecord};

use crate::ReplayError;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct DelegationTokensImage {
    tokens: OrdMap<Arc<str>, Arc<DelegationToken>>,
}

/// A token without its secret, which is derived from its id. Principals are `Type:name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelegationToken {
    pub owner: Arc<str>,
    pub requester: Arc<str>,
    pub renewers: Vec<Arc<str>>,
    pub issued: Millis,
    /// Up to when it can be renewed at all.
    pub max: Millis,
    pub expires: Millis,
}

impl DelegationTokensImage {
    pub fn get(&self, id: &str) -> Option<&Arc<DelegationToken>> {
        self.tokens.get(id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &DelegationToken)> {
        self.tokens.iter().map(|(id, token)| (&**id, &**token))
    }

    pub(crate) fn set(&mut self, record: &DelegationTokenRecord) {
        let token = DelegationToken {
            owner: Arc::from(&*record.owner),
            requester: Arc::from(&*record.requester),
            renewers: record.renewers.iter().map(|renewer| Arc::from(&**renewer)).collect(),
            issued: Millis(record.issue_timestamp),
            max: Millis(record.max_timestamp),
            expires: Millis(record.expiration_timestamp),
        };
        self.tokens.insert(Arc::from(&*record.token_id), Arc::new(token));
    }

    pub(crate) fn remove(&mut self, id: &str) -> Result<(), ReplayError> {
        let removed = self.tokens.remove(id);
        removed.map(drop).ok_or_else(|| ReplayError::UnknownDelegationToken(id.to_owned()))
    }

    pub(super) fn write(&self, records: &mut Vec<MetadataRecord>) {
        for (id, token) in &self.tokens {
            let record = DelegationTokenRecord {
                owner: token.owner.as_ref().into(),
                requester: token.requester.as_ref().into(),
                renewers: token.renewers.iter().map(|renewer| renewer.as_ref().into()).collect(),
                issue_timestamp: token.issued.0,
                max_timestamp: token.max.0,
                expiration_timestamp: token.expires.0,
                token_id: id.as_ref().into(),
            };
            records.push(record.into());
        }
    }
}
