//! The packet threads: sockets, port slots, batching.
