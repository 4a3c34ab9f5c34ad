//! Two whole nodes over toy engines, toy resources, a toy link and a toy arbiter.

mod chaos;
mod dry;
mod lease;
mod monitors;
mod rests;
mod several;
mod shapes;
mod simulated;
mod stories;
mod world;
