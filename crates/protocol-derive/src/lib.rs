//! `#[derive(Message)]`: turns a plain struct into a Kafka message, so that the struct is the schema.
//!
//! On the message itself, `#[message(<kind>, key = .., versions = "..", flexible = "..")]`, where kind is one
//! of `request`, `response`, `metadata`, `coordinator_key`, `coordinator_value`, `data`, `header`, and `unstable`
//! marks the highest version as unstable. A struct without kind is a nested struct of such a message.
//!
//! On a field, `#[field(..)]` with any of
//! - `versions = "3+"`: the versions that have the field; without it, all in which the struct itself occurs;
//! - `nullable = "7+"`: an `Option` that may be null only in these versions; without it, an `Option` always may;
//! - `default = <expression>`: the value of an absent field; `empty` is `Some` of the type's own default;
//! - `tag = 0`: a tagged field, in all versions of the field;
//! - `ignorable`: a value that the version cannot carry is dropped silently instead of being an error;
//! - `never_flexible`: encoded in the old form even in flexible versions;
//! - `name = ".."`: Kafka's name, when it is not the field's name in CamelCase.
//!
//! The derive also implements `Default`, as defaults belong to the schema.

mod attributes;
mod codec;
mod schema;
mod versions;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

#[proc_macro_derive(Message, attributes(message, field))]
pub fn derive_message(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    match attributes::Struct::parse(&input) {
        Ok(parsed) => {
            let mut code = schema::expand(&parsed);
            code.extend(codec::expand(&parsed));
            code.into()
        }
        Err(error) => error.to_compile_error().into(),
    }
}
