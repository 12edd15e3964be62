//! Folders, files and ports that are not what they should be: each is named, and nothing in it is changed.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::PathBuf;

use crate::support::{NodeProcess, TestCluster};

const WRITES: usize = 30;

fn content(number: usize) -> String {
    format!("content number {number} of the resources that have to stay")
}

/// A cluster of one node with some resources; the node is then killed.
async fn written_and_killed() -> TestCluster {
    let mut cluster = TestCluster::start("solo", 1).await;
    for number in 0..WRITES {
        cluster
            .apply(0, &format!("resource-{number}"), &content(number))
            .await
            .unwrap();
    }
    cluster.nodes[0].kill();
    cluster
}

/// Starts the node, and finds all resources.
async fn assert_whole(cluster: &mut TestCluster) {
    cluster.nodes[0].start();
    cluster.settled().await;
    let (_, found) = cluster.contents(0).await;
    assert_eq!(found.len(), WRITES);
    for number in 0..WRITES {
        assert_eq!(found[&format!("resource-{number}")], content(number));
    }
}

/// The newest segment of the node's log that was written to.
fn segment(node: &NodeProcess) -> PathBuf {
    let files = fs::read_dir(node.config.folder.join("log"))
        .unwrap()
        .map(|file| file.unwrap().path());
    let written = files.filter(|file| fs::read(file).unwrap().starts_with(b"RVLOGSEG"));
    written.max().expect("the log has a segment")
}

/// Replaces bytes of a file, and returns what was there.
fn overwrite(file: &PathBuf, offset: u64, bytes: &[u8]) -> Vec<u8> {
    let file = fs::File::options().read(true).write(true).open(file).unwrap();
    let mut before = vec![0; bytes.len()];
    file.read_exact_at(&mut before, offset).unwrap();
    file.write_all_at(bytes, offset).unwrap();
    before
}

#[tokio::test]
async fn a_second_process_on_one_folder_is_refused_and_the_first_goes_on() {
    let cluster = TestCluster::start("solo", 1).await;
    let (ended, said) = cluster.nodes[0].start_again();
    assert!(!ended.success());
    let owner = format!("belongs to the process {}", cluster.nodes[0].pid());
    assert!(
        said.contains(&owner) && said.contains(&cluster.nodes[0].config.folder.display().to_string()),
        "{said}"
    );
    cluster.apply_patiently(0, "still", "served").await;
}

#[tokio::test]
async fn a_folder_of_another_cluster_is_refused_and_left_alone() {
    let mut cluster = written_and_killed().await;
    let other = TestCluster::prepare("solo", 1);
    let own = std::mem::replace(
        &mut cluster.nodes[0].config.genesis,
        other.nodes[0].config.genesis.clone(),
    );
    cluster.nodes[0].start();
    let said = cluster.nodes[0].excuse("belongs to cluster").await;
    assert!(said.contains(&cluster.genesis.digest().to_string()), "{said}");
    assert!(said.contains(&other.genesis.digest().to_string()), "{said}");
    cluster.nodes[0].kill();
    cluster.nodes[0].config.genesis = own;
    assert_whole(&mut cluster).await;
}

#[tokio::test]
async fn a_log_of_a_newer_format_is_refused_and_left_alone() {
    const VERSION_OFFSET: u64 = 8;
    let mut cluster = written_and_killed().await;
    let file = segment(&cluster.nodes[0]);
    let before = overwrite(&file, VERSION_OFFSET, &99_u32.to_le_bytes());
    cluster.nodes[0].start();
    let said = cluster.nodes[0].excuse("has log format 99").await;
    assert!(said.contains(&file.display().to_string()), "{said}");
    cluster.nodes[0].kill();
    overwrite(&file, VERSION_OFFSET, &before);
    assert_whole(&mut cluster).await;
}

#[tokio::test]
async fn a_log_with_a_flipped_bit_is_refused_by_file_and_offset_and_left_alone() {
    let mut cluster = written_and_killed().await;
    let file = segment(&cluster.nodes[0]);
    let bytes = fs::read(&file).unwrap();
    let (text, wanted) = (content(7), bytes.windows(content(7).len()));
    let offset = wanted
        .enumerate()
        .find(|(_, window)| *window == text.as_bytes())
        .expect("the log has the content")
        .0;
    let before = overwrite(&file, offset as u64, &[bytes[offset] ^ 1]);
    cluster.nodes[0].start();
    let said = cluster.nodes[0].excuse("is damaged at byte").await;
    assert!(said.contains(&file.display().to_string()), "{said}");
    cluster.nodes[0].kill();
    overwrite(&file, offset as u64, &before);
    assert_whole(&mut cluster).await;
}

#[tokio::test]
async fn a_torn_tail_is_cut_off_and_nothing_acknowledged_goes_with_it() {
    let mut cluster = written_and_killed().await;
    let file = segment(&cluster.nodes[0]);
    let bytes = fs::read(&file).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    // The beginning of a record whose rest never reached the disk.
    overwrite(&file, end.next_multiple_of(8) as u64, &bytes[64..164]);
    assert_whole(&mut cluster).await;
}

#[tokio::test]
async fn a_port_in_use_is_named_on_the_control_socket() {
    let mut cluster = TestCluster::prepare("solo", 1);
    let address = cluster.nodes[0].config.listen;
    let taken = TcpListener::bind(address).unwrap();
    cluster.nodes[0].start();
    let said = cluster.nodes[0].excuse("in use").await;
    assert!(said.contains(&address.to_string()), "{said}");
    cluster.nodes[0].kill();
    drop(taken);
    cluster.nodes[0].start();
    cluster.settled().await;
}

#[tokio::test]
async fn an_unknown_field_of_a_configuration_is_named() {
    let cluster = TestCluster::prepare("solo", 1);
    let node = &cluster.nodes[0];
    let mut config = serde_json::to_value(&node.config).unwrap();
    config["quorum"] = 3.into();
    fs::write(&node.config_file, config.to_string()).unwrap();
    let (ended, said) = node.start_again();
    assert!(!ended.success());
    assert!(
        said.contains("quorum") && said.contains(&node.config_file.display().to_string()),
        "{said}"
    );
}

#[tokio::test]
async fn a_key_that_others_may_read_is_refused() {
    let mut cluster = TestCluster::prepare("solo", 1);
    let key = cluster.nodes[0].config.folder.join("node.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    cluster.nodes[0].start();
    let said = cluster.nodes[0].excuse("may be read by others").await;
    assert!(said.contains(&key.display().to_string()), "{said}");
}
