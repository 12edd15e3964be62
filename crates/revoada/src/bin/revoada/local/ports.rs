//! Ports of nodes on this machine: chosen once, checked before each start.
//!
//! They are taken from below the range that the system gives to outgoing connections, which could hold one by chance
//! at the next start, and from a place that the folder's path decides, so that clusters in different folders stay
//! apart. Rejected: port 0, which is another port each time, and unknown to the other nodes before it is bound.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use revoada_core::error::ErrorKind;

use crate::failure::CliError;

const FIRST: u16 = 7_100;
const LAST: u16 = 31_999;

/// Chooses `count` free ports of the loopback address.
pub fn choose(root: &Path, count: usize) -> Result<Vec<SocketAddr>, CliError> {
    let digest = blake3::hash(root.as_os_str().as_bytes());
    let [a, b, ..] = *digest.as_bytes();
    let size = LAST - FIRST + 1;
    // A multiple of 100 where there is room: easier to read in a table.
    let begin = u16::from_le_bytes([a, b]) % size / 100 * 100;
    let mut chosen = Vec::with_capacity(count);
    // Held until all are chosen, so that none is chosen twice.
    let mut held = Vec::with_capacity(count);
    for offset in 0..size {
        if chosen.len() == count {
            break;
        }
        let port = FIRST + (begin + offset) % size;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if let Ok(listener) = TcpListener::bind(address) {
            held.push(listener);
            chosen.push(address);
        }
    }
    if chosen.len() < count {
        let message = format!("there are no {count} free ports from {FIRST} to {LAST} on this machine");
        return Err(CliError::new(ErrorKind::Exhausted, message));
    }
    Ok(chosen)
}

/// How long a port may stay in use by a process that was killed: the kernel frees it when it is done with the process,
/// which a sync under way delays.
const FREED_WITHIN: Duration = Duration::from_secs(5);

/// Makes sure that a node which does not run can listen where it did. Blocks for as long as a killed process may need.
pub fn check_free(node: &str, address: SocketAddr) -> Result<(), CliError> {
    let deadline = Instant::now() + FREED_WITHIN;
    let bound = loop {
        match TcpListener::bind(address) {
            // Somebody else's program is named at once.
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && Instant::now() < deadline
                    && holder(address.port()).is_none_or(|holder| holder.contains("revoada")) =>
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            other => break other,
        }
    };
    match bound {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let holder = holder(address.port()).map_or_else(String::new, |holder| format!(" by {holder}"));
            let message = format!("{address}, where {node} listens, is in use{holder}");
            Err(CliError::new(ErrorKind::Unavailable, message).hint("stop that process, and try again"))
        }
        Err(error) => Err(CliError::because(
            ErrorKind::Unavailable,
            format!("{node} cannot listen on {address}"),
            &error,
        )),
    }
}

/// The process that listens on a TCP port of this machine, as far as this user may know.
fn holder(port: u16) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let inodes: Vec<String> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, port))
        .collect();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let holds = |link: &Path| {
            let target = fs::read_link(link).unwrap_or_default();
            let target = target.as_os_str().as_bytes();
            inodes
                .iter()
                .any(|inode| target == format!("socket:[{inode}]").as_bytes())
        };
        if descriptors.flatten().any(|descriptor| holds(&descriptor.path())) {
            let command = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("process {pid} ({})", command.trim()));
        }
    }
    None
}

/// The inodes of listening sockets on `port` in a table of `/proc/net` (proc_net(5): state 0A is LISTEN).
fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    let wanted = format!(":{port:04X}");
    let lines = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|fields| fields.len() > 9 && fields[1].ends_with(&wanted) && fields[3] == "0A")
        .map(|fields| fields[9].to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_ports_are_free_and_different() {
        let mut chosen = choose(Path::new("/somewhere"), 10).unwrap();
        chosen.sort();
        chosen.dedup();
        assert_eq!(chosen.len(), 10);
    }

    #[test]
    fn a_port_in_use_is_named_with_the_process_that_has_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = check_free("node-1", listener.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.code(), 3);
        assert!(error.failure.message.contains("node-1"), "{error:?}");
        assert!(
            error.failure.message.contains(&std::process::id().to_string()),
            "{error:?}"
        );
    }

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:1BBC 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 4711 1 x\n\
             1: 0100007F:1BBC 0100007F:9999 01 00000000:00000000 00:00000000 00000000  1000 0 4712 1 x\n\
             2: 0100007F:1BBD 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 4713 1 x\n";
        assert_eq!(listening_inodes(table, 0x1BBC), ["4711"]);
    }
}
