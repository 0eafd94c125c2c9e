//! The describing half: `Default`, the schema constant and the `Message` implementation.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Expr, Lit, UnOp};

use crate::attributes::{Field, Struct};

pub fn expand(parsed: &Struct) -> TokenStream {
    let Struct { ident, name, message, fields } = parsed;
    let names = fields.iter().map(|field| &field.ident);
    let defaults = fields.iter().map(default_value);
    let field_schemas = fields.iter().map(field_schema);
    let message = message.as_ref().map(|message| {
        let kind = kind_variant(&message.kind.to_string());
        let key = message.key.map_or(quote!(None), |key| quote!(Some(#key)));
        let (versions, flexible, unstable) =
            (message.versions.constant(), message.flexible.constant(), message.unstable);
        quote! {
            impl ::ottla_protocol::Message for #ident {
                const VERSIONS: ::ottla_protocol::Versions = #versions;
                const FLEXIBLE: ::ottla_protocol::Versions = #flexible;
                const SCHEMA: &'static ::ottla_protocol::schema::MessageSchema =
                    &::ottla_protocol::schema::MessageSchema {
                        kind: ::ottla_protocol::schema::MessageKind::#kind,
                        api_key: #key,
                        versions: #versions,
                        flexible: #flexible,
                        latest_version_unstable: #unstable,
                        body: <Self as ::ottla_protocol::wire::WireStruct>::FIELDS,
                        decode: ::ottla_protocol::AnyMessage::decode::<Self>,
                    };
            }
        }
    });
    quote! {
        impl ::core::default::Default for #ident {
            fn default() -> Self {
                Self { #(#names: #defaults,)* }
            }
        }
        impl ::ottla_protocol::wire::WireStruct for #ident {
            const FIELDS: &'static ::ottla_protocol::schema::StructSchema =
                &::ottla_protocol::schema::StructSchema { name: #name, fields: &[#(#field_schemas),*] };
        }
        #message
    }
}

/// The expression of a field's default.
pub fn default_value(field: &Field) -> TokenStream {
    match &field.default {
        None => quote!(::core::default::Default::default()),
        Some(_) if field.default_is_empty() => quote!(Some(::core::default::Default::default())),
        Some(expression) => quote!(#expression),
    }
}

fn field_schema(field: &Field) -> TokenStream {
    let name = &field.name;
    let ty = field.nullable.as_ref().map_or(&field.ty, |(inner, _)| inner);
    let versions = field.versions.constant();
    let nullable = match &field.nullable {
        Some((_, versions)) => versions.constant(),
        None => quote!(::ottla_protocol::Versions::NONE),
    };
    let tag = field.tag.map_or(quote!(None), |tag| quote!(Some(#tag)));
    let default = match &field.default {
        None if field.nullable.is_some() => quote!(Null),
        None => quote!(Zero),
        Some(_) if field.default_is_empty() => quote!(Zero),
        Some(expression) if is_bool(expression) => quote!(Bool(#expression)),
        Some(expression) => quote!(Int(#expression as i64)),
    };
    let (ignorable, never_flexible) = (field.ignorable, field.never_flexible);
    quote! {
        ::ottla_protocol::schema::FieldSchema {
            name: #name,
            ty: <#ty as ::ottla_protocol::wire::Wire>::TYPE,
            versions: #versions,
            nullable: #nullable,
            tag: #tag,
            default: ::ottla_protocol::schema::DefaultValue::#default,
            ignorable: #ignorable,
            never_flexible: #never_flexible,
        }
    }
}

fn is_bool(expression: &Expr) -> bool {
    match expression {
        Expr::Lit(literal) => matches!(literal.lit, Lit::Bool(_)),
        Expr::Unary(unary) => matches!(unary.op, UnOp::Not(_)),
        _ => false,
    }
}

fn kind_variant(kind: &str) -> syn::Ident {
    let variant = match kind {
        "request" => "Request",
        "response" => "Response",
        "metadata" => "Metadata",
        "coordinator_key" => "CoordinatorKey",
        "coordinator_value" => "CoordinatorValue",
        "header" => "Header",
        _ => "Data",
    };
    format_ident!("{variant}")
}
