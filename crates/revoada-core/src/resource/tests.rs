//! Properties and tables over all formats.
