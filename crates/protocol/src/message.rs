//! What every whole message can do.

use std::fmt::Debug;

use bytes::Bytes;

use crate::encoder::EncodeErrorKind;
use crate::schema::MessageSchema;
use crate::wire::WireStruct;
use crate::{ApiKey, DecodeError, DecodeErrorKind, Decoder, EncodeError, Encoder, Tree, Versions};

/// A request, a response or a record, in all its versions.
pub trait Message: WireStruct + Default + Clone + PartialEq + Debug + Send + Sync + 'static {
    const VERSIONS: Versions;
    /// The versions in the compact form with tagged fields.
    const FLEXIBLE: Versions;
    const SCHEMA: &'static MessageSchema;

    fn decode(d: &mut Decoder, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(version) {
            return Err(d.error(DecodeErrorKind::UnsupportedVersion(version)));
        }
        d.set_flexible(Self::FLEXIBLE.contains(version));
        Self::read(d, version)
    }

    /// Fails when a field holds a value that the version cannot carry and that is not ignorable.
    fn encode(&self, e: &mut Encoder, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(version) {
            return Err(EncodeError::new(EncodeErrorKind::UnsupportedVersion(version, Self::VERSIONS)));
        }
        e.set_flexible(Self::FLEXIBLE.contains(version));
        self.write(e, version)
    }

    /// Decodes a message that fills `bytes` to the last.
    fn decode_all(bytes: Bytes, version: i16) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(bytes);
        let message = Self::decode(&mut d, version)?;
        d.finish()?;
        Ok(message)
    }

    /// Encodes into one piece.
    fn encode_to_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
        let mut e = Encoder::new();
        self.encode(&mut e, version)?;
        e.finish_bytes()
    }

    /// The message as plain data, without the fields that `version` lacks.
    fn tree(&self, version: i16) -> Tree {
        self.to_tree(version)
    }
}

/// A message of an API key that asks for a response of the same version.
pub trait Request: Message {
    const KEY: ApiKey;
    type Response: Message;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::api_versions::ApiVersionsRequest;
    use crate::api::find_coordinator::FindCoordinatorRequest;
    use crate::api::join_group::JoinGroupRequest;
    use crate::api::list_offsets::ListOffsetsRequest;
    use crate::api::metadata::MetadataRequest;

    #[test]
    fn a_value_the_version_lacks_is_an_error_unless_ignorable() {
        let request = ListOffsetsRequest { isolation_level: 1, timeout_ms: 500, ..Default::default() };
        let kind = |version| {
            request.encode_to_bytes(version).map(drop).map_err(|error| (error.kind(), error.path()))
        };
        assert_eq!(kind(1), Err((EncodeErrorKind::Absent(1), "IsolationLevel".into())));
        // The timeout is ignorable.
        assert_eq!(kind(9), Ok(()));
        assert_eq!(kind(10), Ok(()));
        assert_eq!(
            kind(12),
            Err((EncodeErrorKind::UnsupportedVersion(12, ListOffsetsRequest::VERSIONS), "".into()))
        );
    }

    #[test]
    fn null_where_the_version_knows_none_is_an_error() {
        let request = MetadataRequest { topics: None, ..Default::default() };
        let error = request.encode_to_bytes(0).unwrap_err();
        assert_eq!((error.kind(), error.path().as_str()), (EncodeErrorKind::UnexpectedNull(0), "Topics"));
        assert!(request.encode_to_bytes(1).is_ok());
        let error = MetadataRequest::decode_all(Bytes::from_static(&[0xff; 4]), 0).unwrap_err();
        assert_eq!((error.kind(), error.path().as_str()), (DecodeErrorKind::UnexpectedNull, "Topics"));
    }

    #[test]
    fn absent_fields_take_their_defaults() {
        let bytes =
            FindCoordinatorRequest { key: "g".into(), ..Default::default() }.encode_to_bytes(0).unwrap();
        let decoded = FindCoordinatorRequest::decode_all(bytes, 0).unwrap();
        assert_eq!(decoded.key_type, 0);
        assert_eq!(JoinGroupRequest::default().rebalance_timeout_ms, -1);
        assert_eq!(ApiVersionsRequest::default().node_id, -1);
    }

    #[test]
    fn errors_name_the_field_and_the_byte() {
        let error = ApiVersionsRequest::decode_all(Bytes::from_static(&[2, b'a', 9]), 3).unwrap_err();
        assert_eq!(error.to_string(), "the frame ends too early at byte 3 in ClientSoftwareVersion");
        let error = ApiVersionsRequest::decode_all(Bytes::from_static(&[1, 1, 0, 0]), 3).unwrap_err();
        assert_eq!(error.kind(), DecodeErrorKind::TrailingBytes);
        assert_eq!(size_of_val(&error), size_of::<usize>());
    }
}
