//! What is written, and the connections it goes over.

use bytes::Bytes;
use revoada::client::message::{ApplyDocuments, Document, Target};
use revoada::client::{ClientError, Endpoint, FramedClient};
use revoada_core::resource::ResourceFormat;
use std::sync::{Mutex, PoisonError};

use super::OPTIONS;

/// The kind of what is written.
pub const KIND: &str = "Bench";
/// Where it is written.
pub const NAMESPACE: &str = "revoada-bench";
/// How many digits a name's number and a content's number have.
const DIGITS: usize = 12;

/// A document of a given size, in which only the digits of its name and of its content change.
pub struct Template {
    bytes: Vec<u8>,
    name_at: usize,
    content_at: usize,
}

impl Template {
    /// A document of `size` bytes, or as few as it can have.
    pub fn new(size: usize) -> Self {
        let zeros = "0".repeat(DIGITS);
        let head = format!(r#"{{"kind":"{KIND}","metadata":{{"name":"bench-"#);
        let middle = format!(r#"","namespace":"{NAMESPACE}"}},"data":{{"number":""#);
        let tail = r#"","pad":""#;
        let end = r#""}}"#;
        let name_at = head.len();
        let content_at = name_at + DIGITS + middle.len();
        let fixed = content_at + DIGITS + tail.len() + end.len();
        let pad = "x".repeat(size.saturating_sub(fixed));
        let bytes = [head.as_str(), &zeros, &middle, &zeros, tail, &pad, end]
            .concat()
            .into_bytes();
        Self {
            bytes,
            name_at,
            content_at,
        }
    }

    /// A request that writes the content `content` under the name `name`.
    pub fn request(&self, name: u64, content: u64) -> ApplyDocuments {
        let mut bytes = self.bytes.clone();
        write_digits(&mut bytes[self.name_at..self.name_at + DIGITS], name);
        write_digits(&mut bytes[self.content_at..self.content_at + DIGITS], content);
        ApplyDocuments {
            documents: vec![Document {
                format: Some(ResourceFormat::Json),
                document: Bytes::from(bytes),
                default_namespace: None,
            }],
            ..ApplyDocuments::default()
        }
    }
}

fn write_digits(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
}

/// The address of what is written under a name.
pub fn target(name: u64) -> Target {
    Target {
        group: Some(String::new()),
        kind: KIND.to_owned(),
        namespace: NAMESPACE.to_owned(),
        name: format!("bench-{name:0width$}", width = DIGITS),
    }
}

/// A connection that is made anew when it has ended.
pub struct Connection {
    endpoint: Endpoint,
    client: Mutex<FramedClient>,
}

impl Connection {
    /// Connects.
    pub async fn open(endpoint: &Endpoint) -> Result<Self, ClientError> {
        Ok(Self {
            endpoint: endpoint.clone(),
            client: Mutex::new(FramedClient::connect(endpoint.clone(), OPTIONS).await?),
        })
    }

    /// The connection, for one call.
    pub async fn client(&self) -> Result<FramedClient, ClientError> {
        let open = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if !open.is_closed() {
            return Ok(open);
        }
        let made = FramedClient::connect(self.endpoint.clone(), OPTIONS).await?;
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = made.clone();
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use revoada_core::resource::Resource;

    use super::*;

    #[test]
    fn a_document_has_the_size_that_was_asked_for_and_the_address_that_is_read() {
        for size in [200, 1024, 100_000] {
            let request = Template::new(size).request(42, 7);
            let document = request.documents[0].document.clone();
            assert_eq!(document.len(), size);
            let resource = Resource::parse(document, ResourceFormat::Json).unwrap();
            assert_eq!(Target::from(resource.reference), target(42));
            assert_eq!(resource.content["data"]["number"], "000000000007");
        }
    }
}
