//! Envelope (58): version 0. A broker passes a client's request on to the active controller (KIP-590).
//!
//! [`seal`] is the broker's side, [`answer`] the controller's.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use ottla_model::ErrorCode;
use ottla_protocol::api::envelope::{EnvelopeRequest, EnvelopeResponse};
use ottla_protocol::records::embedded::DefaultPrincipalData;
use ottla_protocol::{ApiKey, Decoder, EncodeError, Encoder, Message, RequestHeader, ResponseHeader, Tree};

use super::{Answer, ListenerContext, Rejected, RequestContext};

const PRINCIPAL_VERSION: i16 = 0;

/// The request with its header, on behalf of the client that sent it. `body` is what follows the header.
pub fn seal(context: &RequestContext, body: &Bytes) -> Result<EnvelopeRequest, EncodeError> {
    let mut e = Encoder::new();
    let header = RequestHeader {
        request_api_key: context.api_key as i16,
        request_api_version: context.api_version,
        correlation_id: context.correlation_id,
        client_id: context.client_id.clone(),
    };
    header.encode(&mut e, context.api_key.request_header_version(context.api_version))?;
    let mut request_data = BytesMut::from(&e.finish_bytes()?[..]);
    request_data.extend_from_slice(body);
    let mut request_principal = BytesMut::new();
    request_principal.put_i16(PRINCIPAL_VERSION);
    request_principal.extend_from_slice(&context.principal.encode_to_bytes(PRINCIPAL_VERSION)?);
    let client_host_address = match context.peer.ip() {
        IpAddr::V4(address) => Bytes::copy_from_slice(&address.octets()),
        IpAddr::V6(address) => Bytes::copy_from_slice(&address.octets()),
    };
    Ok(EnvelopeRequest {
        request_data: request_data.freeze(),
        request_principal: Some(request_principal.freeze()),
        client_host_address,
    })
}

/// Answers what is inside as if the client had sent it here.
pub async fn answer(
    listener: &Arc<ListenerContext>,
    context: &RequestContext,
    mut body: Decoder,
) -> Result<Answer, Rejected> {
    let request = EnvelopeRequest::decode(&mut body, context.api_version)?;
    let response = match open(listener, context, request).await {
        Ok(response_data) => EnvelopeResponse { response_data: Some(response_data), error_code: 0 },
        Err(error) => EnvelopeResponse { response_data: None, error_code: error.code() },
    };
    Answer::new(context, &response)
}

async fn open(
    listener: &Arc<ListenerContext>,
    context: &RequestContext,
    request: EnvelopeRequest,
) -> Result<Bytes, ErrorCode> {
    let peer = address_of(&request.client_host_address).ok_or(ErrorCode::InvalidRequest)?;
    let principal = request.request_principal.and_then(principal_of);
    let principal = principal.ok_or(ErrorCode::PrincipalDeserializationFailure)?;
    let mut inner = Decoder::new(request.request_data);
    let (api_key, header) =
        RequestHeader::decode_frame(&mut inner).map_err(|_| ErrorCode::UnsupportedVersion)?;
    if !api_key.is_forwarded() {
        return Err(ErrorCode::InvalidRequest);
    }
    let controller = listener.node.controller();
    let epoch = controller.active_epoch().ok_or(ErrorCode::NotController)?;
    let context = RequestContext {
        api_key,
        api_version: header.request_api_version,
        correlation_id: header.correlation_id,
        client_id: header.client_id,
        peer: SocketAddr::new(peer, 0),
        principal: Arc::new(principal),
        listener: Arc::clone(&context.listener),
        hurry: None,
    };
    let answer =
        Box::pin(super::dispatch(listener, context, inner)).await.map_err(|rejected| match rejected {
            Rejected::Undecodable(_) | Rejected::NotServed { .. } => ErrorCode::UnsupportedVersion,
            _ => ErrorCode::UnknownServerError,
        })?;
    let answer = answer.without_length();
    // A term that ended meanwhile refuses what waits; the broker asks the next controller.
    if controller.active_epoch() != Some(epoch) && is_refused(api_key, header.request_api_version, &answer) {
        return Err(ErrorCode::NotController);
    }
    Ok(answer)
}

/// Whether an answer says anywhere that this is not the controller.
fn is_refused(api_key: ApiKey, version: i16, answer: &Bytes) -> bool {
    fn says(tree: &Tree) -> bool {
        const NOT_CONTROLLER: Tree = Tree::Int(ErrorCode::NotController.code() as i64);
        match tree {
            Tree::Array(items) => items.iter().any(says),
            Tree::Struct(fields) => fields
                .iter()
                .any(|(name, field)| (*name == "ErrorCode" && *field == NOT_CONTROLLER) || says(field)),
            _ => false,
        }
    }
    let mut d = Decoder::new(answer.clone());
    let header = ResponseHeader::decode(&mut d, api_key.response_header_version(version));
    let body = header.and_then(|_| api_key.response_schema().decode(&mut d, version));
    body.is_ok_and(|body| says(&body.tree(version)))
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    v4.or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok())
}

/// A principal as brokers write it unless they are configured to do otherwise.
fn principal_of(bytes: Bytes) -> Option<DefaultPrincipalData> {
    let mut d = Decoder::new(bytes);
    let version = d.i16().ok().filter(|version| *version == PRINCIPAL_VERSION)?;
    DefaultPrincipalData::decode(&mut d, version).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that Apache Kafka 4.4.0's broker sent for a client without authentication.
    #[test]
    fn a_principal_is_written_as_kafka_writes_it() {
        let context = RequestContext {
            api_key: ApiKey::DeleteTopics,
            api_version: 6,
            correlation_id: 5,
            client_id: Some("c".into()),
            peer: "127.0.0.1:1234".parse().unwrap(),
            principal: crate::api::anonymous(),
            listener: "PLAINTEXT".into(),
            hurry: None,
        };
        let sealed = seal(&context, &Bytes::from_static(b"body")).unwrap();
        assert_eq!(&sealed.request_data[..], b"\0\x14\0\x06\0\0\0\x05\0\x01c\0body");
        let principal = sealed.request_principal.unwrap();
        assert_eq!(&principal[..], b"\0\0\x05User\x0aANONYMOUS\0\0");
        assert_eq!(principal_of(principal.clone()).as_ref(), Some(&*context.principal));
        assert_eq!(principal_of(principal.slice(1..)), None, "another version");
        assert_eq!(principal_of(principal.slice(..9)), None);

        let alice =
            DefaultPrincipalData { r#type: "User".into(), name: "alice".into(), token_authenticated: true };
        let context = RequestContext { principal: Arc::new(alice), ..context };
        let principal = seal(&context, &Bytes::new()).unwrap().request_principal.unwrap();
        assert_eq!(&principal[..], b"\0\0\x05User\x06alice\x01\0");
        assert_eq!(principal_of(principal).as_ref(), Some(&*context.principal));
        assert_eq!(address_of(&sealed.client_host_address), Some(context.peer.ip()));
    }
}
