//! The ring, buffers, disk and sockets. Knows bytes and fds, has never heard of replication.
