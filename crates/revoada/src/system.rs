//! The machine's clock and entropy, which everything below takes as arguments.

use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use revoada_mesh::keyspace::Clock;

/// The wall clock, in milliseconds since 1970; 0 for a clock that stands before it.
pub fn clock() -> Clock {
    Arc::new(|| {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64)
    })
}

/// Fills `bytes` with the kernel's random bytes.
pub fn entropy(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(|error| io::Error::other(error.to_string()))
}

/// Installs the cryptography that TLS uses in this process; safe to call more than once.
pub fn install_crypto() {
    // It is installed already: that one serves as well.
    drop(rustls::crypto::ring::default_provider().install_default());
}
