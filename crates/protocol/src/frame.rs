//! Whole frames: length, header and body of a request or a response.

use bytes::Bytes;

use crate::{
    ApiKey, DecodeError, Decoder, EncodeError, Encoder, Message, Request, RequestHeader, ResponseHeader,
    Segment,
};

/// A request as it is sent, its length in front.
pub fn encode_request<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: Option<crate::Str>,
) -> Result<Vec<Segment>, EncodeError> {
    let mut e = Encoder::frame();
    let header = RequestHeader {
        request_api_key: R::KEY as i16,
        request_api_version: version,
        correlation_id,
        client_id,
    };
    header.encode(&mut e, R::KEY.request_header_version(version))?;
    request.encode(&mut e, version)?;
    e.finish_frame()
}

/// A response to a request of this key and version as it is sent, its length in front.
pub fn encode_response<M: Message>(
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    response: &M,
) -> Result<Vec<Segment>, EncodeError> {
    let mut e = Encoder::frame();
    ResponseHeader { correlation_id }.encode(&mut e, key.response_header_version(version))?;
    response.encode(&mut e, version)?;
    e.finish_frame()
}

/// The correlation id and the body of a response frame without its length.
pub fn decode_response<R: Request>(frame: Bytes, version: i16) -> Result<(i32, R::Response), DecodeError> {
    let mut d = Decoder::new(frame);
    let header = ResponseHeader::decode(&mut d, R::KEY.response_header_version(version))?;
    Ok((header.correlation_id, R::Response::decode(&mut d, version)?))
}
