//! Headers of requests and responses.

use crate::{ApiKey, DecodeError, DecodeErrorKind, Decoder, Message, Str};

/// In front of every request.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(header, versions = "1-2", flexible = "2+")]
pub struct RequestHeader {
    pub request_api_key: i16,
    pub request_api_version: i16,
    pub correlation_id: i32,
    #[field(never_flexible)]
    pub client_id: Option<Str>,
}

/// In front of every response.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(header, versions = "0-1", flexible = "1+")]
pub struct ResponseHeader {
    pub correlation_id: i32,
}

impl RequestHeader {
    /// Decodes the header of a request frame, in the version that its key and version call for. What follows in
    /// the decoder is the body. The version of the request itself is not checked: an ApiVersions request of an
    /// unknown version still gets an answer.
    pub fn decode_frame(d: &mut Decoder) -> Result<(ApiKey, Self), DecodeError> {
        let request_api_key = d.i16()?;
        let request_api_version = d.i16()?;
        let Some(key) = ApiKey::from_i16(request_api_key) else {
            return Err(d.error(DecodeErrorKind::UnknownKey(request_api_key)));
        };
        let correlation_id = d.i32()?;
        d.set_flexible(false);
        let client_id = d.nullable_field("ClientId", 1)?;
        d.set_flexible(key.request_header_version(request_api_version) >= 2);
        d.skip_tags()?;
        Ok((key, Self { request_api_key, request_api_version, correlation_id, client_id }))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn headers_of_unknown_keys_are_errors_and_of_unknown_versions_are_not() {
        let mut d = Decoder::new(Bytes::from_static(&[0, 120, 0, 0, 0, 0, 0, 1, 0xff, 0xff]));
        let error = RequestHeader::decode_frame(&mut d).unwrap_err();
        assert_eq!(error.kind(), DecodeErrorKind::UnknownKey(120));

        let mut d = Decoder::new(Bytes::from_static(&[0, 18, 0, 99, 0, 0, 0, 1, 0, 1, b'c', 0]));
        let (key, header) = RequestHeader::decode_frame(&mut d).unwrap();
        assert_eq!((key, header.request_api_version), (ApiKey::ApiVersions, 99));
        assert_eq!(header.client_id.as_deref(), Some("c"));
        assert_eq!(d.remaining(), 0);
    }
}
