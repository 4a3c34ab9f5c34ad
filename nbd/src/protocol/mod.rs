//! The NBD protocol. Pure.
