//! Access control entries, by id.

use std::sync::Arc;

use imbl::OrdMap;
use ottla_model::Uuid;
use ottla_protocol::records::metadata::{AccessControlEntryRecord, MetadataRecord};

use crate::ReplayError;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct AclsImage {
    acls: OrdMap<Uuid, Arc<Acl>>,
}

/// An entry as recorded; the numbers are those of the ACL APIs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Acl {
    pub resource_type: i8,
    pub resource_name: Arc<str>,
    pub pattern_type: i8,
    pub principal: Arc<str>,
    /// An address, a range of addresses (metadata.version 32 on), or `*`.
    pub host: Arc<str>,
    pub operation: i8,
    pub permission_type: i8,
}

impl AclsImage {
    pub fn get(&self, id: Uuid) -> Option<&Arc<Acl>> {
        self.acls.get(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Uuid, &Arc<Acl>)> {
        self.acls.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.acls.is_empty()
    }

    pub(crate) fn add(&mut self, record: &AccessControlEntryRecord) {
        let acl = Acl {
            resource_type: record.resource_type,
            resource_name: Arc::from(&*record.resource_name),
            pattern_type: record.pattern_type,
            principal: Arc::from(&*record.principal),
            host: Arc::from(&*record.host),
            operation: record.operation,
            permission_type: record.permission_type,
        };
        self.acls.insert(record.id, Arc::new(acl));
    }

    pub(crate) fn remove(&mut self, id: Uuid) -> Result<(), ReplayError> {
        self.acls.remove(&id).map(drop).ok_or(ReplayError::UnknownAcl(id))
    }

    pub(super) fn write(&self, records: &mut Vec<MetadataRecord>) {
        for (id, acl) in &self.acls {
            let record = AccessControlEntryRecord {
                id: *id,
                resource_type: acl.resource_type,
                resource_name: acl.resource_name.as_ref().into(),
                pattern_type: acl.pattern_type,
                principal: acl.principal.as_ref().into(),
                host: acl.host.as_ref().into(),
                operation: acl.operation,
                permission_type: acl.permission_type,
            };
            records.push(record.into());
        }
    }
}
