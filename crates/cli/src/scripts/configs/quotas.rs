//! Quotas of users, clients and addresses.

use std::collections::BTreeMap;

use ottla_client::admin::{QuotaEntity, QuotaMatch};
use ottla_client::blocking::block_on;

use super::super::java;
use super::super::session::Session;
use super::{Changes, Done, Entities, said};

/// Quotas of users and clients.
const OF_CLIENTS: &[&str] =
    &["producer_byte_rate", "consumer_byte_rate", "request_percentage", "controller_mutation_rate"];
/// The quota of addresses.
const OF_ADDRESSES: &[&str] = &["connection_creation_rate"];
/// Kinds of entities as requests name them, and as they are shown.
const KINDS: &[(&str, &str)] = &[("user", "user-principal"), ("client-id", "client-id"), ("ip", "ip")];

type Quotas = BTreeMap<QuotaEntity, BTreeMap<String, f64>>;

fn kind_of(kind: &str) -> String {
    match kind {
        "users" => "user",
        "clients" => "client-id",
        _ => "ip",
    }
    .into()
}

pub fn describe(session: &Session, entities: &Entities) -> Done {
    for (entity, quotas) in found(session, entities)? {
        let whose = KINDS.iter().filter_map(|(kind, shown)| {
            entity.get(*kind).map(|name| match name {
                Some(name) if !name.is_empty() => format!("{shown} '{name}'"),
                _ => format!("the default {shown}"),
            })
        });
        let whose: Vec<_> = whose.collect();
        let quotas = java::hash_order(quotas.into_iter().collect(), |(name, _)| name);
        let quotas: Vec<_> =
            quotas.iter().map(|(name, value)| format!("{name}={}", java::double(*value))).collect();
        println!("Quota configs for {} are {}", whose.join(", "), quotas.join(", "));
    }
    Ok(())
}

fn found(session: &Session, entities: &Entities) -> Done<Quotas> {
    if entities.names.len() > entities.types.len() {
        return said("More entity names specified than entity types");
    }
    let filter = entities.types.iter().enumerate().map(|(at, kind)| {
        let wanted = match entities.names.get(at).map(String::as_str) {
            None => QuotaMatch::Any,
            Some("") => QuotaMatch::Default,
            Some(name) => QuotaMatch::Name(name.to_owned()),
        };
        (kind_of(kind), wanted)
    });
    Ok(block_on(session.admin.describe_client_quotas(&filter.collect::<Vec<_>>(), true))?)
}

pub fn alter(session: &Session, entities: &Entities, changes: &Changes) -> Done {
    check(entities, changes)?;
    let now = found(session, entities)?.into_values().next().unwrap_or_default();
    let unset: Vec<_> = changes.delete.iter().filter(|name| !now.contains_key(*name)).cloned().collect();
    if !unset.is_empty() {
        return said(format!("Invalid config(s): {}", unset.join(",")));
    }
    let set = changes.set.iter().map(|(name, value)| match value.parse() {
        Ok(number) => Ok((name.clone(), Some(number))),
        Err(_) => Err(format!("Cannot parse quota configuration value for {name}: {value}")),
    });
    let mut ops = set.collect::<Result<Vec<_>, _>>()?;
    ops.extend(changes.delete.iter().map(|name| (name.clone(), None)));
    let names = entities.names.iter().map(|name| (!name.is_empty()).then(|| name.clone()));
    let entity = entities.types.iter().map(|kind| kind_of(kind)).zip(names).collect();
    Ok(block_on(session.admin.alter_client_quotas(&entity, &ops))?)
}

/// Whether all that is to be changed are quotas of this kind of entities.
fn check(entities: &Entities, changes: &Changes) -> Done {
    let kind = entities.first().0;
    let known = if kind == "ips" { OF_ADDRESSES } else { OF_CLIENTS };
    let unknown = |names: Vec<&str>| -> Vec<String> {
        names.into_iter().filter(|name| !known.contains(name)).map(str::to_owned).collect()
    };
    let add = unknown(changes.set.iter().map(|(name, _)| name.as_str()).collect());
    let delete = unknown(changes.delete.iter().map(String::as_str).collect());
    let is_scram = |names: &[String]| names.iter().any(|name| name.starts_with("SCRAM-SHA-"));
    if kind == "users" && entities.types.len() == 1 && (is_scram(&add) || is_scram(&delete)) {
        return said("SCRAM credentials are not here, only quotas");
    }
    let (whose, what) = match (kind, entities.types.len()) {
        ("ips", _) if !add.is_empty() || !delete.is_empty() => {
            let names = [add, delete].concat().join(",");
            return said(format!(
                "Only connection quota configs can be added for 'ips' using --bootstrap-server. Unexpected config \
                 names: {names}"
            ));
        }
        ("users", 1) => ("users", "quota and SCRAM credential configs"),
        _ => ("clients", "quota configs"),
    };
    for (verb, names, collection) in [("added", add, "Set"), ("deleted", delete, "ArrayBuffer")] {
        if !names.is_empty() {
            return said(format!(
                "Only {what} can be {verb} for '{whose}' using --bootstrap-server. Unexpected config names: \
                 {collection}({})",
                names.join(", ")
            ));
        }
    }
    Ok(())
}
