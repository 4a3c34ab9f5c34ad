//! Cluster decisions. Pure.
