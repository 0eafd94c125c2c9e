//! Answers that refuse a request with an error, for all that the request names. They are made from the descriptions of
//! the messages: a request as plain data and the schema of its answer tell where errors belong, whatever the key.

use bytes::Bytes;
use ottla_model::{ErrorCode, Uuid};
use ottla_protocol::schema::{FieldSchema, StructSchema, Type};
use ottla_protocol::{ApiKey, Decoder, Encoder, ResponseHeader, Tree};
use ottla_protocol::{EncodeError, Message};
use ottla_server::api::{Intervention, RequestContext};

use super::plain;

/// Requests whose answer's first error is not about what they name: one of a fetch is about its session.
const PARTS_FIRST: &[ApiKey] = &[ApiKey::Fetch, ApiKey::Metadata];

/// Fields that are -1 beside an error, although zero is their default.
const UNKNOWN: &[&str] = &["BaseOffset", "HighWatermark", "NodeId", "Port"];

/// Whether the answer has a place for an error.
pub fn is_known(key: ApiKey) -> bool {
    let schema = key.response_schema();
    schema.versions.iter().any(|version| bears_errors(schema.body, version))
}

/// A request, as far as it matters who is named in it.
pub struct Asked(Tree);

/// `None` for bytes that are no request.
pub fn decode(key: ApiKey, version: i16, body: Bytes) -> Option<Asked> {
    let request = key.request_schema().decode(&mut Decoder::new(body), version).ok()?;
    Some(Asked(request.tree(version)))
}

impl Asked {
    /// Whether it is a fetch that names only what has changed since the last one.
    pub fn is_incremental(&self) -> bool {
        matches!(plain::field(&self.0, "SessionEpoch"), Some(Tree::Int(1..)))
    }

    /// Whether the request names a partition, by its topic's name or id.
    pub fn names(&self, topic: &str, partition: i32, name_of: &dyn Fn(Uuid) -> Option<String>) -> bool {
        names(&self.0, topic, partition, name_of)
    }

    /// The answer that refuses it. A producer that wants no answer finds its connection closed, as from a broker, and
    /// so does who names nothing where only what is named can be refused.
    pub fn refuse(&self, context: &RequestContext, code: ErrorCode) -> Intervention {
        let unanswered =
            context.api_key == ApiKey::Produce && plain::field(&self.0, "Acks") == Some(&Tree::Int(0));
        match context.api_key {
            ApiKey::Fetch if self.is_incremental() => self.refuse_session(context),
            _ if unanswered => Intervention::Close,
            key => {
                let refusal = Refusal { version: context.api_version, code };
                refusal.of_request(key, &self.0).map_or(Intervention::Close, |answer| send(context, &answer))
            }
        }
    }

    /// The answer to a fetch that ends its session: the next one names all of its partitions.
    pub fn refuse_session(&self, context: &RequestContext) -> Intervention {
        let refusal = Refusal { version: context.api_version, code: ErrorCode::FetchSessionIdNotFound };
        send(context, &refusal.of_struct(ApiKey::Fetch.response_schema().body, &self.0))
    }
}

struct Refusal {
    version: i16,
    code: ErrorCode,
}

impl Refusal {
    /// The fields of an answer that are not their defaults; `None` if there is no place for the error.
    fn of_request(&self, key: ApiKey, asked: &Tree) -> Option<Tree> {
        let schema = key.response_schema().body;
        let whole = self.present(schema).any(is_error);
        let parts =
            || Some(self.of_parts(schema, asked)).filter(|answer| *answer != Tree::Struct(Vec::new()));
        match PARTS_FIRST.contains(&key) {
            true => parts().or_else(|| whole.then(|| self.of_struct(schema, asked))),
            false if whole => Some(self.of_struct(schema, asked)),
            false => parts(),
        }
    }

    /// A struct with an error of its own, or else with those of its parts.
    fn of_struct(&self, schema: &StructSchema, named: &Tree) -> Tree {
        if !self.present(schema).any(is_error) {
            return self.of_parts(schema, named);
        }
        let fields = self.present(schema).filter_map(|field| {
            let value = match field.ty {
                _ if is_error(field) => Tree::Int(i16::from(self.code).into()),
                _ if UNKNOWN.contains(&field.name) => Tree::Int(-1),
                // What the request names by several things, such as a user and a client.
                Type::Array(Type::Struct(part)) => {
                    let parts = self.named_as(part, named);
                    let whole =
                        |value: &Tree| self.present(part).all(|field| identity_in(field, value).is_some());
                    let same = !parts.is_empty() && parts.iter().all(whole);
                    Tree::Array(same.then_some(parts)?)
                }
                _ => identity_in(field, named)?.clone(),
            };
            Some((field.name, value))
        });
        Tree::Struct(fields.collect())
    }

    /// What a struct calls itself, and its parts that bear errors, as far as they are named.
    fn of_parts(&self, schema: &StructSchema, named: &Tree) -> Tree {
        let fields = self.present(schema).filter_map(|field| {
            let value = match field.ty {
                Type::Array(Type::Struct(part)) if bears_errors(part, self.version) => {
                    let mut parts = self.named_as(part, named);
                    if parts.is_empty() {
                        // Answers without names stand in the order of what was asked.
                        parts = first_array(named).to_vec();
                    }
                    let refused = parts.iter().map(|named| self.of_struct(part, named)).collect();
                    Tree::Array(Some(refused).filter(|parts: &Vec<_>| !parts.is_empty())?)
                }
                _ => identity_in(field, named)?.clone(),
            };
            Some((field.name, value))
        });
        Tree::Struct(fields.collect())
    }

    fn present<'a>(&self, schema: &'a StructSchema) -> impl Iterator<Item = &'a FieldSchema> + use<'a> {
        let version = self.version;
        schema.fields.iter().filter(move |field| field.versions.contains(version) && field.tag.is_none())
    }

    /// What the request names as a part of the answer does: the elements of its first array that share a name with it,
    /// those within several others included. Plain elements become structs with the array's name.
    fn named_as(&self, part: &StructSchema, named: &Tree) -> Vec<Tree> {
        let arrays = plain::fields(named).iter().filter_map(|(name, value)| match value {
            Tree::Array(elements) => Some((*name, elements)),
            _ => None,
        });
        for (name, elements) in arrays {
            let elements: Vec<_> = elements.iter().map(|element| as_struct(name, element)).collect();
            let shares =
                |element: &Tree| self.present(part).any(|field| identity_in(field, element).is_some());
            if elements.iter().any(shares) {
                return elements;
            }
            let within: Vec<_> = elements.iter().flat_map(|element| self.named_as(part, element)).collect();
            if !within.is_empty() {
                return within;
            }
        }
        Vec::new()
    }
}

fn is_error(field: &FieldSchema) -> bool {
    ["ErrorCode", "PartitionErrorCode"].contains(&field.name)
}

fn bears_errors(schema: &StructSchema, version: i16) -> bool {
    schema.fields.iter().filter(|field| field.versions.contains(version)).any(|field| match field.ty {
        Type::Array(Type::Struct(part)) => bears_errors(part, version),
        _ => is_error(field),
    })
}

/// One word for what requests and answers call by several.
fn identity(name: &str) -> &str {
    match name {
        "Partition" | "PartitionIndex" | "PartitionId" | "Index" | "Partitions" | "PartitionIndexes" => {
            "Partition"
        }
        "Name" | "Topic" | "TopicName" | "TopicNames" => "Topic",
        "Groups" | "GroupsNames" | "GroupIds" => "GroupId",
        "TransactionalIds" => "TransactionalId",
        "CoordinatorKeys" => "Key",
        name => name,
    }
}

/// The value by which the request names what this field of an answer names.
fn identity_in<'a>(field: &FieldSchema, named: &'a Tree) -> Option<&'a Tree> {
    let wanted = identity(field.name);
    let names = match field.ty {
        Type::String | Type::Uuid => true,
        Type::Int8 | Type::Int32 => ["Partition", "ResourceType"].contains(&wanted),
        _ => false,
    };
    let same = plain::fields(named).iter().filter(|(name, _)| names && identity(name) == wanted);
    same.map(|(_, value)| value).find(|value| !matches!(value, Tree::Array(_)))
}

fn first_array(named: &Tree) -> &[Tree] {
    let arrays = plain::fields(named).iter().filter_map(|(_, value)| match value {
        Tree::Array(elements) => Some(&elements[..]),
        _ => None,
    });
    arrays.into_iter().next().unwrap_or_default()
}

fn as_struct(name: &'static str, element: &Tree) -> Tree {
    match element {
        Tree::Struct(_) => element.clone(),
        plain => Tree::Struct(vec![(name, plain.clone())]),
    }
}

fn names(named: &Tree, topic: &str, partition: i32, name_of: &dyn Fn(Uuid) -> Option<String>) -> bool {
    let is_topic = |(name, value): &(&str, Tree)| match value {
        Tree::String(text) => identity(name) == "Topic" && **text == *topic,
        Tree::Uuid(id) => *name == "TopicId" && name_of(*id).is_some_and(|name| name == topic),
        _ => false,
    };
    let is_partition = |element: &Tree| {
        let is = |(name, value): &(&str, Tree)| {
            identity(name) == "Partition" && *value == Tree::Int(partition.into())
        };
        plain::fields(element).iter().any(is)
    };
    let fields = plain::fields(named);
    let found = fields.iter().any(is_topic);
    fields.iter().any(|(name, value)| match value {
        // A fetch names there what it does not ask for any more.
        Tree::Array(elements) if *name != "ForgottenTopicsData" => elements.iter().any(|element| {
            let element = as_struct(name, element);
            found && is_partition(&element) || names(&element, topic, partition, name_of)
        }),
        _ => false,
    })
}

fn send(context: &RequestContext, answer: &Tree) -> Intervention {
    let encoded = encode(context.api_key, context.api_version, context.correlation_id, answer);
    Intervention::Answer(encoded.expect("an answer of errors can be encoded"))
}

/// Header and body of an answer, without the frame's length.
fn encode(key: ApiKey, version: i16, correlation_id: i32, answer: &Tree) -> Result<Bytes, EncodeError> {
    let schema = key.response_schema();
    let mut e = Encoder::new();
    ResponseHeader { correlation_id }.encode(&mut e, key.response_header_version(version))?;
    plain::encode(&mut e, schema, answer, version)?;
    e.finish_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid([7; 16]);

    /// A request of each key in each version, with one element in each array, is refused with an answer that can be
    /// decoded, has the error, and names what the request named.
    #[test]
    fn every_request_can_be_refused() {
        let code = ErrorCode::NotController;
        for key in ApiKey::ALL.iter().copied().filter(|key| !key.stable_versions().is_empty()) {
            assert!(is_known(key), "{key:?}");
            for version in key.stable_versions().iter() {
                let mut e = Encoder::new();
                let schema = key.request_schema();
                plain::encode(&mut e, schema, &sample(schema.body, version), version).unwrap();
                let asked = decode(key, version, e.finish_bytes().unwrap()).expect("a request");
                let answer = (Refusal { version, code }).of_request(key, &asked.0);
                let answer = answer.unwrap_or_else(|| panic!("{key:?} {version} is not refused"));
                let mut d = Decoder::new(encode(key, version, 7, &answer).unwrap());
                let header = ResponseHeader::decode(&mut d, key.response_header_version(version)).unwrap();
                assert_eq!(header.correlation_id, 7);
                let decoded = key.response_schema().decode(&mut d, version).unwrap();
                d.finish().unwrap_or_else(|error| panic!("{key:?} {version}: {error}"));
                let text = decoded.tree(version).to_string();
                assert!(text.contains(&format!("ErrorCode\":{}", code.code())), "{key:?} {version}: {text}");
            }
        }
    }

    #[test]
    fn answers_name_what_was_named() {
        let refused = |key: ApiKey, version| {
            let asked = sample(key.request_schema().body, version);
            (Refusal { version, code: ErrorCode::NotController }).of_request(key, &asked).unwrap().to_string()
        };
        let answers = include_str!("refusal.txt").lines().map(|line| {
            let (asked, answer) = line.split_once(' ').expect("a line is `Key/version answer`");
            let (name, version) = asked.split_once('/').expect("a line begins with `Key/version`");
            let key = ApiKey::ALL.iter().copied().find(|key| key.name() == name);
            (key.unwrap_or_else(|| panic!("{name} is no key")), version.parse().expect("a version"), answer)
        });
        for (key, version, answer) in answers {
            assert_eq!(refused(key, version), answer, "{key:?} {version}");
        }
    }

    #[test]
    fn partitions_are_named_by_topics_and_ids() {
        let name_of = |id: Uuid| (id == ID).then(|| "by id".to_owned());
        let asked = |key: ApiKey, version| Asked(sample(key.request_schema().body, version));
        for (key, version, topic) in [
            (ApiKey::Produce, 9, "Name"),
            (ApiKey::Produce, 13, "by id"),
            (ApiKey::Fetch, 17, "by id"),
            (ApiKey::ListOffsets, 7, "Name"),
            (ApiKey::DescribeProducers, 0, "Name"),
            (ApiKey::ElectLeaders, 2, "Topic"),
        ] {
            let asked = asked(key, version);
            assert!(asked.names(topic, 5, &name_of), "{key:?}");
            assert!(!asked.names(topic, 6, &name_of) && !asked.names("other", 5, &name_of), "{key:?}");
        }
        assert!(!asked(ApiKey::Heartbeat, 4).names("Name", 5, &name_of));
    }

    /// One element in each array; strings are the names of their fields, numbers are 5.
    fn sample(schema: &StructSchema, version: i16) -> Tree {
        fn value(name: &'static str, ty: Type, version: i16) -> Tree {
            match ty {
                Type::Bool => Tree::Bool(true),
                Type::Float64 => Tree::Float(5.0),
                Type::Uuid => Tree::Uuid(ID),
                Type::String => Tree::String(name.into()),
                Type::Bytes | Type::Records => Tree::Bytes(Bytes::new()),
                Type::Array(element) => Tree::Array(vec![value(name, *element, version)]),
                Type::Struct(schema) => sample(schema, version),
                _ => Tree::Int(5),
            }
        }
        let present = schema.fields.iter().filter(|field| field.versions.contains(version));
        Tree::Struct(present.map(|field| (field.name, value(field.name, field.ty, version))).collect())
    }
}
