//! One reader and one writer per format. All of them produce and take the same content, and know nothing of resources.

pub(crate) mod hcl;
pub(crate) mod hcl_write;
pub(crate) mod json;
pub(crate) mod native;
pub(crate) mod yaml;
pub(crate) mod yaml_scalar;
pub(crate) mod yaml_write;
