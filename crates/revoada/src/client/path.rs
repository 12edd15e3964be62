//! Paths and queries of requests.

use std::fmt::Write as _;

/// A path that is built from segments and parameters, each escaped.
#[derive(Debug, Clone)]
pub struct PathBuilder {
    text: String,
    separator: char,
}

impl PathBuilder {
    /// Begins with a path that needs no escaping.
    pub fn new(route: &str) -> Self {
        Self {
            text: route.to_owned(),
            separator: '?',
        }
    }

    /// Adds one segment.
    pub fn segment(mut self, segment: &str) -> Self {
        self.text.push('/');
        escape(&mut self.text, segment);
        self
    }

    /// Adds a parameter, if there is a value.
    pub fn parameter(mut self, name: &str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            self.text.push(self.separator);
            self.text.push_str(name);
            self.text.push('=');
            escape(&mut self.text, &value.to_string());
            self.separator = '&';
        }
        self
    }

    /// Adds a parameter that is true, or nothing.
    pub fn flag(self, name: &str, set: bool) -> Self {
        self.parameter(name, set.then_some("true"))
    }

    /// The path.
    pub fn build(self) -> String {
        self.text
    }
}

/// Escapes everything but RFC 3986's unreserved characters.
fn escape(into: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            into.push(char::from(byte));
        } else {
            write!(into, "%{byte:02X}").expect("a String takes everything");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_escapes_what_would_end_a_segment_or_a_value() {
        let path = PathBuilder::new("/v1/resources")
            .segment("Config Map")
            .segment("a/b?c#d%é")
            .parameter("namespace", Some(""))
            .parameter("group", None::<&str>)
            .parameter("selector", Some("a=b,c!=d&e"))
            .flag("stale", true)
            .flag("other", false)
            .build();
        assert_eq!(
            path,
            "/v1/resources/Config%20Map/a%2Fb%3Fc%23d%25%C3%A9?namespace=&selector=a%3Db%2Cc%21%3Dd%26e&stale=true"
        );
    }
}
