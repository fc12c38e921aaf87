//! Names: the answers that a container hears at 127.0.0.11.
