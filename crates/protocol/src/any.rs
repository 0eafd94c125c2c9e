//! Requests and responses whose type is only known at run time: for dumping, fuzzing and tests. A server decodes
//! the type it expects instead.

use crate::api_key::with_api_table;
use crate::{ApiKey, DecodeError, Decoder, EncodeError, Encoder, Message, Tree};

macro_rules! any_messages {
    ($($name:ident = $key:literal: $module:ident::{$request:ident, $response:ident},
        [$($listener:ident),*], [$($trait:ident),*];)*) => {
        any_message! {
            /// A request of any key.
            AnyRequest { $($name(crate::api::$module::$request),)* }
        }
        any_message! {
            /// A response of any key.
            AnyResponse { $($name(crate::api::$module::$response),)* }
        }
    };
}

macro_rules! any_message {
    ($(#[$doc:meta])* $any:ident { $($name:ident($message:ty),)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        #[allow(clippy::large_enum_variant)]
        pub enum $any {
            $($name($message),)*
        }

        impl $any {
            pub fn decode(key: ApiKey, version: i16, d: &mut Decoder) -> Result<Self, DecodeError> {
                match key {
                    $(ApiKey::$name => Message::decode(d, version).map(Self::$name),)*
                }
            }

            pub fn encode(&self, version: i16, e: &mut Encoder) -> Result<(), EncodeError> {
                match self {
                    $(Self::$name(message) => message.encode(e, version),)*
                }
            }

            pub fn key(&self) -> ApiKey {
                match self {
                    $(Self::$name(_) => ApiKey::$name,)*
                }
            }

            /// The message as plain data.
            pub fn tree(&self, version: i16) -> Tree {
                match self {
                    $(Self::$name(message) => message.tree(version),)*
                }
            }
        }
    };
}

with_api_table!(any_messages);
