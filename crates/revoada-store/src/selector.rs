//! Label selectors, until core has them.
/// A label selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector(pub String);
