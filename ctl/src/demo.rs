//! stub
use crate::exit::Exit;
/// args
#[derive(clap::Args, Debug)]
pub struct DemoArgs {}
/// run
pub fn run(_args: &DemoArgs) -> Exit {
    Exit::Ok
}
