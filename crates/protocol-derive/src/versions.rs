//! Version ranges as Kafka's schemas write them: `3`, `3-7`, `3+`, `none`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, LitStr, Result};

/// An inclusive range of versions; empty when `min > max`.
#[derive(Clone, Copy, PartialEq)]
pub struct Versions {
    pub min: i16,
    pub max: i16,
}

impl Versions {
    pub const ALL: Self = Self { min: 0, max: i16::MAX };
    pub const NONE: Self = Self { min: 0, max: -1 };

    pub fn parse(text: &LitStr) -> Result<Self> {
        let value = text.value();
        let number = |part: &str| {
            part.parse::<i16>()
                .map_err(|_| Error::new(text.span(), "versions are written as 3, 3-7, 3+ or none"))
        };
        if value == "none" {
            Ok(Self::NONE)
        } else if let Some(min) = value.strip_suffix('+') {
            Ok(Self { min: number(min)?, max: i16::MAX })
        } else if let Some((min, max)) = value.split_once('-') {
            Ok(Self { min: number(min)?, max: number(max)? })
        } else {
            let only = number(&value)?;
            Ok(Self { min: only, max: only })
        }
    }

    /// The condition "`version` is inside", or `None` when it always is.
    pub fn condition(self) -> Option<TokenStream> {
        let Self { min, max } = self;
        match (min, max) {
            (0, i16::MAX) => None,
            _ if min > max => Some(quote!(false)),
            (min, i16::MAX) => Some(quote!(version >= #min)),
            (0, max) => Some(quote!(version <= #max)),
            (min, max) if min == max => Some(quote!(version == #min)),
            (min, max) => Some(quote!((#min..=#max).contains(&version))),
        }
    }

    /// The value as a constant of `ottla_protocol::Versions`.
    pub fn constant(self) -> TokenStream {
        let Self { min, max } = self;
        quote!(::ottla_protocol::Versions::new(#min, #max))
    }
}
