//! The working half: `Wire` (read, write, inspect) for the struct. What is generated is a list of calls, one per
//! field, into `Decoder` and `Encoder`; every decision that does not depend on the field's type is made there.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use crate::attributes::{Field, Struct};
use crate::schema::default_value;
use crate::versions::Versions;

pub fn expand(parsed: &Struct) -> TokenStream {
    let ident = &parsed.ident;
    let mut tagged: Vec<&Field> = parsed.fields.iter().filter(|field| field.tag.is_some()).collect();
    tagged.sort_by_key(|field| field.tag);

    let names = parsed.fields.iter().map(|field| &field.ident);
    let locals = parsed.fields.iter().map(local);
    let reads = parsed.fields.iter().map(read);
    let read_tags = read_tags(&tagged);
    let writes = parsed.fields.iter().map(write);
    let write_tags = write_tags(&tagged);
    let inspections = parsed.fields.iter().enumerate().map(|(index, field)| {
        let name = &field.ident;
        quote!(#index => ::ottla_protocol::wire::Inspect::to_tree(&self.#name, version),)
    });
    quote! {
        impl ::ottla_protocol::wire::Wire for #ident {
            const TYPE: ::ottla_protocol::schema::Type =
                ::ottla_protocol::schema::Type::Struct(<Self as ::ottla_protocol::wire::WireStruct>::FIELDS);

            #[allow(unused_variables)]
            fn read(
                d: &mut ::ottla_protocol::Decoder,
                version: i16,
            ) -> ::core::result::Result<Self, ::ottla_protocol::DecodeError> {
                #(#reads)*
                #read_tags
                Ok(Self { #(#names: #locals,)* })
            }

            #[allow(unused_variables)]
            fn write(
                &self,
                e: &mut ::ottla_protocol::Encoder,
                version: i16,
            ) -> ::core::result::Result<(), ::ottla_protocol::EncodeError> {
                #(#writes)*
                #write_tags
                Ok(())
            }

            fn is_default(&self) -> bool {
                *self == Self::default()
            }
        }

        impl ::ottla_protocol::wire::Inspect for #ident {
            #[allow(unused_variables)]
            fn to_tree(&self, version: i16) -> ::ottla_protocol::Tree {
                ::ottla_protocol::tree::of_struct(
                    <Self as ::ottla_protocol::wire::WireStruct>::FIELDS,
                    version,
                    |index| match index {
                        #(#inspections)*
                        _ => ::ottla_protocol::Tree::Null,
                    },
                )
            }
        }
    }
}

/// The variable that holds a field until the struct is complete. The struct is made at the very end, where the
/// caller wants it: making it earlier costs a copy.
fn local(field: &Field) -> Ident {
    format_ident!("field_{}", bare(field))
}

/// Reads one field: what is not on the wire in this version, or comes in the tags, is the default.
fn read(field: &Field) -> TokenStream {
    let (local, ty) = (local(field), &field.ty);
    let default = default_value(field);
    let Some(condition) = untagged(field) else { return quote!(let mut #local: #ty = #default;) };
    let read = read_value(field);
    match condition {
        Some(condition) => quote!(let #local: #ty = if #condition { #read } else { #default };),
        None => quote!(let #local: #ty = #read;),
    }
}

fn read_value(field: &Field) -> TokenStream {
    let name = &field.name;
    let read = match &field.nullable {
        None => quote!(d.field(#name, version)?),
        Some((_, versions)) => match versions.condition() {
            None => quote!(d.nullable_field(#name, version)?),
            Some(condition) => quote!(d.sometimes_nullable_field(#name, version, #condition)?),
        },
    };
    if field.never_flexible {
        quote!({
            let flexible = d.set_flexible(false);
            let value = #read;
            d.set_flexible(flexible);
            value
        })
    } else {
        read
    }
}

fn read_tags(tagged: &[&Field]) -> TokenStream {
    if tagged.is_empty() {
        return quote!(d.skip_tags()?;);
    }
    let arms = tagged.iter().map(|field| {
        let (local, tag) = (local(field), field.tag);
        let read = match &field.nullable {
            Some((_, nullable)) if *nullable == Versions::ALL => {
                let name = &field.name;
                quote!(d.nullable_tagged_field(#name, version)?)
            }
            _ => read_value(field),
        };
        let guard = field.versions.condition().map(|condition| quote!(if #condition));
        quote!(#tag #guard => #local = #read,)
    });
    quote! {
        for _ in 0..d.tags()? {
            let (tag, end) = d.begin_tag()?;
            match tag {
                #(#arms)*
                _ => d.skip_tag(end),
            }
            d.end_tag(end)?;
        }
    }
}

fn write(field: &Field) -> TokenStream {
    let (ident, name) = (&field.ident, &field.name);
    let absent = (!field.ignorable && !field.versions_are_all()).then(|| {
        let set = is_set(field);
        quote!(if #set { return Err(::ottla_protocol::EncodeError::absent(#name, version)); })
    });
    match untagged(field) {
        None => {
            // Tagged in every version that has it; in the others it must hold its default.
            let condition = field.versions.condition();
            match (absent, condition) {
                (Some(absent), Some(condition)) => quote!(if !(#condition) { #absent }),
                _ => TokenStream::new(),
            }
        }
        Some(condition) => {
            let value = match &field.nullable {
                None => quote!(e.field(#name, &self.#ident, version)?;),
                Some((_, versions)) => match versions.condition() {
                    None => quote!(e.nullable_field(#name, &self.#ident, version)?;),
                    Some(nullable) => {
                        quote!(e.sometimes_nullable_field(#name, &self.#ident, version, #nullable)?;)
                    }
                },
            };
            let value = if field.never_flexible {
                quote!({
                    let flexible = e.set_flexible(false);
                    #value
                    e.set_flexible(flexible);
                })
            } else {
                value
            };
            match (condition, absent) {
                (None, _) => value,
                (Some(condition), None) => quote!(if #condition { #value }),
                (Some(condition), Some(absent)) => quote!(if #condition { #value } else { #absent }),
            }
        }
    }
}

fn write_tags(tagged: &[&Field]) -> TokenStream {
    if tagged.is_empty() {
        return quote!(e.no_tags(););
    }
    let flags: Vec<_> = tagged.iter().map(|field| format_ident!("set_{}", bare(field))).collect();
    let conditions = tagged.iter().map(|field| {
        let set = is_set(field);
        match field.versions.condition() {
            Some(condition) => quote!(#condition && #set),
            None => set,
        }
    });
    let writes = tagged.iter().zip(&flags).map(|(field, flag)| {
        let (ident, name) = (&field.ident, &field.name);
        let tag = field.tag;
        if field.nullable.is_some() {
            quote!(if #flag { e.nullable_tagged_field(#tag, #name, &self.#ident, version)?; })
        } else {
            quote!(if #flag { e.tagged_field(#tag, #name, &self.#ident, version)?; })
        }
    });
    quote! {
        if e.is_flexible() {
            #(let #flags = #conditions;)*
            e.uvarint(0 #(+ u32::from(#flags))*);
            #(#writes)*
        }
    }
}

/// The condition "holds another value than its default".
fn is_set(field: &Field) -> TokenStream {
    let ident = &field.ident;
    match &field.default {
        None if field.nullable.is_some() => quote!(self.#ident.is_some()),
        None => quote!(!::ottla_protocol::wire::Wire::is_default(&self.#ident)),
        Some(_) if field.default_is_empty() => {
            quote!(self.#ident.as_ref().is_none_or(|value| !::ottla_protocol::wire::Wire::is_default(value)))
        }
        Some(expression) => quote!((self.#ident != #expression)),
    }
}

/// When the field has an ordinary place in the struct: `None` never, `Some(None)` always.
fn untagged(field: &Field) -> Option<Option<TokenStream>> {
    match field.tag {
        Some(_) => None,
        None => Some(field.versions.condition()),
    }
}

fn bare(field: &Field) -> String {
    field.ident.to_string().trim_start_matches("r#").to_owned()
}

impl Field {
    fn versions_are_all(&self) -> bool {
        self.versions == Versions::ALL
    }
}
