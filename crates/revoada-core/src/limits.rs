//! Every queue, loop and buffer has its limit here, by name (invariant 8).

use std::time::Duration;

/// The largest document of one resource, in bytes; larger ones are refused before they are parsed.
/// The same as etcd's default request limit and Kubernetes' object limit.
pub const DOCUMENT_BYTES_MAX: usize = 1_572_864;
/// The longest resource name, in bytes (RFC 1123 subdomain, as Kubernetes has it).
pub const NAME_BYTES_MAX: usize = 253;
/// How deep the values of a document may nest.
pub const DOCUMENT_DEPTH_MAX: usize = 64;
/// The longest frame between nodes, in bytes; a longer one closes the connection.
pub const LINK_FRAME_BYTES_MAX: usize = 32 << 20;
/// The longest hello, in bytes.
pub const HELLO_BYTES_MAX: usize = 4096;
/// How long a connection may take from its first byte to the end of the hello, in milliseconds.
pub const HANDSHAKE_MS_MAX: u64 = 5_000;
/// After how long a handshake gives its place to whoever waits for one, in milliseconds.
pub const HANDSHAKE_MS_CONTENDED: u64 = 500;
/// How many connections of one listener may be in the handshake at once; more wait to be accepted.
pub const HANDSHAKES_MAX: usize = 64;
/// How many authenticated connections one peer may hold; the oldest of a concern is not closed, the new one refused.
pub const CONNECTIONS_PER_PEER_MAX: usize = 32;
/// After how long of silence a link between nodes is probed, and how long each probe waits, in seconds.
pub const LINK_PROBE_S: u64 = 1;
/// How many probes a link's other side may leave unanswered.
pub const LINK_PROBES_MAX: u32 = 3;
/// How long what was sent on a link may stay unacknowledged by the other side's kernel, in milliseconds.
pub const LINK_UNACKNOWLEDGED_MS_MAX: u32 = 3_000;
/// How many calls may wait for an answer on one link between nodes.
pub const LINK_CALLS_MAX: usize = 4096;
/// How many appends a leader may have in flight to one follower.
pub const APPENDS_IN_FLIGHT_MAX: usize = 16;
/// With how many bytes of appends in flight to one follower a leader sends no more.
pub const APPENDS_IN_FLIGHT_BYTES_MAX: usize = 16 << 20;
/// How fast a follower has to take appends, in bytes each second, not to be taken for lost while it does.
pub const APPEND_BYTES_PER_SECOND_MIN: u64 = 1 << 20;
/// After how long without an answer an append stream is taken for lost, in milliseconds,
/// besides the time that the bytes on their way may take.
pub const APPEND_SILENCE_MS_MAX: u64 = 1_000;
/// How many bytes of entries go into one append, at least one entry.
pub const APPEND_BYTES_MAX: u64 = 4 << 20;
/// The size of one piece of a checkpoint that is sent to another node, in bytes.
pub const SNAPSHOT_CHUNK_BYTES: usize = 1 << 20;
/// How long one piece of a checkpoint may take, in milliseconds.
pub const SNAPSHOT_CHUNK_MS_MAX: u64 = 10_000;
/// How long a received checkpoint may take to be installed, in milliseconds.
pub const SNAPSHOT_INSTALL_MS_MAX: u64 = 60_000;

/// The largest body of one HTTP request to the native face, snapshots excepted (they are streamed), in bytes.
pub const HTTP_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long the body of one HTTP request may take to arrive; between two chunks of a streamed one.
pub const HTTP_BODY_DURATION_MAX: Duration = Duration::from_secs(30);
/// The most documents of one apply request.
pub const APPLY_DOCUMENTS_MAX: usize = 10_000;
/// The most snapshots and restores that one node's native face works on at once.
pub const SNAPSHOT_TRANSFERS_MAX: usize = 2;
/// The largest snapshot that is taken over HTTP, in bytes; it is spooled to disk before it is looked at.
pub const SNAPSHOT_UPLOAD_BYTES_MAX: u64 = 64 * 1024 * 1024 * 1024;
/// The most encoded watch lines that wait for one slow watcher before its events stay in the backend, in bytes.
pub const WATCH_LINES_BYTES_MAX: usize = 256 * 1024;
/// The largest frame of the framed protocol, without its length, in bytes.
pub const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most requests of one framed connection that are worked on at once; the rest waits in the socket.
pub const FRAME_REQUESTS_IN_FLIGHT_MAX: usize = 1024;
/// With this many bytes of answers unsent, a framed connection reads no more requests.
pub const FRAME_ANSWERS_BYTES_MAX: usize = 1024 * 1024;
/// How long one frame may take to arrive whole, or an answer to be taken, before its connection is closed.
pub const FRAME_DURATION_MAX: Duration = Duration::from_secs(30);
/// The most framed connections of one node.
pub const FRAME_CONNECTIONS_MAX: usize = 1024;
/// The longest key of the keyspace, in bytes; etcd's faces bound it further by the size of a request.
pub const KEY_BYTES_MAX: usize = 65_536;
/// The longest value of the keyspace, in bytes: a document, its parsed form and what both are wrapped in.
pub const VALUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How many compares and operations one transaction has at most, nested ones included.
/// (etcd's default is 128 for each list; its face may refuse earlier.)
pub const TXN_OPS_MAX: usize = 1_024;
/// How deep transactions nest, the outermost included.
pub const TXN_DEPTH_MAX: usize = 8;
/// How many leases there are at most.
pub const LEASES_MAX: usize = 1_000_000;
/// The longest time of a lease, in milliseconds (etcd: 9,000,000,000 seconds).
pub const LEASE_TTL_MS_MAX: u64 = 9_000_000_000_000;
/// How many events one call looks at for one watcher, whether or not they are in its range.
pub const EVENTS_EXAMINED_MAX: usize = 65_536;
/// The highest revision that a restore may start from; what is left above it cannot be used up, and every revision
/// stays a positive signed 64-bit number, which is what the foreign protocols have.
pub const RESTORE_REVISION_MAX: u64 = 1 << 62;
/// How many entries a snapshot that is restored into a cluster may have.
pub const RESTORE_ENTRIES_MAX: usize = 4_000_000;
/// How long roles, chain and staged entries of a checkpoint may be, in bytes.
pub const CHECKPOINT_ROLES_BYTES_MAX: u64 = 8 << 30;
/// How many bytes of the newest entries a node keeps decoded.
pub const LOG_RECENT_BYTES_MAX: usize = 16 << 20;
/// How many writes may wait on one node; more wait to be queued.
pub const WRITES_WAITING_MAX: usize = 8_192;
/// The largest command, in bytes, with room for its encoding in one frame between nodes: an entry that fits no frame
/// could be appended by a leader and never leave it.
pub const COMMAND_BYTES_MAX: usize = LINK_FRAME_BYTES_MAX / 2;
/// How many commands go into one log entry.
pub const BATCH_COMMANDS_MAX: usize = 1_024;
/// How many bytes of commands go into one log entry, at least one command.
pub const BATCH_BYTES_MAX: usize = 1 << 20;
/// How many entries of one node's proposer are in flight.
pub const BATCHES_IN_FLIGHT_MAX: usize = 4;
/// How many reads may wait for one confirmation; more wait to be queued.
pub const READS_WAITING_MAX: usize = 8_192;
/// How long the confirmation of a read may take, in milliseconds.
pub const READ_MS_MAX: u64 = 3_000;
/// How long to wait before another attempt when there was no leader, in milliseconds; a new leader ends the wait.
pub const RETRY_PAUSE_MS: u64 = 10;
/// How long a connection to the leader may take, in milliseconds.
pub const CONNECT_MS_MAX: u64 = 500;
/// How many forwarded requests of one connection are under way at once.
pub const FORWARDED_PER_CONNECTION_MAX: usize = 256;
/// The longest text in the header of a snapshot (the declaration), in bytes.
pub const SNAPSHOT_TEXT_BYTES_MAX: usize = 1_048_576;
/// The largest named section of a snapshot, in bytes.
pub const SNAPSHOT_SECTION_BYTES_MAX: usize = 256 * 1024 * 1024;
/// With how many bytes of keys a part of a snapshot is ended and another begun.
pub const SNAPSHOT_PART_BYTES: usize = 4 << 20;
/// The largest piece of a section, in bytes: what is allocated before it is there.
pub const SNAPSHOT_CHUNK_BYTES_MAX: usize = 65_536;
/// The longest name or URL of a member that was asked for by name, in bytes.
pub const ROSTER_TEXT_BYTES_MAX: usize = 1_024;
/// How many URLs of each kind such a member has at most.
pub const ROSTER_URLS_MAX: usize = 32;
/// The pause between two attempts of a member to be introduced to others, in milliseconds.
pub const INTRODUCTION_PAUSE_MS: u64 = 100;
/// How long one request of an introduction may take, in milliseconds.
pub const INTRODUCTION_MS_MAX: u64 = 5_000;
/// The largest request or answer of an introduction, in bytes: a genesis of as many founders as there may be, and them.
pub const INTRODUCTION_BYTES_MAX: usize = 4 << 20;
/// The largest hello of a TLS client that tells a node from others, in bytes.
pub const CLIENT_HELLO_BYTES_MAX: usize = 8 << 10;
/// How often a hello that has not come whole is looked at, in milliseconds.
pub const CLIENT_HELLO_POLL_MS: u64 = 5;
/// For how long a member has to be there before it counts for a change of members, in milliseconds. etcd's is five
/// seconds, from its first connection on, which comes before a node hears of another one by gossip.
pub const MEMBER_HEALTHY_MS: u64 = 4_500;
/// How often a member looks whether it still is one, in milliseconds.
pub const ROSTER_LOOK_MS: u64 = 250;
/// How long a member that was removed waits to be out of the membership before it goes, in milliseconds.
pub const REMOVED_MS_MAX: u64 = 5_000;
/// How many records of nodes a cluster keeps, those of evicted nodes included.
pub const NODES_MAX: usize = 1_024;
/// A node that is lost this many times within [`FLAPPING_WINDOW_MS`] is quarantined as flapping.
pub const FLAPPING_LOSSES: usize = 4;
/// The window in which losses are counted, in milliseconds.
pub const FLAPPING_WINDOW_MS: u64 = 600_000;
/// How long a node quarantined as flapping has to be alive before it is released, in milliseconds.
pub const QUARANTINE_ALIVE_MS: u64 = 600_000;
/// The least time between two role changes of one node, in milliseconds. The replacement of a lost voter and the
/// admission are exempt.
pub const ROLE_CHANGE_INTERVAL_MS: u64 = 60_000;
/// How many log entries go into one append.
pub const APPEND_ENTRIES_MAX: u64 = 512;
/// How many bytes of commands are applied before whatever else shares the thread has its turn: some milliseconds.
pub const APPLY_BYTES_PER_TURN: usize = 256 * 1024;
/// How many entries stay in the log behind a checkpoint, so that a node that was away shortly needs no checkpoint.
pub const ENTRIES_KEPT_BEHIND_CHECKPOINT: u64 = 2_000;
/// How long a leader leaves a follower alone that cannot be reached: openraft's notation, doubling up to the last.
pub const RAFT_BACKOFF: &str = "20ms 40ms ...200ms";
/// How long a write looks for a leader before it is given up, in milliseconds.
pub const WRITE_PATIENCE_MS: u64 = 5_000;
/// No checkpoint is written before the log has grown by this much, in bytes.
pub const CHECKPOINT_LOG_BYTES_MIN: u64 = 16 << 20;
/// A checkpoint is written when the log has grown by the size of the state and this much, in bytes.
pub const CHECKPOINT_LOG_BYTES_MAX: u64 = 128 << 20;
/// How much of a checkpoint is written before its writer rests, in bytes.
pub const CHECKPOINT_PIECE_BYTES: u64 = 1 << 20;
/// How many times as long as it worked the writer of a checkpoint rests.
pub const CHECKPOINT_RESTS_PER_WORK: u32 = 3;
/// The largest declaration or genesis, in bytes: a thousand times what one needs.
pub const DECLARATION_BYTES_MAX: usize = 1_048_576;
/// The longest duration that a declaration may state, a hundred years: added to any clock it does not overflow.
pub const DECLARED_DURATION_MAX: std::time::Duration = std::time::Duration::from_secs(100 * 365 * 86_400);
/// The longest name of a cluster, strategy, face, topology or founder, in bytes (a DNS label, RFC 1035 §2.3.4).
pub const DECLARED_NAME_BYTES_MAX: usize = 63;

/// How large a segment of the node's log is made, in bytes, where the configuration says nothing. Two exist at a time
/// on an idle node (the one in use and the one prepared), so it is also what a node takes of an empty disk.
pub const LOG_SEGMENT_BYTES_DEFAULT: u32 = 32 * 1024 * 1024;
/// How many payload bytes of the newest log entries stay in memory.
pub const LOG_CACHE_BYTES_DEFAULT: usize = 8 * 1024 * 1024;
/// How many bytes may wait for the log's writer; past it an append is refused, so the caller waits first.
pub const LOG_PENDING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How many bytes the log's writer puts behind one sync; more would make the first of them wait for the last.
pub const LOG_BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The largest payload of one log entry, in bytes.
pub const LOG_ENTRY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The largest value of one metadata slot of the log, in bytes: every segment's header repeats all slots.
pub const LOG_METADATA_BYTES_MAX: usize = 16 * 1024;
/// How many metadata values that ask for no sync of their own may wait for somebody else's before they get one.
pub const LOG_LAZY_METADATA_MAX: usize = 1024;
/// How many bytes of a segment one read takes from the disk.
pub const LOG_READ_CHUNK_BYTES: usize = 1024 * 1024;

/// How many bytes of content the aliases of one YAML document may stand for, and its anchors may keep.
pub const ALIAS_BYTES_MAX: usize = DOCUMENT_BYTES_MAX;
/// The most significant digits of one number in a document.
pub const NUMBER_DIGITS_MAX: usize = 1024;
/// The largest power of ten, positive or negative, that one number in a document is scaled by.
pub const NUMBER_EXPONENT_MAX: i64 = 1_000_000_000;
/// After how long a co-signature that could not be committed is tried again, in milliseconds.
pub const WITNESS_RETRY_MS: u64 = 500;
/// How many of the newest blocks a node looks at for co-signatures that it owes.
pub const WITNESSED_BLOCKS_MAX: u64 = 256;
/// The pause between two attempts to form a cluster, in milliseconds.
pub const FORMATION_PAUSE_MS: u64 = 50;
/// How long a founder that could vote waits for more founders than a majority, which make its disk known to those that come
/// later, in milliseconds.
pub const FORMATION_PATIENCE_MS: u64 = 5_000;
/// The longest pause between two such attempts while another node refuses this one, in milliseconds.
pub const FORMATION_REFUSED_PAUSE_MS_MAX: u64 = 2_000;
/// How long after its own start a node takes another one that it never heard of for dead, in milliseconds.
pub const UNHEARD_MS_MAX: u64 = 3_000;
/// How many entries a node may lack and still count as caught up.
pub const CAUGHT_UP_LAG_MAX: u64 = 99;
/// How often a leader plans anew within one tick, while each plan leads to another.
pub const PLANS_PER_TICK_MAX: usize = 16;
/// How long a change of the Raft membership may take before the leader looks again, in milliseconds.
pub const MEMBERSHIP_CHANGE_MS_MAX: u64 = 3_000;
/// How many leases a leader ends at one tick.
pub const LEASES_ENDED_PER_TICK_MAX: usize = 1_024;
/// How many bytes of older versions and events the keyspace keeps before the leader compacts.
pub const HISTORY_BYTES_MAX: u64 = 64 << 20;
/// How many events the keyspace keeps before the leader compacts.
pub const HISTORY_EVENTS_MAX: usize = 200_000;
/// After how long without word from a quorum, or from a leader, a node says that there is none, in milliseconds.
pub const QUORUM_SILENCE_MS_MAX: u64 = 2_000;
/// How often who waits for changes on a silent node looks whether any will come there, in milliseconds.
pub const LEFT_OUT_LOOK_MS: u64 = 3_000;
/// How long a forwarded wish may take, in milliseconds.
pub const WISH_MS_MAX: u64 = 10_000;
/// How long a wish waits for what passes by itself (nodes that were not heard of yet), in milliseconds.
pub const WISH_SETTLE_MS_MAX: u64 = 5_000;
/// How long somebody may wait until a wish is done, in milliseconds.
pub const WISH_WAIT_MS_MAX: u64 = 120_000;
/// For how long a leader has nothing to do about a shape that is not there before nobody waits for it, in milliseconds.
pub const STUCK_MS: u64 = 2_000;
/// How often a wish that is waited for is looked at, in milliseconds.
pub const WISH_POLL_MS: u64 = 50;
/// The longest path of a socket that its address holds, in bytes (unix(7)).
pub const SOCKET_PATH_BYTES_MAX: usize = 107;
/// How many connections the control socket, and the HTTP API on TCP, each serve at once; more wait to be accepted.
pub const CONNECTIONS_MAX: usize = 1_024;
/// How long the header of a request may take, in milliseconds.
pub const HEADER_MS_MAX: u64 = 10_000;
/// How long a connection is waited for when a node stops, in milliseconds.
pub const GOODBYE_MS_MAX: u64 = 1_000;
/// For how many rounds of gossip a node has to be silent before it may be called dead.
pub const SILENT_ROUNDS_MIN: u32 = 5;
/// How often a node measures its memory, in milliseconds.
pub const RSS_MS: u64 = 1_000;
/// How long a node waits for the leader's word on the cluster's status before it answers from what it has, in milliseconds.
pub const STATUS_MS_MAX: u64 = 500;
/// How long an export waits until the newest blocks are co-signed, in milliseconds.
pub const WITNESS_MS_MAX: u64 = 1_000;
/// How long a leader that stops waits until another one leads, in milliseconds.
pub const HAND_OVER_MS_MAX: u64 = 300;
/// How long the answer of a leader that was superseded is still waited for, in milliseconds.
pub const SUPERSEDED_GRACE_MS: u64 = 100;
/// How long a node waits for a port that a killed process has not freed yet, in milliseconds.
pub const BIND_MS_MAX: u64 = 5_000;
/// How many bytes larger than a request may be a message of the etcd face is before it is not even read (etcd: 512 KiB).
pub const ETCD_REQUEST_ROOM_BYTES: usize = 512 * 1024;
/// About how many bytes the keyspace takes for each entry besides its key and value.
pub const KEYSPACE_ENTRY_BYTES: u64 = 300;
/// The largest answer of the etcd face, in bytes; clients take as much as a signed 32-bit number says.
pub const ETCD_ANSWER_BYTES_MAX: usize = i32::MAX as usize;
/// How many compares, and operations of each branch, a transaction of the etcd face has at most (etcd's default).
pub const ETCD_TXN_OPS_MAX: usize = 128;
/// The shortest time of a lease of the etcd face, in seconds; shorter ones get this one.
pub const ETCD_LEASE_TTL_S_MIN: i64 = 2;
/// How many keep-alives of one stream are worked on at once.
pub const ETCD_KEEP_ALIVES_IN_FLIGHT_MAX: usize = 256;
/// How many watches one stream of the etcd face may have.
pub const ETCD_WATCHES_MAX: usize = 100_000;
/// How many batches of events wait for one slow watch stream; what else there is stays in the keyspace.
pub const ETCD_WATCH_QUEUE_BATCHES_MAX: usize = 4_096;
/// With how many bytes of events waiting for it a watch stream is slow.
pub const ETCD_WATCH_QUEUE_BYTES_MAX: usize = 8 << 20;
/// How many events the watches of a node are told at once, at least those of one revision.
pub const ETCD_WATCH_ROUND_EVENTS_MAX: usize = 1_024;
/// How many requests a watch stream answers before it looks for more of its client's.
pub const ETCD_WATCH_ANSWERS_PER_TURN: u32 = 64;
/// How many bytes of a snapshot one message of the etcd face has (etcd: 32 KiB).
pub const ETCD_SNAPSHOT_PIECE_BYTES: usize = 32 * 1024;
/// How many such messages wait for a slow client.
pub const ETCD_SNAPSHOT_PIECES_WAITING_MAX: usize = 16;
/// How many snapshots one node's etcd face makes at once.
pub const ETCD_SNAPSHOTS_MAX: usize = 2;
/// How many bytes an empty keyspace takes, about.
pub const KEYSPACE_BYTES: u64 = 4_096;
/// For how long a client that asked for a leader is left without one, in milliseconds (etcd: three election timeouts).
pub const ETCD_NO_LEADER_MS: u64 = 3_000;
/// How many connections of the etcd face one node serves at once; more wait to be accepted.
pub const ETCD_CONNECTIONS_MAX: usize = 16_384;
/// How many requests and streams one connection of the etcd face may have open.
pub const ETCD_STREAMS_MAX: u32 = 1 << 20;
/// How many bytes of one request of the etcd face may be on their way.
pub const ETCD_STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// How many bytes of all requests of one connection of the etcd face may be on their way.
pub const ETCD_CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// How often a silent connection of the etcd face is asked whether it is there, and how long it may take to say so, in
/// milliseconds.
pub const ETCD_PING_MS: u64 = 20_000;
/// How long leadership may take to move where a client wants it, in milliseconds.
pub const LEADER_MOVES_MS_MAX: u64 = 3_000;
/// With how many bytes an answer to a watch is cut into fragments, where the client takes those.
pub const ETCD_FRAGMENT_BYTES: usize = DOCUMENT_BYTES_MAX;
/// After how long of silence a watch that wants it is told of progress, in milliseconds (etcd: ten minutes).
pub const ETCD_WATCH_PROGRESS_MS: u64 = 600_000;
/// How many backups of its own a writer keeps where nothing else is said.
pub const BACKUPS_KEPT: usize = 20;
/// The shortest time between two backups.
pub const BACKUP_EVERY_MIN: Duration = Duration::from_secs(1);
/// After how long a backup that failed is tried again at first; each time it is doubled.
pub const BACKUP_RETRY_MIN: Duration = Duration::from_secs(1);
/// After how long it is tried again at most.
pub const BACKUP_RETRY_MAX: Duration = Duration::from_secs(300);
/// The longest name of a cluster or a writer in the name of a backup, in bytes; the rest is cut off.
pub const BACKUP_LABEL_BYTES_MAX: usize = 60;
