//! Quotas of clients, by user, client id and address.

use std::collections::BTreeMap;

use ottla_protocol::api::alter_client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasRequestEntityData, AlterClientQuotasRequestEntryData,
    AlterClientQuotasResponse, OpData,
};
use ottla_protocol::api::describe_client_quotas::{
    ComponentData, DescribeClientQuotasRequest, DescribeClientQuotasResponse,
};

use super::Admin;
use crate::client::Target;
use crate::error::{Error, Result};

/// Whom a quota is for: names by kind (`user`, `client-id`, `ip`); `None` is the default of a kind.
pub type QuotaEntity = BTreeMap<String, Option<String>>;

/// Which entities are described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuotaMatch {
    /// The one of this name.
    Name(String),
    /// The default of the kind.
    Default,
    /// All that name this kind.
    Any,
}

impl Admin {
    /// Quotas by entity. An entity that names other kinds than those of `filter` is found too, unless `strict`.
    pub async fn describe_client_quotas(
        &self,
        filter: &[(String, QuotaMatch)],
        strict: bool,
    ) -> Result<BTreeMap<QuotaEntity, BTreeMap<String, f64>>> {
        let components = filter.iter().map(|(kind, wanted)| {
            let (match_type, name) = match wanted {
                QuotaMatch::Name(name) => (0, Some(name.as_str().into())),
                QuotaMatch::Default => (1, None),
                QuotaMatch::Any => (2, None),
            };
            ComponentData { entity_type: kind.as_str().into(), match_type, r#match: name }
        });
        let request = DescribeClientQuotasRequest { components: components.collect(), strict };
        let check = |answer: &DescribeClientQuotasResponse| {
            Error::check(answer.error_code, answer.error_message.as_deref())
        };
        let answer = self.ask(Target::Any, request, check).await?;
        let entries = answer.entries.into_iter().flatten().map(|entry| {
            let entity = entry.entity.into_iter().map(|part| {
                (part.entity_type.as_str().to_owned(), part.entity_name.map(|name| name.as_str().to_owned()))
            });
            let values = entry.values.into_iter().map(|value| (value.key.as_str().to_owned(), value.value));
            (entity.collect(), values.collect())
        });
        Ok(entries.collect())
    }

    /// Changes quotas of one entity: a new value by name, or `None` to remove it.
    pub async fn alter_client_quotas(
        &self,
        entity: &QuotaEntity,
        changes: &[(String, Option<f64>)],
    ) -> Result<()> {
        let parts = entity.iter().map(|(kind, name)| AlterClientQuotasRequestEntityData {
            entity_type: kind.as_str().into(),
            entity_name: name.as_deref().map(Into::into),
        });
        let ops = changes.iter().map(|(key, value)| OpData {
            key: key.as_str().into(),
            value: value.unwrap_or_default(),
            remove: value.is_none(),
        });
        let entry = AlterClientQuotasRequestEntryData { entity: parts.collect(), ops: ops.collect() };
        let request = AlterClientQuotasRequest { entries: vec![entry], validate_only: false };
        let check = |answer: &AlterClientQuotasResponse| {
            let mut entries = answer.entries.iter();
            entries.try_for_each(|entry| Error::check(entry.error_code, entry.error_message.as_deref()))
        };
        self.ask(Target::Controller, request, check).await.map(drop)
    }
}
