//! The API against a loop that the test plays: what is answered, what is refused, what is kept.

mod doors;
mod hostile;
pub mod lab;
mod routes;
mod schema;
mod verbs;
