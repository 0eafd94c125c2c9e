//! What scripts see of Apache's tools only because they are Java: names of exceptions, their texts, the order of a
//! hash map.

use ottla_client::Error;
use ottla_client::model::ErrorCode;

/// What Apache's clients say of an error: the broker's words, or their own for the code.
pub fn message(error: &Error) -> String {
    match error {
        Error::Broker { message: Some(message), .. } => message.to_string(),
        Error::Broker { code, message: None } => text(*code),
        other => other.to_string(),
    }
}

/// The same, after the name of the exception.
pub fn exception(error: &Error) -> String {
    let class = match error {
        Error::Broker { code, .. } => class(*code),
        Error::TimedOut { .. } | Error::Disconnected { .. } => "TimeoutException".into(),
        Error::Unsupported { .. } => "UnsupportedVersionException".into(),
        _ => return format!("org.apache.kafka.common.KafkaException: {}", message(error)),
    };
    format!("org.apache.kafka.common.errors.{class}: {}", message(error))
}

/// The name of the exception of a code.
pub fn class(code: ErrorCode) -> String {
    let name = match code {
        ErrorCode::RequestTimedOut => "Timeout".to_owned(),
        ErrorCode::MessageTooLarge => "RecordTooLarge".to_owned(),
        other => format!("{other:?}"),
    };
    if name.ends_with("Exception") { name } else { format!("{name}Exception") }
}

fn text(code: ErrorCode) -> String {
    let text = match code {
        ErrorCode::UnknownTopicOrPartition => "This server does not host this topic-partition.",
        ErrorCode::GroupIdNotFound => "The group id does not exist.",
        ErrorCode::NonEmptyGroup => "The group is not empty.",
        ErrorCode::OffsetOutOfRange => {
            "The requested offset is not within the range of offsets maintained by the server."
        }
        ErrorCode::InvalidGroupId => "The group id is invalid.",
        ErrorCode::UnknownMemberId => "The coordinator is not aware of this member.",
        ErrorCode::GroupSubscribedToTopic => {
            "Deleting offsets of a topic is forbidden while the consumer group is actively subscribed to it."
        }
        ErrorCode::NoReassignmentInProgress => "No partition reassignment is in progress.",
        ErrorCode::LogDirNotFound => "The user-specified log directory is not found in the broker config.",
        other => other.name(),
    };
    text.to_owned()
}

/// A number as `Double.toString` prints it.
pub fn double(value: f64) -> String {
    if value == 0.0 || (1e-3..1e7).contains(&value.abs()) {
        return format!("{value:?}");
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
    }
}

/// Puts keys into the order in which Java's `HashMap`, made for that many, gives them.
pub fn hash_order<T>(mut items: Vec<T>, key: impl Fn(&T) -> &str) -> Vec<T> {
    let mut buckets = items.len().max(1).next_power_of_two();
    if items.len() * 4 > buckets * 3 {
        buckets *= 2;
    }
    items.sort_by_key(|item| {
        let hash = key(item)
            .encode_utf16()
            .fold(0_u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()));
        (hash ^ (hash >> 16)) as usize & (buckets - 1)
    });
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn javas_order_of_strings() {
        // As Apache Kafka 4.3.1 lists these topics.
        let topics = vec!["t-assign", "t-plain", "t-wide", "t.dots_under"];
        assert_eq!(hash_order(topics, |topic| topic), ["t-plain", "t-assign", "t.dots_under", "t-wide"]);
    }

    #[test]
    fn javas_doubles() {
        let printed = [0.0, 1000.0, 0.25, 1e7, 1_234_567_890.0, 1e-4].map(double);
        assert_eq!(printed, ["0.0", "1000.0", "0.25", "1.0E7", "1.23456789E9", "1.0E-4"]);
    }

    #[test]
    fn exceptions_have_javas_names() {
        assert_eq!(
            exception(&ErrorCode::GroupIdNotFound.into()),
            "org.apache.kafka.common.errors.GroupIdNotFoundException: The group id does not exist."
        );
        assert_eq!(class(ErrorCode::InvalidTopicException), "InvalidTopicException");
        assert_eq!(class(ErrorCode::RequestTimedOut), "TimeoutException");
    }
}
