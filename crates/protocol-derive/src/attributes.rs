//! The struct and its attributes, parsed and checked; both expansions start from here.

use proc_macro2::{Ident, Span};
use syn::meta::ParseNestedMeta;
use syn::{Data, DeriveInput, Error, Expr, GenericArgument, LitInt, LitStr, PathArguments, Result, Type};

use crate::versions::Versions;

pub struct Struct {
    pub ident: Ident,
    /// Kafka's name.
    pub name: String,
    /// `None` for a nested struct.
    pub message: Option<Message>,
    pub fields: Vec<Field>,
}

pub struct Message {
    pub kind: Ident,
    pub key: Option<i16>,
    pub versions: Versions,
    pub flexible: Versions,
    pub unstable: bool,
}

pub struct Field {
    pub ident: Ident,
    pub name: String,
    pub ty: Type,
    /// The `T` of a field declared as `Option<T>`.
    pub nullable: Option<(Type, Versions)>,
    pub versions: Versions,
    pub default: Option<Expr>,
    /// Its tag; a tagged field is tagged in every flexible version that has it.
    pub tag: Option<u32>,
    pub ignorable: bool,
    pub never_flexible: bool,
}

impl Field {
    /// `default = empty`.
    pub fn default_is_empty(&self) -> bool {
        matches!(&self.default, Some(Expr::Path(path)) if path.path.is_ident("empty"))
    }
}

const KINDS: [&str; 7] =
    ["request", "response", "metadata", "coordinator_key", "coordinator_value", "data", "header"];

impl Struct {
    pub fn parse(input: &DeriveInput) -> Result<Self> {
        let Data::Struct(data) = &input.data else {
            return Err(Error::new(input.ident.span(), "a message is a struct"));
        };
        let mut name = input.ident.to_string();
        let mut kind = None;
        let mut key = None;
        let mut versions = None;
        let mut flexible = Versions::NONE;
        let mut unstable = false;
        for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("message")) {
            attribute.parse_nested_meta(|meta| {
                match meta.path.get_ident().map(ToString::to_string).as_deref() {
                    Some("name") => name = meta.value()?.parse::<LitStr>()?.value(),
                    Some("key") => key = Some(meta.value()?.parse::<LitInt>()?.base10_parse()?),
                    Some("versions") => versions = Some(parse_versions(&meta)?),
                    Some("flexible") => flexible = parse_versions(&meta)?,
                    Some("unstable") => unstable = true,
                    Some(known) if KINDS.contains(&known) => kind = Some(meta.path.require_ident()?.clone()),
                    _ => return Err(meta.error("unknown message attribute")),
                }
                Ok(())
            })?;
        }
        let message = match (kind, versions) {
            (Some(kind), Some(versions)) => Some(Message { kind, key, versions, flexible, unstable }),
            (None, None) => None,
            _ => {
                return Err(Error::new(input.ident.span(), "a message needs both its kind and its versions"));
            }
        };
        let mut fields = data.fields.iter().map(Field::parse).collect::<Result<Vec<_>>>()?;
        if let Some(message) = &message {
            for field in &mut fields {
                field.narrow(message.versions);
            }
        }
        Ok(Self { ident: input.ident.clone(), name, message, fields })
    }
}

impl Field {
    fn parse(field: &syn::Field) -> Result<Self> {
        let ident =
            field.ident.clone().ok_or_else(|| Error::new(Span::call_site(), "fields must be named"))?;
        let mut parsed = Self {
            name: camel_case(ident.to_string().trim_start_matches("r#")),
            ident,
            ty: field.ty.clone(),
            nullable: option_argument(&field.ty).map(|inner| (inner.clone(), Versions::ALL)),
            versions: Versions::ALL,
            default: None,
            tag: None,
            ignorable: false,
            never_flexible: false,
        };
        for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("field")) {
            attribute.parse_nested_meta(|meta| {
                match meta.path.get_ident().map(ToString::to_string).as_deref() {
                    Some("versions") => parsed.versions = parse_versions(&meta)?,
                    Some("nullable") => match &mut parsed.nullable {
                        Some((_, versions)) => *versions = parse_versions(&meta)?,
                        None => return Err(meta.error("only an Option can be null")),
                    },
                    Some("default") => parsed.default = Some(meta.value()?.parse()?),
                    Some("tag") => parsed.tag = Some(meta.value()?.parse::<LitInt>()?.base10_parse()?),
                    Some("ignorable") => parsed.ignorable = true,
                    Some("never_flexible") => parsed.never_flexible = true,
                    Some("name") => parsed.name = meta.value()?.parse::<LitStr>()?.value(),
                    _ => return Err(meta.error("unknown field attribute")),
                }
                Ok(())
            })?;
        }
        Ok(parsed)
    }

    /// Widens ranges that reach beyond what the message has, so that no condition is generated for them.
    fn narrow(&mut self, message: Versions) {
        let widen = |versions: &mut Versions| {
            if versions.min <= message.min {
                versions.min = versions.min.min(0);
            }
            if versions.max >= message.max && message.max >= message.min {
                versions.max = i16::MAX;
            }
        };
        widen(&mut self.versions);
        if let Some((_, versions)) = &mut self.nullable {
            widen(versions);
        }
    }
}

fn parse_versions(meta: &ParseNestedMeta<'_>) -> Result<Versions> {
    Versions::parse(&meta.value()?.parse()?)
}

fn option_argument(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first() {
        Some(GenericArgument::Type(inner)) if last.ident == "Option" => Some(inner),
        _ => None,
    }
}

fn camel_case(snake: &str) -> String {
    snake
        .split('_')
        .flat_map(|word| {
            let mut letters = word.chars();
            letters
                .next()
                .map(|first| first.to_ascii_uppercase())
                .into_iter()
                .chain(letters.collect::<Vec<_>>())
        })
        .collect()
}
