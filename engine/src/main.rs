//! Entry point of the engine process.

fn main() {}
