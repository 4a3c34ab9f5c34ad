//! Errors of starting an engine, each with object, cause and next move.
