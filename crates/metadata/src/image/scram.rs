//! SCRAM credentials, by mechanism and user.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use ottla_protocol::records::metadata::{MetadataRecord, UserScramCredentialRecord};

use crate::ReplayError;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScramImage {
    /// Mechanism: 1 SHA-256, 2 SHA-512.
    credentials: OrdMap<(i8, Arc<str>), Arc<ScramCredential>>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct ScramCredential {
    pub salt: Bytes,
    pub stored_key: Bytes,
    pub server_key: Bytes,
    pub iterations: i32,
}

impl fmt::Debug for ScramCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScramCredential {{ iterations: {}, .. }}", self.iterations)
    }
}

impl ScramImage {
    pub fn get(&self, mechanism: i8, user: &str) -> Option<&Arc<ScramCredential>> {
        self.credentials.get(&(mechanism, Arc::from(user)))
    }

    /// All credentials as mechanism, user and credential.
    pub fn iter(&self) -> impl Iterator<Item = (i8, &str, &ScramCredential)> {
        self.credentials.iter().map(|((mechanism, user), credential)| (*mechanism, &**user, &**credential))
    }

    pub(crate) fn set(&mut self, record: &UserScramCredentialRecord) {
        let credential = ScramCredential {
            salt: Bytes::copy_from_slice(&record.salt),
            stored_key: Bytes::copy_from_slice(&record.stored_key),
            server_key: Bytes::copy_from_slice(&record.server_key),
            iterations: record.iterations,
        };
        self.credentials.insert((record.mechanism, Arc::from(&*record.name)), Arc::new(credential));
    }

    pub(crate) fn remove(&mut self, mechanism: i8, user: &str) -> Result<(), ReplayError> {
        let removed = self.credentials.remove(&(mechanism, Arc::from(user)));
        removed.map(drop).ok_or_else(|| ReplayError::UnknownScramCredential(user.to_owned()))
    }

    pub(super) fn write(&self, records: &mut Vec<MetadataRecord>) {
        for ((mechanism, user), credential) in &self.credentials {
            let record = UserScramCredentialRecord {
                name: user.as_ref().into(),
                mechanism: *mechanism,
                salt: credential.salt.clone(),
                stored_key: credential.stored_key.clone(),
                server_key: credential.server_key.clone(),
                iterations: credential.iterations,
            };
            records.push(record.into());
        }
    }
}
