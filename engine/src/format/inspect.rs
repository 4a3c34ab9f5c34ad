//! Explains metadata pages.
