//! The verbs on resources over HTTP.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use revoada_core::error::ErrorKind;
use revoada_core::resource::ResourceFormat;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{INLINE_BYTES_MAX, away_if};
use crate::native::extract::{Flag, Parameters, Segments, media_type, whole_body};
use crate::native::message::{
    AppliedDocuments, ApplyDocuments, CREATE_REVISION_HEADER, DeleteResource, DeletedResource, Document, GetResource,
    GotResource, ListResources, REVISION_HEADER, Target, VERSION_HEADER,
};
use crate::native::{Caller, Failure, NativeFace};

/// How a raw document is applied; an envelope says the same in its body.
#[derive(Deserialize, Default, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ApplyParameters {
    /// The namespace of resources that name none.
    namespace: Option<String>,
    if_revision: Option<u64>,
    #[serde(default)]
    dry_run: Flag,
}

pub async fn apply(
    State(face): State<NativeFace>,
    caller: Caller,
    Parameters(parameters): Parameters<ApplyParameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<AppliedDocuments>, Failure> {
    caller.must_operate("apply")?;
    let format = body_format(&headers)?;
    let body = whole_body(&headers, body).await?;
    let request = away_if(body.len() > INLINE_BYTES_MAX, move || {
        read_apply(format, body, parameters)
    })
    .await?;
    Ok(Json(face.resources.apply(&caller, request).await?))
}

fn read_apply(
    format: Option<ResourceFormat>,
    body: Bytes,
    parameters: ApplyParameters,
) -> Result<ApplyDocuments, Failure> {
    if matches!(format, Some(ResourceFormat::Json) | None) && is_envelope(&body) {
        if parameters != ApplyParameters::default() {
            return Err(Failure::invalid(
                "an envelope says everything in its body, and takes no parameters",
            ));
        }
        return serde_json::from_slice(&body)
            .map_err(|error| Failure::because(ErrorKind::Invalid, "the envelope is not valid", &error));
    }
    let ApplyParameters {
        namespace,
        if_revision,
        dry_run: Flag(dry_run),
    } = parameters;
    let documents = vec![Document {
        format,
        document: body,
        default_namespace: namespace,
    }];
    Ok(ApplyDocuments {
        documents,
        if_revision,
        dry_run,
    })
}

/// Whether a JSON body is an envelope and not a resource, which has a kind.
fn is_envelope(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Shape {
        kind: Option<IgnoredAny>,
        documents: Option<IgnoredAny>,
    }
    serde_json::from_slice(body).is_ok_and(|shape: Shape| shape.kind.is_none() && shape.documents.is_some())
}

/// The format that a request says its body is in. What `curl --data-binary` says when it is told nothing else, and what
/// says nothing, leaves it to the bytes.
fn body_format(headers: &HeaderMap) -> Result<Option<ResourceFormat>, Failure> {
    match media_type(headers).as_str() {
        "application/json" => Ok(Some(ResourceFormat::Json)),
        "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml" => Ok(Some(ResourceFormat::Yaml)),
        "application/hcl" | "text/hcl" => Ok(Some(ResourceFormat::Hcl)),
        "application/cbor" => Ok(Some(ResourceFormat::Native)),
        "" | "application/x-www-form-urlencoded" | "application/octet-stream" | "text/plain" => Ok(None),
        other => Err(Failure::invalid(format!(
            "the body is {other:?}; say what it is by the header content-type: application/json, application/yaml, \
             application/hcl or application/cbor"
        ))),
    }
}

fn content_type(format: ResourceFormat) -> &'static str {
    match format {
        ResourceFormat::Json => "application/json",
        ResourceFormat::Yaml => "application/yaml",
        ResourceFormat::Hcl => "application/hcl",
        ResourceFormat::Native => "application/cbor",
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListParameters {
    group: Option<String>,
    namespace: Option<String>,
    selector: Option<String>,
    limit: Option<usize>,
    #[serde(rename = "continue")]
    continue_token: Option<String>,
    revision: Option<u64>,
    #[serde(default)]
    stale: Flag,
}

pub async fn list(
    State(face): State<NativeFace>,
    _: Caller,
    Segments(kind): Segments<String>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Response, Failure> {
    let ListParameters {
        group,
        namespace,
        selector,
        limit,
        continue_token,
        revision,
        stale: Flag(stale),
    } = parameters;
    let request = ListResources {
        group,
        kind,
        namespace,
        selector,
        limit,
        continue_token,
        revision,
        stale,
    };
    let page = face.resources.list(request).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], page).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetParameters {
    group: Option<String>,
    #[serde(default)]
    namespace: String,
    revision: Option<u64>,
    #[serde(default)]
    stale: Flag,
    format: Option<ResourceFormat>,
}

/// The document, with its revisions in headers.
pub async fn get(
    State(face): State<NativeFace>,
    _: Caller,
    Segments((kind, name)): Segments<(String, String)>,
    Parameters(parameters): Parameters<GetParameters>,
) -> Result<Response, Failure> {
    let GetParameters {
        group,
        namespace,
        revision,
        stale: Flag(stale),
        format,
    } = parameters;
    let target = Target {
        group,
        kind,
        namespace,
        name,
    };
    let format = Some(format.unwrap_or(ResourceFormat::Json));
    let got = face
        .resources
        .get(GetResource {
            target,
            revision,
            stale,
            format,
        })
        .await?;
    let GotResource {
        format,
        document,
        create_revision,
        revision,
        version,
    } = got;
    Ok(document_response(
        format,
        document,
        [
            (REVISION_HEADER, revision),
            (CREATE_REVISION_HEADER, create_revision),
            (VERSION_HEADER, version),
        ],
    ))
}

fn document_response(format: ResourceFormat, document: Bytes, numbers: [(&'static str, u64); 3]) -> Response {
    let mut response = ([(header::CONTENT_TYPE, content_type(format))], document).into_response();
    for (name, number) in numbers {
        response.headers_mut().insert(name, HeaderValue::from(number));
    }
    response
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteParameters {
    group: Option<String>,
    #[serde(default)]
    namespace: String,
    if_revision: Option<u64>,
}

pub async fn delete(
    State(face): State<NativeFace>,
    caller: Caller,
    Segments((kind, name)): Segments<(String, String)>,
    Parameters(parameters): Parameters<DeleteParameters>,
) -> Result<Json<DeletedResource>, Failure> {
    let DeleteParameters {
        group,
        namespace,
        if_revision,
    } = parameters;
    let target = Target {
        group,
        kind,
        namespace,
        name,
    };
    Ok(Json(
        face.resources
            .delete(&caller, DeleteResource { target, if_revision })
            .await?,
    ))
}
