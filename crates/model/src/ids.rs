//! Newtypes for ids and epochs. The inner integer is what travels on the wire and lies on disk.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl $name {
            /// The wire's "absent" value, -1.
            pub const NONE: Self = Self(-1);

            /// Whether this is a real value and not the wire's "absent" (any negative number).
            pub const fn is_some(self) -> bool {
                self.0 >= 0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    };
}

id!(
    /// A broker or controller (`node.id`).
    NodeId(i32)
);
id!(
    /// Generation of a partition's leadership; raised by the controller at every leader change.
    LeaderEpoch(i32)
);
id!(
    /// Version of a partition's registration; raised by the controller at every change of it.
    PartitionEpoch(i32)
);
id!(
    /// Incarnation of a broker: the offset of its registration record in the metadata log.
    BrokerEpoch(i64)
);
id!(
    /// Id of an idempotent or transactional producer.
    ProducerId(i64)
);
id!(
    /// Generation of a producer id; a higher one fences the lower.
    ProducerEpoch(i16)
);

/// A partition by topic name and index, as in Kafka's directory names and tools.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: std::sync::Arc<str>,
    pub partition: i32,
}

impl TopicPartition {
    pub fn new(topic: impl Into<std::sync::Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
