//! Reading requests: every refusal is a [`Failure`], where axum's own extractors answer in plain text.

use std::fmt;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use revoada_core::error::ErrorKind;
use revoada_core::limits::{HTTP_BODY_BYTES_MAX, HTTP_BODY_DURATION_MAX};
use serde::de::{self, DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer};

use super::Failure;

/// The parameters of a query; one that the route does not know is refused, because it is a typing error.
pub struct Parameters<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(error) => Err(Failure::because(
                ErrorKind::Invalid,
                "the query is not one of this route",
                &error,
            )),
        }
    }
}

/// The variable segments of a path.
pub struct Segments<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segments<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(segments)) => Ok(Self(segments)),
            Err(error) => Err(Failure::because(
                ErrorKind::Invalid,
                "the path is not one of this route",
                &error,
            )),
        }
    }
}

/// A yes or no in a query: `?stale`, `?stale=true`, `?stale=1`; or `false`, `0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flag(pub bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Flag;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true or false")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Flag, E> {
                match text {
                    "" | "1" | "true" => Ok(Flag(true)),
                    "0" | "false" => Ok(Flag(false)),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// The whole body, if it is not too large and comes in time.
pub async fn whole_body(headers: &HeaderMap, body: Body) -> Result<Bytes, Failure> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > HTTP_BODY_BYTES_MAX as u64) {
        return Err(too_large());
    }
    let collected = tokio::time::timeout(
        HTTP_BODY_DURATION_MAX,
        Limited::new(body, HTTP_BODY_BYTES_MAX).collect(),
    );
    match collected.await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Failure::because(
            ErrorKind::Invalid,
            "the body ended early",
            error.as_ref(),
        )),
        Err(_) => Err(too_slow()),
    }
}

/// The body did not come in time.
pub fn too_slow() -> Failure {
    let seconds = HTTP_BODY_DURATION_MAX.as_secs();
    Failure::new(
        ErrorKind::Unavailable,
        format!("nothing was done: the body did not arrive within {seconds} s"),
    )
}

fn too_large() -> Failure {
    Failure::new(
        ErrorKind::Exhausted,
        format!("the body is larger than {HTTP_BODY_BYTES_MAX} bytes; send fewer documents at once"),
    )
}

/// The media type of a request without its parameters, in lower case; empty when there is none.
pub fn media_type(headers: &HeaderMap) -> String {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
