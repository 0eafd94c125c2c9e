//! Client quotas, by entity.

use std::sync::Arc;

use imbl::OrdMap;
use ottla_protocol::records::metadata::{ClientQuotaRecord, EntityData, MetadataRecord};

/// Quotas by entity and key (`producer_byte_rate`, ...); an entity without quotas is not there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientQuotasImage {
    entities: OrdMap<QuotaEntity, OrdMap<Arc<str>, f64>>,
}

/// Whom a quota is for: entity type (`user`, `client-id`, `ip`) and name, sorted by type. A `None` name is the
/// default of its type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuotaEntity(Vec<(Arc<str>, Option<Arc<str>>)>);

impl QuotaEntity {
    /// Of a type that is there twice the last counts.
    pub fn new<'a>(parts: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> Self {
        let sorted: std::collections::BTreeMap<&str, Option<&str>> = parts.into_iter().collect();
        Self(sorted.into_iter().map(|(kind, name)| (kind.into(), name.map(Arc::from))).collect())
    }

    pub fn parts(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(kind, name)| (&**kind, name.as_deref()))
    }
}

impl ClientQuotasImage {
    /// The quotas of exactly this entity.
    pub fn of(&self, entity: &QuotaEntity) -> Option<&OrdMap<Arc<str>, f64>> {
        self.entities.get(entity)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&QuotaEntity, &OrdMap<Arc<str>, f64>)> {
        self.entities.iter()
    }

    pub(crate) fn replay(&mut self, record: &ClientQuotaRecord) -> QuotaEntity {
        let parts = record.entity.iter().map(|part| (&*part.entity_type, part.entity_name.as_deref()));
        let entity = QuotaEntity::new(parts);
        let mut quotas = self.entities.get(&entity).cloned().unwrap_or_default();
        match record.remove {
            true => drop(quotas.remove(&*record.key)),
            false => drop(quotas.insert(Arc::from(&*record.key), record.value)),
        }
        match quotas.is_empty() {
            true => drop(self.entities.remove(&entity)),
            false => drop(self.entities.insert(entity.clone(), quotas)),
        }
        entity
    }

    pub(super) fn write(&self, records: &mut Vec<MetadataRecord>) {
        for (entity, quotas) in &self.entities {
            for (key, value) in quotas {
                let part = |(kind, name): (&str, Option<&str>)| EntityData {
                    entity_type: kind.into(),
                    entity_name: name.map(Into::into),
                };
                let record = ClientQuotaRecord {
                    entity: entity.parts().map(part).collect(),
                    key: key.as_ref().into(),
                    value: *value,
                    remove: false,
                };
                records.push(record.into());
            }
        }
    }
}
